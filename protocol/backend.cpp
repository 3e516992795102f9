#include "protocol/backend.hpp"

#include <string>
#include <utility>

#include "protocol/frontend.hpp"
#include "protocol/message.hpp"

namespace holdfast::protocol {
namespace {

std::unexpected<Error> malformed(const char* message) {
  return fail(sqlstate::protocol_violation, std::string("malformed ") + message + " from the server");
}

template <typename T>
Result<T> complete(const Reader& reader, const char* message, T value) {
  if (!reader.complete()) return malformed(message);
  return value;
}

void write_report(Out& out, char tag, const Report& report) {
  Writer w(out);
  w.begin(tag);
  // A NUL inside a text would end its field and turn the rest into fields of the sender's choice.
  const auto field = [&w](char code, std::string_view text) { w.letter(code).text(text.substr(0, text.find('\0'))); };
  field('S', report.severity);
  field('V', report.severity);
  field('C', report.state.view());
  field('M', report.message);
  if (!report.detail.empty()) field('D', report.detail);
  if (!report.hint.empty()) field('H', report.hint);
  w.u8(0);
  w.end();
}

void write_text(Out& out, char tag, std::string_view text) {
  Writer w(out);
  w.begin(tag).text(text);
  w.end();
}

void write_empty(Out& out, char tag) {
  Writer w(out);
  w.begin(tag);
  w.end();
}

void write_authentication(Out& out, AuthenticationKind kind, Bytes data) {
  Writer w(out);
  w.begin(server::authentication).u32(std::to_underlying(kind)).bytes(data);
  w.end();
}

}  // namespace

Result<ErrorFields> parse_error(Bytes body) {
  Reader reader(body);
  ErrorFields fields;
  while (true) {
    const char code = reader.letter();
    // A failed read returns this as well: complete() tells the two apart.
    if (code == '\0') break;
    const std::string_view text = reader.text();
    switch (code) {
      case 'S': fields.severity = text; break;
      case 'V': fields.severity_nonlocal = text; break;
      case 'C': fields.state = text.size() == 5 ? SqlState{text} : sqlstate::internal_error; break;
      case 'M': fields.message = text; break;
      case 'D': fields.detail = text; break;
      case 'H': fields.hint = text; break;
      case 'P': fields.position = text; break;
      case 'W': fields.where = text; break;
      case 's': fields.schema = text; break;
      case 't': fields.table = text; break;
      case 'c': fields.column = text; break;
      case 'n': fields.constraint = text; break;
      case 'F': fields.file = text; break;
      case 'L': fields.line = text; break;
      case 'R': fields.routine = text; break;
      default: break;
    }
  }
  if (fields.severity_nonlocal.empty()) fields.severity_nonlocal = fields.severity;
  return complete(reader, "ErrorResponse or NoticeResponse", fields);
}

Result<ParameterStatus> parse_parameter_status(Bytes body) {
  Reader reader(body);
  ParameterStatus status;
  status.name = reader.text();
  status.value = reader.text();
  return complete(reader, "ParameterStatus", status);
}

Result<char> parse_ready_for_query(Bytes body) {
  Reader reader(body);
  const char status = reader.letter();
  if (status != 'I' && status != 'T' && status != 'E') return malformed("ReadyForQuery");
  return complete(reader, "ReadyForQuery", status);
}

Result<BackendKeyData> parse_backend_key_data(Bytes body) {
  Reader reader(body);
  BackendKeyData key;
  key.pid = reader.u32();
  key.secret = reader.rest();
  if (key.secret.size() < min_secret_size || key.secret.size() > max_secret_size) return malformed("BackendKeyData");
  return complete(reader, "BackendKeyData", key);
}

Result<std::string_view> parse_command_complete(Bytes body) {
  Reader reader(body);
  auto tag = reader.text();
  return complete(reader, "CommandComplete", tag);
}

Discarded discarded_by(Bytes body) {
  const auto tag = parse_command_complete(body);
  if (!tag) return Discarded::nothing;
  if (*tag == "DISCARD ALL") return Discarded::everything;
  if (*tag == "DEALLOCATE ALL") return Discarded::statements;
  return *tag == "DEALLOCATE" ? Discarded::one_statement : Discarded::nothing;
}

Result<Notification> parse_notification(Bytes body) {
  Reader reader(body);
  Notification notification;
  notification.pid = reader.u32();
  notification.channel = reader.text();
  notification.payload = reader.text();
  return complete(reader, "NotificationResponse", notification);
}

Result<Authentication> parse_authentication(Bytes body) {
  using enum AuthenticationKind;
  Reader reader(body);
  Authentication authentication;
  authentication.kind = static_cast<AuthenticationKind>(reader.u32());
  authentication.data = reader.rest();
  if (!reader.ok()) return malformed("Authentication");
  const std::size_t size = authentication.data.size();
  switch (authentication.kind) {
    case ok:
    case kerberos_v5:
    case cleartext_password:
    case gss:
    case sspi:
      if (size != 0) return malformed("Authentication");
      return authentication;
    case md5_password:
      if (size != 4) return malformed("AuthenticationMD5Password");
      return authentication;
    case gss_continue:
    case sasl:
    case sasl_continue:
    case sasl_final: return authentication;
  }
  return fail(sqlstate::feature_not_supported, "the server asks for authentication method " +
                                                   std::to_string(std::to_underlying(authentication.kind)) +
                                                   ", which is unknown");
}

Result<std::vector<std::string_view>> parse_sasl_mechanisms(Bytes data) {
  Reader reader(data);
  std::vector<std::string_view> names;
  for (auto name = reader.text(); !name.empty(); name = reader.text()) names.push_back(name);
  if (names.empty()) return malformed("AuthenticationSASL");
  return complete(reader, "AuthenticationSASL", names);
}

void write_error(Out& out, const Report& report) {
  write_report(out, server::error_response, report);
}
void write_notice(Out& out, const Report& report) {
  write_report(out, server::notice_response, report);
}

void write_retold(Out& out, char tag, Bytes body, std::string_view message, std::string_view state) {
  Reader reader(body);
  Writer w(out);
  w.begin(tag);
  for (char code = reader.letter(); code != '\0'; code = reader.letter()) {
    std::string_view text = reader.text();
    if (code == 'M') text = message;
    if (code == 'C' && !state.empty()) text = state;
    w.letter(code).text(text);
  }
  w.letter('\0');
  w.end();
}

void write_ready_for_query(Out& out, char status) {
  Writer w(out);
  w.begin(server::ready_for_query).letter(status);
  w.end();
}

void write_command_complete(Out& out, std::string_view tag) {
  write_text(out, server::command_complete, tag);
}

void write_parameter_status(Out& out, std::string_view name, std::string_view value) {
  Writer w(out);
  w.begin(server::parameter_status).text(name).text(value);
  w.end();
}

void write_backend_key_data(Out& out, std::uint32_t pid, Bytes secret) {
  Writer w(out);
  w.begin(server::backend_key_data).u32(pid).bytes(secret);
  w.end();
}

void write_notification(Out& out, const Notification& notification) {
  Writer w(out);
  w.begin(server::notification_response).u32(notification.pid).text(notification.channel).text(notification.payload);
  w.end();
}

void write_authentication_ok(Out& out) {
  write_authentication(out, AuthenticationKind::ok, {});
}
void write_authentication_cleartext(Out& out) {
  write_authentication(out, AuthenticationKind::cleartext_password, {});
}
void write_authentication_md5(Out& out, std::span<const std::byte, 4> salt) {
  write_authentication(out, AuthenticationKind::md5_password, salt);
}

void write_authentication_sasl(Out& out, std::span<const std::string_view> mechanisms) {
  Writer w(out);
  w.begin(server::authentication).u32(std::to_underlying(AuthenticationKind::sasl));
  for (const auto name : mechanisms) w.text(name);
  w.u8(0);
  w.end();
}

void write_authentication_sasl_continue(Out& out, Bytes data) {
  write_authentication(out, AuthenticationKind::sasl_continue, data);
}
void write_authentication_sasl_final(Out& out, Bytes data) {
  write_authentication(out, AuthenticationKind::sasl_final, data);
}

void write_negotiate_protocol_version(Out& out, std::span<const std::string_view> unknown_options) {
  Writer w(out);
  w.begin(server::negotiate_protocol_version).u32(protocol_3_0).u32(static_cast<std::uint32_t>(unknown_options.size()));
  for (const auto name : unknown_options) w.text(name);
  w.end();
}

void write_parse_complete(Out& out) {
  write_empty(out, server::parse_complete);
}
void write_bind_complete(Out& out) {
  write_empty(out, server::bind_complete);
}
void write_close_complete(Out& out) {
  write_empty(out, server::close_complete);
}
void write_no_data(Out& out) {
  write_empty(out, server::no_data);
}
void write_empty_query_response(Out& out) {
  write_empty(out, server::empty_query_response);
}
void write_portal_suspended(Out& out) {
  write_empty(out, server::portal_suspended);
}

void write_row_description(Out& out, std::span<const std::string_view> columns) {
  constexpr std::uint32_t text_oid = 25;
  Writer w(out);
  w.begin(server::row_description).u16(static_cast<std::uint16_t>(columns.size()));
  for (const auto name : columns) {
    // No table, no column number; type text: size -1 (varlena), no modifier (-1); format 0, text.
    w.text(name).u32(0).u16(0).u32(text_oid).u16(0xffff).u32(0xffff'ffff).u16(0);
  }
  w.end();
}

void write_data_row(Out& out, std::span<const std::optional<std::string_view>> values) {
  Writer w(out);
  w.begin(server::data_row).u16(static_cast<std::uint16_t>(values.size()));
  for (const auto& value : values) {
    w.u32(value ? static_cast<std::uint32_t>(value->size()) : 0xffff'ffff);
    if (value) w.bytes(as_bytes(*value));
  }
  w.end();
}

}  // namespace holdfast::protocol
