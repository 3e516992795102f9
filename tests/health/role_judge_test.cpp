#include "health/role_judge.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace holdfast::health {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr std::uint64_t ours = 7001;
constexpr std::uint64_t foreign = 9009;

Observation primary_on(std::uint32_t timeline, std::uint64_t lsn = 1000, std::int64_t started = 1) {
  return {.in_recovery = false,
          .system_identifier = ours,
          .timeline = timeline,
          .lsn = lsn,
          .receiver = std::nullopt,
          .started = started};
}

Observation standby_on(std::uint32_t timeline, std::uint64_t lsn = 1000, std::int64_t started = 1) {
  return {.in_recovery = true,
          .system_identifier = ours,
          .timeline = timeline,
          .lsn = lsn,
          .receiver = Receiver{.visible = true, .status = ReceiverStatus::streaming, .timeline = timeline},
          .started = started};
}

class RoleJudgeTest : public ::testing::Test {
 protected:
  // The postmasters of no two members start in the same microsecond.
  void observe(MemberIndex member, Observation observation, bool usable, TimePoint at) {
    observation.started += 1000 * member;
    cluster.observed(member, observation, usable, at);
  }
  // A probe, and the second one that the cluster may ask for.
  void see(MemberIndex member, const Observation& observation) {
    now += milliseconds(1);
    observe(member, observation, true, now);
    for (const MemberIndex again : cluster.take_confirmations()) {
      if (again == member) observe(member, observation, true, now += milliseconds(1));
    }
    (void)cluster.take_confirmations();
  }
  void lose(MemberIndex member) { cluster.lost(member, "connection refused", now += milliseconds(1)); }
  // pg1 is primary on timeline 1, pg2 and pg3 follow.
  void settle() {
    see(0, primary_on(1));
    see(1, standby_on(1));
    see(2, standby_on(1));
    see(0, primary_on(1));
    ASSERT_EQ(cluster.primary(), MemberIndex{0});
    ASSERT_EQ(cluster.epoch(), 1U);
  }
  [[nodiscard]] Role role(MemberIndex member) const { return cluster.view(member).role; }

  RoleJudge cluster{{"pg1", "pg2", "pg3"}, 0};
  TimePoint now{seconds(1000)};
};

TEST_F(RoleJudgeTest, accepts_nobody_before_every_member_was_probed) {
  see(0, primary_on(1));
  see(0, primary_on(1));
  EXPECT_FALSE(cluster.primary());
  see(1, standby_on(1));
  EXPECT_FALSE(cluster.primary());
  lose(2);  // given up once is enough: a member that is down at the start doesn't stop it
  EXPECT_EQ(cluster.primary(), MemberIndex{0});
  EXPECT_EQ(cluster.system_identifier(), ours);
}

TEST_F(RoleJudgeTest, accepts_after_two_agreeing_observations_and_asks_for_the_second) {
  see(1, standby_on(1));
  see(2, standby_on(1));
  observe(0, primary_on(1), true, now);
  EXPECT_FALSE(cluster.primary());
  EXPECT_EQ(role(0), Role::candidate);
  EXPECT_EQ(cluster.take_confirmations(), std::vector<MemberIndex>{0});
  observe(0, primary_on(1), true, now);
  EXPECT_EQ(cluster.primary(), MemberIndex{0});
}

TEST_F(RoleJudgeTest, a_member_that_has_not_risen_is_not_accepted) {
  see(1, standby_on(1));
  see(2, standby_on(1));
  for (int i = 0; i < 3; ++i) observe(0, primary_on(1), false, now);
  EXPECT_FALSE(cluster.primary());
  observe(0, primary_on(1), true, now);
  EXPECT_EQ(cluster.primary(), MemberIndex{0});
}

TEST_F(RoleJudgeTest, at_start_the_highest_timeline_wins) {
  see(0, primary_on(1));
  see(1, primary_on(2));
  see(2, standby_on(2));
  see(1, primary_on(2));
  EXPECT_EQ(cluster.primary(), MemberIndex{1});
  EXPECT_EQ(role(0), Role::fenced);
}

