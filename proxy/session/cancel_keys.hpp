// Finds the session for a CancelRequest's key, on any worker. Thread: any; used at log-in, log-out and cancellation
// only.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

namespace holdfast::proxy {

class Sessions;

class CancelKeys {
 public:
  struct Target {
    Sessions* sessions = nullptr;  // null: no such key
    std::uint64_t session = 0;
  };
  using Key = std::pair<std::uint32_t, std::uint32_t>;  // pid, secret

  // Adds a new key that is not in use, from the CSPRNG; nullopt if that fails.
  [[nodiscard]] std::optional<Key> add(Target target);
  void remove(const Key& key);
  [[nodiscard]] Target find(const Key& key);

 private:
  std::mutex mutex_;
  std::map<Key, Target> keys_;
};

}  // namespace holdfast::proxy
