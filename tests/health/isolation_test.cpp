// When a primary isn't believed because too few members are in sight; a clock moved by hand.
#include "health/isolation.hpp"

#include <gtest/gtest.h>

namespace holdfast::health {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class IsolationTest : public ::testing::Test {
 protected:
  explicit IsolationTest(MemberIndex count = 3) {
    for (MemberIndex member = 0; member < count; ++member) {
      names.push_back("pg" + std::to_string(member + 1));
      isolation.present(member, now);
    }
    answer(0);
  }
  void answer(MemberIndex member, Grade grade = Grade::ok) { isolation.probed(member, grade, member != 0, now); }
  // Probes of the members in front of each 100 ms that pass; the others are silent.
  void pass(milliseconds time, const std::vector<MemberIndex>& answering) {
    for (const auto end = now + time; now < end; now += milliseconds(100)) {
      for (const MemberIndex member : answering) answer(member);
      if (!places.empty()) isolation.attached(places, 1000, now);
    }
  }
  [[nodiscard]] Isolation::Verdict judge() const { return isolation.judge(names, 0, now); }

  std::vector<std::string> names;
  std::vector<Sender> places;  // what the primary says
  Isolation isolation;
  TimePoint now{seconds(1000)};
};

TEST_F(IsolationTest, alone_with_the_primary_writes_wait) {
  pass(milliseconds(1900), {0});
  EXPECT_FALSE(judge().isolated);
  pass(milliseconds(200), {0});
  EXPECT_TRUE(judge().holds);
  EXPECT_EQ(judge().reason,
            "pg1 is the only one in sight of 3 members (pg2, pg3), and pg1 doesn't hear of them either: they may have "
            "another primary; see failover.isolation");
  answer(2);
  EXPECT_FALSE(judge().isolated) << "one is enough";
}

TEST_F(IsolationTest, one_of_three_may_be_out_of_sight) {
  pass(seconds(60), {0, 1});
  EXPECT_FALSE(judge().isolated);
}

// Whoever is known to be down stops nobody.
TEST_F(IsolationTest, a_refused_connection_is_an_answer) {
  for (int i = 0; i < 50; ++i) {
    answer(0);
    answer(1, Grade::refused);
    answer(2, Grade::starting);
    now += milliseconds(100);
  }
  EXPECT_FALSE(judge().isolated);
  for (int i = 0; i < 50; ++i) {
    answer(0);
    answer(1, Grade::connect_timeout);
    answer(2, Grade::unreachable);
    now += milliseconds(100);
  }
  EXPECT_TRUE(judge().holds);
}

TEST_F(IsolationTest, what_this_process_lacks_says_nothing) {
  for (int i = 0; i < 50; ++i) {
    for (MemberIndex member = 0; member < 3; ++member) answer(member, Grade::own_shortage);
    now += milliseconds(100);
  }
  EXPECT_FALSE(judge().isolated);
}

TEST_F(IsolationTest, standbys_that_answer_the_primary_are_in_sight) {
  for (int i = 0; i < 100; ++i) {
    places = {{.process = 7, .replied = i, .flushed = 900}};
    pass(milliseconds(100), {0});
  }
  EXPECT_FALSE(judge().isolated) << "one of the two is";
  pass(milliseconds(2100), {0});  // it keeps its place, and says no more
  EXPECT_TRUE(judge().holds);
}

TEST_F(IsolationTest, a_standby_that_has_everything_answers_every_ten_seconds) {
  places = {{.process = 7, .replied = 1, .flushed = 1000}};
  pass(seconds(10), {0});
  EXPECT_FALSE(judge().isolated);
  pass(seconds(2), {0});
  EXPECT_TRUE(judge().holds);
}

TEST_F(IsolationTest, a_place_that_is_gone_is_no_sight) {
  places = {{.process = 7, .replied = 1, .flushed = 1000}};
  pass(seconds(5), {0});
  EXPECT_FALSE(judge().isolated);
  isolation.attached({}, 1000, now);
  EXPECT_TRUE(judge().isolated);
}

// Its place is its own: it stands for nobody else.
TEST_F(IsolationTest, a_standby_that_is_seen_anyway_stands_for_no_other) {
  isolation.present(3, now);
  isolation.present(4, now);
  names = {"pg1", "pg2", "pg3", "pg4", "pg5"};
  for (int i = 0; i < 50; ++i) {
    places = {{.process = 7, .replied = i, .flushed = 900}};
    pass(milliseconds(100), {0, 1});
  }
  EXPECT_TRUE(judge().holds) << "3 of 5";
  for (int i = 50; i < 100; ++i) {
    places = {{.process = 7, .replied = i, .flushed = 900}, {.process = 8, .replied = i, .flushed = 900}};
    pass(milliseconds(100), {0, 1});
  }
  EXPECT_FALSE(judge().isolated) << "2 of 5";
}

TEST_F(IsolationTest, the_operator_says_what_follows) {
  pass(seconds(3), {0});
  isolation.configure(config::Isolation::warn, seconds(2));
  EXPECT_TRUE(judge().isolated);
  EXPECT_FALSE(judge().holds);
  isolation.configure(config::Isolation::ignore, seconds(2));
  EXPECT_FALSE(judge().isolated);
  isolation.configure(config::Isolation::hold, seconds(5));
  EXPECT_FALSE(judge().isolated);
}

TEST_F(IsolationTest, a_member_that_was_removed_is_not_missed) {
  isolation.removed(1);
  isolation.removed(2);
  pass(seconds(5), {0});
  EXPECT_FALSE(judge().isolated);
  isolation.present(1, now);
  EXPECT_FALSE(judge().isolated) << "one that is new has its time";
}

class TwoMembers : public IsolationTest {
 protected:
  TwoMembers() : IsolationTest(2) {}
};

TEST_F(TwoMembers, only_warn) {
  pass(seconds(3), {0});
  EXPECT_TRUE(judge().isolated);
  EXPECT_FALSE(judge().holds);
  isolation.configure(config::Isolation::hold, seconds(2));
  EXPECT_TRUE(judge().holds);
}

class OneMember : public IsolationTest {
 protected:
  OneMember() : IsolationTest(1) {}
};

TEST_F(OneMember, misses_nobody) {
  isolation.configure(config::Isolation::hold, seconds(2));
  pass(seconds(10), {0});
  EXPECT_FALSE(judge().isolated);
}

}  // namespace
}  // namespace holdfast::health