TEST_F(RoleJudgeTest, at_start_a_primary_behind_its_standbys_is_stale) {
  see(0, primary_on(1));
  lose(1);
  see(2, standby_on(2));
  see(0, primary_on(1));
  EXPECT_FALSE(cluster.primary());
  EXPECT_EQ(role(0), Role::fenced);
  EXPECT_NE(cluster.why_no_primary().find("pg3"), std::string::npos) << cluster.why_no_primary();
}

TEST_F(RoleJudgeTest, losing_the_primary_keeps_epoch_and_reads) {
  settle();
  lose(0);
  EXPECT_FALSE(cluster.primary());
  EXPECT_EQ(cluster.accepted(), MemberIndex{0});
  EXPECT_EQ(cluster.epoch(), 1U);
  EXPECT_EQ(cluster.why_no_primary(), "pg1 is gone: connection refused");
  Observation orphan = standby_on(1);
  orphan.receiver.reset();
  for (int i = 0; i < 10; ++i) {
    now += seconds(1);
    see(1, orphan);
  }
  EXPECT_TRUE(cluster.view(1).accepts_reads);
  EXPECT_TRUE(cluster.view(1).lag_known);  // can't grow any more
}

TEST_F(RoleJudgeTest, the_same_reign_after_a_silence_keeps_its_epoch) {
  settle();
  lose(0);
  see(0, primary_on(1));
  EXPECT_EQ(cluster.primary(), MemberIndex{0});
  EXPECT_EQ(cluster.epoch(), 1U);
}

TEST_F(RoleJudgeTest, restart_of_the_primary_is_a_new_epoch_and_generation) {
  settle();
  const auto generation = cluster.view(0).generation;
  lose(0);
  see(0, primary_on(1, 1000, 2));
  EXPECT_EQ(cluster.primary(), MemberIndex{0});
  EXPECT_EQ(cluster.epoch(), 2U);
  EXPECT_GT(cluster.view(0).generation, generation);
}

TEST_F(RoleJudgeTest, restart_between_two_probes_is_confirmed_before_it_gets_writes) {
  settle();
  observe(0, primary_on(1, 1000, 2), true, now);
  EXPECT_FALSE(cluster.primary());
  EXPECT_EQ(cluster.take_confirmations(), std::vector<MemberIndex>{0});
  observe(0, primary_on(1, 1000, 2), true, now);
  EXPECT_EQ(cluster.primary(), MemberIndex{0});
}

TEST_F(RoleJudgeTest, adopts_an_external_promotion_with_its_second_observation) {
  settle();
  lose(0);
  observe(1, primary_on(2), true, now);
  EXPECT_FALSE(cluster.primary());
  EXPECT_EQ(cluster.take_confirmations(), std::vector<MemberIndex>{1});
  observe(1, primary_on(2), true, now);
  EXPECT_EQ(cluster.primary(), MemberIndex{1});
  EXPECT_EQ(cluster.epoch(), 2U);
  EXPECT_EQ(cluster.timeline(), 2U);
}

TEST_F(RoleJudgeTest, promotion_keeps_the_generation_so_that_warm_links_stay) {
  settle();
  const auto generation = cluster.view(1).generation;
  lose(0);
  see(1, primary_on(2));
  EXPECT_EQ(cluster.view(1).generation, generation);
}

TEST_F(RoleJudgeTest, adoption_ends_the_old_primarys_connections) {
  settle();
  const auto generation = cluster.view(0).generation;
  lose(0);
  see(1, primary_on(2));
  EXPECT_GT(cluster.view(0).generation, generation);
}

TEST_F(RoleJudgeTest, higher_timeline_wins_while_an_old_primary_that_nobody_follows_is_alive) {
  settle();
  lose(2);
  observe(1, primary_on(2), true, now);
  EXPECT_FALSE(cluster.primary());  // the old one is stale from the first sight on
  EXPECT_EQ(role(0), Role::fenced);
  observe(1, primary_on(2), true, now);
  EXPECT_EQ(cluster.primary(), MemberIndex{1});
  see(0, primary_on(1, 999999));  // a higher position means nothing
  EXPECT_EQ(cluster.primary(), MemberIndex{1});
  EXPECT_EQ(role(0), Role::fenced);
}

