// Random histories of a cluster: whatever members say and whenever they fall silent, some things never happen.
#include <gtest/gtest.h>

#include <random>

#include "health/cluster.hpp"

namespace holdfast::health {
namespace {

constexpr std::uint64_t ours = 7001;
constexpr std::uint64_t foreign = 9009;

class History {
 public:
  explicit History(std::uint32_t seed) : random_(seed) {}

  void step() {
    now_ += std::chrono::milliseconds(pick(1500));
    const auto member = static_cast<MemberIndex>(pick(4));
    switch (pick(12)) {
      case 0: cluster_.lost(member, "gone", now_); break;
      case 1: cluster_.positioned(member, pick(100000)); break;
      case 2: cluster_.removed(member, now_); break;
      case 3: cluster_.restored(member); break;
      case 4: cluster_.forget(member, now_); break;
      default: observe(member); break;
    }
    check();
  }

 private:
  std::uint32_t pick(std::uint32_t below) {
    return std::uniform_int_distribution<std::uint32_t>(0, below - 1)(random_);
  }

  void observe(MemberIndex member) {
    Observation seen{.in_recovery = pick(3) != 0,
                     .read_only = pick(10) == 0,
                     .system_identifier = pick(12) == 0 ? foreign : ours,
                     .timeline = 1 + pick(4),
                     .lsn = pick(100000),
                     .receiver = std::nullopt,
                     .started = 1 + pick(3)};
    if (seen.in_recovery && pick(2) == 0)
      seen.receiver = Receiver{.visible = pick(2) == 0, .status = ReceiverStatus::waiting};
    const bool usable = pick(6) != 0;
    const std::uint32_t times = 1 + pick(3);
    for (std::uint32_t i = 0; i < times; ++i) cluster_.observed(member, seen, usable, now_);
    const auto primary = cluster_.primary();
    if (primary == member) {
      EXPECT_FALSE(seen.in_recovery);
      EXPECT_FALSE(seen.read_only);
      EXPECT_EQ(seen.system_identifier, cluster_.system_identifier());
      EXPECT_EQ(seen.timeline, cluster_.timeline());
      EXPECT_TRUE(usable);
    }
  }

  void check() {
    ASSERT_GE(cluster_.epoch(), epoch_);
    ASSERT_GE(cluster_.timeline(), timeline_);
    ASSERT_TRUE(identifier_ == 0 || cluster_.system_identifier() == identifier_);
    // Another primary, or another timeline, is another epoch (I-1).
    ASSERT_TRUE(!cluster_.primary() || !primary_ || cluster_.epoch() > epoch_ || cluster_.primary() == primary_);
    ASSERT_TRUE(cluster_.timeline() == timeline_ || cluster_.epoch() > epoch_);
    if (cluster_.epoch() > epoch_) primary_.reset();
    epoch_ = cluster_.epoch();
    timeline_ = cluster_.timeline();
    identifier_ = cluster_.system_identifier();
    if (cluster_.primary()) primary_ = cluster_.primary();

    std::size_t primaries = 0;
    for (MemberIndex member = 0; member < 4; ++member) {
      const Cluster::View& view = cluster_.view(member);
      if (view.role == Role::primary) {
        ++primaries;
        ASSERT_EQ(cluster_.primary(), member);
      }
      ASSERT_TRUE(!view.accepts_reads || view.role == Role::replica);
      ASSERT_GE(view.generation, generation_[member]);
      generation_[member] = view.generation;
    }
    ASSERT_EQ(primaries, cluster_.primary() ? 1U : 0U);
    ASSERT_TRUE(!cluster_.dual() || !cluster_.primary());
    ASSERT_NE(cluster_.split_brain().size(), 1U);
    ASSERT_EQ(cluster_.why_no_primary().empty(), cluster_.primary().has_value());
  }

  std::mt19937 random_;
  Cluster cluster_{{"pg1", "pg2", "pg3", "pg4"}, 0};
  TimePoint now_{std::chrono::seconds(1000)};
  std::uint64_t epoch_ = 0;
  std::uint32_t timeline_ = 0;
  std::uint64_t identifier_ = 0;
  std::optional<MemberIndex> primary_;  // the last one of the epoch
  std::uint64_t generation_[4] = {};
};

TEST(ClusterProperty, random_histories_keep_the_invariants) {
  for (std::uint32_t seed = 0; seed < 3000; ++seed) {
    History history(seed);
    for (int i = 0; i < 200; ++i) {
      history.step();
      if (::testing::Test::HasFailure()) FAIL() << "seed " << seed << ", step " << i;
    }
  }
}

}  // namespace
}  // namespace holdfast::health
