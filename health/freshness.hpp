// How fresh each member's data is known to be: a moment per member, of this process's steady clock, such that
// everything that finished anywhere in this process before that moment is visible on the member. Thread: written by the
// control thread, read by workers; relaxed atomics, because a mark seen late is only a mark that is older than it could
// be. Lifetime: shared with every topology snapshot of the cluster.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>

namespace holdfast::health {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

class FreshnessMarks {
 public:
  explicit FreshnessMarks(std::size_t members) : marks_(members) {}

  // The epoch of steady_clock (a moment before everything) when nothing is known.
  [[nodiscard]] TimePoint fresh_until(std::size_t member) const {
    return TimePoint(Clock::duration(marks_[member].load(std::memory_order_acquire)));
  }
  void set(std::size_t member, TimePoint moment) {
    marks_[member].store(moment.time_since_epoch().count(), std::memory_order_release);
  }
  void reset() {
    for (auto& mark : marks_) mark.store(0, std::memory_order_release);
  }
  [[nodiscard]] std::size_t size() const { return marks_.size(); }

  // Asked by readers that found no replica fresh enough; the monitor samples faster while it moves.
  void want() const { wanted_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t wanted() const { return wanted_.load(std::memory_order_relaxed); }

 private:
  std::deque<std::atomic<Clock::rep>> marks_;
  mutable std::atomic<std::uint64_t> wanted_{0};
};

}  // namespace holdfast::health
