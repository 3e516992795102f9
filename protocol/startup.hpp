// The first bytes of a client's connection, up to its StartupMessage or CancelRequest. ✦
//
// Task: answers SSLRequest, GSSENCRequest and direct TLS, decodes the StartupMessage, refuses the rest, by the rules of
// PostgreSQL's ProcessSSLStartup and ProcessStartupPacket (src/backend/tcop/backend_startup.c).
// Owner: a client's log-in; one machine per connection. Thread: any one. Owns what it decoded, none of the bytes.
// Call order: next() with the bytes that no action has consumed yet; act; repeat. After `accept_tls` and `direct_tls`
// run the handshake, call tls_established(), then feed plaintext. `start`, `cancel` and `refuse` are the end.
//
//                0x16, TLS available: direct_tls            tls_established()
//   opening ----------------------------------> handshake ------------------> encrypted
//      | other   SSLRequest, TLS available: accept_tls ^                        |
//      v      +----------------------------------------+                        |
//   plaintext -- SSLRequest: reject 'N' (once) --> plaintext                    | after direct TLS only: both requests
//      |      -- GSSENCRequest: reject 'N' (once) -> plaintext                  | get their 'N' once, as in PostgreSQL
//      |                                                                        |
//      +-- StartupMessage 3.x: start; CancelRequest: cancel --> done <----------+
//      +-- anything else: refuse --> refused <----------------------------------+
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/error.hpp"

namespace holdfast::protocol {

// MAX_STARTUP_PACKET_LENGTH (src/include/libpq/pqcomm.h): for the body behind the length word.
inline constexpr std::uint32_t max_startup_body = 10'000;

struct StartupParameter {
  std::string name;
  std::string value;
  friend bool operator==(const StartupParameter&, const StartupParameter&) = default;
};

// `replication` in a StartupMessage: an ordinary session, a physical walsender, a walsender within a database.
enum class Replication : std::uint8_t { none, physical, database };

struct StartupMessage {
  std::uint16_t minor = 0;  // asked for; we speak 3.0
  std::string user;         // never empty
  std::string database;     // the user's name if none was given
  std::string options;      // as sent: see parse_options(). PostgreSQL applies them before `parameters`
  Replication replication = Replication::none;
  std::vector<StartupParameter> parameters;  // the rest, in their order: session settings, the last of a name wins
  std::vector<std::string> unknown_options;  // names that start with _pq_.: none is known in 3.0

  // NegotiateProtocolVersion goes out before authentication.
  [[nodiscard]] bool must_negotiate() const { return minor > 0 || !unknown_options.empty(); }
};

struct CancelRequest {
  std::uint32_t pid = 0;
  std::vector<std::byte> secret;  // 4 to 256 bytes: compare in constant time
};

// Why a connection is refused. `tell` is false where PostgreSQL closes without a message: the peer doesn't speak the
// protocol, or expects a TLS handshake.
struct StartupRefusal {
  Error error;
  std::string detail;
  std::string hint;
  bool tell = true;
};

class Startup {
 public:
  enum class Tls : std::uint8_t { unavailable, available };
  enum class State : std::uint8_t { opening, plaintext, handshake, encrypted, done, refused };

  struct Action {
    enum class Kind : std::uint8_t {
      need_more,   // pass the same bytes again with more behind them
      reject,      // send the one byte 'N', continue in plaintext
      accept_tls,  // send the one byte 'S', then the handshake starts
      direct_tls,  // the handshake starts with these bytes, nothing is sent before; ALPN "postgresql" is required
      cancel,      // cancel_request() says which; close without an answer
      start,       // authenticate the client of message()
      refuse,      // tell the client if refusal().tell says so, and close
    };
    Kind kind = Kind::need_more;
    std::size_t consumed = 0;  // bytes at the front that have been processed
    std::size_t wanted = 0;    // need_more: total bytes for progress
  };

  explicit Startup(Tls tls) : tls_(tls) {}

  // What to do about the bytes received so far. Never allocates by a length that a client claims.
  [[nodiscard]] Action next(Bytes received);
  // The handshake that an action asked for is done (and ALPN checked): the TLS stream's plaintext comes next.
  void tls_established();

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] bool encrypted() const { return over_tls_; }
  [[nodiscard]] const StartupMessage& message() const { return message_; }
  [[nodiscard]] StartupMessage& message() { return message_; }
  [[nodiscard]] const CancelRequest& cancel_request() const { return cancel_; }
  [[nodiscard]] const StartupRefusal& refusal() const { return refusal_; }

 private:
  enum class Request : std::uint8_t { ssl, gss };

  // `body`: the packet behind its code; `behind`: bytes received after the packet.
  Action packet(std::uint32_t code, Bytes body, std::size_t behind);
  Action cancel(Bytes body);
  Action encryption_request(Request request, Bytes body, std::size_t behind);
  Action startup(std::uint32_t version, Bytes body);
  Action refuse(StartupRefusal refusal);

  StartupMessage message_;
  CancelRequest cancel_;
  StartupRefusal refusal_;
  Tls tls_;
  State state_ = State::opening;
  bool ssl_settled_ = false;  // an SSLRequest is no longer a request but an unknown protocol version
  bool gss_settled_ = false;
  bool over_tls_ = false;
};

[[nodiscard]] std::string_view name_of(Startup::State state);

// `options` split by PostgreSQL's rules (pg_split_opts: at white space, a backslash escapes one character) and read as
// process_postgres_switches reads them: "-c name=value", "-cname=value", "--name=value"; dashes in names become
// underscores (ParseLongOption); and the switches of the command postgres that stand for settings ("-d 5", "-S 4096",
// "-fs", "-e"). Who may set them the server says, as of any other setting. Switches that it ignores are ignored; those
// that it doesn't know are refused with 42601, and so are arguments that belong to no switch. Names and values are not
// checked here.
// Tell the client of an error only once it is authenticated, as PostgreSQL does.
[[nodiscard]] Result<std::vector<StartupParameter>> parse_options(std::string_view options);

}  // namespace holdfast::protocol
