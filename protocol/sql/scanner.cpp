#include "protocol/sql/scanner.hpp"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <array>
#include <bit>
#include <cstring>

namespace holdfast::protocol::sql {
namespace {

// What a byte can be, as scan.l names it.
enum Bits : std::uint8_t {
  ident_start = 1,  // [A-Za-z\200-\377_]
  ident = 2,        // … 0-9 $
  digit = 4,
  op = 8,  // op_chars
  space = 16,
  joins_word = 32,  // would merge with a word, number or string beside it
  joins_op = 64,    // would merge with an operator beside it
};

constexpr std::array<std::uint8_t, 256> make_table() {
  std::array<std::uint8_t, 256> table{};
  auto add = [&](unsigned from, unsigned to, unsigned bits) {
    for (unsigned c = from; c <= to; ++c) table[c] = static_cast<std::uint8_t>(table[c] | bits);
  };
  add('a', 'z', ident_start | ident | joins_word);
  add('A', 'Z', ident_start | ident | joins_word);
  add('_', '_', ident_start | ident | joins_word);
  add(0x80, 0xff, ident_start | ident | joins_word);
  add('0', '9', ident | digit | joins_word);
  add('$', '$', ident | joins_word);
  for (char c : std::string_view("'\".")) add(static_cast<unsigned char>(c), static_cast<unsigned char>(c), joins_word);
  for (char c : std::string_view("~!@#^&|`?+-*/%<>="))
    add(static_cast<unsigned char>(c), static_cast<unsigned char>(c), op | joins_op);
  add(':', ':', joins_op);
  // u &'x' isn't u&'x': the ampersand keeps its spaces on both sides.
  add('&', '&', joins_word);
  for (char c : std::string_view(" \t\n\r\f")) add(static_cast<unsigned char>(c), static_cast<unsigned char>(c), space);
  return table;
}
constexpr auto table = make_table();

// The folded form of what can stand in a word, 0 for everything else.
constexpr std::array<char, 256> make_word_table() {
  std::array<char, 256> fold{};
  for (unsigned c = 0; c < 256; ++c) {
    if ((table[c] & ident) == 0) continue;
    fold[c] = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  }
  return fold;
}
constexpr auto word_table = make_word_table();

bool is(char c, unsigned bits) {
  return (table[static_cast<unsigned char>(c)] & bits) != 0;
}
char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

// Copies the word at `in` to `out` in its folded form and moves both past it; stops at `until` at the latest. Writes up
// to 15 bytes more than it counts. Words take a third of the time for a short statement: it does sixteen bytes per step
// while as many are there.
void fold_word(const char*& in, const char* until, char*& out) {
#if defined(__SSE2__)
  const auto within = [](__m128i bytes, char from, char to) {
    const __m128i offset = _mm_sub_epi8(bytes, _mm_set1_epi8(from));
    return _mm_cmpeq_epi8(_mm_min_epu8(offset, _mm_set1_epi8(static_cast<char>(to - from))), offset);
  };
  while (until - in >= 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
    const __m128i upper = within(bytes, 'A', 'Z');
    const __m128i folded = _mm_add_epi8(bytes, _mm_and_si128(upper, _mm_set1_epi8(32)));
    __m128i in_word = _mm_or_si128(within(folded, 'a', 'z'), within(bytes, '0', '9'));
    in_word = _mm_or_si128(in_word, _mm_cmpeq_epi8(bytes, _mm_set1_epi8('_')));
    in_word = _mm_or_si128(in_word, _mm_cmpeq_epi8(bytes, _mm_set1_epi8('$')));
    in_word = _mm_or_si128(in_word, bytes);  // bytes from 0x80 on: movemask reads the top bit only
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), folded);
    const auto count = std::countr_one(static_cast<std::uint32_t>(_mm_movemask_epi8(in_word)));
    in += count;
    out += count;
    if (count < 16) return;
  }
#endif
  while (in < until) {
    const char folded = word_table[static_cast<unsigned char>(*in)];
    if (folded == 0) return;
    *out++ = folded;
    ++in;
  }
}

}  // namespace

ShapeKind Scanner::run() {
  while (blanks() && in_ < end_) {
    if (!token()) break;
    if (out_ > limit_) overflow();
    if (overflown_ && strings_ == Strings::standard) break;
    gap_ = gap_newline_ = gap_block_ = false;
  }
  if (kind_ == ShapeKind::folded) flush_comma();
  if (out_ > limit_) overflow();
  return kind_ == ShapeKind::folded && overflown_ ? ShapeKind::too_long : kind_;
}

