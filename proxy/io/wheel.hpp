// One coarse deadline wheel per worker: arming, moving and disarming a deadline touch a few pointers and need neither
// an allocation nor a system call. Expiry is up to one slot late, never early.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>

#include "health/freshness.hpp"

namespace holdfast::proxy {

using health::TimePoint;

class DeadlineWheel;

// A moment at which `action(context)` is called, once. A member of what it guards; disarms itself when destroyed.
class Deadline {
 public:
  Deadline() = default;
  Deadline(void (*action)(void*), void* context) : action_(action), context_(context) {}
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;
  ~Deadline() { disarm(); }

  void set_action(void (*action)(void*), void* context) {
    action_ = action;
    context_ = context;
  }
  void disarm();
  [[nodiscard]] bool armed() const { return next_ != nullptr; }
  [[nodiscard]] TimePoint when() const { return when_; }

 private:
  friend class DeadlineWheel;
  Deadline* next_ = nullptr;
  Deadline* previous_ = nullptr;
  DeadlineWheel* wheel_ = nullptr;
  TimePoint when_;
  void (*action_)(void*) = nullptr;
  void* context_ = nullptr;
};

class DeadlineWheel {
 public:
  static constexpr std::chrono::milliseconds slot_width{5};
  static constexpr std::size_t slots = 1024;  // beyond slots * slot_width a deadline is re-armed from the last slot

  explicit DeadlineWheel(TimePoint start);
  ~DeadlineWheel();
  DeadlineWheel(const DeadlineWheel&) = delete;
  DeadlineWheel& operator=(const DeadlineWheel&) = delete;

  // (Re)arms. `when` may be in the past: then the deadline expires at the next advance.
  void arm(Deadline& deadline, TimePoint when);
  // Calls the actions of every deadline at or before `now`. Actions may arm and disarm any deadline.
  void advance(TimePoint now);
  // When advance() next has something to do; never() if nothing is armed. Not later than the earliest deadline's slot.
  [[nodiscard]] TimePoint next_due() const;
  [[nodiscard]] static constexpr TimePoint never() { return TimePoint::max(); }
  [[nodiscard]] std::size_t armed() const { return armed_; }

 private:
  friend class Deadline;
  [[nodiscard]] std::int64_t tick_of(TimePoint when) const;
  void link(std::size_t slot, Deadline& deadline);

  TimePoint start_;
  std::int64_t tick_ = 0;          // slots before this tick have been emptied
  mutable std::int64_t hint_ = 0;  // all slots before this tick are empty
  std::size_t armed_ = 0;
  std::array<Deadline, slots> heads_;
};

}  // namespace holdfast::proxy
