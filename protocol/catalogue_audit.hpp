// What statements may do to a session without showing it: the code that a database runs behind its tables, and what its
// blocks are by default.
//
// A trigger, a default, a rule, a policy, a view, a cast or an operator can call set_config(), take an advisory lock or
// ask lastval(), and no statement's text says so. The catalogue does. The audit is one query that any user may run; it
// judges the functions that are called this way: SQL and PL/pgSQL by their source (which words it has, and whether all
// that it calls is PostgreSQL's own), other procedural languages not at all (they may do anything), C not either (an
// extension's operators are taken for what they are declared to be). It errs on the careful side, and measures 5 to 7
// ms on a database with a few hundred tables. Thread: any; plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "protocol/bytes.hpp"

namespace holdfast::protocol {

// Bits: what hidden code may do.
enum class Hidden : std::uint16_t {
  nothing = 0,
  writes_leave = 1U << 0,  // an INSERT, UPDATE, DELETE or DDL may leave state in its session
  reads_leave = 1U << 1,   // so may any statement
  writes_look = 1U << 2,   // a write may look at the session's sequences (lastval, currval)
  reads_look = 1U << 3,
  reads_write = 1U << 4,    // any statement may write tables, or what others see as well
  sequences = 1U << 5,      // there are sequences: a write may advance one
  asks_settings = 1U << 6,  // code of users', be it hidden or called, asks for settings of an application's own
  reads_lock = 1U << 7,     // any statement may take advisory locks
  // No code, but hidden too: default_transaction_isolation, of the configuration, the database or a role in it, gives a
  // block one snapshot for all its statements.
  one_snapshot = 1U << 8,
  anything = 0x1ff,
};
constexpr bool has(Hidden set, Hidden bits) {
  return (static_cast<unsigned>(set) & static_cast<unsigned>(bits)) != 0;
}

// One string of statements for a simple Query, to be run outside a transaction; its settings end with it. It returns
// one row.
[[nodiscard]] std::string_view audit_query();
// The body of that row. Nothing: it isn't what the query returns.
[[nodiscard]] std::optional<Hidden> read_audit(Bytes data_row);

}  // namespace holdfast::protocol
