// A statement's shape: its text with the literals taken out. Statements of one shape share a verdict.
//
// One pass over the bytes, by the rules of PostgreSQL's scanner (src/backend/parser/scan.l, version 15):
//
//   SELECT * FROM T WHERE id = 42 AND n IN ('a', 'b', 'c')  -- x   →  select*from t where id=1 and n in('','')
//
// Numbers become 1, strings of every kind '', parameters $1; blanks and comments vanish or become one space; unquoted
// words become lower case; quoted identifiers stay. A list of literals is cut after two, a VALUES row equal to the one
// before it is dropped, so that long IN lists and bulk inserts make one shape. The folded text is itself valid SQL
// and is what the parser reads on a miss: the verdict is a function of what was hashed, and of nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "protocol/sql/verdict.hpp"

namespace holdfast::protocol::sql {

struct Holes;

// 122 bits: two polynomials over GF(2^61-1), each evaluated at a secret random point.
//
// Why this and no cryptographic hash: a wrong verdict by collision would let a hostile client leave settings in a
// shared server unseen, so a collision must be infeasible even for who knows this code. For a polynomial with a secret
// point that is a theorem, no assumption: two different texts of at most n words agree with probability below
// n/2^61 per lane, under 2^-90 for both at the longest text that is looked into. The theorem needs texts chosen
// without knowledge of the points; nothing derived from them ever leaves the process.
struct ShapeHash {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  friend bool operator==(const ShapeHash&, const ShapeHash&) = default;
};

// The secret points. One per process or worker, from the system's random source.
class ShapeKey {
 public:
  // Draws from getrandom(2); throws std::system_error when the system gives none (start-up only).
  ShapeKey();
  // Fixed points, for tests and fuzzers.
  ShapeKey(std::uint64_t low, std::uint64_t high);

  // `text` must be readable for 32 bytes beyond its end (their values don't matter).
  [[nodiscard]] ShapeHash hash(std::string_view text, std::uint32_t tag) const;

 private:
  struct Lane {
    std::uint64_t power[5]{};  // powers 1 to 4 of the point, [0] unused
  };
  Lane low_;
  Lane high_;
};

enum class ShapeKind : std::uint8_t {
  folded,     // the text was understood; `text` is its folded form
  ambiguous,  // a plain string holds \': where it ends depends on standard_conforming_strings; `text` is the raw text
  odd,        // something only the parser should judge (U&"…", UESCAPE, junk behind a number, …): the raw text
  refused,  // no PostgreSQL takes it: a string, comment or quoted name without end, or a \ { } outside of them; no hash
  too_long,  // the folded text is longer than the limit; no hash
};

struct Shape {
  ShapeKind kind = ShapeKind::folded;
  Hint hint = Hint::none;  // part of the hash
  bool hashed = false;     // false: `hash` means nothing, the verdict can't be cached
  // Valid until the next call on the same Shaper, or as long as the text that was given.
  std::string_view text;
  ShapeHash hash;
};

// How plain '…' strings are read: setting standard_conforming_strings (manual, 4.1.2.1).
enum class Strings : std::uint8_t {
  standard,       // on, the default since 9.1; a string whose end would differ when off makes the shape ambiguous
  standard_only,  // on, and never ambiguous
  escaped,        // off: a backslash escapes in every plain string
};

// Makes shapes. Owner: a Classifier, so one per worker; not thread-safe. Owns one buffer of the longest folded text
// plus slack, allocated once and touched only as far as texts need it; a call allocates nothing.
class Shaper {
 public:
  // `longest`: bytes of folded (or raw, where that is used) text; longer is too_long.
  explicit Shaper(std::size_t longest, ShapeKey key = {});
  ~Shaper();

  // Cost: 1.4 to 2.7 ns a byte, by the length of the tokens (shape_bench, busy machine). `sql` without the closing NUL
  // of the wire; a NUL inside makes it odd.
  [[nodiscard]] Shape shape(std::string_view sql, Strings strings = Strings::standard);
  // Where the literals of the last text stand: of one that was folded, for ShapeMemo.
  [[nodiscard]] const Holes& holes() const { return *holes_; }

 private:
  ShapeKey key_;
  std::size_t longest_;
  std::vector<char> buffer_;
  std::unique_ptr<Holes> holes_;
};

// Whether every byte below 0x80 of a text in this client_encoding is ASCII; the name as in pg_encoding names, any case,
// punctuation ignored. False for BIG5, GBK, GB18030, JOHAB, SJIS, SHIFT_JIS_2004, UHC and names not known: there a
// second byte can look like a backslash or a semicolon, the server scans other characters than we do, and no verdict
// can be trusted.
[[nodiscard]] bool is_ascii_transparent(std::string_view client_encoding);

}  // namespace holdfast::protocol::sql
