#include "protocol/repeats.hpp"

namespace holdfast::protocol {

void Repeats::unsent(TimePoint now) {
  pending_ = Reason::unsent;
  if (unsent_++ == 0) unsent_since_ = now;
  if (unsent_ > at_once) due_ = now + breath;
}

void Repeats::lost(TimePoint now, Crash crash) {
  pending_ = Reason::lost;
  ++losses_;
  unsent_ = 0;
  lost_at_ = now;
  due_ = now + pause;
  crashed_ = crashed_ || crash == Crash::seen;
}

Repeats::Next Repeats::next(TimePoint now, std::chrono::milliseconds hold_timeout, Crash crash) const {
  if (crashed_ || (losses_ > 0 && crash == Crash::seen)) return Next::crashed;
  if (now < due_) return Next::wait;
  if (losses_ > 1) return Next::lost_again;
  if (unsent_ > 0 && now - unsent_since_ >= hold_timeout) return Next::given_up;
  return Next::send;
}

const char* name_of(Repeats::Next next) {
  switch (next) {
    case Repeats::Next::send: return "send";
    case Repeats::Next::wait: return "wait";
    case Repeats::Next::lost_again: return "lost_again";
    case Repeats::Next::crashed: return "crashed";
    case Repeats::Next::given_up: return "given_up";
  }
  return "?";
}

}  // namespace holdfast::protocol
