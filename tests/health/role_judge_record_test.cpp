// What a judge believes that starts with the record of an earlier run: on pg2, timeline 2, in epoch 5.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "health/role_judge.hpp"

namespace holdfast::health {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

constexpr std::uint64_t ours = 7001;

Observation claim(std::uint32_t timeline, std::uint64_t system = ours, std::int64_t started = 1,
                  std::uint64_t lsn = 1000) {
  return {.in_recovery = false,
          .system_identifier = system,
          .timeline = timeline,
          .lsn = lsn,
          .receiver = std::nullopt,
          .started = started};
}
Observation standby(std::uint32_t timeline) {
  return {.in_recovery = true,
          .system_identifier = ours,
          .timeline = timeline,
          .lsn = 1000,
          .receiver = Receiver{.visible = true, .status = ReceiverStatus::streaming, .timeline = timeline},
          .started = 1};
}

class RecordedJudge : public ::testing::Test {
 protected:
  explicit RecordedJudge(std::uint64_t configured = 0) : cluster({"pg1", "pg2", "pg3"}, configured) {
    cluster.remember(
        {.cluster = "main", .system_identifier = ours, .timeline = 2, .epoch = 5, .primary = "pg2", .started = 77},
        "/state/main.record");
  }
  void see(MemberIndex member, Observation observation) {
    if (observation.started == 1) observation.started += 1000 * (member + 1);
    for (int i = 0; i < 2; ++i) cluster.observed(member, observation, true, now += milliseconds(1));
    static_cast<void>(cluster.take_confirmations());
  }
  void lose(MemberIndex member) { cluster.lost(member, "connection refused", now += milliseconds(1)); }

