#include "proxy/pool/waiter.hpp"

#include <string>
#include <utility>

#include "protocol/client_errors.hpp"
#include "protocol/invariant.hpp"
#include "proxy/pool/pool.hpp"

namespace holdfast::proxy {

using protocol::Tell;

namespace {

std::uint64_t microseconds_between(TimePoint from, TimePoint to) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(to - from).count());
}

}  // namespace

Waiter::Waiter(Reactor& reactor, Counters& counters, Pool& pool, Kind kind, Limits limits)
    : reactor_(reactor),
      counters_(counters),
      pool_(pool),
      deadline_(&Waiter::on_deadline, this),
      look_(&Waiter::on_look, this),
      limits_(limits),
      since_(reactor.now()),
      kind_(kind) {}

Waiter::~Waiter() {
  leave_line();
}

void Waiter::leave_line() {
  leave();
  deadline_.disarm();
  look_.disarm();
  let_go();
  if (MemberPool* member = std::exchange(member_, nullptr)) member->left();
}

// A primary has come, or the wait for one has ended otherwise.
void Waiter::let_go() {
  if (state_ == State::held) counters_.held.add(microseconds_between(held_since_, reactor_.now()));
  held_ = {};
  hold_place_ = {};
}

void Waiter::settle(Outcome outcome) {
  if (state_ == State::ended) return;
  leave_line();
  if (state_ != State::asleep) {
    waiting_ = {};
    counters_.wait_microseconds.add(microseconds_between(since_, reactor_.now()));
  }
  state_ = State::ended;
  outcome_ = std::move(outcome);
  if (auto handle = std::exchange(handle_, {})) reactor_.schedule(handle);
}

void Waiter::sleep(TimePoint until) {
  state_ = State::asleep;
  reactor_.deadlines().arm(deadline_, until);
}

void Waiter::look_elsewhere(bool (*found)(void*), void* who) {
  if (state_ != State::in_line && state_ != State::held) return;
  found_ = found;
  who_ = who;
  reactor_.deadlines().arm(look_, reactor_.now() + DeadlineWheel::slot_width);
}

void Waiter::on_look(void* self) {
  auto& waiter = *static_cast<Waiter*>(self);
  if (waiter.found_(waiter.who_)) {
    waiter.settle(AskAgain{});
  } else {
    waiter.look_elsewhere(waiter.found_, waiter.who_);
  }
}

void Waiter::stand_in_line(MemberPool& member) {
  // A client that was held keeps its place in the order, and has all of wait_timeout again.
  const TimePoint from = state_ == State::held ? reactor_.now() : since_;
  if (state_ == State::made) waiting_ = Counted(counters_.clients_waiting);
  let_go();
  member_ = &member;
  state_ = State::in_line;
  reactor_.deadlines().arm(deadline_, from + limits_.wait);
}

void Waiter::hold(Place place) {
  if (state_ == State::made) waiting_ = Counted(counters_.clients_waiting);
  if (MemberPool* member = std::exchange(member_, nullptr)) member->left();
  hold_place_ = std::move(place);
  if (state_ != State::held) held_since_ = reactor_.now();
  held_ = Counted(counters_.clients_held);
  counters_.holds.add();
  state_ = State::held;
  reactor_.deadlines().arm(deadline_, since_ + limits_.hold);
}

void Waiter::on_deadline(void* self) {
  auto& waiter = *static_cast<Waiter*>(self);
  switch (waiter.state_) {
    case State::asleep: waiter.settle(AskAgain{}); return;
    case State::held: {
      waiter.counters_.holds_timed_out.add();
      const auto& why = waiter.pool_.topology().why_no_primary;
      waiter.settle(protocol::told(
          Tell::no_primary, {std::to_string(waiter.limits_.hold.count()), why.empty() ? std::string() : ": " + why}));
      return;
    }
    case State::in_line:
      waiter.counters_.waits_timed_out.add();
      waiter.settle(protocol::told(Tell::no_server, {std::to_string(waiter.limits_.wait.count()),
                                                     std::to_string(waiter.pool_.settings().pool_size)}));
      return;
    case State::made:
    case State::ended: static_cast<void>(holds(false, "a wait that has ended has a deadline")); return;
  }
}

}  // namespace holdfast::proxy
