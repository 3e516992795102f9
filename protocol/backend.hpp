// What servers say (manual, 55.7 and 55.8): views of their messages, and writers for the proxy as a server.
//
// Parsers take a complete body, return views into it, and refuse a body that is cut or has bytes left over (08P01): a
// server that sends one is out of sync and its connection must be closed. Writers append one message to `out`.
// Thread: any; no state. Lifetime: views live as long as the bytes they were parsed from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/error.hpp"

namespace holdfast::protocol {

// ErrorResponse and NoticeResponse. A field that was not sent is empty; unknown fields are skipped.
struct ErrorFields {
  std::string_view severity;           // S: may be translated
  std::string_view severity_nonlocal;  // V: ERROR, FATAL, PANIC, WARNING, …; falls back to S (servers before 9.6)
  SqlState state;                      // C: XX000 if missing or not five characters
  std::string_view message;            // M
  std::string_view detail;             // D
  std::string_view hint;               // H
  std::string_view position;           // P: decimal, characters from 1
  std::string_view where;              // W
  std::string_view schema;             // s
  std::string_view table;              // t
  std::string_view column;             // c
  std::string_view constraint;         // n
  std::string_view file;               // F
  std::string_view line;               // L
  std::string_view routine;            // R: the C function that raised it, e.g. RevalidateCachedQuery

  // FATAL or PANIC: the server closes the connection after it.
  [[nodiscard]] bool ends_session() const { return severity_nonlocal == "FATAL" || severity_nonlocal == "PANIC"; }
};

struct ParameterStatus {
  std::string_view name;
  std::string_view value;
};

struct BackendKeyData {
  std::uint32_t pid = 0;
  Bytes secret;  // 4 to 256 bytes
};

struct Notification {
  std::uint32_t pid = 0;
  std::string_view channel;
  std::string_view payload;
};

// Authentication*: which one, and what comes with it.
enum class AuthenticationKind : std::uint32_t {  // NOLINT(performance-enum-size): as on the wire
  ok = 0,
  kerberos_v5 = 2,
  cleartext_password = 3,
  md5_password = 5,
  gss = 7,
  gss_continue = 8,
  sspi = 9,
  sasl = 10,
  sasl_continue = 11,
  sasl_final = 12,
};
struct Authentication {
  AuthenticationKind kind = AuthenticationKind::ok;
  Bytes data;  // md5: the 4 bytes of salt; sasl: the list for parse_sasl_mechanisms; sasl_*: the SCRAM message
};

// Tolerates a missing SQLSTATE, and fields in any order, repeated (the last one counts) or unknown.
[[nodiscard]] Result<ErrorFields> parse_error(Bytes body);
[[nodiscard]] Result<ParameterStatus> parse_parameter_status(Bytes body);
// 'I' idle, 'T' in a transaction, 'E' in a failed one; anything else is refused.
[[nodiscard]] Result<char> parse_ready_for_query(Bytes body);
[[nodiscard]] Result<BackendKeyData> parse_backend_key_data(Bytes body);
// "SELECT 1", "INSERT 0 1", "BEGIN".
[[nodiscard]] Result<std::string_view> parse_command_complete(Bytes body);

// What the command that a CommandComplete reports has taken from the session, beyond what its text shows to whoever
// has seen it only as a statement's name. By the command tags of src/include/tcop/cmdtaglist.h.
enum class Discarded : std::uint8_t { nothing, one_statement, statements, everything };
[[nodiscard]] Discarded discarded_by(Bytes body);
[[nodiscard]] Result<Notification> parse_notification(Bytes body);
// A kind that PostgreSQL doesn't have, or data of a wrong size for its kind, is refused.
[[nodiscard]] Result<Authentication> parse_authentication(Bytes body);
// Names in the order of the server's preference, at least one.
[[nodiscard]] Result<std::vector<std::string_view>> parse_sasl_mechanisms(Bytes data);

using Out = std::vector<std::byte>;

// An error or a notice of the proxy's own. Always sent with S, V, C and M, as PostgreSQL does; drivers rely on V.
struct Report {
  std::string_view severity = "ERROR";  // FATAL if the connection is closed after it; notices: WARNING, NOTICE, …
  SqlState state;
  std::string_view message;  // texts are cut at a NUL: they may quote what a client sent
  std::string_view detail;   // "" is left out
  std::string_view hint;     // "" is left out
};
void write_error(Out& out, const Report& report);
void write_notice(Out& out, const Report& report);
// A server's error or notice with another message (and, unless it is empty, another SQLSTATE) in place of its own.
// `body`: as parse_error() has accepted it.
void write_retold(Out& out, char tag, Bytes body, std::string_view message, std::string_view state = {});

void write_ready_for_query(Out& out, char status);
void write_command_complete(Out& out, std::string_view tag);
void write_parameter_status(Out& out, std::string_view name, std::string_view value);
void write_backend_key_data(Out& out, std::uint32_t pid, Bytes secret);
void write_notification(Out& out, const Notification& notification);

void write_authentication_ok(Out& out);
void write_authentication_cleartext(Out& out);
// `salt`: 4 bytes.
void write_authentication_md5(Out& out, std::span<const std::byte, 4> salt);
void write_authentication_sasl(Out& out, std::span<const std::string_view> mechanisms);
void write_authentication_sasl_continue(Out& out, Bytes data);
void write_authentication_sasl_final(Out& out, Bytes data);
// Says that we speak 3.0 and which _pq_. options we ignored. The full version is sent (0x00030000), as PostgreSQL's
// SendNegotiateProtocolVersion does and libpq 18 expects, although the manual speaks of the minor version.
void write_negotiate_protocol_version(Out& out, std::span<const std::string_view> unknown_options);

void write_parse_complete(Out& out);
void write_bind_complete(Out& out);
void write_close_complete(Out& out);
void write_no_data(Out& out);
void write_empty_query_response(Out& out);
void write_portal_suspended(Out& out);

// Results of the proxy's own (the console): all columns are text (oid 25) in text format.
void write_row_description(Out& out, std::span<const std::string_view> columns);
// nullopt is NULL.
void write_data_row(Out& out, std::span<const std::optional<std::string_view>> values);

}  // namespace holdfast::protocol
