// SCRAM: any text at every place where a peer's text goes. Byte 0 of the input says where; the rest is the text.
// Nothing is accepted that doesn't prove the password, and what is parsed prints as it was.
#include <cstdint>
#include <string>

#include "protocol/base64.hpp"
#include "protocol/scram.hpp"
#include "tests/fuzz/check.hpp"

using namespace holdfast::protocol;
using namespace holdfast::protocol::scram;

namespace {

// RFC 7677's example, section 3.
constexpr std::string_view client_nonce = "rOprNGfwEbeRWgbNEkqO";
constexpr std::string_view server_nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
constexpr std::string_view client_first = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
constexpr std::string_view server_first =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

struct Known {
  Keys keys;
  Verifier verifier;
};
const Known& pencil() {
  static const Known known = [] {
    const auto salt = base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==").value();
    return Known{.keys = keys_from(salted_password("pencil", salt, 4096).value()).value(),
                 .verifier = make_verifier("pencil", salt).value()};
  }();
  return known;
}

ServerExchange server(bool plus) {
  ServerExchange::Options options{.nonce = std::string(server_nonce), .plus_selected = plus};
  if (plus) options.channel_binding = std::vector<std::byte>(32);
  return {pencil().verifier, std::move(options)};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 7) {
    case 0:
    case 1: {
      auto exchange = server(data[0] % 7 == 1);
      const auto answer = exchange.client_first(text);
      if (answer) FUZZ_CHECK(answer->starts_with("r=") && answer->contains(server_nonce));
      FUZZ_CHECK(!exchange.succeeded() && !exchange.keys());
      break;
    }
    case 2: {
      auto exchange = server(false);
      FUZZ_CHECK(exchange.client_first(client_first).value() == server_first);
      const auto answer = exchange.client_final(text);
      FUZZ_CHECK(answer.has_value() == exchange.succeeded());
      FUZZ_CHECK(answer.has_value() == exchange.keys().has_value());
      if (answer) FUZZ_CHECK(*exchange.keys() == pencil().keys);
      break;
    }
    case 3: {
      ClientExchange client(std::nullopt, {.nonce = std::string(client_nonce)});
      FUZZ_CHECK(client.client_first().has_value());
      const auto taken = client.server_first(text);
      FUZZ_CHECK(taken.has_value() == client.needs_key());
      if (taken)
        FUZZ_CHECK(client.iterations() >= 1 && client.iterations() <= max_iterations && !client.salt().empty());
      break;
    }
    case 4: {
      ClientExchange client(pencil().keys, {.nonce = std::string(client_nonce)});
      FUZZ_CHECK(client.client_first() && client.server_first(server_first) && client.client_final());
      FUZZ_CHECK(client.server_final(text).has_value() == client.verified());
      break;
    }
    case 5: {
      const auto verifier = Verifier::parse(text);
      if (verifier) FUZZ_CHECK(verifier->print() == text);
      break;
    }
    case 6: {
      const auto bytes = base64_decode(text);
      if (bytes) FUZZ_CHECK(base64_encode(*bytes) == text);
      break;
    }
  }
  return 0;
}
