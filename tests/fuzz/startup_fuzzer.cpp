// Startup and parse_options. Byte 0 of the input: bit 0 TLS available, the rest the size of the pieces that arrive.
// What TLS carries is taken from the same bytes. A refusal always has a reason, a start always a user, and nothing
// that arrived before a handshake is ever read behind it.
#include <algorithm>
#include <cstdint>

#include "protocol/frontend.hpp"
#include "protocol/startup.hpp"
#include "tests/fuzz/check.hpp"

using namespace holdfast;
using namespace holdfast::protocol;

namespace {

void check_message(const StartupMessage& message) {
  FUZZ_CHECK(!message.user.empty() && !message.database.empty());
  for (const auto& name : message.unknown_options) FUZZ_CHECK(name.starts_with("_pq_."));
  for (const auto& [name, value] : message.parameters) FUZZ_CHECK(!name.empty());
  FUZZ_CHECK(message.must_negotiate() == (message.minor != 0 || !message.unknown_options.empty()));
}

void check_options(std::string_view text) {
  const auto parameters = parse_options(text);
  if (!parameters) {
    FUZZ_CHECK(parameters.error().state == "42601" || parameters.error().state == "42704");
    return;
  }
  std::size_t size = 0;
  for (const auto& [name, value] : *parameters) {
    FUZZ_CHECK(!name.empty() && name.find('-') == std::string::npos && name.find('=') == std::string::npos);
    size += name.size() + value.size() + 3;  // "-c" and "="
  }
  FUZZ_CHECK(size <= text.size());
}

void run(Bytes stream, Startup::Tls tls, std::size_t piece) {
  using enum Startup::Action::Kind;
  Startup startup(tls);
  std::size_t parsed = 0;
  std::size_t received = std::min(piece, stream.size());
  int handshakes = 0;
  while (true) {
    const Bytes window = stream.subspan(parsed, received - parsed);
    const auto action = startup.next(window);
    FUZZ_CHECK(action.consumed <= window.size());
    parsed += action.consumed;
    switch (action.kind) {
      case need_more:
        FUZZ_CHECK(action.consumed == 0 && action.wanted > window.size());
        FUZZ_CHECK(action.wanted <= max_startup_body + 4);
        if (received == stream.size()) return;
        received = std::min(received + piece, stream.size());
        break;
      case reject: FUZZ_CHECK(action.consumed == 8 && parsed == received); break;
      case accept_tls:
      case direct_tls:
        FUZZ_CHECK(tls == Startup::Tls::available && ++handshakes == 1);
        FUZZ_CHECK(action.kind == direct_tls || parsed == received);
        if (action.kind == direct_tls) ++parsed;  // the record went to TLS
        startup.tls_established();
        FUZZ_CHECK(startup.encrypted());
        break;
      case cancel:
        FUZZ_CHECK(startup.cancel_request().secret.size() >= min_secret_size);
        FUZZ_CHECK(startup.cancel_request().secret.size() <= max_secret_size);
        return;
      case start:
        check_message(startup.message());
        check_options(startup.message().options);
        return;
      case refuse:
        FUZZ_CHECK(!startup.refusal().error.message.empty());
        FUZZ_CHECK(startup.next(window).kind == refuse);
        return;
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto tls = (data[0] & 1) != 0 ? Startup::Tls::available : Startup::Tls::unavailable;
  const std::size_t piece = std::size_t{data[0]} / 2 + 1;
  const Bytes stream = std::as_bytes(std::span(data + 1, size - 1));
  run(stream, tls, piece);
  run(stream, tls, stream.size() + 1);
  check_options(as_text(stream));
  return 0;
}
