// Recognises texts that differ from a known one only in their literals: the short way to a shape's hash.
//
// An application's statements come again and again with other numbers and strings in the same places. What the scanner
// has read once is kept as a template, the text with its literals cut out; a text that consists of the same pieces with
// literals of the same kind between them folds to the same bytes. A comparison costs a tenth of a scan.
//
// Why that is exact: only two kinds of literals are cut out, and neither can change how the rest is read. A number of
// nothing but digits ends where the next byte is no digit, and that byte is the same in both texts. A plain string
// without quotes, backslashes and NULs inside ends at its quote whatever standard_conforming_strings says. Everything
// else (dollar quotes, escape strings, 1.5, comments, names) stays in the pieces and is compared byte by byte.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "protocol/sql/shape.hpp"

namespace holdfast::protocol::sql {

// Where the literals of a text stand, in order. Filled by the scanner.
struct Holes {
  static constexpr std::size_t most = 8;
  enum class Kind : std::uint8_t { digits, characters };
  struct Hole {
    std::uint32_t begin;
    std::uint32_t end;
    Kind kind;
  };

  std::array<Hole, most> list{};
  std::uint8_t count = 0;
  bool too_many = false;  // then no template is made of the text

  void clear() {
    count = 0;
    too_many = false;
  }
  void add(std::size_t begin, std::size_t end, Kind kind) {
    if (count == most) {
      too_many = true;
      return;
    }
    list[count++] = {static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end), kind};
  }
};

// A text's first bytes choose a set of four templates; a new one replaces the oldest. About 190 KiB, allocated at once.
// Owner: a Classifier; not thread-safe.
class ShapeMemo {
 public:
  ShapeMemo() : sets_(set_count) {}

  // Null: the text must be scanned. Valid until the next learn().
  [[nodiscard]] const ShapeHash* find(std::string_view sql) const;
  // `sql` has the shape `hash`; `holes` says where its literals are. A text that is too short, too long or has too many
  // literals is not kept.
  void learn(std::string_view sql, const Holes& holes, const ShapeHash& hash);

 private:
  static constexpr std::size_t set_count = 128;
  static constexpr std::size_t shortest = 16;
  static constexpr std::size_t longest = 320;  // without its literals

  struct Template {
    ShapeHash hash;
    std::array<std::uint16_t, Holes::most + 1> pieces{};  // their sizes
    std::array<Holes::Kind, Holes::most> kinds{};
    std::uint8_t holes = 0;
    bool used = false;
    std::array<char, longest> text{};

    [[nodiscard]] bool matches(std::string_view sql) const;
  };
  struct Set {
    std::array<Template, 4> ways;
    std::uint8_t next = 0;
  };

  static std::size_t place_of(std::string_view sql);

  std::vector<Set> sets_;
};

}  // namespace holdfast::protocol::sql
