// When heaps are trimmed.
#include "proxy/base/memory.hpp"

#include <gtest/gtest.h>

namespace holdfast::proxy {
namespace {

TEST(Ebb, is_over_when_most_clients_have_gone) {
  Ebb ebb;
  EXPECT_FALSE(ebb.over(0, 0));
  EXPECT_FALSE(ebb.over(2000, 2000));
  EXPECT_FALSE(ebb.over(1001, 2000));
  EXPECT_TRUE(ebb.over(900, 2000));
  EXPECT_FALSE(ebb.over(900, 2000)) << "once";
  EXPECT_FALSE(ebb.over(500, 2000));
  EXPECT_TRUE(ebb.over(100, 2000)) << "and again when it goes on";
}

// Those that come and go between two looks have left their holes, too.
TEST(Ebb, is_not_over_while_many_come) {
  Ebb ebb;
  for (std::uint64_t came = 1000; came < 10'000; came += 1000) EXPECT_FALSE(ebb.over(3, came)) << came;
  EXPECT_TRUE(ebb.over(3, 9'010));
}

TEST(Ebb, of_a_few_clients_is_none) {
  Ebb ebb;
  EXPECT_FALSE(ebb.over(400, 400));
  EXPECT_FALSE(ebb.over(0, 400));
}

}  // namespace
}  // namespace holdfast::proxy
