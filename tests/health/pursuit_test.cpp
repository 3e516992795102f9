// When a mark that readers ask for is pursued, and how often each member is asked meanwhile; a clock moved by hand.
#include "health/pursuit.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace holdfast::health {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A primary (0) and two replicas, which have replayed up to 100 and are as fresh as of the start.
class PursuitTest : public ::testing::Test {
 protected:
  PursuitTest() {
    for (const std::size_t replica : {1U, 2U}) pursuit.take_part(replica, true);
    primary(100, 0);
    for (const std::size_t replica : {1U, 2U}) replica_at(replica, 100, 0);
  }
  [[nodiscard]] TimePoint at(int ms) const { return start + milliseconds(ms); }
  void primary(std::uint64_t lsn, int ms) {
    sampler.primary_at(lsn, at(ms));
    pursuit.primary_sampled(at(ms), at(ms));
  }
  void replica_at(std::size_t member, std::uint64_t lsn, int ms) {
    sampler.replica_at(member, lsn);
    pursuit.replica_sampled(member, lsn, at(ms));
  }
  // A reader asks for the moment `ms`. Whether the monitor had to be told, and pursues it.
  bool ask(int ms) { return marks->want(at(ms)) && pursuit.begin(at(ms)); }

  TimePoint start{seconds(1000)};
  std::shared_ptr<FreshnessMarks> marks = std::make_shared<FreshnessMarks>(3);
  Sampler sampler{marks};
  Pursuit pursuit{sampler};
};

TEST_F(PursuitTest, rests_while_nobody_asks) {
  EXPECT_FALSE(pursuit.goes_on(at(50)));
  primary(200, 50);
  EXPECT_FALSE(pursuit.primary_due());
  EXPECT_FALSE(pursuit.replica_due(1));
}

TEST_F(PursuitTest, asks_the_primary_and_then_who_is_behind_it) {
  EXPECT_TRUE(ask(50));
  EXPECT_EQ(pursuit.primary_due(), at(52)) << "when the reads behind the write are through";
  EXPECT_FALSE(pursuit.replica_due(1)) << "there is nothing that it has not reached";
  primary(200, 50);
  EXPECT_FALSE(pursuit.primary_due()) << "this sample is new enough";
  EXPECT_LE(pursuit.replica_due(1), at(50));
  replica_at(1, 200, 51);
  EXPECT_FALSE(pursuit.replica_due(1));
  EXPECT_TRUE(pursuit.goes_on(at(51))) << "the other one is still behind";
  EXPECT_LE(pursuit.replica_due(2), at(51));
  replica_at(2, 200, 51);
  EXPECT_FALSE(pursuit.goes_on(at(51)));
}

TEST_F(PursuitTest, asks_nobody_twice_within_a_millisecond) {
  ASSERT_TRUE(ask(50));
  primary(200, 50);
  replica_at(1, 150, 50);
  EXPECT_EQ(pursuit.replica_due(1), at(51));
  static_cast<void>(marks->want(at(60)));
  EXPECT_TRUE(pursuit.goes_on(at(60)));
  EXPECT_EQ(pursuit.primary_due(), at(52)) << "nor within two of the reader that asked first";
}

TEST_F(PursuitTest, who_stands_still_is_asked_ever_more_rarely_until_it_moves) {
  ASSERT_TRUE(ask(50));
  primary(200, 50);
  int now = 50;
  for (const int pause : {2, 4, 8, 16, 16}) {
    replica_at(1, 100, now);
    EXPECT_EQ(pursuit.replica_due(1), at(now + pause));
    now += pause;
  }
  primary(300, now);
  EXPECT_GT(pursuit.replica_due(1), at(now - 16)) << "a new sample changes nothing for it";
  replica_at(1, 150, now);
  EXPECT_EQ(pursuit.replica_due(1), at(now + 1));
}

TEST_F(PursuitTest, with_all_who_are_behind_standing_still_the_primary_is_asked_rarely_too) {
  ASSERT_TRUE(ask(50));
  primary(200, 50);
  for (int i = 0; i < 6; ++i) {
    for (const std::size_t replica : {1U, 2U}) replica_at(replica, 100, 50);
  }
  static_cast<void>(marks->want(at(60)));
  EXPECT_TRUE(pursuit.goes_on(at(60)));
  EXPECT_EQ(pursuit.primary_due(), at(66));
  replica_at(2, 150, 60);
  EXPECT_LT(pursuit.primary_due(), at(66)) << "one of them can use it";
}

// Writes that follow each other fast: a mark that has just come is too old for the next read.
TEST_F(PursuitTest, asks_the_primary_more_rarely_where_marks_are_of_little_use) {
  int now = 50;
  ASSERT_TRUE(ask(now));
  for (const int pause : {2, 4, 8, 16, 32, 64, 128, 128}) {
    primary(200, now);
    for (const std::size_t replica : {1U, 2U}) replica_at(replica, 200, now);
    ASSERT_FALSE(pursuit.goes_on(at(now)));
    ASSERT_TRUE(ask(now + 1));
    EXPECT_EQ(pursuit.primary_due(), at(now + std::max(pause, 3)));
    now += pause;
  }
  for (const int pause : {64, 32, 16, 8, 4, 2, 1, 1}) {
    primary(200, now);
    for (const std::size_t replica : {1U, 2U}) replica_at(replica, 200, now);
    ASSERT_FALSE(pursuit.goes_on(at(now)));
    ASSERT_TRUE(ask(now + 50)) << "the mark has served reads for a while";
    EXPECT_EQ(pursuit.primary_due(), at(now + std::max(pause, 52))) << "as soon as it may be";
    now += 50;
  }
}

TEST_F(PursuitTest, who_serves_no_reads_is_not_waited_for) {
  pursuit.take_part(2, false);
  ASSERT_TRUE(ask(50));
  primary(200, 50);
  EXPECT_FALSE(pursuit.replica_due(2));
  replica_at(1, 200, 51);
  EXPECT_FALSE(pursuit.goes_on(at(51)));
}

TEST_F(PursuitTest, gives_up_a_second_after_the_last_news_and_begins_again_with_the_next_reader) {
  ASSERT_TRUE(ask(50));
  primary(200, 50);
  EXPECT_FALSE(marks->want(at(500))) << "it is pursued already";
  EXPECT_TRUE(pursuit.goes_on(at(600)));
  EXPECT_TRUE(pursuit.goes_on(at(1599)));
  EXPECT_FALSE(pursuit.goes_on(at(1600)));
  EXPECT_FALSE(pursuit.primary_due());
  EXPECT_TRUE(ask(1700));
}

// A reader looked at the mark just before it was raised: nothing is left to pursue, and the next one has to say so.
TEST_F(PursuitTest, asked_for_what_has_come_it_rests_at_once) {
  EXPECT_FALSE(ask(0));
  EXPECT_TRUE(ask(50));
}

}  // namespace
}  // namespace holdfast::health
