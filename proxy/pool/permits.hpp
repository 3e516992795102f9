// How many server connections of one member, database and user the whole process may have, and which worker has waited
// longest for one.
//
// Task: applies the limit to the process, not to a worker. A worker that may not open another connection registers a
// want; a worker that releases a server checks here whether another worker's want is older than its own waiters, and
// hands the server over.
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

  // Registers that a worker (its Handover) wants a connection, and since when its oldest waiter has waited. One entry
  // per worker: a second call replaces the first. True: the entry is new, and the caller must ask other workers for
  // idle servers; servers released later find the entry.
  bool want(Handover* worker, health::TimePoint since);
  // Updates a worker's entry after its oldest waiter has left; no effect if there is none.
  void still_wants(Handover* worker, health::TimePoint since);
  void unwant(Handover* worker);
  // Whether any worker wants a connection. One atomic load: called at every release.
  [[nodiscard]] bool wanted() const { return wants_count_.load(std::memory_order_acquire) > 0; }
  // Removes and returns the worker, other than `self`, whose waiter is the oldest and older than `own` (nullopt: any).
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

// One connection's right to exist; returned when the connection's object is destroyed, or moved along in a hand-over.
using Permit = Place;

// Finds the permits of a member, database and user; they are made on first use and kept while a pool uses them.
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
