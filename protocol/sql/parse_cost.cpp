#include "protocol/sql/parse_cost.hpp"

#include <array>
#include <cstdint>

namespace holdfast::protocol::sql {
namespace {

constexpr std::uint64_t per_token = 475;
constexpr std::uint64_t per_byte = 10;
constexpr std::uint64_t per_pair = 2;  // of operator characters in one run

enum class Sort : std::uint8_t { blank, word, op, sign };

constexpr std::array<Sort, 256> make_sorts() {
  std::array<Sort, 256> sorts{};
  sorts.fill(Sort::word);
  for (char c : std::string_view(" \t\n\r\f")) sorts[static_cast<unsigned char>(c)] = Sort::blank;
  for (char c : std::string_view("~!@#^&|`?+-*/%<>=")) sorts[static_cast<unsigned char>(c)] = Sort::op;
  for (char c : std::string_view("()[],.;:'\"{}\\")) sorts[static_cast<unsigned char>(c)] = Sort::sign;
  return sorts;
}
constexpr auto sorts = make_sorts();

}  // namespace

std::chrono::nanoseconds parse_cost(std::string_view text) {
  std::uint64_t tokens = 0;
  std::uint64_t pairs = 0;
  std::uint64_t run = 0;
  Sort before = Sort::blank;
  for (char c : text) {
    const Sort sort = sorts[static_cast<unsigned char>(c)];
    if (sort == Sort::op) {
      pairs += 2 * run + 1;  // the difference of two squares
      ++run;
      ++tokens;
    } else {
      run = 0;
      // A word is one token, whatever its length.
      if (sort == Sort::sign || (sort == Sort::word && before != Sort::word)) ++tokens;
    }
    before = sort;
  }
  return std::chrono::nanoseconds(per_token * tokens + per_byte * text.size() + per_pair * pairs);
}

}  // namespace holdfast::protocol::sql
