#include "protocol/sql/verdict.hpp"

#include <array>
#include <utility>

namespace holdfast::protocol::sql {

std::string_view pin_reason(Effect effects) {
  static constexpr std::array<std::pair<Effect, std::string_view>, 11> reasons{{
      {Effect::set, "set"},
      {Effect::role, "role"},
      {Effect::temp_object, "temp_object"},
      {Effect::listen, "listen"},
      {Effect::advisory_lock, "advisory_lock"},
      {Effect::sql_prepare, "sql_prepare"},
      {Effect::hold_cursor, "hold_cursor"},
      {Effect::sequence, "sequence"},
      {Effect::load, "load"},
      {Effect::unknown_function, "unknown_function"},
      {Effect::unparsed, "unparsed"},
  }};
  for (const auto& [effect, name] : reasons) {
    if (has(effects, effect)) return name;
  }
  return "";
}

}  // namespace holdfast::protocol::sql
