#include <gtest/gtest.h>

#include <random>

#include "protocol/sql/verdict_cache.hpp"

using namespace holdfast::protocol::sql;

namespace {

// As ShapeKey makes them: spread over all bits, the top bit of `high` set.
ShapeHash hash(std::uint64_t n) {
  std::mt19937_64 random(n);
  return {.low = random(), .high = random() | std::uint64_t{1} << 63};
}
Verdict verdict(std::uint16_t statements) {
  return {.access = Access::read, .statements = statements};
}

}  // namespace

TEST(VerdictCache, finds_what_was_inserted) {
  VerdictCache cache(1 << 20);
  EXPECT_EQ(cache.find(hash(1)), nullptr);
  cache.insert(hash(1), verdict(7));
  ASSERT_NE(cache.find(hash(1)), nullptr);
  EXPECT_EQ(*cache.find(hash(1)), verdict(7));
  EXPECT_EQ(cache.find(hash(2)), nullptr);
}

TEST(VerdictCache, compares_both_halves_of_the_hash) {
  VerdictCache cache(1 << 20);
  ShapeHash a = hash(1);
  ShapeHash b = a;
  b.high ^= 1;
  ShapeHash c = a;
  c.low ^= std::uint64_t{1} << 63;
  cache.insert(a, verdict(1));
  EXPECT_EQ(cache.find(b), nullptr);
  EXPECT_EQ(cache.find(c), nullptr);
}

TEST(VerdictCache, replaces_and_erases) {
  VerdictCache cache(1 << 20);
  cache.insert(hash(1), verdict(1));
  cache.insert(hash(1), verdict(2));
  EXPECT_EQ(cache.size(), 1U);
  EXPECT_EQ(cache.find(hash(1))->statements, 2);
  cache.erase(hash(1));
  cache.erase(hash(1));
  EXPECT_EQ(cache.size(), 0U);
  EXPECT_EQ(cache.find(hash(1)), nullptr);
}

TEST(VerdictCache, keeps_everything_while_it_grows) {
  VerdictCache cache(1 << 20);
  constexpr std::uint16_t count = 5000;
  for (std::uint16_t i = 0; i < count; ++i) cache.insert(hash(i), verdict(i));
  std::size_t found = 0;
  for (std::uint16_t i = 0; i < count; ++i) {
    const Verdict* known = cache.find(hash(i));
    if (known == nullptr) continue;
    EXPECT_EQ(known->statements, i);
    ++found;
  }
  EXPECT_EQ(found, cache.size());
  // Sets of eight overflow now and then while half of the slots are taken.
  EXPECT_GT(found, count * 95 / 100);
}

TEST(VerdictCache, stays_within_its_bytes) {
  constexpr std::size_t limit = 100'000;
  VerdictCache cache(limit);
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    cache.insert(hash(i), verdict(1));
    ASSERT_LE(cache.bytes(), limit);
  }
  EXPECT_GT(cache.size(), 500U);
}

TEST(VerdictCache, starts_small) {
  EXPECT_LT(VerdictCache(16 << 20).bytes(), 1000U);
}

TEST(VerdictCache, keeps_at_least_one_set) {
  VerdictCache cache(0);
  for (std::uint64_t i = 0; i < 100; ++i) {
    cache.insert(hash(i), verdict(3));
    ASSERT_NE(cache.find(hash(i)), nullptr);
  }
  EXPECT_EQ(cache.size(), 8U);
}

TEST(VerdictCache, gives_up_what_is_not_used) {
  VerdictCache cache(0);
  cache.insert(hash(0), verdict(1));
  for (std::uint64_t i = 1; i < 1000; ++i) {
    ASSERT_NE(cache.find(hash(0)), nullptr) << i;
    cache.insert(hash(i), verdict(1));
  }
}

TEST(VerdictCache, clears) {
  VerdictCache cache(1 << 20);
  for (std::uint64_t i = 0; i < 1000; ++i) cache.insert(hash(i), verdict(1));
  cache.clear();
  EXPECT_EQ(cache.size(), 0U);
  EXPECT_EQ(cache.find(hash(1)), nullptr);
}
