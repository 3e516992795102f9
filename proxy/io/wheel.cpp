#include "proxy/io/wheel.hpp"

#include <algorithm>

namespace holdfast::proxy {

void Deadline::disarm() {
  if (next_ == nullptr) return;
  next_->previous_ = previous_;
  previous_->next_ = next_;
  next_ = previous_ = nullptr;
  if (wheel_ != nullptr) --wheel_->armed_;
}

DeadlineWheel::DeadlineWheel(TimePoint start) : start_(start) {
  for (auto& head : heads_) head.next_ = head.previous_ = &head;
}

DeadlineWheel::~DeadlineWheel() {
  // Heads are Deadlines linked to themselves; deadlines that are still armed are disarmed, so that their destructors
  // touch nothing here.
  for (auto& head : heads_) {
    while (head.next_ != &head) head.next_->disarm();
    head.next_ = head.previous_ = nullptr;
  }
}

std::int64_t DeadlineWheel::tick_of(TimePoint when) const {
  // Rounded up, so that no deadline expires early.
  const auto past = when - start_ + slot_width - TimePoint::duration(1);
  return past / slot_width;
}

void DeadlineWheel::link(std::size_t slot, Deadline& deadline) {
  auto& head = heads_[slot];
  deadline.previous_ = head.previous_;
  deadline.next_ = &head;
  head.previous_->next_ = &deadline;
  head.previous_ = &deadline;
  deadline.wheel_ = this;
}

void DeadlineWheel::arm(Deadline& deadline, TimePoint when) {
  deadline.disarm();
  deadline.when_ = when;
  const auto farthest = tick_ + static_cast<std::int64_t>(slots) - 1;
  const auto tick = std::clamp(tick_of(when), tick_, farthest);
  link(static_cast<std::size_t>(tick) % slots, deadline);
  hint_ = std::min(hint_, tick);
  ++armed_;
}

void DeadlineWheel::advance(TimePoint now) {
  const auto reached = (now - start_) / slot_width;
  if (armed_ == 0) {
    tick_ = std::max<std::int64_t>(tick_, reached);
    return;
  }
  const auto first = tick_;
  const auto last = std::min<std::int64_t>(reached, first + static_cast<std::int64_t>(slots) - 1);
  // From here on, actions arm deadlines in slots behind those being emptied.
  tick_ = std::max(tick_, reached + 1);
  for (auto tick = first; tick <= last; ++tick) {
    auto& head = heads_[static_cast<std::size_t>(tick) % slots];
    if (head.next_ == &head) continue;
    // The slot's deadlines move to a list of their own: an action may arm one in this very slot, a revolution ahead.
    Deadline due;
    due.next_ = head.next_;
    due.previous_ = head.previous_;
    due.next_->previous_ = &due;
    due.previous_->next_ = &due;
    head.next_ = head.previous_ = &head;
    while (due.next_ != &due) {
      Deadline& deadline = *due.next_;
      deadline.disarm();
      if (deadline.when_ <= now) {
        deadline.action_(deadline.context_);
      } else {
        arm(deadline, deadline.when_);  // it was beyond the wheel's horizon
      }
    }
    due.next_ = due.previous_ = nullptr;
  }
}

TimePoint DeadlineWheel::next_due() const {
  if (armed_ == 0) return never();
  // The hint makes this O(1) from turn to turn: only a deadline armed since can lie before it, and arm() moves it back.
  for (hint_ = std::max(hint_, tick_); hint_ < tick_ + static_cast<std::int64_t>(slots); ++hint_) {
    const auto& head = heads_[static_cast<std::size_t>(hint_) % slots];
    if (head.next_ != &head) break;
  }
  return start_ + slot_width * hint_;
}

}  // namespace holdfast::proxy
