// What a statement resets or removes: a setting, a prepared statement.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace holdfast::protocol::sql {

// What DISCARD ALL resets: all settings, and the role.
inline constexpr std::string_view everything = "discard all";

// "statement_timeout" for RESET statement_timeout and SET statement_timeout TO DEFAULT, "all" for RESET ALL,
// `everything` for DISCARD ALL; empty for anything else, several statements and SET LOCAL included. Names are folded to
// lower case unless quoted. Reads only the first words: called for each statement that changes settings, if its client
// has start-up settings.
[[nodiscard]] std::string reset_setting(std::string_view sql);

// Whether one of several statements may reset a setting, or a role: by the words that it would need.
[[nodiscard]] bool may_reset(std::string_view sql);
[[nodiscard]] bool may_reset_role(std::string_view sql);

// The name in DEALLOCATE [PREPARE] name, folded to lower case unless quoted; nothing for anything else, DEALLOCATE ALL
// included.
[[nodiscard]] std::optional<std::string> deallocated_name(std::string_view sql);

}  // namespace holdfast::protocol::sql
