// PostgreSQL's own functions, classified by what they mean for routing and pooling.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/sql/verdict.hpp"

namespace holdfast::protocol::sql {

// provolatile doesn't decide this: pg_current_xact_id is stable and fails on a standby, random is volatile and
// harmless.
enum class FunctionClass : std::uint8_t {
  unknown,       // not PostgreSQL's own: a user's, an extension's, or newer than the table
  safe,          // the same result on any server that has the data, leaves no trace
  write,         // changes data, a sequence, another backend or the cluster; or a standby refuses it
  primary_only,  // asks for role, recovery, statistics or settings: the endpoint answers as the primary
  node_local,    // about this server's files, memory or processes
  runs_text,     // executes SQL given as a string: may do anything
};

struct FunctionFacts {
  FunctionClass kind = FunctionClass::unknown;
  Effect effects = Effect::none;  // advisory_lock, sequence, set, load, discard, unknown_function, role_question
};

// By name alone: overloads count as one, the most cautious of them. `name` is in lower case, as the parser returns it.
[[nodiscard]] FunctionFacts find_builtin_function(std::string_view name);
// A type of pg_catalog: int4('1') is a cast written as a call.
[[nodiscard]] bool is_builtin_type(std::string_view name);
// A view or table of pg_catalog whose rows are about this server, not about the data: pg_stat_*, pg_locks, pg_settings,
// …
[[nodiscard]] bool is_server_relation(std::string_view name);

// The setting reads.functions: user functions that may run on a replica and leave nothing behind in the session.
// An entry "f" stands for f in every schema, "s.f" for calls written s.f. Folded to lower case unless quoted ("S"."f").
class ReadFunctions {
 public:
  ReadFunctions() = default;
  explicit ReadFunctions(const std::vector<std::string>& names);
  // `schema` is empty for an unqualified call.
  [[nodiscard]] bool contains(std::string_view schema, std::string_view name) const;

 private:
  std::vector<std::string> names_;  // sorted; "schema\0name" or "name"
};

}  // namespace holdfast::protocol::sql
