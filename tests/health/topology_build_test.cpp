#include "health/topology_build.hpp"

#include <gtest/gtest.h>

namespace holdfast::health {
namespace {

using std::chrono::seconds;

class StatusTest : public ::testing::Test {
 protected:
  void probe(Grade grade) { (void)member.probed({.grade = grade, .detail = grade == Grade::ok ? "" : "why"}, now); }
  [[nodiscard]] MemberStatus status(Presence presence = Presence::configured) const {
    return status_of(settings, presence, member, view, now);
  }

  config::Member settings{.name = "pg1", .host = "db1", .port = 5433, .zone = "b", .weight = 3};
  Member member{config::Cluster{}};
  RoleJudge::View view;
  TimePoint now{seconds(1000)};
};

TEST_F(StatusTest, carries_the_configuration) {
  const MemberStatus shown = status();
  EXPECT_EQ(shown.name, "pg1");
  EXPECT_EQ(shown.host, "db1");
  EXPECT_EQ(shown.port, 5433);
  EXPECT_EQ(shown.zone, "b");
  EXPECT_EQ(shown.weight, 3U);
  EXPECT_EQ(shown.state, MemberState::unknown);
}

TEST_F(StatusTest, reachability_comes_before_role) {
  view.role = Role::fenced;
  view.reason = "stale";
  probe(Grade::ok);
  EXPECT_EQ(status().state, MemberState::fenced);
  EXPECT_EQ(status().reason, "stale");
  probe(Grade::refused);
  EXPECT_EQ(status().state, MemberState::down);
  EXPECT_EQ(status().reason, "why");
  probe(Grade::starting);
  EXPECT_EQ(status().state, MemberState::starting);
}

TEST_F(StatusTest, suspect_replica_keeps_its_reads) {
  probe(Grade::ok);
  view.role = Role::replica;
  view.accepts_reads = true;
  EXPECT_EQ(status().state, MemberState::replica);
  probe(Grade::query_timeout);
  EXPECT_EQ(status().state, MemberState::suspect);
  EXPECT_TRUE(status().accepts_reads);
}

TEST_F(StatusTest, unconfirmed_primary_is_suspect_and_serves_nothing) {
  probe(Grade::ok);
  view.role = Role::candidate;
  EXPECT_EQ(status().state, MemberState::suspect);
  EXPECT_FALSE(status().accepts_reads);
}

TEST_F(StatusTest, flapping_replica_waits_with_reads_and_says_so) {
  view.role = Role::replica;
  view.accepts_reads = true;
  probe(Grade::ok);
  for (int i = 0; i < 3; ++i) {
    probe(Grade::refused);
    probe(Grade::ok);
    probe(Grade::ok);
  }
  EXPECT_EQ(status().state, MemberState::replica);
  EXPECT_FALSE(status().accepts_reads);
  EXPECT_FALSE(status().reason.empty());
  now += seconds(1);
  EXPECT_TRUE(status().accepts_reads);
}

TEST_F(StatusTest, removed_member_is_down_whatever_it_answers) {
  probe(Grade::ok);
  view.role = Role::replica;
  view.accepts_reads = true;
  EXPECT_EQ(status(Presence::removed).state, MemberState::down);
  EXPECT_TRUE(status(Presence::removed).removed);
  EXPECT_FALSE(status().removed);
  EXPECT_FALSE(status(Presence::removed).accepts_reads);
}

TEST(SameSnapshot, positions_are_told_apart_from_what_matters) {
  Topology a;
  a.members = {{.name = "pg1"}};
  Topology b = a;
  b.version = 5;
  b.members[0].lsn = 7;
  EXPECT_TRUE(same_but_positions(a, b));
  EXPECT_FALSE(same_positions(a, b));
  for (const auto change :
       {+[](Topology& t) { t.epoch = 2; }, +[](Topology& t) { t.primary = 0; },
        +[](Topology& t) {
          t.split_brain = {0, 1};
        },
        +[](Topology& t) { t.members[0].removed = true; }, +[](Topology& t) { t.members[0].state = MemberState::down; },
        +[](Topology& t) { t.members[0].accepts_reads = true; }, +[](Topology& t) { t.members[0].generation = 2; },
        +[](Topology& t) { t.members[0].address = "::1"; }, +[](Topology& t) { t.members.emplace_back(); }}) {
    Topology c = a;
    change(c);
    EXPECT_FALSE(same_but_positions(a, c));
  }
}

}  // namespace
}  // namespace holdfast::health