// I-13
TEST_F(RoleJudgeTest, returning_old_primary_is_fenced_by_its_first_observation) {
  settle();
  lose(0);
  see(1, primary_on(2));
  observe(0, primary_on(1, 5000, 2), true, now);
  EXPECT_EQ(role(0), Role::fenced);
  EXPECT_FALSE(cluster.view(0).accepts_reads);
  EXPECT_EQ(cluster.view(0).reason, "timeline 1 is behind 2");
  EXPECT_EQ(cluster.primary(), MemberIndex{1});
}

TEST_F(RoleJudgeTest, fenced_member_comes_back_as_a_replica_of_the_current_timeline) {
  settle();
  lose(0);
  see(1, primary_on(2));
  see(0, primary_on(1, 5000, 2));
  see(0, standby_on(2, 1000, 3));
  EXPECT_EQ(role(0), Role::replica);
  EXPECT_TRUE(cluster.view(0).accepts_reads);
}

// I-3
TEST_F(RoleJudgeTest, never_goes_back_to_a_lower_timeline) {
  settle();
  lose(0);
  see(1, primary_on(2));
  lose(1);
  for (int i = 0; i < 5; ++i) see(0, primary_on(1, 1000, 2));
  EXPECT_FALSE(cluster.primary());
  EXPECT_EQ(cluster.epoch(), 2U);
  EXPECT_EQ(cluster.timeline(), 2U);
}

TEST_F(RoleJudgeTest, a_standby_on_a_higher_timeline_makes_the_primary_stale) {
  settle();
  see(2, standby_on(2));
  EXPECT_FALSE(cluster.primary());
  EXPECT_EQ(role(0), Role::fenced);
  lose(2);  // its silence takes nothing back
  see(0, primary_on(1));
  EXPECT_FALSE(cluster.primary());
  see(1, primary_on(2));
  EXPECT_EQ(cluster.primary(), MemberIndex{1});
}

// I-5
TEST_F(RoleJudgeTest, second_primary_on_the_same_timeline_stops_writes) {
  settle();
  see(1, primary_on(1));
  EXPECT_FALSE(cluster.primary());
  EXPECT_TRUE(cluster.dual());
  EXPECT_EQ(role(0), Role::fenced);
  EXPECT_EQ(role(1), Role::fenced);
  EXPECT_NE(cluster.why_no_primary().find("pg1, pg2"), std::string::npos) << cluster.why_no_primary();
  for (int i = 0; i < 5; ++i) see(0, primary_on(1));
  EXPECT_FALSE(cluster.primary());
}

TEST_F(RoleJudgeTest, two_primaries_on_one_timeline_are_a_split_brain_until_one_is_a_replica) {
  settle();
  EXPECT_THAT(cluster.split_brain(), IsEmpty());
  see(1, primary_on(1));
  EXPECT_THAT(cluster.split_brain(), ElementsAre(0, 1));
  lose(1);  // it may still take writes of other clients
  EXPECT_THAT(cluster.split_brain(), ElementsAre(0, 1));
  see(1, standby_on(1, 1000, 2));
  EXPECT_THAT(cluster.split_brain(), IsEmpty());
}

TEST_F(RoleJudgeTest, a_split_brain_ends_when_its_member_leaves_the_configuration) {
  settle();
  see(1, primary_on(1));
  cluster.removed(1, now);
  EXPECT_THAT(cluster.split_brain(), IsEmpty());
}

TEST_F(RoleJudgeTest, a_stale_primary_that_takes_writes_beside_the_new_one_is_a_split_brain) {
  settle();
  lose(0);
  see(1, primary_on(2));
  EXPECT_THAT(cluster.split_brain(), IsEmpty());
  see(0, primary_on(1, 5000, 2));
  see(1, primary_on(2));
  EXPECT_THAT(cluster.split_brain(), ElementsAre(0, 1));
  EXPECT_EQ(cluster.primary(), MemberIndex{1});  // the timeline says which one is right
  lose(0);
  EXPECT_THAT(cluster.split_brain(), IsEmpty());
}

