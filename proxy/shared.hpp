// What the threads of the process share besides snapshots: permits, places, cancel keys, the key service, the log. Made
// by Server before the first worker, destroyed after the last.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "health/topology.hpp"
#include "protocol/auth.hpp"
#include "proxy/key_service.hpp"
#include "proxy/places.hpp"
#include "proxy/pool/permits.hpp"
#include "proxy/pool/welcomes.hpp"

namespace holdfast::proxy {

class Worker;

// Where a CancelRequest's key leads. Asked at log-in, log-out and cancellation only.
class CancelKeys {
 public:
  struct Target {
    Worker* worker = nullptr;
    std::uint64_t session = 0;
  };
  using Key = std::pair<std::uint32_t, std::uint32_t>;  // pid, secret

  // A new key that is not in use, from the CSPRNG; none if that fails.
  [[nodiscard]] std::optional<Key> add(Target target);
  void remove(const Key& key);
  [[nodiscard]] Target find(const Key& key);

 private:
  std::mutex mutex_;
  std::map<Key, Target> keys_;
};

// Clients per listener, database and user with a max_clients of their own.
class PlacesBook {
 public:
  [[nodiscard]] std::shared_ptr<Places> find(const std::string& what, std::uint32_t limit);
  [[nodiscard]] std::size_t size();

 private:
  static constexpr std::size_t most_kept = 1000;

  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Places>> book_;
};

struct Shared {
  PermitBook permits;
  Welcomes welcomes;
  CancelKeys cancel_keys;
  PlacesBook places_book;
  Places hold_places;
  KeyService key_service;
  protocol::MockSecret mock_secret{};
  // For read_consistency: global. Nanoseconds of the steady clock.
  std::atomic<std::int64_t> last_write{0};
  std::atomic<std::uint64_t> next_session{1};
  // Posts what traffic saw to the cluster's monitor. Any thread.
  std::function<void(const std::string& cluster, health::MemberIndex member, health::Evidence evidence)> report;
};

}  // namespace holdfast::proxy
