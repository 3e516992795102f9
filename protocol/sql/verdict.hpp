// What is known of a statement's text: where it may run and what it leaves behind. One verdict per shape.
#pragma once

#include <cstdint>
#include <string_view>

namespace holdfast::protocol::sql {

// Where a statement may run: ARCHITECTURE.md's first table of statements. The order matters: for several statements the
// greatest value counts.
enum class Access : std::uint8_t {
  nothing,  // empty text, only comments: any server
  read,     // may run on a replica
  write,    // primary only
};

// A statement that begins or ends a transaction block, by itself in its query string.
enum class TransactionControl : std::uint8_t {
  none,
  begin,                // BEGIN, START TRANSACTION: read-write, or not specified
  begin_read_only,      // … READ ONLY, not SERIALIZABLE
  commit,               // COMMIT, END
  rollback,             // ROLLBACK, ABORT
  savepoint,            // SAVEPOINT, RELEASE, ROLLBACK TO
  prepare_transaction,  // 2PC: PREPARE TRANSACTION
  other,                // SET TRANSACTION, SET LOCAL, SET CONSTRAINTS: within its transaction
};

// A BEGIN that says neither READ WRITE nor SERIALIZABLE: the block may begin on either kind of member, so its first
// statement may decide (DeferredBegin). The values give its command tag.
enum class Deferrable : std::uint8_t { no, begin, start_transaction };

// What a BEGIN or SET TRANSACTION says of its block's snapshots. The order matters: of several the greatest counts.
enum class Isolation : std::uint8_t {
  unsaid,         // default_transaction_isolation decides
  per_statement,  // READ COMMITTED, READ UNCOMMITTED
  one_snapshot,   // REPEATABLE READ, SERIALIZABLE: one for all statements of the block
};

// Session effects: bits. Each but those marked is a reason to pin the client to its server.
enum class Effect : std::uint32_t {
  none = 0,
  set = 1U << 0,               // SET, RESET, set_config(…, false)
  role = 1U << 1,              // SET ROLE, SET SESSION AUTHORIZATION
  temp_object = 1U << 2,       // temporary tables, views, sequences
  listen = 1U << 3,            // LISTEN
  advisory_lock = 1U << 4,     // session-level advisory locks
  sql_prepare = 1U << 5,       // PREPARE name AS
  hold_cursor = 1U << 6,       // DECLARE … WITH HOLD
  sequence = 1U << 7,          // currval, lastval: sequence state of this session
  load = 1U << 8,              // LOAD: the server is closed afterwards
  unknown_function = 1U << 9,  // a function, DO or CALL that may change the session: the server is audited or cleaned
  discard = 1U << 10,          // (no pin by itself) session state may be gone: DISCARD, RESET ALL, DEALLOCATE ALL,
                               // UNLISTEN, CLOSE, pg_advisory_unlock*: the command tag says what; a pin may end
  sql_deallocate = 1U << 11,   // (no pin by itself) DEALLOCATE name, EXECUTE name: SQL and protocol share their names
  ddl = 1U << 12,              // (no pin) cached plans of others may break; learnt verdicts may be wrong now
  role_question = 1U << 13,    // (no pin) asks which role the server has: goes to the primary
  unparsed = 1U << 14,         // libpg_query could not parse it: primary, and it may do anything: pin
  database_ddl = 1U << 15,     // (no pin) CREATE/DROP/ALTER DATABASE: idle connections may stand in its way
  commits_itself = 1U << 17,   // (no pin) outside a block its effect may be there for good before its Sync: VACUUM,
                               // COMMIT PREPARED, ALTER SYSTEM, …
  local_setting = 1U << 18,    // (no pin) SET LOCAL, set_config(…, true): ends with the transaction
  custom_setting = 1U << 19,   // (no pin) a setting of the application's own (app.user) comes into being, if only as ''
  asks_setting = 1U << 20,     // (no pin) may ask for one: current_setting, SHOW
  shared_object = 1U << 21,    // (no pin) may change what all databases of a cluster share: roles, databases, …
  drops_names = 1U << 22,      // (no pin by itself) DISCARD ALL, DEALLOCATE: prepared statements may be gone
  cursor = 1U << 16,           // (no pin) DECLARE, FETCH, MOVE, CLOSE: moves a cursor of this session, never sent twice
};
constexpr Effect operator|(Effect a, Effect b) {
  return static_cast<Effect>(static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b));
}
constexpr Effect& operator|=(Effect& a, Effect b) {
  return a = a | b;
}
constexpr bool has(Effect set, Effect bits) {
  return (static_cast<std::uint32_t>(set) & static_cast<std::uint32_t>(bits)) != 0;
}
constexpr Effect without(Effect set, Effect bits) {
  return static_cast<Effect>(static_cast<std::uint32_t>(set) & ~static_cast<std::uint32_t>(bits));
}
// The effects that pin.
inline constexpr Effect pinning = Effect::set | Effect::role | Effect::temp_object | Effect::listen |
                                  Effect::advisory_lock | Effect::sql_prepare | Effect::hold_cursor | Effect::sequence |
                                  Effect::load | Effect::unknown_function | Effect::unparsed;