TEST_F(RoleJudgeTest, a_primary_that_fell_silent_before_the_promotion_is_no_split_brain) {
  settle();
  cluster.unanswered(0, now);
  see(1, primary_on(2));  // the old one has not been given up yet, and was not seen since
  EXPECT_EQ(cluster.primary(), MemberIndex{1});
  EXPECT_EQ(role(0), Role::fenced);
  EXPECT_THAT(cluster.split_brain(), IsEmpty());
  see(0, primary_on(1));
  EXPECT_THAT(cluster.split_brain(), ElementsAre(0, 1));
}

TEST_F(RoleJudgeTest, a_primary_of_another_cluster_is_no_split_brain) {
  settle();
  Observation stranger = primary_on(9);
  stranger.system_identifier = foreign;
  see(2, stranger);
  see(0, primary_on(1));
  EXPECT_THAT(cluster.split_brain(), IsEmpty());
}

TEST_F(RoleJudgeTest, silence_resolves_no_double_primary) {
  settle();
  see(1, primary_on(1));
  lose(1);
  see(0, primary_on(1));
  EXPECT_FALSE(cluster.primary());
  EXPECT_TRUE(cluster.dual());
}

// Only for the accepted one, and only when the other can't write any more.
TEST_F(RoleJudgeTest, double_primary_ends_when_the_other_is_stopped_for_good) {
  settle();
  see(1, primary_on(1));
  const auto refuse = [&](MemberIndex member) {
    cluster.lost(member, "connection refused", now, RoleJudge::Silence::refuses);
  };
  refuse(1);
  now += seconds(9);
  refuse(1);
  see(0, primary_on(1));
  EXPECT_FALSE(cluster.primary()) << "its backends may live on for a while";
  lose(1);  // a time-out: who knows?
  now += seconds(20);
  see(0, primary_on(1));
  EXPECT_FALSE(cluster.primary());
  refuse(1);
  now += seconds(10);
  refuse(1);
  see(0, primary_on(1));
  EXPECT_EQ(cluster.primary(), MemberIndex{0});
  EXPECT_EQ(cluster.epoch(), 1U);
  see(1, primary_on(1, 1000, 2));
  EXPECT_FALSE(cluster.primary()) << "it is back";
  refuse(0);
  now += seconds(20);
  refuse(0);
  see(1, primary_on(1, 1000, 2));
  EXPECT_FALSE(cluster.primary()) << "it may lack what the accepted one has";
}

TEST_F(RoleJudgeTest, double_primary_ends_when_one_is_seen_as_a_replica) {
  settle();
  see(1, primary_on(1));
  see(1, standby_on(1, 1000, 2));
  see(0, primary_on(1));
  EXPECT_EQ(cluster.primary(), MemberIndex{0});
  EXPECT_FALSE(cluster.dual());
}

TEST_F(RoleJudgeTest, double_primary_ends_when_one_leaves_the_configuration) {
  settle();
  see(1, primary_on(1));
  cluster.removed(1, now);
  see(0, primary_on(1));
  EXPECT_EQ(cluster.primary(), MemberIndex{0});
}

TEST_F(RoleJudgeTest, double_primary_ends_when_a_higher_timeline_appears) {
  settle();
  see(1, primary_on(1));
  see(2, primary_on(2));
  EXPECT_EQ(cluster.primary(), MemberIndex{2});
  EXPECT_FALSE(cluster.dual());
  EXPECT_EQ(role(0), Role::fenced);
  EXPECT_EQ(role(1), Role::fenced);
}

