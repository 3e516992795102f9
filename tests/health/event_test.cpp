#include "health/event.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace holdfast::health {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Topology cluster_of_two() {
  Topology topology{.cluster = "main", .epoch = 1, .system_identifier = 7, .timeline = 1, .primary = 0};
  topology.members = {{.name = "pg1", .address = "10.0.0.1", .state = MemberState::primary, .timeline = 1},
                      {.name = "pg2", .state = MemberState::replica, .accepts_reads = true, .timeline = 1}};
  return topology;
}

std::vector<std::string> names(const Topology* before, const Topology& after) {
  std::vector<std::string> result;
  for (const Event& event : changes(before, after, {})) {
    result.push_back(name_of(event.kind) + (event.member.empty() ? "" : " " + event.member));
  }
  return result;
}

TEST(Changes, nothing_changed_tells_nothing) {
  const Topology before = cluster_of_two();
  Topology after = before;
  after.members[1].lag_bytes = 5;
  after.version = 9;
  EXPECT_THAT(names(&before, after), IsEmpty());
}

TEST(Changes, first_snapshot_introduces_the_members) {
  Topology first{.cluster = "main"};
  first.members = {{.name = "pg1"}, {.name = "pg2"}};
  EXPECT_THAT(names(nullptr, first), ElementsAre("member_added pg1", "member_added pg2"));
}

TEST(Changes, loss_of_the_primary_says_why) {
  const Topology before = cluster_of_two();
  Topology after = before;
  after.primary.reset();
  after.why_no_primary = "pg1 is gone";
  after.members[0].state = MemberState::down;
  const auto events = changes(&before, after, {});
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].kind, EventKind::member_down);
  EXPECT_EQ(events[1].kind, EventKind::primary_lost);
  EXPECT_EQ(events[1].member, "pg1");
  EXPECT_EQ(events[1].reason, "pg1 is gone");
  EXPECT_EQ(events[1].cluster, "main");
}

TEST(Changes, failover_in_one_step_tells_both_sides) {
  const Topology before = cluster_of_two();
  Topology after = before;
  after.primary = 1;
  after.epoch = 2;
  after.timeline = 2;
  after.members[0].state = MemberState::fenced;
  after.members[1].state = MemberState::primary;
  after.members[1].accepts_reads = false;
  after.members[1].lsn = 0x10400E9C8;
  EXPECT_THAT(names(&before, after),
              ElementsAre("fenced pg1", "reads_off pg2", "primary_lost pg1", "primary_changed pg2"));
  EXPECT_EQ(std::get<PrimaryChange>(changes(&before, after, {}).back().facts),
            (PrimaryChange{.epoch = 2, .timeline = 2, .lsn = 0x10400E9C8}));
}

TEST(Changes, return_within_the_epoch_is_no_change_of_primary) {
  Topology before = cluster_of_two();
  before.primary.reset();
  EXPECT_THAT(names(&before, cluster_of_two()), ElementsAre("primary_back pg1"));
}

TEST(Changes, restart_that_was_not_seen_is_a_new_epoch) {
  const Topology before = cluster_of_two();
  Topology after = before;
  after.epoch = 2;
  EXPECT_THAT(names(&before, after), ElementsAre("primary_changed pg1"));
}

TEST(Changes, address_and_reads_are_told) {
  const Topology before = cluster_of_two();
  Topology after = before;
  after.members[0].address = "10.0.0.9";
  after.members[1].accepts_reads = false;
  EXPECT_THAT(names(&before, after), ElementsAre("address_changed pg1", "reads_off pg2"));
  EXPECT_EQ(std::get<AddressChange>(changes(&before, after, {}).front().facts),
            (AddressChange{.from = "10.0.0.1", .to = "10.0.0.9"}));
}

TEST(Changes, state_of_a_member_comes_with_the_one_before) {
  const Topology before = cluster_of_two();
  Topology after = before;
  after.members[1].state = MemberState::suspect;
  after.members[1].lsn = 7;
  const auto events = changes(&before, after, {});
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(std::get<StateChange>(events[0].facts),
            (StateChange{.from = MemberState::replica, .timeline = 1, .lsn = 7}));
}

TEST(Changes, member_that_a_reload_removed_is_removed_and_not_down) {
  const Topology before = cluster_of_two();
  Topology after = before;
  after.members[1] = {.name = "pg2", .state = MemberState::down, .removed = true};
  EXPECT_THAT(names(&before, after), ElementsAre("member_removed pg2"));
  EXPECT_THAT(names(&after, after), IsEmpty());
  EXPECT_THAT(names(&after, before), ElementsAre("member_added pg2", "member_replica pg2"));
}

Topology split_cluster() {
  Topology topology = cluster_of_two();
  topology.primary.reset();
  topology.why_no_primary = "more than one primary";
  topology.split_brain = {0, 1};
  for (auto& member : topology.members) {
    member.state = MemberState::fenced;
    member.accepts_reads = false;
  }
  return topology;
}

