#include "health/event.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
    result.push_back(event.name + (event.member.empty() ? "" : " " + event.member));
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
  EXPECT_EQ(events[0].name, "member_down");
  EXPECT_EQ(events[1].name, "primary_lost");
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
  EXPECT_THAT(changes(&before, after, {}).back().fields,
              ElementsAre(std::pair("epoch", "2"), std::pair("timeline", "2"), std::pair("lsn", "1/400E9C8")));
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
}

}  // namespace
}  // namespace holdfast::health