TEST_F(RoleJudgeTest, two_promotions_to_the_same_timeline_accept_nobody) {
  settle();
  lose(0);
  observe(1, primary_on(2), true, now);
  observe(2, primary_on(2), true, now);
  observe(1, primary_on(2), true, now);
  observe(2, primary_on(2), true, now);
  EXPECT_FALSE(cluster.primary());
  EXPECT_TRUE(cluster.dual());
  see(0, primary_on(1, 1000, 2));  // nor does the old one get a chance
  EXPECT_FALSE(cluster.primary());
  EXPECT_EQ(role(0), Role::fenced);
  lose(1);
  lose(2);
  see(0, primary_on(1, 1000, 2));
  EXPECT_FALSE(cluster.primary());
  see(1, primary_on(2));
  see(2, standby_on(2, 1000, 2));
  see(1, primary_on(2));
  EXPECT_EQ(cluster.primary(), MemberIndex{1});
}

// Removing standby.signal and restarting makes a second primary that no timeline tells from the first.
TEST_F(RoleJudgeTest, another_member_on_the_accepted_timeline_is_refused_while_the_accepted_one_is_silent) {
  settle();
  lose(0);
  see(1, primary_on(1, 1000, 2));
  EXPECT_FALSE(cluster.primary());
  EXPECT_TRUE(cluster.dual());
  see(0, primary_on(1, 1000, 2));
  EXPECT_FALSE(cluster.primary());
}

TEST_F(RoleJudgeTest, hand_over_without_promotion_is_accepted_when_the_old_primary_is_a_replica) {
  settle();
  see(0, standby_on(1, 1000, 2));
  EXPECT_FALSE(cluster.primary());
  see(1, primary_on(1, 1000, 2));
  EXPECT_EQ(cluster.primary(), MemberIndex{1});
  EXPECT_EQ(cluster.epoch(), 2U);
}

// I-6
TEST_F(RoleJudgeTest, wrong_system_identifier_is_quarantined) {
  settle();
  Observation stranger = primary_on(9);
  stranger.system_identifier = foreign;
  see(2, stranger);
  EXPECT_EQ(role(2), Role::quarantined);
  EXPECT_EQ(cluster.primary(), MemberIndex{0});
  stranger.in_recovery = true;
  see(2, stranger);
  EXPECT_EQ(role(2), Role::quarantined);
  EXPECT_FALSE(cluster.view(2).accepts_reads);
}

TEST_F(RoleJudgeTest, learns_the_identifier_that_most_members_have) {
  Observation stranger = primary_on(9);
  stranger.system_identifier = foreign;
  see(0, stranger);
  see(0, stranger);
  see(1, primary_on(1));
  see(2, standby_on(1));
  see(1, primary_on(1));
  EXPECT_EQ(cluster.system_identifier(), ours);
  EXPECT_EQ(cluster.primary(), MemberIndex{1});
  EXPECT_EQ(role(0), Role::quarantined);
}

TEST_F(RoleJudgeTest, two_identifiers_that_are_as_frequent_accept_nobody) {
  Observation stranger = primary_on(9);
  stranger.system_identifier = foreign;
  see(0, stranger);
  see(1, primary_on(1));
  lose(2);
  see(0, stranger);
  see(1, primary_on(1));
  EXPECT_FALSE(cluster.primary());
  EXPECT_EQ(cluster.system_identifier(), 0U);
}

TEST(ClusterIdentifier, configured_one_is_obeyed) {
  RoleJudge cluster({"pg1"}, foreign);
  const TimePoint now{seconds(1)};
  cluster.observed(0, primary_on(1), true, now);
  cluster.observed(0, primary_on(1), true, now);
  EXPECT_FALSE(cluster.primary());
  EXPECT_EQ(cluster.view(0).role, Role::quarantined);
}

TEST_F(RoleJudgeTest, read_only_primary_gets_no_writes_and_keeps_its_epoch) {
  settle();
  Observation read_only = primary_on(1);
  read_only.read_only = true;
  see(0, read_only);
  EXPECT_FALSE(cluster.primary());
  EXPECT_NE(cluster.why_no_primary().find("default_transaction_read_only"), std::string::npos);
  see(0, primary_on(1));
  EXPECT_EQ(cluster.primary(), MemberIndex{0});
  EXPECT_EQ(cluster.epoch(), 1U);
}

