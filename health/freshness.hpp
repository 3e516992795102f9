// How fresh each member's data is known to be: a moment per member, of this process's steady clock, such that
// everything that finished anywhere in this process before that moment is visible on the member. Thread: written by the
// control thread, read by workers; relaxed atomics, because a mark that is seen late is merely older than it could
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
  explicit FreshnessMarks(std::size_t members) : marks_(members), lives_(members) {}

  // The epoch of steady_clock (a moment before everything) when nothing is known.
  [[nodiscard]] TimePoint fresh_until(std::size_t member) const {
    return TimePoint(Clock::duration(marks_[member].load(std::memory_order_acquire)));
  }
  void set(std::size_t member, TimePoint moment) {
    marks_[member].store(moment.time_since_epoch().count(), std::memory_order_release);
  }
  // The member may have restarted: it may replay from an earlier position, so its mark is void.
  void forget(std::size_t member) {
    lives_[member].fetch_add(1, std::memory_order_acq_rel);
    marks_[member].store(0, std::memory_order_release);
  }
  void reset() {
    for (std::size_t member = 0; member < marks_.size(); ++member) forget(member);
  }
  // Takes over the marks of `other`, which has fewer members.
  void take(const FreshnessMarks& other) {
    for (std::size_t member = 0; member < other.size(); ++member) {
      set(member, other.fresh_until(member));
      lives_[member].store(other.life(member), std::memory_order_release);
    }
  }
  // Replay moves forward only while this stays the same.
  [[nodiscard]] std::uint32_t life(std::size_t member) const { return lives_[member].load(std::memory_order_acquire); }
  [[nodiscard]] std::size_t size() const { return marks_.size(); }

  // Called by readers that found no mark as new as `moment`. True: nobody is after it, and the monitor must be told
  // (Monitor::freshness_wanted).
  [[nodiscard]] bool want(TimePoint moment) const {
    const auto count = moment.time_since_epoch().count();
    auto known = wanted_.load();
    while (known < count && !wanted_.compare_exchange_weak(known, count)) {
    }
    return resting_.load() && resting_.exchange(false);
  }
  // The newest moment that was asked for.
  [[nodiscard]] TimePoint wanted() const { return TimePoint(Clock::duration(wanted_.load())); }
  // Called by the monitor: whether it must be told of the next reader. Whoever sets this and then looks at wanted()
  // misses nobody: both sides write before they read, in one order for all threads.
  void rest(bool resting) const { resting_.store(resting); }

 private:
  std::deque<std::atomic<Clock::rep>> marks_;
  std::deque<std::atomic<std::uint32_t>> lives_;
  mutable std::atomic<Clock::rep> wanted_{0};
  mutable std::atomic<bool> resting_{true};
};

}  // namespace holdfast::health
