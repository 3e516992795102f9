// ShapeKey: polynomial hashing modulo 2^61-1 (Carter and Wegman, "New hash functions and their use in authentication
// and set equality", 1981), four words per step.
#include <sys/random.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "protocol/sql/shape.hpp"

namespace holdfast::protocol::sql {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr std::uint64_t prime = (std::uint64_t{1} << 61) - 1;
// Seven bytes per word: below the prime, so that different texts are different polynomials.
constexpr std::size_t word_size = 7;
constexpr std::uint64_t word_mask = (std::uint64_t{1} << 56) - 1;

// Congruent modulo the prime and below 2^61 + 4, for any value below 2^124.
std::uint64_t reduce(Wide value) {
  std::uint64_t once = (static_cast<std::uint64_t>(value) & prime) + static_cast<std::uint64_t>(value >> 61);
  return (once & prime) + (once >> 61);
}

std::uint64_t canonical(std::uint64_t value) {
  return value >= prime ? value - prime : value;
}

std::uint64_t times(std::uint64_t a, std::uint64_t b) {
  return canonical(reduce(Wide{a} * b));
}

std::uint64_t load(const char* from) {
  std::uint64_t word;
  std::memcpy(&word, from, sizeof word);
  return word & word_mask;
}

void fill(auto& power, std::uint64_t point) {
  power[0] = 1;
  power[1] = point % prime;
  for (int i = 2; i <= 4; ++i) power[i] = times(power[i - 1], power[1]);
}

}  // namespace

ShapeKey::ShapeKey() {
  std::array<std::uint64_t, 2> points{};
  auto got = ::getrandom(points.data(), sizeof points, 0);
  if (got != static_cast<ssize_t>(sizeof points)) throw std::system_error(errno, std::generic_category(), "getrandom");
  *this = ShapeKey(points[0], points[1]);
}

ShapeKey::ShapeKey(std::uint64_t low, std::uint64_t high) {
  fill(low_.power, low);
  fill(high_.power, high);
}

ShapeHash ShapeKey::hash(std::string_view text, std::uint32_t tag) const {
  const char* from = text.data();
  std::size_t left = text.size();
  std::uint64_t low = 1;
  std::uint64_t high = 1;
  // h·r⁴ + a·r³ + b·r² + c·r + d: four Horner steps with one reduction.
  auto four = [](std::uint64_t h, const std::uint64_t* r, std::uint64_t a, std::uint64_t b, std::uint64_t c,
                 std::uint64_t d) {
    return reduce(Wide{h} * r[4] + Wide{a} * r[3] + Wide{b} * r[2] + Wide{c} * r[1] + d);
  };
  while (left >= 4 * word_size) {
    std::uint64_t a = load(from);
    std::uint64_t b = load(from + word_size);
    std::uint64_t c = load(from + 2 * word_size);
    std::uint64_t d = load(from + 3 * word_size);
    low = four(low, low_.power, a, b, c, d);
    high = four(high, high_.power, a, b, c, d);
    from += 4 * word_size;
    left -= 4 * word_size;
  }
  // The last words, padded with zeros; the length at the very end says how many of them are padding.
  while (left > 0) {
    std::uint64_t word = load(from);
    if (left < word_size) word &= (std::uint64_t{1} << (8 * left)) - 1;
    low = reduce(Wide{low} * low_.power[1] + word);
    high = reduce(Wide{high} * high_.power[1] + word);
    std::size_t step = left < word_size ? left : word_size;
    from += step;
    left -= step;
  }
  std::uint64_t last = static_cast<std::uint64_t>(text.size()) | std::uint64_t{tag} << 40;
  low = canonical(reduce(Wide{low} * low_.power[1] + last));
  high = canonical(reduce(Wide{high} * high_.power[1] + last));
  // The lanes never set the top bit: setting it keeps the high word from being zero, which the cache uses for "free".
  return {low, high | std::uint64_t{1} << 63};
}

}  // namespace holdfast::protocol::sql
