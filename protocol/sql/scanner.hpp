// The pass over the bytes that Shaper makes: applies PostgreSQL's lexical rules and folds as it goes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "protocol/sql/shape.hpp"
#include "protocol/sql/shape_memo.hpp"

namespace holdfast::protocol::sql {

// For one use: construct, run(), read the results. Lives on the stack of Shaper::shape().
//
// Where blanks stood between two tokens that would merge without them, one space stays; everywhere else they are
// dropped.
//
// Rows: behind VALUES, and behind IN when it lists rows, a row that folds to the same bytes as the row before it is
// dropped; NULL, TRUE, FALSE and DEFAULT count as literals there. Only there: an argument list is not a row, so
// set_config(…, true) keeps its TRUE.
class Scanner {
 public:
  // `out` must be writable for 64 bytes beyond its end.
  // `holes` is cleared and filled.
  Scanner(std::string_view sql, Strings strings, std::span<char> out, Holes& holes)
      : text_(sql.data()),
        in_(sql.data()),
        end_(sql.data() + sql.size()),
        begin_(out.data()),
        out_(out.data()),
        limit_(out.data() + out.size()),
        strings_(strings),
        holes_(holes) {
    holes_.clear();
  }

  [[nodiscard]] ShapeKind run();
  [[nodiscard]] std::string_view folded() const { return {begin_, static_cast<std::size_t>(out_ - begin_)}; }
  [[nodiscard]] Hint hint() const { return hint_; }

 private:
  // What the last token was, as far as the next one needs to know.
  enum class Last : std::uint8_t {
    other,
    word,
    values,
    in,
    open,
    in_open,
    comma,
    close,
    row_close,
    row_comma,
    compare,
    sign,     // a minus where only a number's sign makes sense
    literal,  // number, parameter, dollar-quoted string
    string,   // '…' in one of its forms: may continue on the next line
  };
  enum class StringKind : std::uint8_t { plain, escaped, raw };

  bool token();  // false: kind_ says why it stops
  bool blanks();
  bool block_comment();
  bool word();
  bool literal_word();
  bool number();
  bool dollar();
  bool quoted_name();
  bool string(std::size_t prefix, StringKind kind);
  bool string_body(StringKind kind);
  bool operators();
  void open();
  void close();
  void comma();

  bool stop(ShapeKind kind) {
    kind_ = kind;
    return false;
  }
  [[nodiscard]] char peek(std::size_t ahead = 1) const {
    return static_cast<std::size_t>(end_ - in_) > ahead ? in_[ahead] : '\0';
  }
  void separate(char next);
  bool literal(std::string_view as, Last last);
  void flush_comma();
  void overflow();
  [[nodiscard]] bool alone() const { return pending_comma_ || last_ == Last::open || last_ == Last::comma; }
  [[nodiscard]] bool in_row() const { return row_ && depth_ == 0; }
  [[nodiscard]] bool after_literal() const { return last_ == Last::literal || last_ == Last::string; }

  void hole(const char* begin, const char* end, Holes::Kind kind) {
    holes_.add(static_cast<std::size_t>(begin - text_), static_cast<std::size_t>(end - text_), kind);
  }

  const char* text_;
  const char* in_;
  const char* end_;
  char* begin_;
  char* out_;
  char* limit_;
  Strings strings_;
  Holes& holes_;
  Hint hint_ = Hint::none;
  ShapeKind kind_ = ShapeKind::folded;
  Last last_ = Last::other;
  StringKind string_kind_ = StringKind::plain;
  bool gap_ = false;          // blanks or comments since the last token
  bool gap_newline_ = false;  // with a line end among them
  bool gap_block_ = false;    // with a /* */ among them: no string continues behind it
  bool overflown_ = false;
  bool pending_comma_ = false;  // a comma behind two literals, not written yet
  std::uint8_t literals_ = 0;   // how many literals with commas between them end here; counts to 2
  // The state before the last operator, in case the operator is a number's sign.
  struct {
    char* out = nullptr;
    Last last = Last::other;
    std::uint8_t literals = 0;
    bool pending_comma = false;
  } before_sign_;
  bool row_ = false;         // inside a row
  std::uint32_t depth_ = 0;  // brackets open inside the row
  char* row_begin_ = nullptr;
  char* previous_row_ = nullptr;
  std::size_t previous_size_ = 0;
};

}  // namespace holdfast::protocol::sql
