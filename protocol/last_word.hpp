// What a server said last, before its connection ended, and what it means for the client.
//
// Task: tells the end of one session from the end of the server, and reads a postmaster's answer where the last word
// leaves that open. The loss of the server itself is hidden or told in our words (lost_transaction); when it lives, it
// has ended this one session, and its client's ends with the server's own words, as it would without a proxy.
// Thread: any; no state.
//
//   last word                             | concerns    | because
//   none: EOF, a reset                    | the server  | it died, or the way to it did
//   FATAL 57P01                           | either      | fast shutdown, a dead postmaster; or pg_terminate_backend()
//   FATAL 57P02, 57P03; PANIC             | the server  | a crash
//   WARNING 57P01, 57P02 (notices)        | the server  | immediate shutdown; a crash of another session
//   FATAL 40001 of a standby              | the server  | a conflict with replay: to its client there is no standby
//   any other FATAL                       | the session | 25P03, 57P04, 57P05, 53200, …: no server ends with it
//
//   "either": a new connection is asked, begun after the last word. A postmaster that shuts down has said so to itself
//   before its sessions hear of it, and refuses new ones with 57P03 (canAcceptConnections, src/backend/postmaster/
//   postmaster.c); an existing session may not have heard yet, and would still answer.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "protocol/backend.hpp"
#include "protocol/bytes.hpp"

namespace holdfast::protocol {

enum class Ended : std::uint8_t { the_server, the_session, either };

struct LastWord {
  SqlState state;
  Ended ended = Ended::the_server;
  std::vector<std::byte> message;  // the whole ErrorResponse, unless it is the server that ended

  // It says that a session of this server crashed.
  [[nodiscard]] bool of_crash() const { return state == sqlstate::crash_shutdown; }
};

enum class By : std::uint8_t { primary, standby };

// Of a message that may be the last: an ErrorResponse or a NoticeResponse. None: it can't be.
[[nodiscard]] std::optional<Ended> last_word(char tag, const ErrorFields& fields, By by);

// What a postmaster made of a new connection.
enum class Postmaster : std::uint8_t {
  lives,     // it lets in, or refuses for another reason than its own state
  not_now,   // 57P03: it starts, recovers or shuts down
  no_answer  // nothing listens, or nothing was said in time
};
// Of the first bytes that it sends in answer to a StartupMessage; none: more are needed.
[[nodiscard]] std::optional<Postmaster> postmaster_says(Bytes received);

[[nodiscard]] const char* name_of(Ended ended);
[[nodiscard]] const char* name_of(Postmaster answer);

}  // namespace holdfast::protocol
