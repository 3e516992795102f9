#include "protocol/frontend.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "protocol/message.hpp"

namespace holdfast::protocol {
namespace {

// The value, if the whole body was consumed and nothing was missing; else the error PostgreSQL would raise
// (pq_getmsgend and its siblings in src/backend/libpq/pqformat.c).
template <typename T>
Result<T> complete(const Reader& reader, const char* message, T value) {
  if (!reader.ok()) {
    return fail(sqlstate::protocol_violation, std::string("insufficient data left in message ") + message);
  }
  if (!reader.at_end()) {
    return fail(sqlstate::protocol_violation,
                std::string("invalid message format: bytes behind the last field of ") + message);
  }
  return value;
}

Result<Target> parse_target(Bytes body, const char* message) {
  Reader reader(body);
  Target target;
  target.kind = reader.letter();
  target.name = reader.text();
  if (reader.ok() && target.kind != 'S' && target.kind != 'P') {
    return fail(sqlstate::protocol_violation, std::string("invalid ") + message + " message subtype " +
                                                  std::to_string(static_cast<unsigned char>(target.kind)));
  }
  return complete(reader, message, target);
}

void write_target(Out& out, char tag, Target target) {
  Writer w(out);
  w.begin(tag).letter(target.kind).text(target.name);
  w.end();
}

void write_empty(Out& out, char tag) {
  Writer w(out);
  w.begin(tag);
  w.end();
}

}  // namespace

Result<std::string_view> parse_query(Bytes body) {
  Reader reader(body);
  auto sql = reader.text();
  return complete(reader, "Query", sql);
}

Result<ParseMessage> parse_parse(Bytes body) {
  Reader reader(body);
  ParseMessage parse;
  parse.name = reader.text();
  parse.sql = reader.text();
  const std::size_t count = reader.u16();
  parse.types = reader.bytes(count * 4);
  return complete(reader, "Parse", parse);
}

Result<std::optional<BindHead>> parse_bind_head(Bytes body, Extent extent) {
  Reader reader(body);
  BindHead head;
  head.portal = reader.text();
  head.statement = reader.text();
  if (reader.ok()) {
    head.size = body.size() - reader.remaining();
    return head;
  }
  if (extent == Extent::front) return std::nullopt;
  return fail(sqlstate::protocol_violation, "insufficient data left in message Bind");
}

Result<Target> parse_describe(Bytes body) {
  return parse_target(body, "DESCRIBE");
}
Result<Target> parse_close(Bytes body) {
  return parse_target(body, "CLOSE");
}

Result<ExecuteMessage> parse_execute(Bytes body) {
  Reader reader(body);
  ExecuteMessage execute;
  execute.portal = reader.text();
  execute.max_rows = reader.i32();
  return complete(reader, "Execute", execute);
}

Result<std::string_view> parse_password(Bytes body) {
  Reader reader(body);
  auto password = reader.text();
  return complete(reader, "PasswordMessage", password);
}

Result<SaslInitialResponse> parse_sasl_initial(Bytes body) {
  Reader reader(body);
  SaslInitialResponse response;
  response.mechanism = reader.text();
  // All ones means that there is no data (CheckSASLAuth in src/backend/libpq/auth-sasl.c).
  if (const std::uint32_t size = reader.u32(); size != 0xffff'ffff) response.data = reader.bytes(size);
  return complete(reader, "SASLInitialResponse", response);
}

void write_query(Out& out, std::string_view sql) {
  Writer w(out);
  w.begin(client::query).text(sql);
  w.end();
}

void write_parse(Out& out, std::string_view name, std::string_view sql, Bytes types) {
  Writer w(out);
  w.begin(client::parse).text(name).text(sql).u16(static_cast<std::uint16_t>(types.size() / 4)).bytes(types);
  w.end();
}

void write_bind(Out& out, std::string_view portal, std::string_view statement) {
  Writer w(out);
  // No parameter formats, no parameters, no result formats.
  w.begin(client::bind).text(portal).text(statement).u16(0).u16(0).u16(0);
  w.end();
}

void write_describe(Out& out, Target target) {
  write_target(out, client::describe, target);
}
void write_close(Out& out, Target target) {
  write_target(out, client::close, target);
}

void write_execute(Out& out, std::string_view portal, std::int32_t max_rows) {
  Writer w(out);
  w.begin(client::execute).text(portal).u32(static_cast<std::uint32_t>(max_rows));
  w.end();
}

void write_sync(Out& out) {
  write_empty(out, client::sync);
}
void write_flush(Out& out) {
  write_empty(out, client::flush);
}
void write_terminate(Out& out) {
  write_empty(out, client::terminate);
}

void write_copy_fail(Out& out, std::string_view reason) {
  Writer w(out);
  w.begin(client::copy_fail).text(reason);
  w.end();
}

void write_password(Out& out, std::string_view password) {
  Writer w(out);
  w.begin(client::password).text(password);
  w.end();
}

void write_sasl_initial(Out& out, std::string_view mechanism, std::optional<Bytes> data) {
  Writer w(out);
  w.begin(client::password).text(mechanism).u32(data ? static_cast<std::uint32_t>(data->size()) : 0xffff'ffff);
  if (data) w.bytes(*data);
  w.end();
}

void write_sasl_response(Out& out, Bytes data) {
  Writer w(out);
  w.begin(client::password).bytes(data);
  w.end();
}

Result<std::size_t> rewrite_bind(Out& out, Bytes start, const BindHead& head, std::string_view statement) {
  const auto length = load_be<std::uint32_t>(start.data() + 1);
  // The head lies within the message, so this doesn't go below zero.
  const std::uint64_t new_length = std::uint64_t{length} - head.statement.size() + statement.size();
  if (new_length > max_message_length) {
    return fail(sqlstate::program_limit_exceeded, "Bind message is too long to be sent under another statement name");
  }
  // Not begin/end: the length counts bytes that are appended elsewhere.
  Writer(out).letter(client::bind).u32(static_cast<std::uint32_t>(new_length)).text(head.portal).text(statement);
  return header_size + head.size;
}

void write_startup(Out& out, std::uint32_t version, std::span<const NameValue> parameters) {
  Writer w(out);
  w.begin(0).u32(version);
  for (const auto& [name, value] : parameters) w.text(name).text(value);
  w.u8(0);
  w.end();
}

void write_ssl_request(Out& out) {
  Writer w(out);
  w.begin(0).u32(ssl_request_code);
  w.end();
}

void write_gssenc_request(Out& out) {
  Writer w(out);
  w.begin(0).u32(gssenc_request_code);
  w.end();
}

void write_cancel_request(Out& out, std::uint32_t pid, Bytes secret) {
  Writer w(out);
  w.begin(0).u32(cancel_request_code).u32(pid).bytes(secret);
  w.end();
}

sql::Verdict verdict_of_call(const Frame& frame) {
  constexpr auto large_objects = std::to_array<std::uint32_t>(
      {715, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172});
  Reader reader(frame.body());
  const auto oid = reader.u32();
  sql::Verdict verdict{.access = sql::Access::write, .effects = sql::Effect::unknown_function | sql::Effect::asks_setting};
  if (reader.ok() && std::ranges::find(large_objects, oid) != large_objects.end()) verdict.effects = sql::Effect::none;
  return verdict;
}

}  // namespace holdfast::protocol
