// When a primary isn't believed because too few members are in sight; a clock moved by hand.
#include "health/isolation.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace holdfast::health {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class IsolationTest : public ::testing::Test {
 protected:
  explicit IsolationTest(MemberIndex count = 3) {
    for (MemberIndex member = 0; member < count; ++member) {
      names.push_back("pg" + std::to_string(member + 1));
      isolation.present(member, "pg" + std::to_string(member + 1));
      answer(member);
    }
  }
  static std::string address(MemberIndex member) { return "10.0.0." + std::to_string(member + 1); }
  static Sender place(MemberIndex member, std::int64_t replied, std::uint64_t flushed) {
    return {
        .process = 100 + static_cast<int>(member), .address = address(member), .replied = replied, .flushed = flushed};
  }
  void answer(MemberIndex member, Grade grade = Grade::ok) {
    isolation.probed(member, {.grade = grade, .address = address(member), .streams = grade == Grade::ok && member != 0},
                     now);
  }
  // A probe of each every 100 ms; those that aren't named are silent.
  void pass(milliseconds time, const std::vector<MemberIndex>& answering) {
    for (const auto end = now + time; now < end; now += milliseconds(100)) {
      for (MemberIndex member = 0; member < names.size(); ++member) {
        const bool answers = std::ranges::find(answering, member) != answering.end();
        answer(member, answers ? Grade::ok : Grade::connect_timeout);
      }
      if (!places.empty()) isolation.attached(places, 1000, now);
    }
  }
  Isolation::Verdict judge() { return isolation.judge(0, now); }

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

TEST_F(IsolationTest, a_verdict_stands_until_the_next) {
  pass(seconds(3), {0});
  judge();
  answer(1);
  EXPECT_TRUE(isolation.verdict().holds);
  EXPECT_FALSE(isolation.judge(std::nullopt, now).isolated) << "there is nobody to believe";
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
    for (MemberIndex member = 1; member < 3; ++member) answer(member, Grade::own_shortage);
    now += milliseconds(100);
  }
  EXPECT_FALSE(judge().isolated);
}

TEST_F(IsolationTest, standbys_that_answer_the_primary_are_in_sight) {
  for (int i = 0; i < 100; ++i) {
    places = {place(1, i, 900)};
    pass(milliseconds(100), {0});
  }
  EXPECT_FALSE(judge().isolated) << "one of the two is";
  pass(milliseconds(2100), {0});  // it keeps its place, and says no more
  EXPECT_TRUE(judge().holds);
}

TEST_F(IsolationTest, a_standby_that_has_everything_answers_every_ten_seconds) {
  places = {place(1, 1, 1000)};
  pass(seconds(10), {0});
  EXPECT_FALSE(judge().isolated);
  pass(seconds(2), {0});
  EXPECT_TRUE(judge().holds);
}

TEST_F(IsolationTest, a_place_that_is_gone_is_no_sight) {
  places = {place(1, 1, 1000)};
  pass(seconds(5), {0});
  EXPECT_FALSE(judge().isolated);
  isolation.attached({}, 1000, now);
  EXPECT_TRUE(judge().isolated);
}

// Its place is its own: it stands for nobody else.
TEST_F(IsolationTest, a_standby_that_is_seen_anyway_stands_for_no_other) {
  names = {"pg1", "pg2", "pg3", "pg4", "pg5"};
  for (const MemberIndex member : {3, 4}) {
    isolation.present(member, "pg" + std::to_string(member + 1));
    answer(member);
  }
  for (int i = 0; i < 50; ++i) {
    places = {place(1, i, 900)};
    pass(milliseconds(100), {0, 1});
  }
  EXPECT_TRUE(judge().holds) << "3 of 5";
  for (int i = 50; i < 100; ++i) {
    places = {place(1, i, 900), place(2, i, 900)};
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
  names = {"pg1"};
  pass(seconds(5), {0});
  EXPECT_FALSE(judge().isolated);
}

// Planned members, or such whose names lead nowhere.
TEST_F(IsolationTest, a_member_that_was_never_there_is_not_missed) {
  for (const MemberIndex member : {1, 2}) {
    isolation.removed(member);
    isolation.present(member, "pg" + std::to_string(member + 1));
  }
  pass(seconds(10), {0});
  EXPECT_FALSE(judge().isolated);
}

// The proxy itself was stopped: all that it heard is old, and nobody failed to answer.
TEST_F(IsolationTest, a_pause_of_our_own_is_no_silence_of_others) {
  pass(seconds(1), {0, 1, 2});
  now += seconds(30);
  EXPECT_FALSE(judge().isolated);
  for (const MemberIndex member : {1, 2}) answer(member, Grade::query_timeout);
  EXPECT_FALSE(judge().isolated) << "what was under way has timed out";
}

// The first write behind an idle spell: they have all of down_after from then on.
TEST_F(IsolationTest, a_standby_that_falls_behind_has_its_time) {
  places = {place(1, 1, 1000), place(2, 1, 1000)};
  pass(seconds(5), {0});
  EXPECT_FALSE(judge().isolated);
  places = {place(1, 1, 900), place(2, 1, 900)};
  pass(milliseconds(1000), {0});
  EXPECT_FALSE(judge().isolated);
  pass(milliseconds(1200), {0});
  EXPECT_TRUE(judge().holds);
}

// Members on one host: the place of one that is seen is no sign of the others.
TEST_F(IsolationTest, a_member_takes_its_own_place_at_a_shared_address) {
  for (const MemberIndex member : {3, 4}) isolation.present(member, "pg" + std::to_string(member + 1));
  const auto on_one_host = [&](MemberIndex member, Grade grade) {
    isolation.probed(member, {.grade = grade, .address = "10.0.0.2", .streams = grade == Grade::ok}, now);
  };
  for (const MemberIndex member : {1, 2, 3, 4}) on_one_host(member, Grade::ok);
  const auto isolated_with = [&](int standbys) {
    for (int i = 0; i < 30; ++i, now += milliseconds(100)) {
      answer(0);
      on_one_host(1, Grade::ok);
      for (const MemberIndex member : {2, 3, 4}) on_one_host(member, Grade::connect_timeout);
      places.clear();
      for (int k = 0; k < standbys; ++k) {
        places.push_back({.process = 7 + k, .address = "10.0.0.2", .replied = i, .flushed = 900});
      }
      isolation.attached(places, 1000, now);
    }
    return judge().isolated;
  };
  EXPECT_TRUE(isolated_with(1)) << "3 of 5";
  EXPECT_FALSE(isolated_with(2)) << "2 of 5";
}

// Somebody else's standby beside the primary.
TEST_F(IsolationTest, a_standby_of_no_member_stands_for_nobody) {
  for (int i = 0; i < 50; ++i) {
    places = {{.process = 7, .address = "10.9.9.9", .replied = i, .flushed = 900}};
    pass(milliseconds(100), {0});
  }
  EXPECT_TRUE(judge().holds);
}

TEST_F(IsolationTest, a_replica_that_was_stopped_takes_nobodys_place) {
  names = {"pg1", "pg2", "pg3", "pg4", "pg5"};
  for (const MemberIndex member : {3, 4}) {
    isolation.present(member, "pg" + std::to_string(member + 1));
    answer(member);
  }
  for (int i = 0; i < 50; ++i) {
    places = {place(2, i, 900)};
    pass(milliseconds(100), {0});
    answer(1, Grade::refused);
  }
  EXPECT_FALSE(judge().isolated) << "2 of 5";
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
