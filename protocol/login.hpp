// Logs in to a server as its client: from an open socket to the first ReadyForQuery.
//
// Task: TLS negotiation, StartupMessage, authentication, and what the server reports about itself. Does not trust the
// server: every message, count and number is bounded. Thread: any one at a time. Lifetime: one per connection.
//
//   start -> ssl_answer --'S'--> tls --tls_established()--> negotiated -> startup --Ok--------------> parameters --Z-->
//   done
//     |          | 'N'                                      ^            |  |                         ^
//     +----------+------------------------------------------+            |  +--password--> answered --+
//                                                                        |                    ^
//            SCRAM: sasl_first --[derive --derived()]--> respond --> sasl_final --------------+
//   an error anywhere: failed (for good)
//
//   Login login(request);
//   for (auto step = login.step({}, out);; ) { consume; send(out); switch (step.kind) { … } }
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/error.hpp"
#include "protocol/scram.hpp"

namespace holdfast::protocol {

// libpq's sslmode (manual, 34.19.3). Login negotiates; whether the certificate is verified, and how, depends on the
// TlsContext that the caller chooses for the mode.
enum class SslMode : std::uint8_t { disable, allow, prefer, require, verify_ca, verify_full };

struct LoginRequest {
  struct Password {
    std::string text;
  };
  enum class Link : std::uint8_t { tcp, unix_socket };  // no TLS over Unix sockets, whatever the mode, as in libpq
  // `fallback`: the second connection that LoginFailure::retry asked for: with TLS for allow, without it for prefer.
  enum class Attempt : std::uint8_t { first, fallback };
  // A password in clear text is sent over TLS and Unix sockets only, unless this says otherwise: any process that
  // answers on the server's address could simply ask for it. (libpq always sends it.)
  enum class Cleartext : std::uint8_t { protected_link_only, anywhere };
  enum class ChannelBinding : std::uint8_t {
    disable,
    prefer,
    require
  };  // as in libpq; require: SCRAM-…-PLUS or failure
  // What the server may ask for (libpq's require_auth). `trust`: it may ask for nothing.
  struct Methods {
    bool trust = true;
    bool password = true;
    bool md5 = true;
    bool scram = true;
  };

  std::string user;
  std::string database;  // empty: not sent, the server takes the user's name
  // Sent in this order behind user and database: client_encoding, application_name, options, … A NUL in a name or
  // value, or an empty name, fails the login.
  std::vector<std::pair<std::string, std::string>> parameters;
  SslMode ssl_mode = SslMode::prefer;
  Link link = Link::tcp;
  Attempt attempt = Attempt::first;
  std::variant<std::monostate, Password, scram::Keys> credentials;
  Methods methods;
  Cleartext cleartext = Cleartext::protected_link_only;
  ChannelBinding channel_binding = ChannelBinding::prefer;
  std::uint32_t max_iterations = scram::max_iterations;
  std::string nonce;  // tests only; empty: a fresh random one
};

// What the server reported about itself.
struct LoginResult {
  std::uint32_t pid = 0;
  std::vector<std::byte> secret;  // of BackendKeyData, to cancel with: 4 bytes in protocol 3.0; empty: none was sent
  std::vector<std::pair<std::string, std::string>> parameters;  // ParameterStatus; the last value of each
  char transaction_status = 'I';                                // of the first ReadyForQuery
};

struct LoginFailure {
  enum class Whose : std::uint8_t {
    server,    // an ErrorResponse: error.state and error.message are the server's own
    protocol,  // it broke the protocol, closed the connection, failed TLS, or could not prove itself
    settings,  // our settings don't permit what it asks for: no credentials, TLS required, a method refused
  };
  // A second connection that the mode allows, once: `allow` with TLS after the server refused us without it (28000);
  // `prefer` without TLS after the handshake failed or the server refused us with it (28000). libpq tries again on any
  // error, but another attempt mends neither a wrong password nor a missing database.
  enum class Retry : std::uint8_t { none, with_tls, without_tls };