// No room: the output is discarded, and what follows doesn't matter. Only of one of two readings it must be known whether
// it has an end: that is read on.
void Scanner::overflow() {
  overflown_ = true;
  out_ = begin_;
  before_sign_.out = begin_;
  row_ = false;
  previous_row_ = nullptr;
}

bool Scanner::token() {
  char c = *in_;
  if (is(c, ident_start)) return word();
  if (is(c, digit)) return number();
  switch (c) {
    case '\'': return string(0, StringKind::plain);
    case '"': return quoted_name();
    case '$': return dollar();
    case '(': open(); return true;
    case ')': close(); return true;
    case ',': comma(); return true;
    case '.':
      if (is(peek(), digit)) return number();
      if (peek() == '.') return stop(ShapeKind::odd);
      [[fallthrough]];
    case '[':
    case ']':
    case ';':
    case ':':
      flush_comma();
      separate(c);
      *out_++ = c;
      ++in_;
      last_ = c == '[' ? Last::open : Last::other;
      return true;
    case '\\':
    case '{':
    case '}': return stop(ShapeKind::refused);
    default: return is(c, op) ? operators() : stop(ShapeKind::odd);
  }
}

// Skips blanks and comments; false: a comment without an end.
bool Scanner::blanks() {
  while (in_ < end_) {
    char c = *in_;
    if (is(c, space)) {
      gap_newline_ |= c == '\n' || c == '\r';
      ++in_;
    } else if (c == '-' && peek() == '-') {
      while (in_ < end_ && *in_ != '\n' && *in_ != '\r') ++in_;
    } else if (c == '/' && peek() == '*') {
      if (!block_comment()) return stop(ShapeKind::refused);
    } else {
      return true;
    }
    gap_ = true;
  }
  return true;
}

// Block comments nest. A hint counts wherever its comment stands.
bool Scanner::block_comment() {
  const char* body = in_ + 2;
  in_ = body;
  std::uint32_t depth = 1;
  while (depth > 0) {
    if (end_ - in_ < 2) return false;
    if (in_[0] == '*' && in_[1] == '/') {
      --depth;
      in_ += 2;
    } else if (in_[0] == '/' && in_[1] == '*') {
      ++depth;
      in_ += 2;
    } else {
      ++in_;
    }
  }
  gap_block_ = true;
  std::string_view text{body, static_cast<std::size_t>(in_ - 2 - body)};
  auto trim = [&] {
    while (!text.empty() && is(text.front(), space)) text.remove_prefix(1);
    while (!text.empty() && is(text.back(), space)) text.remove_suffix(1);
  };
  trim();
  if (!text.starts_with("holdfast:")) return true;
  text.remove_prefix(9);
  trim();
  if (text == "primary") hint_ = Hint::primary;
  if (text == "replica" && hint_ == Hint::none) hint_ = Hint::replica;
  return true;
}

bool Scanner::word() {
  // Prefixes of strings count only if the quote follows immediately.
  char second = peek();
  if (second == '\'') {
    switch (*in_) {
      case 'e':
      case 'E': return string(1, StringKind::escaped);
      case 'b':
      case 'B':
      case 'x':
      case 'X': return string(1, StringKind::raw);
      default: break;  // n'…' is the word NCHAR and a plain string
    }
  }
  if (second == '&' && lower(*in_) == 'u') {
    if (peek(2) == '\'') return string(2, StringKind::raw);
    if (peek(2) == '"') return stop(ShapeKind::odd);
  }

  if (in_row() && alone() && literal_word()) return literal("1", Last::literal);
  flush_comma();
  separate(*in_);
  char* start = out_;
  const char* until = end_ - in_ > limit_ - out_ ? in_ + (limit_ - out_) : end_;
  // Locals, because a write through a char pointer could change any member: the compiler would reload them each time.
  const char* in = in_;
  char* out = out_;
  fold_word(in, until, out);
  in_ = in;
  out_ = out;
  if (in_ == until && in_ < end_ && is(*in_, ident)) {
    while (in_ < end_ && is(*in_, ident)) ++in_;
    overflow();
    last_ = Last::word;
    literals_ = 0;
    return true;
  }

  std::string_view text{start, static_cast<std::size_t>(out_ - start)};
  Last before = last_;
  last_ = Last::word;
  switch (text.size()) {
    case 2:
      if (text == "in") last_ = Last::in;
      break;
    case 6:
      if (text == "values") last_ = Last::values;
      break;
    case 7:
      if ((before == Last::string || before == Last::literal) && text == "uescape") return stop(ShapeKind::odd);
      break;
    default: break;
  }
  literals_ = 0;
  return true;
}

