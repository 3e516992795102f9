// How many server connections of one member, database and user the whole process may have, and which worker waits
// for one longest.
//
// Task: the limit is the process's, not a worker's. A worker that may not open one more says that it wants one; whoever
// releases a server first asks here whether another worker has waited longer than its own waiters, and hands it over.
// Thread: any. The counters are atomics; the list of wants has a mutex, touched only while servers are short.
// Lifetime: shared by the pools of all workers and by the connections that were opened under it.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "health/freshness.hpp"
#include "proxy/base/places.hpp"
#include "proxy/pool/pool_key.hpp"

namespace holdfast::proxy {

class Handover;

class Permits : public Places {
 public:
  using Places::Places;

  // A worker (its Handover) says since when its oldest waiter waits. One entry per worker: a second call replaces the
  // first. True: it had none, and those that lie idle elsewhere have to be asked for; what is released later finds the
  // entry.
  bool want(Handover* worker, health::TimePoint since);
  // Its oldest waiter was served, and the next one waits since then; nothing if it wants none.
  void still_wants(Handover* worker, health::TimePoint since);
  void unwant(Handover* worker);
  // Does any worker want one? One relaxed load: asked at every release.
  [[nodiscard]] bool wanted() const { return wants_count_.load(std::memory_order_acquire) > 0; }
  // The worker whose waiter is older than `own` (nullopt: any), other than `self`; it is taken off the list.
  [[nodiscard]] Handover* take_want(const Handover* self, std::optional<health::TimePoint> own);

 private:
  struct Want {
    Handover* worker;
    health::TimePoint since;
  };

  std::atomic<std::uint32_t> wants_count_{0};
  std::mutex mutex_;
  std::deque<Want> wants_;
};

// One connection's right to exist; it comes back when the connection's object goes, or goes along with a hand-over.
using Permit = Place;

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
