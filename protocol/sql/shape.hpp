// A statement's shape: its text with the literals taken out. Statements of one shape share a verdict.
//
// One pass over the bytes, by the rules of PostgreSQL's scanner (src/backend/parser/scan.l, version 15):
//
//   SELECT * FROM T WHERE id = 42 AND n IN ('a', 'b', 'c')  -- x   →  select*from t where id=1 and n in('','')
//
// Numbers become 1, strings of every kind '', parameters $1; blanks and comments vanish or become one space; unquoted
// words become lower case; quoted identifiers stay. A list of literals is cut after two, a VALUES row equal to the one
// before it is dropped, so that IN lists and bulk inserts of any length have one shape. The folded text is itself valid
// SQL and is what the parser reads on a miss: the verdict depends on what was hashed, and on nothing else.
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
// Why this and not a cryptographic hash: a wrong verdict by collision would let a hostile client leave settings in a
// shared server unnoticed, so a collision must be infeasible even for an attacker who knows this code. For a polynomial
// with a secret point that is a theorem, not an assumption: two different texts of at most n words agree with
// probability below n/2^61 per lane, under 2^-90 for both at the longest text that is read. The theorem needs texts
// chosen without knowledge of the points; nothing derived from them ever leaves the process.
struct ShapeHash {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  friend bool operator==(const ShapeHash&, const ShapeHash&) = default;
};

// The secret points. One per process or worker, from the system's random source.
class ShapeKey {
 public:
  // Draws from getrandom(2); throws std::system_error when that fails (start-up only).
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
  ambiguous,  // a plain string has \': where it ends depends on standard_conforming_strings; `text` is the raw text
  odd,        // something only the parser should judge (U&"…", UESCAPE, junk behind a number, …): the raw text
  refused,    // no PostgreSQL accepts it: a string, comment or quoted name without end, or \ { } outside them; no hash
  too_long,   // the folded text is longer than the limit; no hash
};

struct Shape {
  ShapeKind kind = ShapeKind::folded;
  Hint hint = Hint::none;  // part of the hash
  bool hashed = false;     // false: there is no hash, so the verdict can't be cached
  // Valid until the next call on the same Shaper, or as long as the text that was given.
  std::string_view text;
  ShapeHash hash;
};

// How plain '…' strings are read: the setting standard_conforming_strings (manual, 4.1.2.1).
enum class Strings : std::uint8_t {
  standard,       // on, the default since 9.1; a string whose end would differ when off makes the shape ambiguous
  standard_only,  // on, and never ambiguous
  escaped,        // off: a backslash escapes in every plain string
};

// Makes shapes. Owner: a Classifier; not thread-safe. Owns one buffer for the longest folded text plus slack, allocated
// once and touched only as far as texts need it; a call allocates nothing.
class Shaper {
 public:
  // `longest`: the longest folded (or raw, where that is used) text in bytes; a longer one is too_long.
  explicit Shaper(std::size_t longest, ShapeKey key = {});
  ~Shaper();

  // Cost: 1.4 to 2.7 ns per byte, depending on the length of the tokens (shape_bench, busy machine). `sql` is without
  // the terminating NUL of the wire; a NUL inside makes it odd.
  [[nodiscard]] Shape shape(std::string_view sql, Strings strings = Strings::standard);
  [[nodiscard]] std::size_t longest() const { return longest_; }
  // Where the literals of the last text stand, if it was folded; for ShapeMemo.
  [[nodiscard]] const Holes& holes() const { return *holes_; }

 private:
  ShapeKey key_;
  std::size_t longest_;
  std::vector<char> buffer_;
  std::unique_ptr<Holes> holes_;
};

// Whether every byte below 0x80 of a text in this client_encoding is an ASCII character; the name is an encoding's as
// PostgreSQL accepts it: in any case, punctuation ignored. False for BIG5, GBK, GB18030, JOHAB, SJIS, SHIFT_JIS_2004,
// UHC and unknown names: there a second byte can look like a backslash or a semicolon, the server scans other
// characters than we do, and no verdict can be trusted.
[[nodiscard]] bool is_ascii_transparent(std::string_view client_encoding);

}  // namespace holdfast::protocol::sql