// Consumes NULL, TRUE, FALSE or DEFAULT.
bool Scanner::literal_word() {
  std::array<char, 8> text{};
  std::size_t size = 0;
  while (size < text.size() && is(peek(size), ident)) {
    text[size] = lower(peek(size));
    ++size;
  }
  std::string_view word{text.data(), size};
  if (word != "null" && word != "true" && word != "false" && word != "default") return false;
  in_ += size;
  return true;
}

bool Scanner::number() {
  if (last_ == Last::sign) {
    // (-1, ,-1 and =-1 are negative numbers: the sign is removed from the output.
    out_ = before_sign_.out;
    last_ = before_sign_.last;
    literals_ = before_sign_.literals;
    pending_comma_ = before_sign_.pending_comma;
  }
  auto digits = [&] {
    while (in_ < end_ && is(*in_, digit)) ++in_;
  };
  if (after_literal() && !gap_) return stop(ShapeKind::odd);
  const char* begin = in_;
  digits();
  const char* end = in_;
  if (in_ < end_ && *in_ == '.') {
    if (peek() == '.') return stop(ShapeKind::odd);
    ++in_;
    digits();
  }
  if (in_ < end_ && lower(*in_) == 'e') {
    std::size_t sign = peek() == '+' || peek() == '-' ? 1 : 0;
    if (is(peek(1 + sign), digit)) {
      in_ += 1 + sign;
      digits();
    }
  }
  // 1a, 1_000, 0x1f: PostgreSQL's versions disagree on whether this is one token.
  if (in_ < end_ && is(*in_, ident)) return stop(ShapeKind::odd);
  if (end == in_) hole(begin, end, Holes::Kind::digits);
  return literal("1", Last::literal);
}

// $1, $$…$$ or $tag$…$tag$.
bool Scanner::dollar() {
  if (after_literal() && !gap_) return stop(ShapeKind::odd);
  const char* from = in_;
  if (is(peek(), digit)) {
    ++in_;
    while (in_ < end_ && is(*in_, digit)) ++in_;
    if (in_ < end_ && is(*in_, ident)) return stop(ShapeKind::odd);
    return literal("$1", Last::literal);
  }
  const char* scan = in_ + 1;
  if (scan < end_ && is(*scan, ident_start)) {
    while (scan < end_ && is(*scan, ident) && *scan != '$') ++scan;
  }
  if (scan == end_ || *scan != '$') return stop(ShapeKind::odd);
  std::string_view delimiter{from, static_cast<std::size_t>(scan + 1 - from)};
  const void* close = ::memmem(scan + 1, static_cast<std::size_t>(end_ - scan - 1), delimiter.data(), delimiter.size());
  if (close == nullptr) return stop(ShapeKind::refused);
  in_ = static_cast<const char*>(close) + delimiter.size();
  return literal("''", Last::literal);
}

bool Scanner::quoted_name() {
  flush_comma();
  separate('"');
  // Names are short: one loop of our own beats two calls of memchr. It reads on even if there is no room to write.
  const char* in = in_ + 1;
  char* out = out_;
  bool room = out < limit_;
  if (room) *out++ = '"';
  for (;; ++in) {
    if (in == end_) return stop(ShapeKind::refused);
    room &= out < limit_;
    if (room) *out++ = *in;
    if (*in != '"') continue;
    if (in + 1 == end_ || in[1] != '"') break;
    ++in;
    room &= out < limit_;
    if (room) *out++ = '"';
  }
  in_ = in + 1;
  out_ = out;
  if (!room) overflow();
  last_ = Last::other;
  literals_ = 0;
  return true;
}

bool Scanner::string(std::size_t prefix, StringKind kind) {
  if (kind == StringKind::plain && strings_ == Strings::escaped) kind = StringKind::escaped;
  // 'a' <newline> 'b' is one string, read in the same way as its first part.
  if (prefix == 0 && last_ == Last::string && gap_newline_ && !gap_block_) return string_body(string_kind_);
  if (after_literal() && !gap_) return stop(ShapeKind::odd);
  string_kind_ = kind;
  in_ += prefix;
  return string_body(kind) && literal("''", Last::string);
}

