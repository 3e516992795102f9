// A worker's counters. One writer (the worker), any number of readers (a scrape sums over workers): relaxed atomics,
// plain additions without a lock prefix.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <utility>

#include "protocol/invariant.hpp"

namespace holdfast::proxy {

class Counter {
 public:
  void add(std::uint64_t count = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
  }
  void subtract(std::uint64_t count = 1) {
    if (!holds(value() >= count, "a gauge falls below zero")) return;
    value_.store(value_.load(std::memory_order_relaxed) - count, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// How long something took: so many times up to each bound, and in all. Written and read as a Counter is.
class Durations {
 public:
  // In microseconds: 5 ms to a minute. What takes longer is in the last one.
  static constexpr std::array<std::uint64_t, 13> bounds{5'000,      10'000,     25'000,    50'000,    100'000,
                                                        250'000,    500'000,    1'000'000, 2'500'000, 5'000'000,
                                                        10'000'000, 30'000'000, 60'000'000};

  void add(std::uint64_t microseconds) {
    std::size_t at = 0;
    while (at < bounds.size() && microseconds > bounds[at]) ++at;
    counts_[at].add();
    sum_.add(microseconds);
  }
  // Of those up to bounds[at] and above the bound before; bounds.size(): longer than all.
  [[nodiscard]] std::uint64_t count(std::size_t at) const { return counts_[at].value(); }
  [[nodiscard]] std::uint64_t sum() const { return sum_.value(); }

 private:
  std::array<Counter, bounds.size() + 1> counts_;
  Counter sum_;
};

// Counts as one in a gauge for as long as it lives. Move-only.
class Counted {
 public:
  Counted() = default;
  explicit Counted(Counter& gauge) : gauge_(&gauge) { gauge.add(); }
  Counted(Counted&& other) noexcept : gauge_(std::exchange(other.gauge_, nullptr)) {}
  Counted& operator=(Counted&& other) noexcept {
    std::swap(gauge_, other.gauge_);
    return *this;
  }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() {
    if (gauge_ != nullptr) gauge_->subtract();
  }

 private:
  Counter* gauge_ = nullptr;
};

// Where units went and why.
enum class RouteReason : std::uint8_t {
  write,          // it writes, or may
  read_replica,   // a read on a replica
  not_fresh,      // a read for which no replica is fresh enough
  no_replica,     // a read, and no replica is usable
  configured,     // the route setting or a hint says so
  transaction,    // a transaction block that is not read-only
  session_state,  // the client is pinned, or its statement would pin it
  role_question,  // asks for the server's role
  unparsed,       // the parser does not know it
  learnt,         // a standby refused it before
  count_,
};
inline constexpr std::size_t route_reasons = static_cast<std::size_t>(RouteReason::count_);
[[nodiscard]] const char* name_of(RouteReason reason);

// Why a unit was sent to a server again.
enum class RepeatReason : std::uint8_t {
  unsent,   // not one byte of it had left
  refused,  // a standby refused it: it goes to the primary
  lost,     // a proven read whose server was lost
  count_,
};
inline constexpr std::size_t repeat_reasons = static_cast<std::size_t>(RepeatReason::count_);
[[nodiscard]] const char* name_of(RepeatReason reason);

// An upper bound for the bit numbers of the effects that pin (sql::pinning).
inline constexpr std::size_t pin_reasons = 16;

struct Counters {
  Counter clients;          // connected now, log-ins included
  Counter clients_waiting;  // waiting for a server now
  Counter clients_held;     // waiting for a primary now; part of clients_waiting
  Counter clients_accepted;
  Counter logins_failed;
  Counter clients_refused;  // because there were too many
  Counter units;            // queries and batches answered
  Counter bytes_to_clients;
  Counter pools;    // pools of a database and user now
  Counter servers;  // server connections now
  Counter servers_opened;
  Counter servers_failed;  // failed attempts to connect
  Counter servers_closed;
  Counter servers_cleaned;   // DISCARD ALL before reuse
  Counter catalogue_audits;  // queries for hidden code
  Counter catalogue_audits_failed;
  Counter handovers;  // servers given to another worker
  Counter holds;      // times a client began to wait for a primary
  Counter holds_timed_out;
  Durations held;             // waits for a primary, however they ended
  Counter wait_microseconds;  // sum of waits for a server
  Counter waits_timed_out;
  std::array<Counter, repeat_reasons> repeats;  // units sent again
  Counter lost_crashed;          // clients told 57P02 because their server crashed under their read, or beside it
  Counter lost_rolled_back;      // clients told 40001 because their server died
  Counter lost_unknown;          // clients told 08007
  Counter commits_unreplicated;  // clients told 08007: the wait for the standbys was canceled
  Counter lost_pinned;           // disconnected with 57P01: the session's state died with its server
  Counter lost_cut;              // disconnected in the middle of a row: it can't be finished
  Counter stalls;                // the worker stood still, and everything waited for a look at the members
  Counter sessions_ended;        // disconnected as their server's session was, while the server lives
  Counter cancels;
  Counter protocol_errors;
  std::array<Counter, route_reasons> routed;
  std::array<Counter, pin_reasons> pins;  // by the lowest bit of the effect
};

}  // namespace holdfast::proxy
