#include "protocol/invariant.hpp"

#include <gtest/gtest.h>

#include <thread>

namespace holdfast {
namespace {

TEST(InvariantTest, a_fact_that_holds_is_said_and_costs_nothing) {
  const auto before = broken_invariants.load();
  EXPECT_TRUE(holds(true, "one is one"));
  EXPECT_EQ(broken_invariants.load(), before);
}

#ifdef NDEBUG
TEST(InvariantTest, a_release_build_counts_a_broken_one_and_goes_on) {
  const auto before = broken_invariants.load();
  EXPECT_FALSE(holds(false, "one is two"));
  EXPECT_EQ(broken_invariants.load(), before + 1);
}

TEST(InvariantTest, a_pass_learns_of_what_broke_in_it_and_in_no_other_thread) {
  const InvariantWatch outer;
  std::thread([] {
    const InvariantWatch watch;
    static_cast<void>(holds(false, "one is two"));
    EXPECT_TRUE(watch.broken());
  }).join();
  EXPECT_FALSE(outer.broken());
  static_cast<void>(holds(false, "one is two"));
  EXPECT_TRUE(outer.broken());
  EXPECT_FALSE(InvariantWatch().broken()) << "a new pass begins";
}
#else
TEST(InvariantDeathTest, a_debug_build_stops_at_a_broken_one_and_names_it) {
  EXPECT_DEATH(static_cast<void>(holds(false, "one is two")), "invariant broken: one is two");
}
#endif

}  // namespace
}  // namespace holdfast
