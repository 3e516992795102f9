#include "protocol/repeats.hpp"

#include <gtest/gtest.h>

namespace holdfast::protocol {
namespace {

using namespace std::chrono_literals;
using Crash = Repeats::Crash;
using Next = Repeats::Next;

class RepeatsTest : public ::testing::Test {
 protected:
  [[nodiscard]] Next next(Crash crash = Crash::none) const { return repeats.next(now, 30s, crash); }

  Repeats repeats;
  Repeats::TimePoint now{1h};
};

TEST_F(RepeatsTest, a_unit_that_was_never_sent_goes_out) {
  EXPECT_FALSE(repeats.any());
  EXPECT_EQ(next(), Next::send);
  EXPECT_EQ(next(Crash::seen), Next::send) << "it has nothing to do with the crash";
}

TEST_F(RepeatsTest, what_a_server_may_have_begun_goes_out_once_more_after_a_pause) {
  repeats.lost(now, Crash::none);
  EXPECT_EQ(next(), Next::wait);
  EXPECT_EQ(repeats.due(), now + 100ms);
  now += 99ms;
  EXPECT_EQ(next(), Next::wait);
  now += 1ms;
  EXPECT_EQ(next(), Next::send);
}

TEST_F(RepeatsTest, a_second_loss_is_the_last) {
  repeats.lost(now, Crash::none);
  now += 5s;
  repeats.lost(now, Crash::none);
  EXPECT_EQ(next(), Next::wait) << "a crash may show, and be told instead";
  now += 100ms;
  EXPECT_EQ(next(), Next::lost_again);
}

TEST_F(RepeatsTest, a_second_loss_by_a_crash_is_told_as_one) {
  repeats.lost(now, Crash::none);
  now += 5s;
  repeats.lost(now, Crash::none);
  EXPECT_EQ(next(Crash::seen), Next::crashed);
}

TEST_F(RepeatsTest, a_server_whose_last_word_was_a_crash_gets_no_successor) {
  repeats.lost(now, Crash::seen);
  EXPECT_EQ(next(), Next::crashed);
  now += 1h;
  EXPECT_EQ(next(), Next::crashed);
}

TEST_F(RepeatsTest, a_crash_that_shows_before_it_goes_out_stops_it) {
  repeats.lost(now, Crash::none);
  EXPECT_EQ(next(Crash::seen), Next::crashed);
  now += 10s;  // it has waited for a primary meanwhile
  EXPECT_EQ(next(Crash::seen), Next::crashed);
}

TEST_F(RepeatsTest, what_was_not_sent_is_no_loss_and_goes_out_at_once) {
  for (int i = 0; i < 3; ++i) {
    repeats.unsent(now);
    EXPECT_EQ(next(), Next::send) << i;
    EXPECT_EQ(next(Crash::seen), Next::send) << i;
  }
  EXPECT_FALSE(repeats.lost_at());
}

TEST_F(RepeatsTest, servers_that_never_take_it_are_given_a_breath_and_then_given_up) {
  for (int i = 0; i < 4; ++i) repeats.unsent(now);
  EXPECT_EQ(next(), Next::wait);
  now += 10ms;
  EXPECT_EQ(next(), Next::send);
  const auto begin = now - 10ms;
  while (next() != Next::given_up) {
    repeats.unsent(now);
    now += 10ms;
    ASSERT_LE(now - begin, 31s);
  }
  EXPECT_EQ(now - begin, 30s);
}

TEST_F(RepeatsTest, each_repeat_has_its_reason_once) {
  EXPECT_FALSE(repeats.goes_out());
  repeats.unsent(now);
  EXPECT_EQ(repeats.goes_out(), Repeats::Reason::unsent);
  EXPECT_FALSE(repeats.goes_out());
  repeats.lost(now, Crash::none);
  EXPECT_EQ(repeats.goes_out(), Repeats::Reason::lost);
}

TEST_F(RepeatsTest, the_time_without_a_taker_begins_anew_behind_a_loss) {
  repeats.unsent(now);
  now += 29s;
  repeats.lost(now, Crash::none);
  now += 2s;
  repeats.unsent(now);
  EXPECT_EQ(next(), Next::send);
}

}  // namespace
}  // namespace holdfast::protocol
