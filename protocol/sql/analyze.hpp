// From a parse tree to a verdict: ARCHITECTURE.md's tables, as far as they need no catalogue.
#pragma once

#include "protocol/sql/functions.hpp"
#include "protocol/sql/parse_tree.hpp"
#include "protocol/sql/verdict.hpp"

namespace holdfast::protocol::sql {

// `tree` is what pg_query_parse returned for a whole query string. Unknown statements go to the primary.
//
// Recognised: statements, row locks, DML in CTEs, INTO, functions called by name, operators given with a schema,
// temporary relations and those about the server itself. Not recognised, because the text doesn't show it: functions
// behind views, triggers, defaults, user-defined operators, casts and types; t.f as a call of f(t); a user's overload
// of a built-in function's name.
[[nodiscard]] Verdict analyze(const ParseTree& tree, const ReadFunctions& read_functions);

// The verdict of several statements as one: the most cautious access, all effects.
[[nodiscard]] Verdict unite(const Verdict& a, const Verdict& b);

}  // namespace holdfast::protocol::sql
