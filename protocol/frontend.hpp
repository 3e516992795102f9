// What clients say (manual, 55.7): views of their messages, and writers for the proxy as a client of servers.
//
// Parsers take a complete body (Frame::body() of a frame that is `last`), return views into it, and refuse what
// PostgreSQL refuses: a string without its NUL, bytes left over, counts that don't fit (SQLSTATE 08P01).
// Writers append one message to `out`. Texts given to them contain no NUL: they come from parsed messages or from us.
// Thread: any; no state. Lifetime: views live as long as the bytes they were parsed from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/error.hpp"
#include "protocol/framer.hpp"
#include "protocol/sql/verdict.hpp"

namespace holdfast::protocol {

// Parse: a statement, "" being the unnamed one. `types` are `type_count()` oids in network order, as they came.
struct ParseMessage {
  std::string_view name;
  std::string_view sql;
  Bytes types;

  [[nodiscard]] std::size_t type_count() const { return types.size() / 4; }
  // The oid of parameter i < type_count(); 0 leaves the type to the server.
  [[nodiscard]] std::uint32_t type(std::size_t i) const { return load_be<std::uint32_t>(types.data() + 4 * i); }
};

// The two names at the front of Bind. The values behind them are never read.
struct BindHead {
  std::string_view portal;
  std::string_view statement;
  std::size_t size = 0;  // bytes of the body that the names take, NULs included: where the format codes start
};

// Whether a body is complete or only its front has come (a message in pieces: Frame::last is false).
enum class Extent : std::uint8_t { whole, front };

// Describe and Close. kind: 'S' statement, 'P' portal.
struct Target {
  char kind = 'S';
  std::string_view name;
};

struct ExecuteMessage {
  std::string_view portal;
  std::int32_t max_rows = 0;  // 0 and below: all
};

// SASLInitialResponse: a password message in answer to AuthenticationSASL. No data differs from empty data.
struct SaslInitialResponse {
  std::string_view mechanism;
  std::optional<Bytes> data;
};

[[nodiscard]] Result<std::string_view> parse_query(Bytes body);
[[nodiscard]] Result<ParseMessage> parse_parse(Bytes body);
// nullopt: the names are not complete in this front; call again with more (never for Extent::whole).
[[nodiscard]] Result<std::optional<BindHead>> parse_bind_head(Bytes body, Extent extent);
[[nodiscard]] Result<Target> parse_describe(Bytes body);
[[nodiscard]] Result<Target> parse_close(Bytes body);
[[nodiscard]] Result<ExecuteMessage> parse_execute(Bytes body);
// The answer to a cleartext or md5 request. A secret: never log it.
[[nodiscard]] Result<std::string_view> parse_password(Bytes body);
[[nodiscard]] Result<SaslInitialResponse> parse_sasl_initial(Bytes body);

using Out = std::vector<std::byte>;

void write_query(Out& out, std::string_view sql);
// `types` as in ParseMessage: oids in network order, at most 65,535 of them.
void write_parse(Out& out, std::string_view name, std::string_view sql, Bytes types = {});
// A Bind without parameters and with all results as text: for statements of the proxy's own.
void write_bind(Out& out, std::string_view portal, std::string_view statement);
void write_describe(Out& out, Target target);
void write_close(Out& out, Target target);
void write_execute(Out& out, std::string_view portal, std::int32_t max_rows = 0);
void write_sync(Out& out);
void write_flush(Out& out);
void write_terminate(Out& out);
void write_copy_fail(Out& out, std::string_view reason);
void write_password(Out& out, std::string_view password);
void write_sasl_initial(Out& out, std::string_view mechanism, std::optional<Bytes> data);
void write_sasl_response(Out& out, Bytes data);

// Rewrites a Bind for a statement of another name. `start`: the original message from its tag on, at least up to the
// end of `head` (parsed from its body). Appends tag, corrected length word and the new names; returns how many bytes of
// the original they replace. What follows those in `start` and in the stream must be sent behind it unchanged. Error
// 54000 (nothing appended) if the longer name takes the message over PostgreSQL's limit.
[[nodiscard]] Result<std::size_t> rewrite_bind(Out& out, Bytes start, const BindHead& head, std::string_view statement);

// Start-up packets: they have no tag.
inline constexpr std::uint32_t protocol_3_0 = 0x0003'0000;
inline constexpr std::uint32_t cancel_request_code = 80877102;  // 1234.5678
inline constexpr std::uint32_t ssl_request_code = 80877103;     // 1234.5679
inline constexpr std::uint32_t gssenc_request_code = 80877104;  // 1234.5680
// A cancel key's secret: 4 bytes in protocol 3.0, up to 256 since 3.2.
inline constexpr std::size_t min_secret_size = 4;
inline constexpr std::size_t max_secret_size = 256;

using NameValue = std::pair<std::string_view, std::string_view>;
// `version` as on the wire: major << 16 | minor. An empty name would end the list early.
void write_startup(Out& out, std::uint32_t version, std::span<const NameValue> parameters);
void write_ssl_request(Out& out);
void write_gssenc_request(Out& out);
void write_cancel_request(Out& out, std::uint32_t pid, Bytes secret);

// What a FunctionCall may do to the session: a call by oid, of any function. Those of libpq's large objects (lo_open and
// others, src/interfaces/libpq/fe-lobj.c; their oids are PostgreSQL's own, pg_proc.dat) leave nothing behind.
[[nodiscard]] sql::Verdict verdict_of_call(const Frame& frame);

}  // namespace holdfast::protocol
