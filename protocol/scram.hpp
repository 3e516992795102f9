// SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677; manual, 55.3), both ends, as text messages.
//
// Task: the arithmetic and the strict parsing. Framing is done by auth (towards clients) and login (towards servers).
// Thread: any one at a time; no locks, no I/O, no clock. Everything here takes microseconds except salted_password()
// and make_verifier(), which take milliseconds (5 ms at 4,096 iterations) and must never be called on a worker.
//
// Pass-through: a client that proves itself reveals its ClientKey to a verifier that has the StoredKey. With it and the
// ServerKey a proxy can log in to any server that has the same verifier for the role (same salt and iterations),
// without the password and without PBKDF2: ServerExchange::keys() feeds ClientExchange.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/error.hpp"

namespace holdfast::protocol::scram {

inline constexpr std::string_view mechanism = "SCRAM-SHA-256";
inline constexpr std::string_view mechanism_plus = "SCRAM-SHA-256-PLUS";

// SCRAM_SHA_256_DEFAULT_ITERATIONS and SCRAM_DEFAULT_SALT_LEN, src/include/common/scram-common.h.
inline constexpr std::uint32_t default_iterations = 4096;
inline constexpr std::size_t default_salt_size = 16;
// PG_MAX_SASL_MESSAGE_LENGTH, src/backend/libpq/auth-sasl.c: longer messages from a client are refused.
inline constexpr std::size_t max_client_message = 1024;
// A server's first message may carry a longer salt than ours, within this bound.
inline constexpr std::size_t max_server_message = 4096;
// More iterations are refused: a hostile server could otherwise cost us minutes of CPU with one message.
inline constexpr std::uint32_t max_iterations = 1'000'000;

// SaltedPassword, ClientKey, StoredKey or ServerKey: 32 bytes, a secret. Prints as "[secret]".
struct Key {
  std::array<std::byte, 32> bytes{};

  friend bool operator==(const Key& a, const Key& b);  // in constant time
  friend std::ostream& operator<<(std::ostream& out, const Key& key);
};

// What the client of a server needs instead of the password.
struct Keys {
  Key client_key;
  Key server_key;
  friend bool operator==(const Keys&, const Keys&) = default;
};

// What a server stores of a password (pg_authid.rolpassword). Not enough to log in elsewhere, but enough to guess the
// password offline: handle it like a secret.
struct Verifier {
  std::uint32_t iterations = default_iterations;
  std::vector<std::byte> salt;
  Key stored_key;
  Key server_key;
  bool mock = false;  // made by mock_verifier(): no proof satisfies it

  // "SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>", the last three in base64. The error does not repeat
  // the text.
  [[nodiscard]] static Result<Verifier> parse(std::string_view text);
  [[nodiscard]] std::string print() const;
};

// SaltedPassword, the slow step (PBKDF2). NEVER ON A WORKER: run it on a thread that may block.
// The password is used as it is. PostgreSQL does the same with ASCII and with what isn't UTF-8, but takes the NFKC form
// of other UTF-8 (src/common/saslprep.c), which this does not (no library at hand has the tables): passwords that are
// not in NFKC already, such as ones with ligatures or no-break spaces, fail here.
[[nodiscard]] Result<Key> salted_password(std::string_view password, Bytes salt, std::uint32_t iterations);

// ClientKey and ServerKey, made from the SaltedPassword. Fast.
[[nodiscard]] Result<Keys> keys_from(const Key& salted_password);

// The verifier of a password. Slow like salted_password(): NEVER ON A WORKER; used when a configuration is loaded.
[[nodiscard]] Result<Verifier> make_verifier(std::string_view password, Bytes salt,
                                             std::uint32_t iterations = default_iterations);

// The verifier that belongs to these keys. Fast.
[[nodiscard]] Result<Verifier> verifier_from(const Keys& keys, std::vector<std::byte> salt, std::uint32_t iterations);

// For a user that doesn't exist or has no usable secret: the salt is the same for every attempt of that user, and can't
// be predicted without `secret` (random, one per process or shared by proxies behind one address), as in
// PostgreSQL's mock authentication (scram_mock_salt, src/backend/libpq/auth-scram.c). `iterations` should be what real
// users have. Fast.
[[nodiscard]] Result<Verifier> mock_verifier(std::string_view user, Bytes secret,
                                             std::uint32_t iterations = default_iterations);

// The server's end: verifies a client.
//
//   first --client_first()--> final --client_final()--> succeeded
//     |                         |
//     +-------- error ----------+-----> failed (for good)
//
// Errors are PostgreSQL's: 08P01 for a malformed message, 0A000 for authorization identities and mandatory
// extensions, 28000 for a channel binding that doesn't match, 28P01 for a wrong proof. The 28P01 carries no text: the
// caller knows the user's name.
class ServerExchange {
 public:
  struct Options {
    std::string nonce;  // tests only; empty: a fresh random one
    // tls-server-end-point of the certificate that we presented (TlsEngine::end_point). Set exactly when -PLUS was
    // offered: then a client that says it could bind but believes that we can't ('y') is being attacked, and is
    // refused.
    std::optional<std::vector<std::byte>> channel_binding;
    bool plus_selected = false;  // the client chose -PLUS: it must bind; otherwise it must not
  };

