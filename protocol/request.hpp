// A message on its way to a server, as the exchange remembers it, and what the proxy knows of it.
#pragma once

#include <cstdint>

namespace holdfast::protocol {

// Where a message comes from, and so what becomes of its answers.
enum class Origin : std::uint8_t {
  client,   // the client's own: its answers are passed on
  proxy,    // injected (a statement that the server lacks, a setting): its answers are swallowed
  failing,  // sent in place of a client's message so that the server fails here; its ErrorResponse is replaced by our
            // own
};

// What is known of the statement behind a Query or an Execute: bits, read when the server dies. They have no meaning
// for a message that runs nothing. Several statements in one Query: the bits of all of them, `repeatable` if all are.
enum class Trait : std::uint8_t {
  none = 0,
  repeatable = 1U << 0,      // a proven read (sql::Verdict::repeatable), or a BEGIN: running it again changes nothing
  begins = 1U << 1,          // BEGIN, START TRANSACTION, … AND CHAIN; a string that leaves a block open
  commits = 1U << 2,         // COMMIT, END, PREPARE TRANSACTION
  rolls_back = 1U << 3,      // ROLLBACK, ABORT; not ROLLBACK TO
  commits_itself = 1U << 4,  // outside a block it may commit before its Sync: VACUUM, CREATE DATABASE, CALL, DO
  may_commit = 1U << 5,      // it may contain a COMMIT, also inside a block: text that was not understood, or several
                             // statements with transaction control among them
  drops_names = 1U << 6,     // DISCARD ALL, DEALLOCATE: statement names may be gone once it is answered
  copies_in = 1U << 7,       // COPY FROM STDIN: the server takes what is sent behind it for the copy's
};
constexpr Trait operator|(Trait a, Trait b) {
  return static_cast<Trait>(static_cast<std::uint8_t>(a) | static_cast<std::uint8_t>(b));
}
constexpr Trait& operator|=(Trait& a, Trait b) {
  return a = a | b;
}
constexpr bool has(Trait set, Trait bits) {
  return (static_cast<std::uint8_t>(set) & static_cast<std::uint8_t>(bits)) != 0;
}

struct Request {
  char tag = 0;  // client::query, …; 0: no request
  Origin origin = Origin::client;
  Trait traits = Trait::none;
  bool local = false;        // answered by the proxy in its turn; never reached the server
  std::uint32_t cookie = 0;  // the caller's: which statement, which portal

  friend bool operator==(const Request&, const Request&) = default;
};

}  // namespace holdfast::protocol
