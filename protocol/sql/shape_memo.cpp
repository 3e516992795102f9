#include "protocol/sql/shape_memo.hpp"

#include <cstring>

namespace holdfast::protocol::sql {
namespace {

std::uint64_t word_at(const char* from) {
  std::uint64_t word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

// The position behind the literal of this kind that begins at `at`.
const char* skip(const char* at, const char* end, Holes::Kind kind) {
  if (kind == Holes::Kind::digits) {
    while (at < end && *at >= '0' && *at <= '9') ++at;
  } else {
    while (at < end && *at != '\'' && *at != '\\' && *at != '\0') ++at;
  }
  return at;
}

}  // namespace

// Hashes the first 16 bytes: literals mostly stand behind them. A literal among them gives each of its values a set of
// its own, which costs scans and nothing else.
std::size_t ShapeMemo::place_of(std::string_view sql) {
  const std::uint64_t mixed = word_at(sql.data()) * 0x9e3779b97f4a7c15U + word_at(sql.data() + 8);
  return (mixed * 0x9e3779b97f4a7c15U) >> 56 & (set_count - 1);
}

bool ShapeMemo::Template::matches(std::string_view sql) const {
  const char* at = sql.data();
  const char* const end = at + sql.size();
  const char* piece = text.data();
  for (std::size_t i = 0;; ++i) {
    const std::size_t size = pieces[i];
    if (static_cast<std::size_t>(end - at) < size || std::memcmp(at, piece, size) != 0) return false;
    at += size;
    piece += size;
    if (i == holes) return at == end;
    const char* behind = skip(at, end, kinds[i]);
    if (behind == at && kinds[i] == Holes::Kind::digits) return false;
    at = behind;
  }
}

const ShapeHash* ShapeMemo::find(std::string_view sql) const {
  if (sql.size() < shortest) return nullptr;
  for (const Template& known : sets_[place_of(sql)].ways) {
    if (known.used && known.matches(sql)) return &known.hash;
  }
  return nullptr;
}

void ShapeMemo::learn(std::string_view sql, const Holes& holes, const ShapeHash& hash) {
  if (sql.size() < shortest || holes.too_many) return;
  std::size_t left = sql.size();
  for (std::size_t i = 0; i < holes.count; ++i) left -= holes.list[i].end - holes.list[i].begin;
  if (left > longest) return;

  Set& set = sets_[place_of(sql)];
  Template& fresh = set.ways[set.next];
  set.next = static_cast<std::uint8_t>((set.next + 1) % set.ways.size());
  fresh.used = true;
  fresh.hash = hash;
  fresh.holes = holes.count;
  char* to = fresh.text.data();
  std::size_t from = 0;
  for (std::size_t i = 0; i <= holes.count; ++i) {
    const std::size_t until = i < holes.count ? holes.list[i].begin : sql.size();
    std::memcpy(to, sql.data() + from, until - from);
    fresh.pieces[i] = static_cast<std::uint16_t>(until - from);
    to += until - from;
    if (i == holes.count) break;
    fresh.kinds[i] = holes.list[i].kind;
    from = holes.list[i].end;
  }
}

}  // namespace holdfast::protocol::sql
