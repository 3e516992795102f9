// Statements by the names that they have on servers, where a server's message quotes one: a client knows its own names.
//
// PostgreSQL quotes the name of a prepared statement in few places (callers of FetchPreparedStatement and
// StorePreparedStatement, commands/prepare.c; exec_bind_message, tcop/postgres.c; with client_min_messages = log, what
// log_statement and log_duration say). They are told by the routine, which no language translates.
// Thread: any one; no state.
#pragma once

#include <cstdint>
#include <optional>

#include "protocol/backend.hpp"

namespace holdfast::protocol {

// "hf_<id>" in a message: where it stands, and of which statement it speaks.
struct QuotedName {
  std::size_t at = 0;
  std::size_t size = 0;
  std::uint64_t id = 0;
};
// `answers`: the tag of the message that the server is about; what a client's own SQL names is none of ours.
[[nodiscard]] std::optional<QuotedName> quoted_name(const ErrorFields& fields, char answers);

}  // namespace holdfast::protocol
