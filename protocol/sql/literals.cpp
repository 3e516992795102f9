#include "protocol/sql/literals.hpp"

#include <algorithm>
#include <array>

namespace holdfast::protocol::sql {

namespace {

// Letters of every alphabet count as such.
bool is_letter(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte | 0x20U) - 'a' < 26U || byte - unsigned{'0'} < 10U || byte == '_' || byte >= 0x80;
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

bool of_the_clock(std::string_view word) {
  constexpr auto words = std::to_array<std::string_view>({"now", "today", "tomorrow", "yesterday"});
  return std::ranges::any_of(words, [word](std::string_view known) {
    return std::ranges::equal(word, known, {}, lower);
  });
}

// 'no'
// 'w'  is one string (manual, 4.1.2.1).
bool has_string_in_pieces(std::string_view sql) {
  for (auto at = sql.find('\''); at != std::string_view::npos; at = sql.find('\'', at + 1)) {
    auto next = at + 1;
    while (next < sql.size() && is_blank(sql[next])) ++next;
    if (next > at + 1 && next < sql.size() && (sql[next] == '\'' || sql[next] == '-')) return true;
  }
  return false;
}

bool has_dollar_quote(std::string_view sql) {
  for (auto at = sql.find('$'); at != std::string_view::npos; at = sql.find('$', at + 1)) {
    if (at + 1 == sql.size() || sql[at + 1] < '0' || sql[at + 1] > '9') return true;
  }
  return false;
}

}  // namespace

bool reads_the_clock(std::string_view sql) {
  if (sql.find('\'') == std::string_view::npos && !has_dollar_quote(sql)) return false;
  if (sql.find('\\') != std::string_view::npos || has_string_in_pieces(sql)) return true;
  for (std::size_t at = 0; at < sql.size();) {
    if (!is_letter(sql[at])) {
      ++at;
      continue;
    }
    const auto begin = at;
    while (at < sql.size() && is_letter(sql[at])) ++at;
    const bool called = at < sql.size() && sql[at] == '(';
    if (!called && of_the_clock(sql.substr(begin, at - begin))) return true;
  }
  return false;
}

}  // namespace holdfast::protocol::sql
