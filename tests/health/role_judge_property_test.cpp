// Random histories of a cluster: whatever members say and whenever they fall silent, some things never happen.
#include <gtest/gtest.h>

#include <random>

#include "health/role_judge.hpp"

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
      case 0: roles_.lost(member, "gone", now_); break;
      case 1: roles_.positioned(member, pick(100000)); break;
      case 2: roles_.removed(member, now_); break;
      case 3: roles_.restored(member); break;
      case 4: roles_.forget(member, now_); break;
      case 5: roles_.unanswered(member, now_); break;
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
                     .started = 1 + pick(3) + (pick(20) == 0 ? 0 : 10 * member)};
    if (seen.in_recovery && pick(2) == 0) {
      const auto status = pick(2) == 0 ? ReceiverStatus::waiting : ReceiverStatus::streaming;
      seen.receiver = Receiver{.visible = pick(4) != 0, .status = status, .timeline = seen.timeline};
    }
    const bool usable = pick(6) != 0;
    const std::uint32_t times = 1 + pick(3);
    for (std::uint32_t i = 0; i < times; ++i) roles_.observed(member, seen, usable, now_);
    const auto primary = roles_.primary();
    if (primary == member) {
      EXPECT_FALSE(seen.in_recovery);
      EXPECT_FALSE(seen.read_only);
      EXPECT_EQ(seen.system_identifier, roles_.system_identifier());
      EXPECT_EQ(seen.timeline, roles_.timeline());
      EXPECT_TRUE(usable);
    }
  }

  void check() {
    ASSERT_GE(roles_.epoch(), epoch_);
    ASSERT_GE(roles_.timeline(), timeline_);
    ASSERT_TRUE(identifier_ == 0 || roles_.system_identifier() == identifier_);
    // Another primary, or another timeline, is another epoch (I-1).
    ASSERT_TRUE(!roles_.primary() || !primary_ || roles_.epoch() > epoch_ || roles_.primary() == primary_);
    ASSERT_TRUE(roles_.timeline() == timeline_ || roles_.epoch() > epoch_);
    if (roles_.epoch() > epoch_) primary_.reset();
    epoch_ = roles_.epoch();
    timeline_ = roles_.timeline();
    identifier_ = roles_.system_identifier();
    if (roles_.primary()) primary_ = roles_.primary();

    std::size_t primaries = 0;
    for (MemberIndex member = 0; member < 4; ++member) {
      const RoleJudge::View& view = roles_.view(member);
      if (view.role == Role::primary) {
        ++primaries;
        ASSERT_EQ(roles_.primary(), member);
      }
      ASSERT_TRUE(!view.accepts_reads || view.role == Role::replica);
      ASSERT_GE(view.generation, generation_[member]);
      generation_[member] = view.generation;
    }
    ASSERT_EQ(primaries, roles_.primary() ? 1U : 0U);
    ASSERT_TRUE(!roles_.dual() || !roles_.primary());
    ASSERT_NE(roles_.split_brain().size(), 1U);
    ASSERT_EQ(roles_.why_no_primary().empty(), roles_.primary().has_value());
  }

  std::mt19937 random_;
  RoleJudge roles_{{"pg1", "pg2", "pg3", "pg4"}, 0};
  TimePoint now_{std::chrono::seconds(1000)};
  std::uint64_t epoch_ = 0;
  std::uint32_t timeline_ = 0;
  std::uint64_t identifier_ = 0;
  std::optional<MemberIndex> primary_;  // the last one of the epoch
  std::uint64_t generation_[4] = {};
};

TEST(RoleJudgeProperty, random_histories_keep_the_invariants) {
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
