// How many server connections of one member, database and user the whole process may have, and which worker waits
// for one longest.
//
// Task: the limit is the process's, not a worker's. A worker that may not open one more says that it wants one; whoever
// releases a server first asks here whether another worker has waited longer than its own waiters, and hands it over.
// Thread: any. The counters are atomics; the list of wants has a mutex, touched only while somebody is short of
// servers. Lifetime: shared by the pools of all workers.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "health/freshness.hpp"
#include "proxy/pool/pool_key.hpp"

namespace holdfast::proxy {

class Worker;

class Permits {
 public:
  explicit Permits(std::uint32_t limit) : limit_(limit) {}

  [[nodiscard]] bool try_take() {
    auto used = used_.load(std::memory_order_relaxed);
    while (used < limit_.load(std::memory_order_relaxed)) {
      if (used_.compare_exchange_weak(used, used + 1, std::memory_order_acq_rel)) return true;
    }
    return false;
  }
  void give_back() { used_.fetch_sub(1, std::memory_order_acq_rel); }
  void set_limit(std::uint32_t limit) { limit_.store(limit, std::memory_order_relaxed); }
  // More are in use than a reload allows: a released server is closed instead of kept.
  [[nodiscard]] bool too_many() const {
    return used_.load(std::memory_order_relaxed) > limit_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint32_t used() const { return used_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint32_t limit() const { return limit_.load(std::memory_order_relaxed); }

  // A worker says since when its oldest waiter waits. One entry per worker: a second call replaces the first. True: it
  // had none, and those that lie idle elsewhere have to be asked for; what is released later finds the entry.
  bool want(Worker* worker, health::TimePoint since);
  void unwant(Worker* worker);
  // Anybody waiting? One relaxed load: asked at every release.
  [[nodiscard]] bool wanted() const { return wants_count_.load(std::memory_order_acquire) > 0; }
  // The worker whose waiter is older than `own` (nullopt: any), other than `self`; it is taken off the list.
  [[nodiscard]] Worker* take_want(const Worker* self, std::optional<health::TimePoint> own);

 private:
  struct Want {
    Worker* worker;
    health::TimePoint since;
  };

  std::atomic<std::uint32_t> used_{0};
  std::atomic<std::uint32_t> limit_;
  std::atomic<std::uint32_t> wants_count_{0};
  std::mutex mutex_;
  std::deque<Want> wants_;
};

// Finds the permits of a member, database and user; made on first use and kept while a pool has them.
class PermitBook {
 public:
  [[nodiscard]] std::shared_ptr<Permits> find(const PoolKey& key, const std::string& member, std::uint32_t limit);

 private:
  std::mutex mutex_;
  static constexpr std::size_t first_sweep = 256;

  std::size_t swept_at_ = first_sweep;
  std::map<std::pair<PoolKey, std::string>, std::shared_ptr<Permits>> book_;
};

}  // namespace holdfast::proxy
