#include "protocol/sql/verdict_cache.hpp"

#include <bit>

namespace holdfast::protocol::sql {

VerdictCache::VerdictCache(std::size_t bytes) : most_sets_(std::bit_floor(bytes / sizeof(Set))) {
  if (most_sets_ == 0) most_sets_ = 1;
  sets_.resize(1);
}

const Verdict* VerdictCache::find(const ShapeHash& hash) {
  Set& set = set_of(hash);
  for (std::size_t way = 0; way < ways; ++way) {
    if (set.low[way] != hash.low || set.high[way] != hash.high) continue;
    set.used = static_cast<std::uint8_t>(set.used | 1U << way);
    return &set.verdict[way];
  }
  return nullptr;
}

const Verdict& VerdictCache::insert(const ShapeHash& hash, const Verdict& verdict) {
  erase(hash);
  // Grows when half full: sets fill unevenly, and evicting entries long before the limit is reached would be a waste.
  if (sets_.size() < most_sets_ && size_ >= sets_.size() * ways / 2) grow();
  Set& set = set_of(hash);
  std::size_t way = 0;
  while (way < ways && set.high[way] != 0) ++way;
  if (way == ways) {
    // The clock algorithm: a slot used since the hand's last pass gets another round.
    while ((set.used & 1U << set.hand) != 0) {
      set.used = static_cast<std::uint8_t>(set.used & ~(1U << set.hand));
      set.hand = static_cast<std::uint8_t>((set.hand + 1) % ways);
    }
    way = set.hand;
    set.hand = static_cast<std::uint8_t>((set.hand + 1) % ways);
    --size_;
  }
  set.low[way] = hash.low;
  set.high[way] = hash.high;
  set.verdict[way] = verdict;
  set.used = static_cast<std::uint8_t>(set.used & ~(1U << way));
  ++size_;
  return set.verdict[way];
}

void VerdictCache::erase(const ShapeHash& hash) {
  Set& set = set_of(hash);
  for (std::size_t way = 0; way < ways; ++way) {
    if (set.low[way] != hash.low || set.high[way] != hash.high) continue;
    set.high[way] = 0;
    set.low[way] = 0;
    --size_;
  }
}

void VerdictCache::clear() {
  sets_.assign(1, Set{});
  size_ = 0;
}

void VerdictCache::grow() {
  // Each set splits in two by the next bit of the hash, so nothing can overflow.
  std::vector<Set> old = std::move(sets_);
  sets_ = std::vector<Set>(old.size() * 2);
  size_ = 0;
  for (const Set& set : old) {
    for (std::size_t way = 0; way < ways; ++way) {
      if (set.high[way] == 0) continue;
      Set& target = set_of({.low = set.low[way], .high = set.high[way]});
      std::size_t free = 0;
      while (target.high[free] != 0) ++free;
      target.low[free] = set.low[way];
      target.high[free] = set.high[way];
      target.verdict[free] = set.verdict[way];
      ++size_;
    }
  }
}

}  // namespace holdfast::protocol::sql
