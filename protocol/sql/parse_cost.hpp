// How long a parse would take at most: what keeps a hostile text, or an innocent long one, from holding up a worker.
#pragma once

#include <chrono>
#include <string_view>

namespace holdfast::protocol::sql {

// An upper estimate of the time that libpg_query and the analysis of its tree take for this text: one pass, 1 ns a byte.
//
// Measured with more than eighty kinds of text: 475 ns is the most that any takes for a token (a list of names), 10 ns
// for a byte inside one. One thing isn't linear: for each operator the lexer reads the whole run of operator characters
// that it stands in, also where the run is a comment's ("/*/*/*…", scan.l), so a run of n costs 2 ns * n²; 100,000 plus
// signs take 20 s.
[[nodiscard]] std::chrono::nanoseconds parse_cost(std::string_view text);

}  // namespace holdfast::protocol::sql
