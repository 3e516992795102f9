// Everything that the proxy itself tells a client, in one table: SQLSTATE, text, hint, and whether the connection ends
// with it. PostgreSQL's own errors are passed on unchanged; refusals by the machines of the log-in (startup, auth,
// parameters) have their texts there, in PostgreSQL's own words.
// Thread: any; no state.
#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/error.hpp"

namespace holdfast::protocol {

enum class Tell : std::uint8_t {
  // At log-in.
  tls_required,
  too_many_clients,  // which limit: " of this listener", …; nothing for the process's
  too_many_log_ins,
  log_in_timed_out,
  no_replication,
  unknown_database,  // name
  no_cancel_key,
  // While waiting for a server.
  no_replica,
  hold_limit_reached,
  no_primary,  // milliseconds waited; ": why", or nothing
  no_server,   // milliseconds waited; pool.size
  no_server_takes,  // milliseconds tried
  canceled,
  // When a server is lost, or may lose what it has committed.
  outcome_unknown,
  commit_unreplicated,
  rolled_back,
  server_crashed,
  in_failed_transaction,
  settings_of_others,
  session_lost,
  // Prepared statements.
  statement_exists,    // which
  statement_unknown,   // which
  statement_too_long,  // which
  too_many_statements,
  malformed_message,
  // The connection ends.
  too_many_messages,
  unexpected_message,  // its name
  unexpected_in_copy,  // its tag, in hexadecimal digits
  synchronization_lost,
  shutting_down,
  idle_in_transaction,
  idle_session,
  broken_invariant,
  message_too_slow,
  too_much_received,
  count_,
};

struct Telling {
  SqlState state;
  std::string_view text;  // $1 and $2 stand for what the comment at Tell names
  std::string_view hint;  // empty: none
  bool fatal = false;     // severity FATAL: the connection is closed after it
};
[[nodiscard]] const Telling& telling(Tell what);

using Arguments = std::initializer_list<std::string_view>;

[[nodiscard]] Error told(Tell what, Arguments arguments = {});
// Appends the ErrorResponse.
void write_told(std::vector<std::byte>& out, Tell what, Arguments arguments = {});

}  // namespace holdfast::protocol
