#include "config/units.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <limits>
#include <span>

#include "config/problem.hpp"

namespace holdfast::config {

namespace {

struct Unit {
  std::string_view name;
  std::uint64_t factor;
};

// The largest comes first; the first of each factor is the one that is printed.
constexpr std::array<Unit, 5> durations{{{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}}};
constexpr std::array<Unit, 9> sizes{{{"TB", 1ULL << 40U},
                                     {"TiB", 1ULL << 40U},
                                     {"GB", 1ULL << 30U},
                                     {"GiB", 1ULL << 30U},
                                     {"MB", 1ULL << 20U},
                                     {"MiB", 1ULL << 20U},
                                     {"kB", 1ULL << 10U},
                                     {"KiB", 1ULL << 10U},
                                     {"B", 1}}};
constexpr std::uint64_t longest_duration = 100ULL * 365 * 86400000;  // keeps sums of deadlines far from overflow

bool same_word(std::string_view a, std::string_view b, bool exact) {
  if (exact) return a == b;
  return std::ranges::equal(a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

struct Vocabulary {
  std::span<const Unit> units;
  std::uint64_t limit;
  bool exact;                   // case counts: "5m" is minutes, "5M" would be ambiguous
  std::string_view kind;        // "a duration"
  std::string_view names;       // "ms, s, m, h or d"
  std::string_view suggestion;  // the unit to propose for a bare number
};

std::expected<std::uint64_t, std::string> parse(std::string_view text, const Vocabulary& vocabulary) {
  const auto complain = [&](std::string_view what) {
    return std::unexpected("'" + printable(text, 40) + "' " + std::string(what));
  };
  const std::string expected_form = "is not " + std::string(vocabulary.kind) + ": write a whole number and one of " +
                                    std::string(vocabulary.names) + ", as in 30" + std::string(vocabulary.suggestion);
  std::uint64_t number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc::result_out_of_range) return complain("is too large");
  if (error != std::errc{}) return complain(expected_form);
  std::string_view unit(rest, static_cast<std::size_t>(text.data() + text.size() - rest));
  if (unit.starts_with(' ')) unit.remove_prefix(1);
  if (unit.empty()) {
    if (number == 0) return 0;
    return complain("has no unit: write " + std::to_string(number) + std::string(vocabulary.suggestion) +
                    " if that is meant, or another of " + std::string(vocabulary.names));
  }
  const auto found =
      std::ranges::find_if(vocabulary.units, [&](const Unit& u) { return same_word(u.name, unit, vocabulary.exact); });
  if (found == vocabulary.units.end()) return complain(expected_form);
  if (number > vocabulary.limit / found->factor) return complain("is too large");
  return number * found->factor;
}

std::string print(std::uint64_t value, std::span<const Unit> units) {
  if (value == 0) return "0";
  for (const auto& unit : units) {
    if (value % unit.factor == 0) return std::to_string(value / unit.factor) + std::string(unit.name);
  }
  return std::to_string(value);  // not reached: the last factor is 1
}

}  // namespace

std::expected<std::chrono::milliseconds, std::string> parse_duration(std::string_view text) {
  const Vocabulary vocabulary{.units = durations,
                              .limit = longest_duration,
                              .exact = true,
                              .kind = "a duration",
                              .names = "ms, s, m, h or d",
                              .suggestion = "s"};
  const auto ms = parse(text, vocabulary);
  if (!ms) return std::unexpected(ms.error());
  return std::chrono::milliseconds(static_cast<std::chrono::milliseconds::rep>(*ms));
}

std::expected<std::uint64_t, std::string> parse_size(std::string_view text) {
  const Vocabulary vocabulary{.units = sizes,
                              .limit = std::numeric_limits<std::uint64_t>::max(),
                              .exact = false,
                              .kind = "a size",
                              .names = "B, kB, MB, GB or TB",
                              .suggestion = "MB"};
  return parse(text, vocabulary);
}

std::expected<std::uint64_t, std::string> parse_integer(std::string_view text) {
  std::uint64_t number = 0;
  const auto* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  if (error == std::errc::result_out_of_range) return std::unexpected("'" + printable(text, 40) + "' is too large");
  if (error != std::errc{} || rest != end) {
    return std::unexpected("'" + printable(text, 40) + "' is not a whole number of 0 or more");
  }
  return number;
}

std::string print_duration(std::chrono::milliseconds value) {
  return print(static_cast<std::uint64_t>(value.count()), durations);
}

std::string print_size(std::uint64_t bytes) {
  return print(bytes, sizes);
}

}  // namespace holdfast::config
