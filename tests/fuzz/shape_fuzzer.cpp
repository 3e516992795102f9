// The pass over SQL text. Byte 0 of the input chooses the limit and how plain strings are read, the rest is the text.
// Folding must stay within its buffer, be stable, and not depend on blanks around the text.
#include <cstdint>
#include <string>
#include <string_view>

#include "protocol/sql/shape.hpp"
#include "protocol/sql/shape_memo.hpp"
#include "tests/fuzz/check.hpp"

using namespace holdfast::protocol::sql;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t longest = (data[0] & 1U) != 0 ? 64 : 32768;
  constexpr Strings readings[] = {Strings::standard, Strings::standard_only, Strings::escaped};
  const Strings strings = readings[data[0] / 2 % 3];
  const std::string_view sql{reinterpret_cast<const char*>(data) + 1, size - 1};

  Shaper shaper(longest, ShapeKey(0x123456789, 0x987654321));
  const Shape shape = shaper.shape(sql, strings);
  FUZZ_CHECK(shape.hashed == (shape.kind == ShapeKind::folded || shape.kind == ShapeKind::odd ||
                              (shape.kind == ShapeKind::ambiguous && sql.size() <= longest)));
  if (shape.kind != ShapeKind::folded) return 0;
  FUZZ_CHECK(shape.text.size() <= longest);

  // What was folded folds to itself, by any reading: no string is left that could have two.
  const std::string once{shape.text};
  for (const Strings reading : readings) {
    Shaper again(longest, ShapeKey(0x123456789, 0x987654321));
    const Shape twice = again.shape(once, reading);
    FUZZ_CHECK(twice.kind == ShapeKind::folded);
    FUZZ_CHECK(twice.text == once);
  }
  // The short way to the same hash, for this text and for one with other literals in the same places.
  if (strings == Strings::standard) {
    static ShapeMemo memo;
    Shaper scan(longest, ShapeKey(0x123456789, 0x987654321));
    const ShapeHash hash = scan.shape(sql).hash;
    const Holes holes = scan.holes();
    if (const ShapeHash* known = memo.find(sql)) FUZZ_CHECK(*known == hash);
    memo.learn(sql, holes, hash);
    std::string varied{sql};
    for (std::size_t i = holes.count; i-- > 0;) {
      const auto& hole = holes.list[i];
      varied.replace(hole.begin, hole.end - hole.begin, hole.kind == Holes::Kind::digits ? "8070" : "other \" -- text");
    }
    const Shape again = scan.shape(varied);
    FUZZ_CHECK(again.hash == hash);
    if (const ShapeHash* known = memo.find(varied)) FUZZ_CHECK(*known == hash);
  }
  const std::string spaced = "  /* x */\n" + std::string(sql) + "\n-- y";
  Shaper other(longest, ShapeKey(0x123456789, 0x987654321));
  const Shape same = other.shape(spaced, strings);
  FUZZ_CHECK(same.kind == ShapeKind::folded);
  FUZZ_CHECK(same.hash == shape.hash);
  return 0;
}
