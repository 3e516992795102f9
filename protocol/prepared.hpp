// Prepared statements over shared servers: what to send for a client's Parse, Bind, Describe, Close and Query.
//
// Task: clients name statements as they like; servers are shared, so there a statement is called "hf_<id>". A statement
// that the server lacks is parsed in the same write, in front of the message that needs it; the answer to that Parse is
// swallowed. A client's Parse of a statement that the server has is answered here, if that server parsed it in the same
// scope and nothing that its meaning depends on has changed since (Vintage); otherwise it is closed and parsed anew. No I/O; two steps, because a
// statement is routed before its server is known.
//
//   frame ── understand(client) ──> StatementMessage ── route, get a server ──> prepare(server) ──> StatementPlan +
//   bytes
//                │ wait: keep the frame, call again when something was settled            │
//                                                     settle(cookie, outcome) <── Exchange ┘
//
// The bytes to send are `out`, then frame.bytes.subspan(plan.replaced), then the rest of a streamed body unchanged.
// For `answer` and `fail` the client's frame is not forwarded (`replaced` covers all of it, and later pieces are
// dropped). Exchange must be told of these messages, in order: plan.injected, then the client's own. Thread: the
// worker's. No allocation for known statements and names.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/client_statements.hpp"
#include "protocol/error.hpp"
#include "protocol/framer.hpp"
#include "protocol/server_statements.hpp"
#include "protocol/statement_table.hpp"

namespace holdfast::protocol {

// What a Parse without a name becomes on servers.
enum class UnnamedStatements : std::uint8_t {
  as_sent,  // unnamed there too
  shared,   // named like the others once its text repeats: PostgreSQL plans less (and may choose generic plans)
};

// A client's message, understood.
struct StatementMessage {
  enum class Kind : std::uint8_t { parse, bind, describe, close, query, sync, other };
  enum class Fault : std::uint8_t {
    none,
    wait,       // nothing was done; the outcome depends on messages in flight: call again once some are settled
    duplicate,  // 42P05, if nothing else is wrong with the Parse
    unknown,    // 26000
    too_many,   // 54000: too many names, or a name that does not fit the framer's head
    malformed,  // 08P01
  };
  Kind kind = Kind::other;
  Fault fault = Fault::none;
  bool named = false;
  bool answered = false;      // a Parse or Close that needs no server
  std::uint32_t cookie = 0;   // to be settled with the message; 0: nothing to settle
  std::uint32_t name_at = 0;  // where the statement's name begins and ends (with its NUL) in frame.bytes
  std::uint32_t name_end = 0;
  StatementRef statement;  // Parse: the one it makes (would make, if `duplicate`); Bind, Describe: the one it uses; null: not about a statement
};

// The error for a fault, in PostgreSQL's words.
[[nodiscard]] Error error_of(const StatementMessage& request, Bytes frame);

// A message of ours in front of the client's; its answer is swallowed, but an error in a Parse is passed to the client.
struct Injected {
  char tag = 0;
  std::uint32_t cookie = 0;
};

struct StatementPlan {
  enum class Kind : std::uint8_t {
    forward,  // goes to the server, its head possibly rewritten
    answer,   // answered here in its turn, by an empty message with `answer_tag`; nothing of it is sent
    fail,     // `out` ends with a message that fails on the server with 26000; the client gets error_of() instead of
              // that error, or that of an injected message before it
  };
  Kind kind = Kind::forward;
  char answer_tag = 0;         // ParseComplete or CloseComplete
  std::uint32_t replaced = 0;  // bytes at the front of the frame that `out` replaces
  std::uint8_t injected_count = 0;
  std::array<Injected, 8> injected{};  // a stale one and victims to be closed, and a Parse

  [[nodiscard]] std::span<const Injected> messages() const { return {injected.data(), injected_count}; }
};

class Prepared {
 public:
  struct Options {
    UnnamedStatements unnamed = UnnamedStatements::as_sent;
  };

  // Who answers what could be answered here.
  enum class Answerer : std::uint8_t {
    here,
    server,  // a COPY FROM STDIN is in flight, and the server must see what doesn't belong there
  };

  explicit Prepared(StatementTable& table) : Prepared(table, Options{}) {}
  Prepared(StatementTable& table, Options options) : table_(table), options_(options) {}

  // What the names of one client may take now, beside the client's own limit.
  [[nodiscard]] std::size_t most_named() const;
  // First step, for Parse, Bind, Describe, Close, Query, Sync; any other message is `other`. `frame` is a `start`
  // frame. A Parse that isn't whole becomes an opaque statement. Changes `client`, except when it returns `wait`.
  [[nodiscard]] StatementMessage understand(const Frame& frame, ClientStatements& client);
  // Second step. Appends to `out`. Changes `server`. Called in the order of the messages.
  [[nodiscard]] StatementPlan prepare(const StatementMessage& request, const Frame& frame, ClientStatements& client,
                                      ServerStatements& server, std::vector<std::byte>& out,
                                      Answerer answerer = Answerer::here);

 private:
  StatementMessage understand_parse(const Frame& frame, ClientStatements& client);
  StatementMessage understand_use(const Frame& frame, ClientStatements& client);
  StatementMessage understand_close(const Frame& frame, ClientStatements& client);
  [[nodiscard]] bool shared(const StatementMessage& request) const;
  enum class Trust : std::uint8_t { nothing, known };  // whether a statement that the server has will do
  static bool make_room(Statement& statement, Trust trust, StatementPlan& plan, ClientStatements& client,
                        ServerStatements& server, std::vector<std::byte>& out);
  StatementPlan prepare_parse(const StatementMessage& request, const Frame& frame, ClientStatements& client,
                              ServerStatements& server, std::vector<std::byte>& out, Answerer answerer);
  static StatementPlan prepare_repeated(const StatementMessage& request, const Frame& frame, ClientStatements& client,
                                        ServerStatements& server, std::vector<std::byte>& out);
  StatementPlan prepare_use(const StatementMessage& request, const Frame& frame, ClientStatements& client,
                            ServerStatements& server, std::vector<std::byte>& out);

  StatementTable& table_;
  Options options_;
};

// "hf_<id>": 3 + at most 20 digits.
struct ServerName {
  std::array<char, 24> text{};
  std::uint8_t size = 0;
  explicit ServerName(std::uint64_t id);
  [[nodiscard]] std::string_view view() const { return {text.data(), size}; }
};

}  // namespace holdfast::protocol
