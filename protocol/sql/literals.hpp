// What can be said of a statement's literals from its text alone.
#pragma once

#include <string_view>

namespace holdfast::protocol::sql {

// Whether a literal of this text may be read as of the moment in which the text is parsed: 'now', 'today', 'tomorrow',
// 'yesterday' (manual, table 8.13), which become constants then. True also where that can't be ruled out (escapes,
// strings in several pieces), so that a wrong "true" costs one Parse, and a wrong "false" would be somebody else's
// moment. now() is a function and no literal. Linear; a text without quotes costs two searches for a byte.
[[nodiscard]] bool reads_the_clock(std::string_view sql);

}  // namespace holdfast::protocol::sql
