// A parse tree of libpg_query, read from its JSON form.
//
// Why JSON: Debian's package ships the C structs of the protobuf form without the protobuf-c header that they need, and
// does not ship PostgreSQL's own node headers. The JSON names every node and field, so a walk needs no schema.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace holdfast::protocol::sql {

// Values in the order of the text: a value is followed by everything inside it, up to `end`. A walk over a subtree is a
// loop from its index to its end, at any depth: deep trees can't exhaust the stack here.
//
// Views point into the JSON text, which must outlive the tree. Names with characters that JSON escapes stay escaped:
// they match no name that we look for.
class ParseTree {
 public:
  using Index = std::uint32_t;
  static constexpr Index none = 0xffffffff;

  enum class Kind : std::uint8_t { object, array, string, other };  // other: numbers, true, false, null
  struct Value {
    std::string_view key;   // empty in an array
    std::string_view text;  // of `string` (without quotes) and `other`
    Index end = 0;
    Kind kind = Kind::other;
  };

  // nullopt if the text is not JSON, which would be a bug in libpg_query.
  [[nodiscard]] static std::optional<ParseTree> read(std::string_view json);

  [[nodiscard]] const Value& operator[](Index index) const { return values_[index]; }
  [[nodiscard]] Index size() const { return static_cast<Index>(values_.size()); }

  // The member of that name directly inside `parent`, or none.
  [[nodiscard]] Index member(Index parent, std::string_view key) const;
  // The text of a member, or empty.
  [[nodiscard]] std::string_view text(Index parent, std::string_view key) const;
  // The first value inside `parent`, or none; the one after `child` within the same parent, or none.
  [[nodiscard]] Index first(Index parent) const;
  [[nodiscard]] Index next(Index parent, Index child) const;
  // How many values are directly inside.
  [[nodiscard]] std::size_t count(Index parent) const;

 private:
  std::vector<Value> values_;
};

}  // namespace holdfast::protocol::sql