// Those behind which a session may read names and literals otherwise than its start-up settings say, or see a catalogue
// that others don't see.
inline constexpr Effect altering = Effect::set | Effect::role | Effect::temp_object | Effect::load |
                                   Effect::unknown_function | Effect::discard | Effect::ddl | Effect::unparsed |
                                   Effect::local_setting;

// A hint in the text: a comment /* holdfast: primary */ or /* holdfast: replica */. If both are there: primary.
enum class Hint : std::uint8_t { none, primary, replica };

struct Verdict {
  Access access = Access::write;
  TransactionControl control = TransactionControl::none;
  Effect effects = Effect::none;
  std::uint16_t statements = 1;       // how many the string has; 0: nothing but blanks and comments
  bool copy_from_client = false;      // COPY … FROM STDIN is among them
  bool returns_after_commit = false;  // several statements with transaction control: it may go on after a COMMIT
  bool commits_nothing = false;       // several with BEGIN or ROLLBACK: nothing that they do is committed at their end
  bool makes_read_only = false;  // SET TRANSACTION READ ONLY, not SERIALIZABLE: first in a block, as BEGIN READ ONLY
  bool bends_block = false;  // of several statements: SET LOCAL, SET TRANSACTION, … are among them, which `control`
                             // says of one statement only
  bool only_asks = false;        // it must run on the primary, but changes nothing that another session could see
  bool chains = false;           // the last control of its transaction is AND CHAIN or, in a string of several, BEGIN
  Deferrable deferrable = Deferrable::no;
  Isolation isolation = Isolation::unsaid;
  Hint hint = Hint::none;  // never changes the fields above: the router decides which wins
  // A proven read: may be sent a second time when a server died and no byte of its answer was passed on.
  [[nodiscard]] bool repeatable() const {
    return access != Access::write && !has_more_than(Effect::local_setting | Effect::custom_setting);
  }
  [[nodiscard]] bool has_more_than(Effect known) const {
    return (static_cast<std::uint32_t>(effects) & ~static_cast<std::uint32_t>(known)) != 0;
  }
  // Others may see something of it.
  [[nodiscard]] bool may_change() const { return access == Access::write && !only_asks; }
  [[nodiscard]] bool may_change_shared() const {
    return may_change() && has(effects, Effect::shared_object | Effect::unparsed);
  }
  friend bool operator==(const Verdict&, const Verdict&) = default;
};

// "set", "temp_object": the reason of a pin, as the metrics name it. The lowest pinning bit counts; empty if there is
// none.
[[nodiscard]] std::string_view pin_reason(Effect effects);

}  // namespace holdfast::protocol::sql
