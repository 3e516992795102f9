// The parsers of both sides' messages. Byte 0 of the input chooses one, the rest is the body. What a parser accepts
// must survive being written and parsed again.
#include <cstdint>
#include <optional>

#include "protocol/backend.hpp"
#include "protocol/frontend.hpp"
#include "protocol/message.hpp"
#include "tests/fuzz/check.hpp"

using namespace holdfast;
using namespace holdfast::protocol;

namespace {

// The body of the message in `out`, whose length word must be its size.
Bytes body_of(const Out& out) {
  FUZZ_CHECK(out.size() >= header_size && load_be<std::uint32_t>(out.data() + 1) == out.size() - 1);
  return Bytes(out).subspan(header_size);
}
bool same(Bytes a, Bytes b) {
  return as_text(a) == as_text(b);
}
// For messages whose every byte is in what was parsed: written again, the body is the same.
void check_again(const Out& out, Bytes body) {
  FUZZ_CHECK(same(body_of(out), body));
}

void fuzz_error(Bytes body) {
  const auto fields = parse_error(body);
  if (!fields) return;
  FUZZ_CHECK(fields->state.view().size() == 5);
  const Report report{.severity = fields->severity_nonlocal,
                      .state = fields->state,
                      .message = fields->message,
                      .detail = fields->detail,
                      .hint = fields->hint};
  Out out;
  write_error(out, report);
  const auto again = parse_error(body_of(out));
  FUZZ_CHECK(again && again->severity_nonlocal == report.severity && again->message == report.message);
  FUZZ_CHECK(again->detail == report.detail && again->hint == report.hint);
  FUZZ_CHECK(again->ends_session() == fields->ends_session());
}

void fuzz_error_writer(Bytes text) {
  Out out;
  write_error(out, {.state = sqlstate::internal_error, .message = as_text(text), .detail = as_text(text)});
  FUZZ_CHECK(parse_error(body_of(out)));
}

void fuzz_bind(Bytes body) {
  const auto whole = parse_bind_head(body, Extent::whole);
  const auto front = parse_bind_head(body, Extent::front);
  FUZZ_CHECK(front && front->has_value() == whole.has_value());
  if (!whole) return;
  const BindHead& head = **whole;
  FUZZ_CHECK(head.size <= body.size());
  Out original;
  Writer writer(original);
  writer.begin(client::bind).bytes(body);
  writer.end();
  Out out;
  const auto replaced = rewrite_bind(out, original, head, "another");
  FUZZ_CHECK(replaced && *replaced == header_size + head.size);
  const auto rest = Bytes(original).subspan(*replaced);
  out.insert(out.end(), rest.begin(), rest.end());
  const auto again = parse_bind_head(body_of(out), Extent::whole);
  FUZZ_CHECK(again && (*again)->portal == head.portal && (*again)->statement == "another");
  FUZZ_CHECK(same(body_of(out).subspan((*again)->size), body.subspan(head.size)));
}

void fuzz_authentication(Bytes body) {
  const auto request = parse_authentication(body);
  if (request && request->kind == AuthenticationKind::sasl) {
    if (const auto mechanisms = parse_sasl_mechanisms(request->data)) {
      Out out;
      write_authentication_sasl(out, *mechanisms);
      check_again(out, body);
    }
  }
}

void fuzz_client_message(std::uint8_t which, Bytes body) {
  Out out;
  switch (which) {
    case 0:
      if (const auto sql = parse_query(body)) write_query(out, *sql);
      break;
    case 1:
      if (const auto parse = parse_parse(body)) {
        FUZZ_CHECK(parse->types.size() == parse->type_count() * 4);
        for (std::size_t i = 0; i < parse->type_count(); ++i) static_cast<void>(parse->type(i));
        write_parse(out, parse->name, parse->sql, parse->types);
      }
      break;
    case 2:
      if (const auto target = parse_describe(body)) write_describe(out, *target);
      break;
    case 3:
      if (const auto target = parse_close(body)) write_close(out, *target);
      break;
    case 4:
      if (const auto execute = parse_execute(body)) write_execute(out, execute->portal, execute->max_rows);
      break;
    case 5:
      if (const auto password = parse_password(body)) write_password(out, *password);
      break;
    case 6:
      if (const auto sasl = parse_sasl_initial(body)) write_sasl_initial(out, sasl->mechanism, sasl->data);
      break;
    default: return fuzz_bind(body);
  }
  if (!out.empty()) check_again(out, body);
}

void fuzz_server_message(std::uint8_t which, Bytes body) {
  Out out;
  switch (which) {
    case 0: return fuzz_error(body);
    case 1: return fuzz_error_writer(body);
    case 2: return fuzz_authentication(body);
    case 3:
      if (const auto status = parse_parameter_status(body)) write_parameter_status(out, status->name, status->value);
      break;
    case 4:
      if (const auto status = parse_ready_for_query(body)) write_ready_for_query(out, *status);
      break;
    case 5:
      if (const auto key = parse_backend_key_data(body)) write_backend_key_data(out, key->pid, key->secret);
      break;
    case 6:
      if (const auto tag = parse_command_complete(body)) write_command_complete(out, *tag);
      break;
    default:
      if (const auto notification = parse_notification(body)) write_notification(out, *notification);
      break;
  }
  if (!out.empty()) check_again(out, body);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Bytes body = std::as_bytes(std::span(data + 1, size - 1));
  const auto which = static_cast<std::uint8_t>(data[0] % 8);
  if ((data[0] & 8) != 0) {
    fuzz_client_message(which, body);
  } else {
    fuzz_server_message(which, body);
  }
  return 0;
}
