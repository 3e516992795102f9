#include "health/member.hpp"

#include <gtest/gtest.h>

namespace holdfast::health {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class MemberTest : public ::testing::Test {
 protected:
  MemberAction probe(Grade grade, milliseconds later = milliseconds(100)) {
    now += later;
    return member.probed({.grade = grade, .detail = grade == Grade::ok ? "" : name_of(grade)}, now);
  }
  void bring_up() { probe(Grade::ok); }

  config::Cluster settings;  // fall 3, rise 2, down_after 2 s
  Member member{settings};
  TimePoint now{seconds(1000)};
};

TEST_F(MemberTest, is_up_after_the_first_answer) {
  EXPECT_EQ(member.state(), Reachability::unknown);
  EXPECT_TRUE(probe(Grade::ok).changed);
  EXPECT_EQ(member.state(), Reachability::up);
}

TEST_F(MemberTest, goes_down_at_once_when_refused) {
  bring_up();
  EXPECT_TRUE(probe(Grade::refused).changed);
  EXPECT_EQ(member.state(), Reachability::down);
  EXPECT_EQ(member.reason(), "refused");
}

TEST_F(MemberTest, counts_what_may_be_a_lost_packet) {
  for (const Grade grade : {Grade::connect_timeout, Grade::query_timeout, Grade::unreachable, Grade::connection_lost}) {
    member.forget();
    bring_up();
    probe(grade);
    EXPECT_EQ(member.state(), Reachability::suspect) << name_of(grade);
    EXPECT_TRUE(member.usable());
    probe(grade);
    EXPECT_EQ(member.state(), Reachability::suspect);
    probe(grade);
    EXPECT_EQ(member.state(), Reachability::down);
    EXPECT_FALSE(member.usable());
  }
}

// A host that is off: each probe takes its whole time.
TEST_F(MemberTest, silence_takes_it_down_before_the_third_time_out) {
  bring_up();
  probe(Grade::query_timeout, seconds(1));
  EXPECT_EQ(member.state(), Reachability::suspect);
  probe(Grade::connect_timeout, seconds(1));
  EXPECT_EQ(member.state(), Reachability::down);
}

TEST_F(MemberTest, one_time_out_is_no_silence) {
  bring_up();
  probe(Grade::query_timeout, seconds(3));
  EXPECT_EQ(member.state(), Reachability::suspect);
  probe(Grade::too_many);
  probe(Grade::connection_lost);
  probe(Grade::connection_lost);
  EXPECT_EQ(member.state(), Reachability::suspect) << "it answered a moment ago";
}

TEST_F(MemberTest, probes_again_at_once_after_a_time_out) {
  bring_up();
  EXPECT_TRUE(probe(Grade::query_timeout).probe_now);
  EXPECT_TRUE(probe(Grade::connect_timeout).probe_now);
  member.forget();
  bring_up();
  EXPECT_FALSE(probe(Grade::unreachable).probe_now);  // fails within microseconds: repeated at the fast pace
}

TEST_F(MemberTest, one_answer_ends_a_suspicion) {
  bring_up();
  probe(Grade::query_timeout);
  probe(Grade::query_timeout);
  probe(Grade::ok);
  EXPECT_EQ(member.state(), Reachability::up);
  probe(Grade::query_timeout);
  probe(Grade::query_timeout);
  EXPECT_EQ(member.state(), Reachability::suspect);  // counting began anew
}

TEST_F(MemberTest, rises_after_good_probes_in_a_row) {
  bring_up();
  probe(Grade::refused);
  EXPECT_TRUE(probe(Grade::ok).probe_now);
  EXPECT_EQ(member.state(), Reachability::down);
  probe(Grade::refused);
  probe(Grade::ok);
  EXPECT_EQ(member.state(), Reachability::down);
  probe(Grade::ok);
  EXPECT_EQ(member.state(), Reachability::up);
}

TEST_F(MemberTest, load_never_takes_it_down) {
  for (const Grade grade : {Grade::too_many, Grade::auth, Grade::tls, Grade::query_failed, Grade::own_shortage}) {
    member.forget();
    bring_up();
    for (int i = 0; i < 20; ++i) probe(grade);
    EXPECT_EQ(member.state(), Reachability::up) << name_of(grade);
    EXPECT_EQ(member.reason(), name_of(grade));
  }
}

TEST_F(MemberTest, load_brings_nothing_back) {
  bring_up();
  probe(Grade::refused);
  for (int i = 0; i < 20; ++i) probe(Grade::too_many);
  EXPECT_EQ(member.state(), Reachability::down);  // its role would be a guess
}

TEST_F(MemberTest, a_full_server_ends_a_suspicion) {
  bring_up();
  probe(Grade::query_timeout);
  probe(Grade::too_many);
  EXPECT_EQ(member.state(), Reachability::up);
}

TEST_F(MemberTest, starting_is_not_down_and_ends_with_the_first_answer) {
  bring_up();
  EXPECT_TRUE(probe(Grade::starting).changed);
  EXPECT_EQ(member.state(), Reachability::starting);
  EXPECT_FALSE(member.usable());
  probe(Grade::ok);
  EXPECT_EQ(member.state(), Reachability::up);
}

TEST_F(MemberTest, starting_that_falls_silent_goes_down) {
  bring_up();
  probe(Grade::starting);
  for (int i = 0; i < 3; ++i) probe(Grade::connect_timeout);
  EXPECT_EQ(member.state(), Reachability::down);
}

TEST_F(MemberTest, evidence_asks_for_a_probe_and_changes_nothing_itself) {
  bring_up();
  for (const Evidence evidence :
       {Evidence::connect_refused, Evidence::connect_timeout, Evidence::connect_failed, Evidence::connection_lost,
        Evidence::admin_shutdown, Evidence::crash_shutdown, Evidence::cannot_connect_now, Evidence::read_only,
        Evidence::role_changed, Evidence::answer_overdue}) {
    now += seconds(1);
    EXPECT_TRUE(member.evidence(evidence, now).probe_now) << name_of(evidence);
    EXPECT_EQ(member.state(), Reachability::up);
  }
}

TEST_F(MemberTest, only_a_refused_connect_asks_for_a_new_connection) {
  bring_up();
  EXPECT_TRUE(member.evidence(Evidence::connect_refused, now).fresh);
  EXPECT_FALSE(member.evidence(Evidence::connect_refused, now + milliseconds(50)).fresh);  // not one each time
  EXPECT_TRUE(member.evidence(Evidence::connect_refused, now + milliseconds(100)).fresh);
  EXPECT_FALSE(member.evidence(Evidence::connect_timeout, now + seconds(5)).fresh);
}

TEST_F(MemberTest, a_storm_of_evidence_asks_once) {
  bring_up();
  int probes = 0;
  for (int i = 0; i < 1000; ++i) {
    now += std::chrono::microseconds(10);
    if (member.evidence(Evidence::connection_lost, now).probe_now) ++probes;
  }
  EXPECT_EQ(probes, 1);
  EXPECT_TRUE(member.questioned(now));
  EXPECT_FALSE(member.questioned(now + seconds(2)));
}

TEST_F(MemberTest, flapping_is_damped_and_a_single_fall_is_not) {
  bring_up();
  const auto flap = [&] {
    probe(Grade::refused);
    probe(Grade::ok);
    probe(Grade::ok);
    ASSERT_EQ(member.state(), Reachability::up);
  };
  flap();
  EXPECT_TRUE(member.steady(now));
  flap();
  EXPECT_TRUE(member.steady(now));
  flap();
  EXPECT_FALSE(member.steady(now));
  EXPECT_TRUE(member.steady(now + seconds(1)));
  flap();
  EXPECT_FALSE(member.steady(now + seconds(1)));
  EXPECT_TRUE(member.steady(now + seconds(2)));
  now += seconds(61);
  flap();
  EXPECT_TRUE(member.steady(now));
}

TEST_F(MemberTest, damping_has_a_limit) {
  bring_up();
  for (int i = 0; i < 12; ++i) {
    probe(Grade::refused);
    probe(Grade::ok);
    probe(Grade::ok);
  }
  EXPECT_TRUE(member.steady(now + seconds(30)));
}

TEST(Pace, is_slow_when_all_is_well_and_fast_when_not) {
  const config::Monitor settings;
  EXPECT_EQ(pace({.state = Reachability::up}, settings).full, settings.interval);
  EXPECT_EQ(pace({.state = Reachability::up}, settings).light, settings.fast_interval);
  EXPECT_EQ(pace({.state = Reachability::suspect}, settings).full, settings.fast_interval);
  EXPECT_EQ(pace({.state = Reachability::up, .questioned = true}, settings).full, settings.fast_interval);
  EXPECT_EQ(pace({.state = Reachability::down}, settings).light, milliseconds(0));
}

TEST(Pace, is_fast_while_there_is_no_primary) {
  const config::Monitor settings;
  EXPECT_LE(pace({.state = Reachability::up, .cluster_has_primary = false}, settings).light, milliseconds(25));
  EXPECT_LE(pace({.state = Reachability::down, .cluster_has_primary = false}, settings).light, milliseconds(25));
  const PaceInput long_gone{.state = Reachability::down, .in_state = seconds(11), .cluster_has_primary = false};
  EXPECT_EQ(pace(long_gone, settings).light, milliseconds(0));
  EXPECT_EQ(pace(long_gone, settings).full, settings.interval);
}

}  // namespace
}  // namespace holdfast::health
