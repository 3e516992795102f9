// Verifies a client: from its StartupMessage to AuthenticationOk.
//
// Task: asks for what the method needs, judges the answers, and makes an unknown user indistinguishable from a wrong
// password (same messages, same steps, same arithmetic). Thread: the client's worker. Lifetime: one per login.
//
//          trust
//   start -------------------------------------------------------------> ok
//     |  SCRAM: AuthenticationSASL                          proof holds   ^
//     +--------> initial --first--> [challenged] --> final ---------------+
//                   |                                  |
//                   +---- anything else ---------------+---------------> failed
//
//   Auth auth(request);
//   for (auto step = auth.step({}, out);; step = auth.step(received, out)) {
//     received.consume(step.consumed); send(out); if (step.kind != AuthStep::Kind::need_more) break; receive more; }
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/error.hpp"
#include "protocol/scram.hpp"

namespace holdfast::protocol {

// A client's authentication messages may be this long (PG_MAX_AUTH_TOKEN_LENGTH, src/include/libpq/libpq-be.h:
// 65,535), length word not counted.
inline constexpr std::size_t max_auth_message = 65535;

// What the salts of unknown users are made from. Random, one per process, kept for its life.
using MockSecret = std::array<std::byte, 32>;
[[nodiscard]] Result<MockSecret> make_mock_secret();

struct AuthRequest {
  enum class Method : std::uint8_t { trust, scram };
  Method method = Method::scram;
  std::string user;
  // The user's verifier. None for an unknown user or one without a secret that SCRAM can use: the client goes through
  // the same exchange and fails at its end. A password from a file is turned into a verifier when the file is loaded.
  std::optional<scram::Verifier> verifier;
  MockSecret mock_secret{};
  std::uint32_t mock_iterations = scram::default_iterations;
  // Over TLS: tls-server-end-point of our own certificate (TlsEngine::end_point); makes us offer SCRAM-SHA-256-PLUS.
  std::optional<std::vector<std::byte>> channel_binding;
  std::string nonce;  // tests only; empty: a fresh random one
};

struct AuthStep {
  enum class Kind : std::uint8_t {
    need_more,  // send `out`, then step() again with more bytes behind those not consumed
    ok,         // send `out` (it ends with AuthenticationOk); the client is who it says it is
    failed,     // send `out`, then error() as a FATAL ErrorResponse; close this client
  };
  Kind kind = Kind::need_more;
  std::size_t consumed = 0;  // bytes at the front of what was passed
};

class Auth {
 public:
  explicit Auth(AuthRequest request);

  // `received`: the stream from the first byte that no step has consumed; the first call may pass none. Goes as far as
  // the bytes allow; bytes behind the client's last authentication message are left alone. Appends to `out`.
  // The only message accepted is 'p', of at most max_auth_message bytes; anything else is a protocol violation (08P01),
  // known from its tag or length alone. `ok` and `failed` are final.
  [[nodiscard]] AuthStep step(Bytes received, std::vector<std::byte>& out);

  // What to tell the client. Anything wrong with the credentials is 28P01, 'password authentication failed for
  // user "x"', as in PostgreSQL.
  [[nodiscard]] const Error& error() const { return error_; }
  // After ok with SCRAM: enough to log in to servers that have the same verifier.
  [[nodiscard]] const std::optional<scram::Keys>& scram_keys() const { return keys_; }

 private:
  enum class State : std::uint8_t { start, initial, challenged, final, ok, failed };

  void start(std::vector<std::byte>& out);
  void receive(Bytes body, std::vector<std::byte>& out);
  void select_mechanism(Bytes body, std::vector<std::byte>& out);
  void client_first(std::string_view message, std::vector<std::byte>& out);
  void client_final(std::string_view message, std::vector<std::byte>& out);
  void refuse(Error error);

  AuthRequest request_;
  std::optional<scram::ServerExchange> exchange_;
  std::optional<scram::Keys> keys_;
  Error error_;
  State state_ = State::start;
};

}  // namespace holdfast::protocol
