#include "health/sampler.hpp"

#include <gtest/gtest.h>

namespace holdfast::health {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint64_t segment = 16U << 20;
constexpr std::uint32_t block = 8192;

TEST(InsertPosition, goes_back_to_the_start_of_an_empty_page) {
  EXPECT_EQ(normalise_insert_position(3 * block + 24, block, segment), 3U * block);
  EXPECT_EQ(normalise_insert_position(5 * segment + 40, block, segment), 5 * segment);
}

TEST(InsertPosition, leaves_others_alone) {
  EXPECT_EQ(normalise_insert_position(3 * block + 40, block, segment), 3U * block + 40);
  EXPECT_EQ(normalise_insert_position(3 * block + 32, block, segment), 3U * block + 32);
  EXPECT_EQ(normalise_insert_position(3 * block, block, segment), 3U * block);
  EXPECT_EQ(normalise_insert_position(5 * segment + 24, block, segment), 5 * segment);
}

TEST(InsertPosition, goes_by_the_servers_own_sizes) {
  EXPECT_EQ(normalise_insert_position(32768 + 24, 32768, 64U << 20), 32768U);
  EXPECT_EQ(normalise_insert_position(8192 + 24, 32768, 64U << 20), 8192U + 24);
  EXPECT_EQ(normalise_insert_position(segment + 40, block, 64U << 20), segment + 40);
}

class SamplerTest : public ::testing::Test {
 protected:
  [[nodiscard]] TimePoint at(int ms) const { return start + milliseconds(ms); }
  [[nodiscard]] TimePoint mark(std::size_t member) const { return marks->fresh_until(member); }

  TimePoint start{seconds(1000)};
  std::shared_ptr<FreshnessMarks> marks = std::make_shared<FreshnessMarks>(2);
  Sampler sampler{marks};
};

// "Replay only moves forward" holds within one life of a member: a session that read there asks again after it.
TEST(Freshness, a_member_that_may_have_restarted_begins_a_new_life) {
  auto marks = std::make_shared<FreshnessMarks>(2);
  Sampler sampler(marks);
  const auto life = marks->life(1);
  sampler.forget(1);
  EXPECT_NE(marks->life(1), life);
  EXPECT_EQ(marks->life(0), 0U);
  const auto later = marks->life(1);
  FreshnessMarks larger(3);
  larger.take(*marks);
  EXPECT_EQ(larger.life(1), later) << "more members are no news of this one";
  sampler.reset();
  EXPECT_NE(marks->life(0), 0U);
}

TEST_F(SamplerTest, mark_is_the_moment_before_the_sample_that_was_reached) {
  sampler.primary_at(100, at(0));
  sampler.primary_at(200, at(10));
  EXPECT_EQ(mark(1), TimePoint{});
  sampler.replica_at(1, 150);
  EXPECT_EQ(mark(1), at(0));
  sampler.replica_at(1, 200);
  EXPECT_EQ(mark(1), at(10));
}

TEST_F(SamplerTest, mark_stands_still_while_the_replica_does) {
  sampler.primary_at(100, at(0));
  sampler.replica_at(1, 100);
  for (int i = 1; i < 100; ++i) {
    sampler.primary_at(100 + i, at(i));
    sampler.replica_at(1, 100);
  }
  EXPECT_EQ(mark(1), at(0));
}

TEST_F(SamplerTest, idle_primary_makes_marks_advance_with_time) {
  sampler.primary_at(100, at(0));
  sampler.replica_at(1, 100);
  sampler.primary_at(100, at(50));  // the position was replayed already: no need to look again
  EXPECT_EQ(mark(1), at(50));
}

TEST_F(SamplerTest, the_same_position_stands_for_the_later_moment) {
  sampler.primary_at(100, at(0));
  sampler.primary_at(100, at(50));
  sampler.replica_at(1, 100);
  EXPECT_EQ(mark(1), at(50));
}

TEST_F(SamplerTest, full_ring_keeps_what_is_reached_first_and_what_is_newest) {
  for (int i = 0; i < 100; ++i) sampler.primary_at(100 + i, at(i));
  sampler.replica_at(1, 100);
  EXPECT_EQ(mark(1), at(0));
  EXPECT_TRUE(sampler.pending(1));
  sampler.replica_at(1, 199);
  EXPECT_EQ(mark(1), at(99));
  EXPECT_FALSE(sampler.pending(1));
}

TEST_F(SamplerTest, lost_replica_has_no_mark) {
  sampler.primary_at(100, at(0));
  sampler.replica_at(0, 100);
  sampler.replica_at(1, 100);
  sampler.forget(1);
  EXPECT_EQ(mark(1), TimePoint{});
  EXPECT_EQ(mark(0), at(0));
  sampler.primary_at(100, at(10));  // what it had replayed before doesn't count
  EXPECT_EQ(mark(1), TimePoint{});
  sampler.replica_at(1, 100);
  EXPECT_EQ(mark(1), at(10));
}

TEST_F(SamplerTest, new_epoch_resets_all) {
  sampler.primary_at(100, at(0));
  sampler.replica_at(1, 100);
  sampler.primary_at(200, at(1));
  sampler.reset();
  EXPECT_EQ(mark(1), TimePoint{});
  sampler.replica_at(1, 300);
  EXPECT_EQ(mark(1), TimePoint{});  // samples of before are gone
}

TEST_F(SamplerTest, positions_that_fall_after_a_crash_never_take_a_mark_back) {
  sampler.primary_at(200, at(0));
  sampler.primary_at(150, at(10));  // WAL that was not flushed is lost in a crash
  sampler.replica_at(1, 160);
  EXPECT_EQ(mark(1), TimePoint{});
  sampler.replica_at(1, 210);
  EXPECT_EQ(mark(1), at(10));
  sampler.primary_at(205, at(20));
  EXPECT_EQ(mark(1), at(20));
}

TEST_F(SamplerTest, more_members_keep_the_marks_of_the_old) {
  sampler.primary_at(100, at(0));
  sampler.replica_at(1, 100);
  sampler.resize(4);
  EXPECT_EQ(sampler.marks()->size(), 4U);
  EXPECT_EQ(sampler.marks()->fresh_until(1), at(0));
  sampler.primary_at(100, at(5));
  sampler.replica_at(3, 100);
  EXPECT_EQ(sampler.marks()->fresh_until(3), at(5));
  EXPECT_EQ(mark(1), at(0));  // a snapshot of before keeps what it knew
}

}  // namespace
}  // namespace holdfast::health
