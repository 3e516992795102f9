// Makes a server fit for other clients after it lost its client, or after a client left session state behind; or says
// that it must be closed.
//
// Task: ends what is in flight (a cancel request, CopyFail, a Sync that can't commit), rolls back, discards the
// session's state, and checks each step by its answer. If it can't be told from the texts whether there is any state,
// the catalogue is asked. Driven by the server's reader: next() after every pass over its
// answers, and when a cancel request has ended. Thread: any one; no locks. Lifetime: from the moment the client gave up
// the server until `release` or `close`.
//
//   draining ──────idle, block open──────> rolling_back ──idle, 'I'──┐
//     │ in flight: cancel once, then wait                            │
//     │ COPY FROM, open batch: ended once                            v
//     └──────idle, no block──────> in doubt whether a further ReadyForQuery comes? ──yes──> proving ──idle──┐
//      ┌───────────────────────────── dirty? ──yes──> discarding ──idle──> clean ──> release  <───────────────┘
//      no                               ^ hidden code left something, or nobody knows │
//      └─> unproven? ──yes──> auditing ─┴── it can't have ────────────────────────────┘
//                └───no───────────────────────────────────────────────────────────────^
//   an error in answer to our own (but not to the audit), half a message of the client's, LOAD, a broken exchange:
//   close
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "protocol/catalogue_audit.hpp"
#include "protocol/error.hpp"
#include "protocol/server_session.hpp"

namespace holdfast::protocol {

class Cleaning {
 public:
  enum class Step : std::uint8_t {
    wait,     // for answers, or for the end of a cancel request
    send,     // what was appended to `out`
    cancel,   // what the server runs; then ask again
    release,  // it may serve others
    close,    // its state is unknown or can't be undone
  };
  enum class State : std::uint8_t { draining, rolling_back, proving, auditing, discarding, clean };

  // State of the cancel requests to this server.
  struct Cancels {
    bool under_way = false;  // one could still hit whatever comes next
    bool possible = true;    // none was sent since the last unit ended, so that one would not be a repetition
  };

  [[nodiscard]] Step next(ServerSession& server, Cancels cancels, std::vector<std::byte>& out);
  // What an audit came to. One that failed leaves it open what the database's code does: it may do anything.
  struct Audit {
    Hidden hidden = Hidden::anything;
    std::optional<Error> failure;
  };

  // An ErrorResponse with this body came to a message of our own.
  void failed(Bytes body);
  // A DataRow came to a message of our own.
  void row(Bytes body) {
    if (state_ == State::auditing) audited_ = read_audit(body);
  }
  // The audit that has just ended; once.
  [[nodiscard]] std::optional<Audit> take_audit() { return std::exchange(finished_, std::nullopt); }
  // The connection has ended: the audit that ran has failed as well.
  [[nodiscard]] std::optional<Audit> lost() const;
  [[nodiscard]] State state() const { return state_; }
  // Whether DISCARD ALL ran; for a counter.
  [[nodiscard]] bool discarded() const { return discarded_; }

 private:
  void end_what_runs(ServerSession& server, std::vector<std::byte>& out);
  static void run(ServerSession& server, std::string_view sql, std::vector<std::byte>& out);

  State state_ = State::draining;
  bool canceled_ = false;
  bool copy_ended_ = false;
  bool failed_ = false;
  bool discarded_ = false;
  std::optional<Error> audit_failure_;
  std::optional<Hidden> audited_;
  std::optional<Audit> finished_;
};

}  // namespace holdfast::protocol
