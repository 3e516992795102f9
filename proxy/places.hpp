// A bounded number of places that threads share: clients of a database, clients that may be held.
#pragma once

#include <atomic>
#include <cstdint>

namespace holdfast::proxy {

class Places {
 public:
  explicit Places(std::uint32_t limit = 0) : limit_(limit) {}
  [[nodiscard]] bool try_take() {
    auto used = used_.load(std::memory_order_relaxed);
    while (used < limit_.load(std::memory_order_relaxed)) {
      if (used_.compare_exchange_weak(used, used + 1, std::memory_order_acq_rel)) return true;
    }
    return false;
  }
  // Beyond the limit if need be.
  void take() { used_.fetch_add(1, std::memory_order_acq_rel); }
  void give_back() { used_.fetch_sub(1, std::memory_order_acq_rel); }
  void set_limit(std::uint32_t limit) { limit_.store(limit, std::memory_order_relaxed); }
  [[nodiscard]] std::uint32_t used() const { return used_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint32_t> used_{0};
  std::atomic<std::uint32_t> limit_;
};

}  // namespace holdfast::proxy
