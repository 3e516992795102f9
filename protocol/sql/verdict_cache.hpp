// Verdicts by shape, bounded in bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "protocol/sql/shape.hpp"
#include "protocol/sql/verdict.hpp"

namespace holdfast::protocol::sql {

// A set-associative table: the hash picks a set of eight slots, a look-up compares eight keys, and a full set evicts
// a slot that hasn't been used since the clock hand passed. Starts small and doubles up to the limit, so a process with
// few shapes stays small. No text is kept: the hash is the key (see ShapeHash for why that is enough).
//
// Owner: a Classifier; not thread-safe. find() allocates nothing; insert() only when the table doubles.
class VerdictCache {
 public:
  // `bytes`: the most that the table may take; at least one set is kept.
  explicit VerdictCache(std::size_t bytes);

  // Null if not known. Valid until the next insert().
  [[nodiscard]] const Verdict* find(const ShapeHash& hash);
  // Replaces what is there under the same hash. The result is valid until the next insert().
  const Verdict& insert(const ShapeHash& hash, const Verdict& verdict);
  // Removes one entry, or every entry.
  void erase(const ShapeHash& hash);
  void clear();

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t bytes() const { return sets_.size() * sizeof(Set); }

 private:
  static constexpr std::size_t ways = 8;
  struct Set {
    std::array<std::uint64_t, ways> low{};
    std::array<std::uint64_t, ways> high{};  // ShapeKey never makes high == 0: that marks a free slot
    std::array<Verdict, ways> verdict{};
    std::uint8_t used = 0;  // one bit per slot, set by find(), cleared as the hand passes
    std::uint8_t hand = 0;
  };

  [[nodiscard]] Set& set_of(const ShapeHash& hash) { return sets_[hash.low & (sets_.size() - 1)]; }
  void grow();

  std::vector<Set> sets_;
  std::size_t most_sets_;
  std::size_t size_ = 0;
};

}  // namespace holdfast::protocol::sql