// Consumes a string from its opening quote to its closing one.
bool Scanner::string_body(StringKind kind) {
  const char* body = ++in_;
  if (kind == StringKind::escaped) {
    while (in_ < end_) {
      if (*in_ == '\\') {
        in_ += 2;
      } else if (*in_ != '\'') {
        ++in_;
      } else if (peek() == '\'') {
        in_ += 2;
      } else {
        ++in_;
        return true;
      }
    }
    return stop(ShapeKind::refused);
  }
  bool whole = true;  // no quote inside
  for (;;) {
    const void* found = in_ < end_ ? std::memchr(in_, '\'', static_cast<std::size_t>(end_ - in_)) : nullptr;
    if (found == nullptr) return stop(ShapeKind::refused);
    const char* quote = static_cast<const char*>(found);
    if (kind == StringKind::plain && strings_ == Strings::standard) {
      // Behind an odd number of backslashes this quote would not end the string if standard_conforming_strings were
      // off. Any other backslash changes only the value.
      const char* slash = quote;
      while (slash > body && slash[-1] == '\\') --slash;
      if ((quote - slash) % 2 == 1) return stop(ShapeKind::ambiguous);
    }
    in_ = quote + 1;
    if (in_ == end_ || *in_ != '\'') {
      const auto size = static_cast<std::size_t>(quote - body);
      if (kind == StringKind::plain && whole && std::memchr(body, '\\', size) == nullptr)
        hole(body, quote, Holes::Kind::characters);
      return true;
    }
    whole = false;
    ++in_;
  }
}

// Consumes a run of operator characters, up to a comment.
bool Scanner::operators() {
  bool sign_may_stand = alone() || last_ == Last::in_open || last_ == Last::compare;
  before_sign_ = {.out = out_, .last = last_, .literals = literals_, .pending_comma = pending_comma_};
  flush_comma();
  separate(*in_);
  char* start = out_;
  while (in_ < end_ && is(*in_, op)) {
    if ((*in_ == '-' && peek() == '-') || (*in_ == '/' && peek() == '*')) break;
    if (out_ >= limit_) {
      overflow();
      start = out_;
    }
    *out_++ = *in_++;
  }
  std::string_view text{start, static_cast<std::size_t>(out_ - start)};
  bool compare =
      text == "=" || text == "<" || text == ">" || text == "<=" || text == ">=" || text == "<>" || text == "!=";
  last_ = compare ? Last::compare : sign_may_stand && text == "-" ? Last::sign : Last::other;
  literals_ = 0;
  return true;
}

void Scanner::open() {
  flush_comma();
  bool row_begins = !row_ && (last_ == Last::values || last_ == Last::in_open || last_ == Last::row_comma);
  if (row_begins) {
    if (last_ != Last::row_comma) previous_row_ = nullptr;
    row_ = true;
    depth_ = 0;
    row_begin_ = out_;
  } else if (row_) {
    ++depth_;
  }
  *out_++ = '(';
  ++in_;
  last_ = last_ == Last::in && !row_ ? Last::in_open : Last::open;
  literals_ = 0;
}

void Scanner::close() {
  flush_comma();
  *out_++ = ')';
  ++in_;
  last_ = Last::close;
  literals_ = 0;
  if (!row_) return;
  if (depth_ > 0) {
    --depth_;
    return;
  }
  row_ = false;
  last_ = Last::row_close;
  auto size = static_cast<std::size_t>(out_ - row_begin_);
  if (previous_row_ != nullptr && size == previous_size_ && std::memcmp(previous_row_, row_begin_, size) == 0) {
    out_ = previous_row_ + size;
    return;
  }
  previous_row_ = row_begin_;
  previous_size_ = size;
}

void Scanner::comma() {
  ++in_;
  if (literals_ >= 2 && after_literal()) {
    pending_comma_ = true;
    last_ = Last::comma;
    return;
  }
  flush_comma();
  *out_++ = ',';
  if (!after_literal()) literals_ = 0;
  last_ = last_ == Last::row_close ? Last::row_comma : Last::comma;
}

// Writes one space where the next token would otherwise merge with the last. Behind a literal also where none stood:
// what was written for the literal may end differently.
void Scanner::separate(char next) {
  if (out_ == begin_) return;
  char previous = out_[-1];
  // u&x'1f' is a word, an operator and a bit string; written u&'' it would be a string with Unicode escapes.
  bool prefix_lost = previous == '&' && next == '\'';
  if (!gap_ && !after_literal() && !prefix_lost) return;
  if ((is(previous, joins_word) && is(next, joins_word)) || (is(previous, joins_op) && is(next, joins_op)))
    *out_++ = ' ';
}

bool Scanner::literal(std::string_view as, Last last) {
  // The third literal of a list and all that follow are dropped, each with the comma before it.
  if (pending_comma_) {
    pending_comma_ = false;
    last_ = last;
    return true;
  }
  if (last_ != Last::comma) literals_ = 0;
  if (in_row() && alone()) as = "1";
  separate(as.front());
  std::memcpy(out_, as.data(), as.size());
  out_ += as.size();
  if (literals_ < 2) ++literals_;
  last_ = last;
  return true;
}

void Scanner::flush_comma() {
  if (!pending_comma_) return;
  pending_comma_ = false;
  *out_++ = ',';
}

}  // namespace holdfast::protocol::sql