  explicit ServerExchange(Verifier verifier) : ServerExchange(std::move(verifier), Options{}) {}
  ServerExchange(Verifier verifier, Options options);

  // Takes client-first-message, returns server-first-message.
  [[nodiscard]] Result<std::string> client_first(std::string_view message);
  // Takes client-final-message, returns server-final-message ("v=…").
  [[nodiscard]] Result<std::string> client_final(std::string_view message);

  [[nodiscard]] bool succeeded() const { return state_ == State::succeeded; }
  // For pass-through; set once succeeded.
  [[nodiscard]] const std::optional<Keys>& keys() const { return keys_; }

 private:
  enum class State : std::uint8_t { first, final, succeeded, failed };

  [[nodiscard]] Result<std::string> parse_first(std::string_view message);
  [[nodiscard]] Result<std::string> parse_final(std::string_view message);

  Verifier verifier_;
  Options options_;
  std::string gs2_header_;
  std::string client_first_bare_;
  std::string server_first_;
  std::string nonce_;  // the client's part and ours
  std::optional<Keys> keys_;
  State state_ = State::first;
};

// The client's end.
//
//   start --client_first()--> first --server_first()--> [needs_key --use()-->] ready --client_final()--> final
//     final --server_final()--> verified
//   an error anywhere: failed (for good)
class ClientExchange {
 public:
  enum class Binding : std::uint8_t {
    unsupported,  // gs2 'n': no TLS, or binding is disabled
    not_offered,  // gs2 'y': we could bind, but the server doesn't offer -PLUS
    end_point,    // gs2 'p=tls-server-end-point': the mechanism is -PLUS
  };
  struct Options {
    std::string nonce;  // tests only; empty: a fresh random one
    Binding binding = Binding::unsupported;
    std::vector<std::byte> end_point;  // for Binding::end_point: the digest of the server's certificate
    std::uint32_t max_iterations = scram::max_iterations;
  };

  // Without keys, server_first() leaves the exchange at needs_key().
  explicit ClientExchange(std::optional<Keys> keys) : ClientExchange(keys, Options{}) {}
  ClientExchange(std::optional<Keys> keys, Options options);

  [[nodiscard]] Result<std::string> client_first();
  // Takes server-first-message; refuses a nonce that doesn't begin with ours, no iterations or too many.
  [[nodiscard]] Result<void> server_first(std::string_view message);

  // The caller derives salted_password(password, salt(), iterations()), not on a worker, and passes it to use().
  // It may cache the result: for one password, salt and count it never changes.
  [[nodiscard]] bool needs_key() const { return state_ == State::needs_key; }
  [[nodiscard]] Bytes salt() const { return salt_; }
  [[nodiscard]] std::uint32_t iterations() const { return iterations_; }
  [[nodiscard]] Result<void> use(const Key& salted_password);

  [[nodiscard]] Result<std::string> client_final();
  // Takes server-final-message. A server that can't prove that it knows the ServerKey is refused.
  [[nodiscard]] Result<void> server_final(std::string_view message);
  [[nodiscard]] bool verified() const { return state_ == State::verified; }

 private:
  enum class State : std::uint8_t { start, first, needs_key, ready, final, verified, failed };

  [[nodiscard]] std::unexpected<Error> broken(SqlState state, std::string message);
  [[nodiscard]] std::string gs2_header() const;

  Options options_;
  std::optional<Keys> keys_;
  std::string client_first_bare_;
  std::string server_first_;
  std::string nonce_;
  std::string auth_message_;
  std::vector<std::byte> salt_;
  std::uint32_t iterations_ = 0;
  State state_ = State::start;
};

}  // namespace holdfast::protocol::scram
