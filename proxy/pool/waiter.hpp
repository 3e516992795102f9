// A client's wait for a server: its place in a line, its deadline, and its outcome.
//
// Task: stands in the line of a member (servers are short) or of a pool (it is held: there is no primary), or waits for
// a replica to become fresh enough, or for a moment before its unit is sent again. Ends exactly once, in a lease, an
// error, NotLetIn, or AskAgain (the member that it waited for can't serve it any more, fresher marks may have come, or
// the moment is over); only settle() wakes the client. What it takes while it waits (a place under hold_limit, the
// gauges) it returns when it ends. Owner: the session or log-in that waits. Thread: the worker's. Lifetime: one wait.
//
//   made ──stand_in_line()──> in_line ────┐
//     ├──hold()─────────────> held ───────┼──settle()──> ended
//     └──for_marks(), sleep()─> asleep ───┘
//   Meanwhile hold() and stand_in_line() lead from in_line to held and back.
#pragma once

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <optional>
#include <variant>

#include "health/topology.hpp"
#include "protocol/error.hpp"
#include "proxy/base/counters.hpp"
#include "proxy/base/places.hpp"
#include "proxy/io/list.hpp"
#include "proxy/io/reactor.hpp"
#include "proxy/pool/server_lease.hpp"

namespace holdfast::proxy {

class MemberPool;
class Pool;

class Waiter : public ListNode<Waiter> {
 public:
  enum class Kind : std::uint8_t { read, write };
  enum class State : std::uint8_t { made, in_line, held, asleep, ended };
  struct AskAgain {};  // route the unit once more
  struct NotLetIn {    // the member that it waited for refuses its user or database; another one may not
    Error error;
  };
  using Outcome = std::variant<AskAgain, ServerLease, Error, NotLetIn>;
  struct Limits {
    std::chrono::milliseconds wait{0};  // wait_timeout: in the line of a member
    std::chrono::milliseconds hold{0};  // hold_timeout: since the wait began, while there is no primary
  };

  Waiter(Reactor& reactor, Counters& counters, Pool& pool, Kind kind, Limits limits);
  ~Waiter();

  [[nodiscard]] Kind kind() const { return kind_; }
  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] TimePoint since() const { return since_; }

  // Ends the wait and wakes the coroutine that awaits it. Ignored once the wait has ended.
  void settle(Outcome outcome);
  // co_await waiter.ended(): the outcome. Once.
  struct Awaiter {
    Waiter& waiter;
    [[nodiscard]] bool await_ready() const { return waiter.state_ == State::ended; }
    void await_suspend(std::coroutine_handle<> handle) const { waiter.handle_ = handle; }
    Outcome await_resume() const { return std::move(waiter.outcome_); }
  };
  [[nodiscard]] Awaiter ended() { return {*this}; }

  // Waits for fresher marks, which come by themselves: ends in AskAgain at the next slot of the deadline wheel.
  void for_marks() { sleep(reactor_.now() + DeadlineWheel::slot_width); }
  // Ends in AskAgain at `until`.
  void sleep(TimePoint until);
  // While it is in line or held, `found(who)` is asked at each slot of the wheel: true ends the wait in AskAgain.
  void look_elsewhere(bool (*found)(void*), void* who);

  // Called by pools, which have put it in their line: the line of a member.
  void stand_in_line(MemberPool& member);
  // The line of the pool, while there is no primary. `place`: one of those that hold_limit allows.
  void hold(Place place);

 private:
  static void on_deadline(void* self);
  void let_go();
  static void on_look(void* self);
  void leave_line();

  Reactor& reactor_;
  Counters& counters_;
  Pool& pool_;
  MemberPool* member_ = nullptr;  // the one whose line it stands in
  Deadline deadline_;
  Deadline look_;
  bool (*found_)(void*) = nullptr;
  void* who_ = nullptr;
  Limits limits_;
  TimePoint since_;
  TimePoint held_since_{};
  Counted waiting_;
  Counted held_;
  Place hold_place_;
  std::coroutine_handle<> handle_;
  Outcome outcome_;
  Kind kind_;
  State state_ = State::made;
};

}  // namespace holdfast::proxy