TEST(Changes, split_brain_begins_with_its_members_and_why_writes_wait) {
  const Topology before = cluster_of_two();
  const Topology after = split_cluster();
  EXPECT_THAT(names(&before, after),
              ElementsAre("fenced pg1", "fenced pg2", "reads_off pg2", "split_brain", "primary_lost pg1"));
  const auto event = changes(&before, after, {}).at(3);
  EXPECT_EQ(event.cluster, "main");
  EXPECT_EQ(event.reason, "more than one primary");
  EXPECT_EQ(std::get<SplitBrain>(event.facts), (SplitBrain{{{"pg1", 1}, {"pg2", 1}}}));
  EXPECT_THAT(fields_of(event), ElementsAre(std::pair("members", "pg1,pg2"), std::pair("timelines", "1,1")));
}

TEST(Changes, split_brain_that_goes_on_is_told_once_and_again_when_another_member_joins) {
  const Topology before = split_cluster();
  Topology after = before;
  EXPECT_THAT(names(&before, after), IsEmpty());
  after.members.push_back({.name = "pg3", .state = MemberState::fenced, .timeline = 1});
  after.split_brain = {0, 1, 2};
  EXPECT_THAT(names(&before, after), ElementsAre("member_added pg3", "fenced pg3", "split_brain"));
}

TEST(Changes, split_brain_ends_with_those_that_were_in_it) {
  const Topology before = split_cluster();
  const Topology after = cluster_of_two();
  EXPECT_THAT(names(&before, after),
              ElementsAre("member_replica pg2", "reads_on pg2", "split_brain_ended", "primary_back pg1"));
  const auto event = changes(&before, after, {}).at(2);
  EXPECT_EQ(event.reason, "writes go to pg1");
  EXPECT_EQ(std::get<SplitBrain>(event.facts), (SplitBrain{{{"pg1", 1}, {"pg2", 1}}}));
}

TEST(Changes, split_brain_beside_the_primary_says_where_writes_go) {
  const Topology before = cluster_of_two();
  Topology after = before;
  after.members[1].state = MemberState::fenced;
  after.members[1].accepts_reads = false;
  after.split_brain = {0, 1};
  EXPECT_THAT(names(&before, after), ElementsAre("fenced pg2", "reads_off pg2", "split_brain"));
  EXPECT_EQ(changes(&before, after, {}).back().reason, "writes go to pg1, the others are fenced");
}

TEST(EventKind, every_kind_has_a_name_of_its_own_that_a_metric_label_can_be) {
  std::set<std::string> names;
  for (std::size_t i = 0; i < event_kinds; ++i) {
    const std::string name = name_of(static_cast<EventKind>(i));
    EXPECT_FALSE(name.empty());
    EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz_"), std::string::npos) << name;
    EXPECT_TRUE(names.insert(name).second) << name;
  }
}

TEST(EventKind, severity_rises_with_what_it_asks_of_a_person) {
  EXPECT_EQ(severity_of(EventKind::split_brain), Severity::error);
  EXPECT_EQ(severity_of(EventKind::split_brain_ended), Severity::info);
  for (const auto kind : {EventKind::primary_lost, EventKind::member_down, EventKind::fenced, EventKind::quarantined,
                          EventKind::monitor_access_denied}) {
    EXPECT_EQ(severity_of(kind), Severity::warning) << name_of(kind);
  }
  EXPECT_EQ(severity_of(EventKind::primary_changed), Severity::info);
  EXPECT_EQ(severity_of(EventKind::member_replica), Severity::info);
}

TEST(EventFields, are_text_for_the_log) {
  const auto fields = [](auto facts) { return fields_of({.time = {}, .facts = std::move(facts)}); };
  EXPECT_THAT(fields(std::monostate{}), IsEmpty());
  EXPECT_THAT(fields(PrimaryChange{.epoch = 2, .timeline = 2, .lsn = 0x10400E9C8}),
              ElementsAre(std::pair("epoch", "2"), std::pair("timeline", "2"), std::pair("lsn", "1/400E9C8")));
  EXPECT_THAT(fields(StateChange{.from = MemberState::suspect, .timeline = 3, .lsn = 0}),
              ElementsAre(std::pair("from", "suspect"), std::pair("timeline", "3"), std::pair("lsn", "0/0")));
  EXPECT_THAT(fields(ProbeFailure{Grade::auth}), ElementsAre(std::pair("grade", "auth")));
  EXPECT_THAT(fields(SystemIdentifier{7}), ElementsAre(std::pair("system_identifier", "7")));
  EXPECT_THAT(fields(SplitBrain{{{"pg1", 1}, {"pg2", 0}}}),
              ElementsAre(std::pair("members", "pg1,pg2"), std::pair("timelines", "1,?")));
}

}  // namespace
}  // namespace holdfast::health