  RoleJudge cluster;
  TimePoint now{seconds(1000)};
};

TEST_F(RecordedJudge, the_same_reign_goes_on_in_its_epoch) {
  EXPECT_EQ(cluster.epoch(), 5U);
  EXPECT_FALSE(cluster.record()) << "nothing was accepted in this run yet";
  see(0, standby(2));
  see(2, standby(2));
  EXPECT_EQ(cluster.why_no_primary(), "waiting until every member has been probed");
  see(1, claim(2, ours, 77));
  EXPECT_EQ(cluster.primary(), MemberIndex{1});
  EXPECT_EQ(cluster.epoch(), 5U);
  ASSERT_TRUE(cluster.record());
  EXPECT_EQ(cluster.record()->primary, "pg2");
}

TEST_F(RecordedJudge, a_restarted_primary_begins_an_epoch) {
  lose(0);
  lose(2);
  see(1, claim(2, ours, 78));
  EXPECT_EQ(cluster.primary(), MemberIndex{1});
  EXPECT_EQ(cluster.epoch(), 6U);
}

TEST_F(RecordedJudge, a_stale_primary_that_is_alone_in_sight_is_not_believed) {
  lose(1);
  lose(2);
  see(0, claim(1));
  EXPECT_FALSE(cluster.primary());
  EXPECT_EQ(cluster.view(0).role, Role::fenced);
  EXPECT_EQ(cluster.view(0).reason, "timeline 1 is behind 2, which pg2 was on in an earlier run (/state/main.record)");
  EXPECT_THAT(cluster.why_no_primary(), HasSubstr("pg2 was the primary on timeline 2 in an earlier run"));
  EXPECT_THAT(cluster.why_no_primary(),
              HasSubstr("make sure that pg2 can't come back as a primary, remove /state/main.record and reload"));
}

TEST_F(RecordedJudge, once_a_member_shows_the_timeline_the_record_is_not_the_reason) {
  lose(1);
  see(2, standby(2));
  see(0, claim(1));
  EXPECT_FALSE(cluster.primary());
  EXPECT_EQ(cluster.view(0).reason, "timeline 1 is behind 2");
  EXPECT_THAT(cluster.why_no_primary(), ::testing::Not(HasSubstr("reload")));
}

TEST_F(RecordedJudge, a_higher_timeline_is_a_new_epoch) {
  lose(1);
  see(2, standby(3));
  see(0, claim(3));
  EXPECT_EQ(cluster.primary(), MemberIndex{0});
  EXPECT_EQ(cluster.epoch(), 6U);
  EXPECT_EQ(cluster.record()->timeline, 3U);
}

// As while the process lives (rule 4): both may be primaries.
TEST_F(RecordedJudge, another_claimant_on_the_recorded_timeline_waits_for_the_recorded_primary) {
  lose(2);
  see(0, claim(2));
  EXPECT_TRUE(cluster.split_brain().empty()) << "pg2 has not been asked yet";
  EXPECT_FALSE(cluster.primary());
  lose(1);
  EXPECT_FALSE(cluster.primary());
  EXPECT_TRUE(cluster.dual());
  see(1, standby(2));
  see(0, claim(2));
  EXPECT_EQ(cluster.primary(), MemberIndex{0});
  EXPECT_FALSE(cluster.dual());
}

TEST_F(RecordedJudge, another_system_under_the_same_names_is_refused_with_the_way_out) {
  see(0, claim(7, 9009));
  see(1, claim(7, 9009));
  see(2, claim(7, 9009));
  EXPECT_FALSE(cluster.primary());
  EXPECT_EQ(cluster.view(0).role, Role::quarantined);
  EXPECT_THAT(cluster.view(0).reason, HasSubstr("9009 is not the cluster's 7001 of an earlier run"));
  EXPECT_THAT(cluster.view(0).reason, HasSubstr("remove /state/main.record and reload"));
  see(0, standby(2));
  EXPECT_THAT(cluster.view(1).reason, HasSubstr("9009 is not the cluster's 7001")) << cluster.view(1).reason;
  EXPECT_THAT(cluster.view(1).reason, ::testing::Not(HasSubstr("reload"))) << "a member has shown that 7001 lives";
}

TEST_F(RecordedJudge, the_operator_begins_a_new_record) {
  lose(1);
  lose(2);
  see(0, claim(1));
  ASSERT_FALSE(cluster.primary());
  cluster.begin_record(0, now);
  see(0, claim(1));
  EXPECT_EQ(cluster.primary(), MemberIndex{0});
  EXPECT_EQ(cluster.epoch(), 6U) << "it never decreases";
  EXPECT_EQ(cluster.record()->timeline, 1U);
}

TEST_F(RecordedJudge, a_new_record_ends_a_split_brain_on_one_timeline) {
  see(0, claim(2));
  see(1, claim(2, ours, 77));
  see(2, standby(2));
  ASSERT_TRUE(cluster.dual());
  lose(0);
  ASSERT_TRUE(cluster.dual()) << "silence resolves nothing";
  cluster.begin_record(0, now);
  EXPECT_FALSE(cluster.dual());
  see(1, claim(2, ours, 77));
  EXPECT_EQ(cluster.primary(), MemberIndex{1});
}

TEST_F(RecordedJudge, a_recorded_primary_that_left_the_configuration_only_leaves_its_timeline) {
  RoleJudge other({"a", "b"}, 0);
  other.remember(
      {.cluster = "main", .system_identifier = ours, .timeline = 2, .epoch = 5, .primary = "pg2", .started = 77},
      "/state/main.record");
  for (int i = 0; i < 2; ++i) other.observed(0, standby(2), true, now);
  for (int i = 0; i < 3; ++i) other.observed(1, claim(2), true, now);
  EXPECT_EQ(other.primary(), MemberIndex{1});
  EXPECT_EQ(other.epoch(), 6U);
}

class ConfiguredJudge : public RecordedJudge {
 protected:
  ConfiguredJudge() : RecordedJudge(9009) {}
};

TEST_F(ConfiguredJudge, a_configured_identifier_makes_another_ones_record_void) {
  lose(1);
  lose(2);
  see(0, claim(1, 9009));
  EXPECT_EQ(cluster.primary(), MemberIndex{0});
  EXPECT_EQ(cluster.epoch(), 6U);
}

// ---- what a new primary lacks of the last one's WAL

class LeftBehindTest : public ::testing::Test {
 protected:
  void see(MemberIndex member, Observation observation) {
    if (observation.started == 1) observation.started += 1000 * (member + 1);
    for (int i = 0; i < 2; ++i) cluster.observed(member, observation, true, now += milliseconds(1));
    static_cast<void>(cluster.take_confirmations());
  }
  RoleJudge cluster{{"pg1", "pg2"}, 0};
  TimePoint now{seconds(1000)};
};

TEST_F(LeftBehindTest, is_what_lies_between_the_positions) {
  see(1, standby(1));
  see(0, claim(1, ours, 1, 5000));
  ASSERT_EQ(cluster.primary(), MemberIndex{0});
  EXPECT_FALSE(cluster.left_behind());
  cluster.positioned(0, 9000);
  cluster.lost(0, "refused", now);
  see(1, claim(2, ours, 1, 6000));
  ASSERT_EQ(cluster.primary(), MemberIndex{1});
  ASSERT_TRUE(cluster.left_behind());
  EXPECT_EQ(cluster.left_behind()->bytes(), 3000U);
  EXPECT_EQ(cluster.left_behind()->begins, 6000U);
}

TEST_F(LeftBehindTest, is_nothing_when_the_new_primary_had_it_all) {
  see(1, standby(1));
  see(0, claim(1, ours, 1, 5000));
  cluster.lost(0, "refused", now);
  see(1, claim(2, ours, 1, 5000));
  ASSERT_EQ(cluster.primary(), MemberIndex{1});
  EXPECT_FALSE(cluster.left_behind());
}

TEST_F(LeftBehindTest, is_nothing_after_a_restart_on_the_same_timeline) {
  see(1, standby(1));
  see(0, claim(1, ours, 1, 5000));
  cluster.lost(0, "refused", now);
  see(0, claim(1, ours, 2, 4000));
  ASSERT_EQ(cluster.epoch(), 2U);
  EXPECT_FALSE(cluster.left_behind()) << "what was acknowledged was flushed, and is recovered";
}

TEST_F(LeftBehindTest, belongs_to_its_epoch) {
  see(1, standby(1));
  see(0, claim(1, ours, 1, 9000));
  cluster.lost(0, "refused", now);
  see(1, claim(2, ours, 1, 6000));
  ASSERT_TRUE(cluster.left_behind());
  see(1, claim(2, ours, 2, 6500));
  EXPECT_EQ(cluster.epoch(), 3U);
  EXPECT_FALSE(cluster.left_behind());
}

}  // namespace
}  // namespace holdfast::health
