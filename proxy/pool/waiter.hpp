// A client's wait for a server: its place in a line, its deadline, and what it ends with.
//
// Task: stands in the line of a member (servers are short), in that of a pool (there is no primary: it is held), or
// waits for a replica to become fresh enough. Ends exactly once, in a lease, an error, or "ask again" (the member that
// it waited for can't serve it any more); settle() is the only waker. What it takes while it waits (a place among the
// held, the gauges) it gives back when it ends. Owner: the session or log-in that waits. Thread: the worker's.
// Lifetime: one wait.
//
//   made ──MemberPool::wait──> in_line ⇄ held (Pool::hold, no_longer_held) ──settle──> ended
//     └──for_marks(until)──> for_marks ──────────────────────────────────────settle──> ended
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
  enum class State : std::uint8_t { made, in_line, held, for_marks, ended };
  struct AskAgain {};  // route the unit once more
  using Outcome = std::variant<AskAgain, ServerLease, Error>;
  struct Limits {
    std::chrono::milliseconds wait{0};  // in the line of a member
    std::chrono::milliseconds hold{0};  // in all, while there is no primary
  };

  Waiter(Reactor& reactor, Counters& counters, Pool& pool, Kind kind, Limits limits);
  ~Waiter();

  [[nodiscard]] Kind kind() const { return kind_; }
  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] TimePoint since() const { return since_; }

  // Ends the wait and wakes who awaits it. Ignored once it has ended.
  void settle(Outcome outcome);
  // Its end: what it ended with. Once.
  struct Awaiter {
    Waiter& waiter;
    [[nodiscard]] bool await_ready() const { return waiter.state_ == State::ended; }
    void await_suspend(std::coroutine_handle<> handle) const { waiter.handle_ = handle; }
    Outcome await_resume() const { return std::move(waiter.outcome_); }
  };
  [[nodiscard]] Awaiter ended() { return {*this}; }

  // Marks move by themselves: the wait ends in AskAgain at the next slot of the deadline wheel.
  void for_marks();

  // From pools. In the line of a member:
  void stand_in_line(MemberPool& member);
  // … and of the pool, while there is no primary. `place`: of hold_limit's.
  void hold(Place place);

 private:
  static void on_deadline(void* self);
  void leave_line();

  Reactor& reactor_;
  Counters& counters_;
  Pool& pool_;
  MemberPool* member_ = nullptr;  // whose line it stands in
  Deadline deadline_;
  Limits limits_;
  TimePoint since_;
  Counted waiting_;
  Counted held_;
  Place hold_place_;
  std::coroutine_handle<> handle_;
  Outcome outcome_;
  Kind kind_;
  State state_ = State::made;
};

}  // namespace holdfast::proxy