// I-20
TEST_F(RoleJudgeTest, replica_on_an_old_timeline_leaves_the_read_pool_after_three_seconds) {
  settle();
  lose(0);
  see(1, primary_on(2));
  see(2, standby_on(1));
  EXPECT_TRUE(cluster.view(2).accepts_reads);
  now += seconds(2);
  see(2, standby_on(1));
  EXPECT_TRUE(cluster.view(2).accepts_reads);
  now += seconds(1);
  see(2, standby_on(1));
  EXPECT_FALSE(cluster.view(2).accepts_reads);
  EXPECT_EQ(role(2), Role::quarantined);
  see(2, standby_on(2));
  EXPECT_TRUE(cluster.view(2).accepts_reads);
}

// I-20
TEST_F(RoleJudgeTest, waiting_receiver_leaves_the_read_pool_after_three_seconds) {
  settle();
  Observation stuck = standby_on(1);
  stuck.receiver->status = ReceiverStatus::waiting;
  see(1, stuck);
  now += seconds(2);
  see(1, standby_on(1));  // it was only a moment
  see(1, stuck);
  now += seconds(2);
  see(1, stuck);
  EXPECT_TRUE(cluster.view(1).accepts_reads);
  now += seconds(1);
  see(1, stuck);
  EXPECT_FALSE(cluster.view(1).accepts_reads);
}

TEST_F(RoleJudgeTest, hidden_receiver_gets_the_benefit_of_the_doubt) {
  settle();
  lose(0);
  see(1, primary_on(2));
  Observation hidden = standby_on(1);
  hidden.receiver = Receiver{.visible = false};
  for (int i = 0; i < 10; ++i) {
    now += seconds(1);
    see(2, hidden);
  }
  EXPECT_TRUE(cluster.view(2).accepts_reads);
  EXPECT_EQ(cluster.view(2).timeline, 1U);  // so it gets no freshness marks
}

TEST_F(RoleJudgeTest, unknown_lag_is_not_zero) {
  Observation empty = standby_on(1);
  empty.lsn.reset();
  settle();
  see(1, empty);
  EXPECT_FALSE(cluster.view(1).lag_known);
  see(1, standby_on(1, 400));
  EXPECT_TRUE(cluster.view(1).lag_known);
  EXPECT_EQ(cluster.view(1).lag_bytes, 600U);
}

TEST_F(RoleJudgeTest, lag_follows_light_probes) {
  settle();
  cluster.positioned(0, 5000);
  EXPECT_EQ(cluster.view(1).lag_bytes, 4000U);
  cluster.positioned(1, 5000);
  EXPECT_EQ(cluster.view(1).lag_bytes, 0U);
}

TEST_F(RoleJudgeTest, idle_primary_at_a_page_boundary_shows_no_lag) {
  settle();
  see(0, primary_on(1, 8192 + 24));
  see(1, standby_on(1, 8192));
  EXPECT_EQ(cluster.view(1).lag_bytes, 0U);
}

TEST_F(RoleJudgeTest, replica_remembers_its_timeline_when_its_receiver_goes) {
  settle();
  lose(0);
  see(1, primary_on(2));
  see(2, standby_on(2));
  Observation orphan = standby_on(1);  // the control file alone is behind
  orphan.receiver.reset();
  see(2, orphan);
  EXPECT_EQ(cluster.view(2).timeline, 2U);
}

TEST_F(RoleJudgeTest, removed_primary_makes_room_on_its_timeline) {
  settle();
  cluster.removed(0, now);
  EXPECT_FALSE(cluster.primary());
  see(1, primary_on(1, 1000, 2));
  EXPECT_EQ(cluster.primary(), MemberIndex{1});
}

TEST_F(RoleJudgeTest, removed_member_takes_part_in_nothing) {
  settle();
  cluster.removed(2, now);
  EXPECT_EQ(role(2), Role::none);
  EXPECT_EQ(cluster.primary(), MemberIndex{0});
  cluster.restored(2);
  see(2, standby_on(1));
  EXPECT_EQ(role(2), Role::replica);
}

}  // namespace
}  // namespace holdfast::health
