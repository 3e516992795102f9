#include "protocol/sql/shape.hpp"

#include <cstring>

#include "protocol/sql/scanner.hpp"

namespace holdfast::protocol::sql {
namespace {

// Room behind the text: ShapeKey reads beyond the end, the scanner writes a token before it checks the limit.
constexpr std::size_t slack = 64;

std::uint32_t tag_of(ShapeKind kind, Hint hint) {
  return static_cast<std::uint32_t>(kind) | static_cast<std::uint32_t>(hint) << 4;
}

}  // namespace

Shaper::Shaper(std::size_t longest, ShapeKey key)
    : key_(key), longest_(longest), buffer_(longest + slack), holes_(std::make_unique<Holes>()) {}
Shaper::~Shaper() = default;

Shape Shaper::shape(std::string_view sql, Strings strings) {
  Scanner scanner(sql, strings, {buffer_.data(), longest_}, *holes_);
  Shape shape;
  shape.kind = sql.find('\0') == std::string_view::npos ? scanner.run() : ShapeKind::odd;
  shape.hint = scanner.hint();
  switch (shape.kind) {
    case ShapeKind::folded: shape.text = scanner.folded(); break;
    case ShapeKind::ambiguous:
    case ShapeKind::odd:
      if (sql.size() > longest_) {
        // An ambiguous text can still be folded in both readings, but not cached; an odd one is too long for the
        // parser.
        if (shape.kind == ShapeKind::odd) shape.kind = ShapeKind::too_long;
        shape.text = sql;
        return shape;
      }
      if (!sql.empty()) std::memcpy(buffer_.data(), sql.data(), sql.size());
      shape.text = {buffer_.data(), sql.size()};
      break;
    case ShapeKind::refused:
    case ShapeKind::too_long: return shape;
  }
  shape.hash = key_.hash(shape.text, tag_of(shape.kind, shape.hint));
  shape.hashed = true;
  return shape;
}

bool is_ascii_transparent(std::string_view client_encoding) {
  // As clean_encoding_name does in PostgreSQL (src/common/encnames.c): letters and digits only, in lower case.
  char name[24];
  std::size_t size = 0;
  for (char c : client_encoding) {
    bool upper = c >= 'A' && c <= 'Z';
    if (!upper && !(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) continue;
    if (size == sizeof name) return false;
    name[size++] = upper ? static_cast<char>(c + 32) : c;
  }
  std::string_view clean{name, size};
  // The server encodings (manual, table 24.1) and their aliases. Every other one is client-only, or not known.
  for (std::string_view known :
       {"utf8",        "unicode",      "sqlascii",    "latin1",      "latin2",      "latin3",      "latin4",
        "latin5",      "latin6",       "latin7",      "latin8",      "latin9",      "latin10",     "iso88591",
        "iso88592",    "iso88593",     "iso88594",    "iso88599",    "iso885910",   "iso885913",   "iso885914",
        "iso885915",   "iso885916",    "iso88595",    "iso88596",    "iso88597",    "iso88598",    "win866",
        "win874",      "win1250",      "win1251",     "win1252",     "win1253",     "win1254",     "win1255",
        "win1256",     "win1257",      "win1258",     "windows866",  "windows874",  "windows1250", "windows1251",
        "windows1252", "windows1253",  "windows1254", "windows1255", "windows1256", "windows1257", "windows1258",
        "koi8",        "koi8r",        "koi8u",       "eucjp",       "euccn",       "euckr",       "euctw",
        "eucjis2004",  "muleinternal", "alt",         "win",         "abc",         "tcvn",        "tcvn5712",
        "vscii"}) {
    if (clean == known) return true;
  }
  return false;
}

}  // namespace holdfast::protocol::sql
