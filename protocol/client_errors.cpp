#include "protocol/client_errors.hpp"

#include <array>
#include <string>

#include "protocol/backend.hpp"

namespace holdfast::protocol {
namespace {

constexpr std::size_t count = static_cast<std::size_t>(Tell::count_);

struct Row {
  Tell what;
  Telling telling;
};

constexpr std::array<Row, count> table{{
    {Tell::tls_required,
     {sqlstate::invalid_authorization, "this endpoint takes TLS connections only", "Connect with sslmode=require.",
      true}},
    {Tell::too_many_clients,
     {sqlstate::too_many_connections, "too many clients$1", "Raise max_clients or close connections.", true}},
    {Tell::too_many_log_ins, {sqlstate::too_many_connections, "too many log-ins at once", "Try again.", true}},
    {Tell::log_in_timed_out, {sqlstate::query_canceled, "log-in timed out", "", true}},
    {Tell::no_replication,
     {sqlstate::feature_not_supported, "replication connections are not supported here",
      "Connect to a member directly.", true}},
    {Tell::unknown_database,
     {sqlstate::invalid_catalog_name, "database \"$1\" does not exist",
      "The configuration has no entry for it under `databases`.", true}},
    {Tell::no_cancel_key, {sqlstate::internal_error, "no random numbers for a cancel key", "", true}},
    {Tell::no_replica,
     {sqlstate::cannot_connect_now, "no replica can serve this session's reads now",
      "Try again, or connect to an endpoint whose route falls back to the primary.", false}},
    {Tell::hold_limit_reached,
     {sqlstate::cannot_connect_now, "there is no primary and too many clients wait for one already (hold_limit)",
      "Try again.", false}},
    {Tell::no_primary,
     {sqlstate::cannot_connect_now, "there has been no primary for $1 ms (hold_timeout)$2", "Try again.", false}},
    {Tell::no_server,
     {sqlstate::too_many_connections, "no server connection became free within $1 ms (wait_timeout; pool.size is $2)",
      "", false}},
    {Tell::no_server_takes,
     {sqlstate::cannot_connect_now,
      "no server has taken this statement for $1 ms (hold_timeout): each connection ended before it was sent",
      "Try again.", false}},
    {Tell::canceled, {sqlstate::query_canceled, "canceling statement due to user request", "", false}},
    {Tell::outcome_unknown,
     {sqlstate::transaction_resolution_unknown,
      "the server was lost before it answered: whether the transaction was committed is not known",
      "Check whether it took effect before repeating it.", false}},
    {Tell::commit_unreplicated,
     {sqlstate::transaction_resolution_unknown,
      "the transaction was committed on the primary, but its synchronous standbys may not have it: the wait for them was "
      "canceled",
      "It is lost if the primary is. Check whether it is still there before repeating it.", false}},
    {Tell::rolled_back,
     {sqlstate::serialization_failure, "the server was lost: the transaction was rolled back and can be repeated", "",
      false}},
    {Tell::server_crashed,
     {sqlstate::crash_shutdown, "the server crashed while it ran this statement, or another one beside it",
      "The statement was not sent to another server. See the server's log before repeating it.", false}},
    // The words of src/backend/tcop/postgres.c (callers of errdetail_abort()); drivers recognise them.
    {Tell::in_failed_transaction,
     {sqlstate::in_failed_sql_transaction,
      "current transaction is aborted, commands ignored until end of transaction block", "", false}},
    {Tell::settings_of_others,
     {sqlstate::serialization_failure,
      "the server connection still knows of custom settings that other clients have made",
      "Run the transaction again: it gets another connection.", false}},
    {Tell::session_lost,
     {sqlstate::admin_shutdown, "terminating connection because the server that held this session's state was lost", "",
      true}},
    {Tell::statement_exists, {sqlstate::duplicate_prepared_statement, "$1 already exists", "", false}},
    {Tell::statement_unknown, {sqlstate::invalid_sql_statement_name, "$1 does not exist", "", false}},
    {Tell::statement_too_long,
     {sqlstate::invalid_sql_statement_name,
      "$1 does not exist on this server: its text is too long to be kept, prepare it again", "", false}},
    {Tell::too_many_statements,
     {sqlstate::program_limit_exceeded, "too many prepared statements, or names and texts too long",
      "Close those that are no longer needed, or raise limits.prepared_memory_per_client.", false}},
    {Tell::malformed_message, {sqlstate::protocol_violation, "invalid message format", "", false}},
    {Tell::too_many_messages, {sqlstate::program_limit_exceeded, "too many messages without a Sync", "", true}},
    {Tell::unexpected_message, {sqlstate::protocol_violation, "unexpected message $1", "", true}},
    // The words of CopyGetData (src/backend/commands/copyfromparse.c) and of PostgresMain (src/backend/tcop/postgres.c).
    {Tell::unexpected_in_copy,
     {sqlstate::protocol_violation, "unexpected message type 0x$1 during COPY from stdin", "", false}},
    {Tell::synchronization_lost,
     {sqlstate::protocol_violation, "terminating connection because protocol synchronization was lost", "", true}},
    {Tell::shutting_down, {sqlstate::admin_shutdown, "terminating connection due to administrator command", "", true}},
    {Tell::idle_in_transaction,
     {sqlstate::idle_in_transaction_session_timeout, "terminating connection due to idle-in-transaction timeout", "",
      true}},
    {Tell::idle_session,
     {sqlstate::idle_session_timeout, "terminating connection due to idle-session timeout", "", true}},
    {Tell::broken_invariant,
     {sqlstate::internal_error, "terminating connection because of a defect in Holdfast",
      "Please report it: holdfast_invariants_broken_total counts these.", true}},
    {Tell::message_too_slow,
     {sqlstate::connection_failure, "terminating connection because the rest of a message did not come in time",
      "timeouts.message says how long it may take.", true}},
    {Tell::too_much_received,
     {sqlstate::out_of_memory, "too much is received and can't be passed on yet (limits.receive_memory)",
      "Send long statements in parts, with parameters or by COPY.", false}},
}};

constexpr bool in_order() {
  for (std::size_t i = 0; i < count; ++i)
    if (static_cast<std::size_t>(table[i].what) != i) return false;
  return true;
}
static_assert(in_order(), "a row of the table is not where its enumerator is");

}  // namespace

const Telling& telling(Tell what) {
  return table[static_cast<std::size_t>(what)].telling;
}

Error told(Tell what, Arguments arguments) {
  const Telling& row = telling(what);
  std::string text;
  for (std::size_t i = 0; i < row.text.size(); ++i) {
    if (row.text[i] != '$') {
      text += row.text[i];
      continue;
    }
    const auto number = static_cast<std::size_t>(row.text[++i] - '1');
    if (number < arguments.size()) text += arguments.begin()[number];
  }
  return {row.state, std::move(text), row.hint};
}

void write_told(std::vector<std::byte>& out, Tell what, Arguments arguments) {
  const Error error = told(what, arguments);
  write_error(out, {.severity = telling(what).fatal ? "FATAL" : "ERROR",
                    .state = error.state,
                    .message = error.message,
                    .hint = error.hint});
}

}  // namespace holdfast::protocol
