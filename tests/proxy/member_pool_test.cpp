// Servers of one member and their leases: who gets which, when new ones are opened; without a server.
#include "proxy/pool/member_pool.hpp"

#include <gtest/gtest.h>

#include "proxy/pool/to_open.hpp"
#include "tests/proxy/pool_world.hpp"

namespace holdfast::proxy {
namespace {

using namespace std::chrono_literals;
using State = ServerLink::State;

TEST(ToOpen, one_for_each_waiter_that_no_connection_is_on_its_way_for) {
  EXPECT_EQ(to_open({.waiters = 0}), 0U);
  EXPECT_EQ(to_open({.waiters = 3}), 3U);
  EXPECT_EQ(to_open({.waiters = 3, .connecting = 1}), 2U);
  EXPECT_EQ(to_open({.waiters = 3, .connecting = 5}), 0U);
}

TEST(ToOpen, a_fresh_pool_does_not_storm_its_server) {
  EXPECT_EQ(to_open({.waiters = 1000}), most_connecting);
  EXPECT_EQ(to_open({.waiters = 1000, .connecting = most_connecting}), 0U);
}

TEST(ToOpen, none_while_backing_off_or_without_an_address) {
  EXPECT_EQ(to_open({.waiters = 3, .backing_off = true}), 0U);
  EXPECT_EQ(to_open({.waiters = 3, .reachable = false}), 0U);
}

class MemberPoolTest : public PoolWorld {
 protected:
  std::unique_ptr<Waiter> waiting() {
    auto waiter = std::make_unique<Waiter>(reactor, counters, pool(), Waiter::Kind::write,
                                           Waiter::Limits{.wait = 10s, .hold = 10s});
    member().wait(*waiter);
    return waiter;
  }
};

TEST_F(MemberPoolTest, the_server_used_last_is_leased_first) {
  auto& first = idle_server();
  auto& second = idle_server();
  auto lease = member().lease_now();
  EXPECT_EQ(&*lease, &second);
  auto other = member().lease_now();
  EXPECT_EQ(&*other, &first);
  EXPECT_FALSE(member().lease_now());
}

TEST_F(MemberPoolTest, a_clean_server_is_idle_again_when_its_lease_is_dropped) {
  auto& server = idle_server();
  auto lease = member().lease_now();
  EXPECT_EQ(server.state(), State::leased);
  lease = ServerLease();
  EXPECT_EQ(server.state(), State::idle);
}

TEST_F(MemberPoolTest, a_dirty_server_is_cleaned_before_anybody_gets_it) {
  auto& server = idle_server();
  auto lease = member().lease_now();
  server.session.soil(protocol::sql::Effect::set);
  lease = ServerLease();
  EXPECT_EQ(server.state(), State::cleaning);
  EXPECT_FALSE(member().lease_now());
}

// The backend waits for the rest of the message, and would take a stranger's bytes for it.
TEST_F(MemberPoolTest, a_server_that_lacks_a_part_of_a_message_is_closed) {
  auto& server = idle_server();
  auto lease = member().lease_now();
  server.session.owes(700'000);
  lease = ServerLease();
  EXPECT_EQ(server.state(), State::closed);
  EXPECT_FALSE(server.link.open());
}

TEST_F(MemberPoolTest, a_server_of_an_older_generation_is_closed_when_it_comes_back) {
  auto& server = idle_server();
  auto lease = member().lease_now();
  auto restarted = std::make_shared<health::Topology>(*with_primary());
  restarted->members[0].generation = 7;
  publish(restarted);
  EXPECT_FALSE(server.link.open());
  lease = ServerLease();
  EXPECT_FALSE(member().lease_now());
}

TEST_F(MemberPoolTest, a_connect_that_fails_at_once_is_tried_again_after_a_pause_and_not_before) {
  std::vector<std::unique_ptr<Waiter>> waiters;
  for (int i = 0; i < 8; ++i) waiters.push_back(waiting());
  EXPECT_EQ(counters.servers_failed.value(), 1U);
  EXPECT_EQ(permits().used(), 0U);
  advance(40ms);
  EXPECT_EQ(counters.servers_failed.value(), 2U);
  for (const auto& waiter : waiters) EXPECT_EQ(waiter->state(), Waiter::State::in_line);
}

TEST_F(MemberPoolTest, the_pause_grows_up_to_a_second) {
  auto waiter = waiting();
  for (int i = 0; i < 400; ++i) advance(25ms);
  EXPECT_GT(counters.servers_failed.value(), 10U);
  EXPECT_LT(counters.servers_failed.value(), 20U);
}

TEST_F(MemberPoolTest, a_permit_comes_back_with_its_connection) {
  auto& server = idle_server();
  EXPECT_EQ(permits().used(), 1U);
  member().gone(server);
  EXPECT_EQ(permits().used(), 0U);
}

TEST_F(MemberPoolTest, beyond_a_lower_limit_a_returned_server_is_closed) {
  idle_server();
  auto& second = idle_server();
  auto lease = member().lease_now();
  permits().set_limit(1);
  lease = ServerLease();
  EXPECT_EQ(second.state(), State::closed);
}

}  // namespace
}  // namespace holdfast::proxy
