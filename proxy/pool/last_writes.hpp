// When something was last written through this process: what `reads.consistency: global` compares a replica's mark
// with.
//
// Task: one moment for each database of a cluster, so that a busy database doesn't keep the reads of others at home,
// and one for what the databases of a cluster share (roles, databases, tablespaces). A pool finds its own once; from
// then on a write costs an atomic and a read two loads. Thread: any; the book has a mutex, for new pools. Lifetime: the
// process's.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "health/freshness.hpp"

namespace holdfast::proxy {

using health::TimePoint;

// The latest of the moments that it was told.
class LatestMoment {
 public:
  void note(TimePoint moment) {
    const auto count = moment.time_since_epoch().count();
    auto known = latest_.load(std::memory_order_relaxed);
    while (known < count && !latest_.compare_exchange_weak(known, count, std::memory_order_acq_rel)) {
    }
  }
  [[nodiscard]] TimePoint get() const {
    return TimePoint(health::Clock::duration(latest_.load(std::memory_order_acquire)));
  }

 private:
  std::atomic<health::Clock::rep> latest_{0};
};

// Of one database.
class LastWrites {
 public:
  explicit LastWrites(std::shared_ptr<LatestMoment> shared) : shared_(std::move(shared)) {}

  // A statement that may have written has ended, or its end will never be known.
  void wrote(TimePoint moment) { own_.note(moment); }
  // … and it may have changed what all databases of the cluster share.
  void wrote_shared(TimePoint moment) { shared_->note(moment); }
  [[nodiscard]] TimePoint last() const { return std::max(own_.get(), shared_->get()); }
  // A statement that may write is on its way: others may see it before its end is noted. Ask before last().
  [[nodiscard]] bool in_flight() const { return in_flight_.load(std::memory_order_acquire) != 0; }

 private:
  friend class LastWritesBook;
  friend class WriteInFlight;
  std::atomic<std::uint32_t> in_flight_{0};
  LatestMoment own_;
  std::shared_ptr<LatestMoment> shared_;
};

// From before the first byte of a statement that may write is sent until its end has been noted. The pool outlives it.
class WriteInFlight {
 public:
  WriteInFlight() = default;
  explicit WriteInFlight(LastWrites& of) : of_(&of) { of.in_flight_.fetch_add(1, std::memory_order_acq_rel); }
  WriteInFlight(WriteInFlight&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
  WriteInFlight& operator=(WriteInFlight&& other) noexcept {
    std::swap(of_, other.of_);
    return *this;
  }
  ~WriteInFlight() {
    if (of_ != nullptr) of_->in_flight_.fetch_sub(1, std::memory_order_acq_rel);
  }
  [[nodiscard]] explicit operator bool() const { return of_ != nullptr; }

 private:
  LastWrites* of_ = nullptr;
};

class LastWritesBook {
 public:
  // `start`: of the process. What was written before, through another one, counts as written then.
  explicit LastWritesBook(TimePoint start = health::Clock::now()) : start_(start) {}

  [[nodiscard]] std::shared_ptr<LastWrites> find(const std::string& cluster, const std::string& database);
  [[nodiscard]] std::size_t size();

 private:
  static constexpr std::size_t most_kept = 1000;

  void forget_unused();

  const TimePoint start_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<LatestMoment>> shared_;  // by cluster
  std::map<std::pair<std::string, std::string>, std::shared_ptr<LastWrites>> book_;
};

}  // namespace holdfast::proxy