  Error error;
  std::string detail;  // of the ErrorResponse; for the log
  std::string hint;
  Whose whose = Whose::protocol;
  Retry retry = Retry::none;
};

struct LoginStep {
  enum class Kind : std::uint8_t {
    need_more,  // send `out`, then step() again with more bytes behind those not consumed
    start_tls,  // the server said yes: do the handshake, then tls_established() or tls_failed(), then step({})
    derive,     // run scram::salted_password() for derive_request(), not on a worker; then derived(), then step({})
    done,       // see result()
    failed,     // see failure(); send `out` if there is any, and close
  };
  Kind kind = Kind::need_more;
  std::size_t consumed = 0;
};

class Login {
 public:
  // Bounds of one login. Real servers send some 20 messages and 1 KiB.
  static constexpr std::size_t max_message = 64U << 10;
  static constexpr std::size_t max_total = 1U << 20;
  static constexpr std::size_t max_messages = 1000;

  explicit Login(LoginRequest request);

  // `received`: the stream from the first byte that no step has consumed (after start_tls: of the plaintext). The first
  // call may pass none. Goes as far as the bytes allow; appends what must be sent to `out`.
  // Bytes behind the server's answer to SSLRequest are refused: they can't have come under TLS. So the caller passes
  // everything that it has received, and begins the handshake with an empty input.
  [[nodiscard]] LoginStep step(Bytes received, std::vector<std::byte>& out);

  // After start_tls. `end_point`: TlsEngine::end_point(), the server certificate's digest for channel binding, if it
  // has one.
  void tls_established(std::optional<std::vector<std::byte>> end_point);
  void tls_failed(Error error);

  struct DeriveRequest {
    std::string_view password;  // lives as long as this object
    Bytes salt;
    std::uint32_t iterations = 0;
  };
  // After LoginStep::Kind::derive.
  [[nodiscard]] DeriveRequest derive_request() const;
  void derived(const scram::Key& salted_password);
  void derive_failed(Error error);

  // The connection ended; step() then returns `failed`.
  void closed();

  [[nodiscard]] const LoginResult& result() const { return result_; }
  [[nodiscard]] const LoginFailure& failure() const { return failure_; }
  [[nodiscard]] bool encrypted() const { return encrypted_; }

 private:
  enum class State : std::uint8_t {
    start,
    ssl_answer,  // SSLRequest is sent
    tls,         // the caller does the handshake
    negotiated,  // TLS or not is decided: StartupMessage is next
    startup,     // StartupMessage is sent: the server asks for something, or for nothing
    answered,    // what it asked for is sent: AuthenticationOk is next
    sasl_first,  // client-first is sent
    derive,      // the caller derives the key
    respond,     // client-final is next
    sasl_final,  // client-final is sent
    parameters,  // authenticated
    done,
    failed,
  };

  [[nodiscard]] std::size_t message(Bytes received, std::vector<std::byte>& out);
  [[nodiscard]] std::size_t ssl_answer(Bytes received);
  void begin(std::vector<std::byte>& out);
  void send_startup(std::vector<std::byte>& out);
  void send_client_final(std::vector<std::byte>& out);
  void receive(char tag, Bytes body, std::vector<std::byte>& out);
  void authentication(Bytes body, std::vector<std::byte>& out);
  void authenticated();
  void clear_password(std::vector<std::byte>& out);
  void md5_password(Bytes salt, std::vector<std::byte>& out);
  void sasl(Bytes data, std::vector<std::byte>& out);
  void sasl_continue(Bytes data);
  void sasl_final(Bytes data);
  void negotiate_version(Bytes body);
  void parameter_status(Bytes body);
  void error_response(Bytes body);
  void unexpected(char tag);
  void refuse(LoginFailure::Whose whose, SqlState state, std::string message);
  void refuse(LoginFailure::Whose whose, Error error) { refuse(whose, error.state, std::move(error.message)); }
  [[nodiscard]] const std::string* password();
  [[nodiscard]] bool wants_tls() const;
  [[nodiscard]] LoginFailure::Retry retry_after(SqlState state) const;

  LoginRequest request_;
  LoginResult result_;
  LoginFailure failure_;
  std::optional<scram::ClientExchange> exchange_;
  std::optional<std::vector<std::byte>> end_point_;
  std::size_t bytes_ = 0;
  std::size_t messages_ = 0;
  State state_ = State::start;
  bool encrypted_ = false;
  bool bound_ = false;  // SCRAM-SHA-256-PLUS is being used
};

}  // namespace holdfast::protocol
