// A proxy that is alone with a primary, both cut off from the replicas, which may have another primary.
//
// The kind: a primary was believed as long as it answered, whatever else could not be seen. Tried: replicas that fall
// silent, that are down for certain, and that only the primary sees; writers outside and inside of a transaction.
#include <gtest/gtest.h>
#include <signal.h>

#include <deque>
#include <future>
#include <thread>

#include "tests/support/endpoint.hpp"
#include "tests/support/holdfast.hpp"
#include "tests/support/postgres.hpp"
#include "tests/support/tcp_relay.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

class AloneWithThePrimary : public ::testing::Test {
 protected:
  AloneWithThePrimary() {
    set.primary().exec("CREATE TABLE t (id int); GRANT ALL ON t TO app");
    for (std::size_t replica = 0; replica < 2; ++replica) {
      ReplicationSet::wait_caught_up(set.primary(), set.replica(replica));
    }
  }
  bool isolated(std::chrono::seconds within = 20s) {
    return wait_until(within, [&] { return proxy->metric("holdfast_cluster_isolated{cluster=\"main\"}") == 1.0; });
  }
  bool is(const std::string& member, const std::string& state) {
    return wait_until(20s, [&] {
      return proxy->metric("holdfast_member_state{cluster=\"main\",member=\"" + member + "\",state=\"" + state +
                           "\"}") == 1.0;
    });
  }
  void start(const std::string& members, const std::string& failover = "{}") {
    proxy.emplace(endpoint({.members = members, .cluster_more = "    failover: " + failover + "\n"}));
  }

  // The proxy sees the replicas through relays, the primary sees them itself.
  void start_behind_relays() {
    auto members = member_yaml(set.primary());
    for (std::size_t replica = 0; replica < 2; ++replica) {
      relays.emplace_back(set.replica(replica).port());
      members += "      - { name: " + set.replica(replica).name() +
                 ", host: 127.0.0.1, port: " + std::to_string(relays.back().port()) + " }\n";
    }
    start(members);
    ASSERT_TRUE(is("pg3", "replica"));
  }

  ReplicationSet set{{.replicas = 2}};
  std::deque<TcpRelay> relays;
  std::optional<Holdfast> proxy;
};

TEST_F(AloneWithThePrimary, writes_wait_until_somebody_is_in_sight) {
  start(members_yaml(set));
  auto client = proxy->connect();
  auto open = proxy->connect();
  open.exec("BEGIN");
  open.exec("INSERT INTO t VALUES (1)");
  for (std::size_t replica = 0; replica < 2; ++replica) set.replica(replica).sigstop_tree();
  ASSERT_TRUE(isolated()) << proxy->log();
  EXPECT_TRUE(proxy->wait_log("writes wait: pg1 is the only one in sight of 3 members (pg2, pg3)")) << proxy->log();
  EXPECT_EQ(proxy->metric("holdfast_cluster_has_primary{cluster=\"main\"}"), 0.0);
  EXPECT_EQ(sqlstate_of([&] { open.exec("COMMIT"); }), "40001") << "it would be acknowledged, and may be lost";
  auto write = std::async(std::launch::async, [&] { client.exec("INSERT INTO t VALUES (2)"); });
  EXPECT_EQ(write.wait_for(1s), std::future_status::timeout);
  set.replica(0).sigcont_tree();
  write.get();
  EXPECT_TRUE(proxy->wait_log("isolated_ended"));
  EXPECT_EQ(proxy->metric("holdfast_cluster_epoch{cluster=\"main\"}"), 1.0);
  set.replica(1).sigcont_tree();
  EXPECT_EQ(set.primary().scalar("SELECT string_agg(id::text, ',') FROM t"), "2");
}

// All that the proxy heard is old then, but nobody failed to answer.
TEST_F(AloneWithThePrimary, a_pause_of_the_proxy_itself_cuts_nobody_off) {
  start(members_yaml(set));
  auto open = proxy->connect();
  open.exec("BEGIN");
  open.exec("INSERT INTO t VALUES (1)");
  proxy->signal(SIGSTOP);
  std::this_thread::sleep_for(4s);  // the length of the fault
  proxy->signal(SIGCONT);
  open.exec("COMMIT");
  EXPECT_EQ(set.primary().scalar("SELECT count(*) FROM t"), "1");
  EXPECT_EQ(proxy->log().find("isolated"), std::string::npos) << proxy->log();
}

TEST_F(AloneWithThePrimary, replicas_that_are_down_stop_nobody) {
  start(members_yaml(set));
  for (std::size_t replica = 0; replica < 2; ++replica) set.replica(replica).kill9_tree();
  EXPECT_TRUE(is("pg2", "down"));
  EXPECT_TRUE(is("pg3", "down"));
  auto client = proxy->connect();
  EXPECT_FALSE(isolated(4s));
  client.exec("INSERT INTO t VALUES (1)");
}

// The other side has a new primary meanwhile: nothing is acknowledged that it lacks.
TEST_F(AloneWithThePrimary, what_was_promoted_out_of_sight_is_found_when_it_is_back) {
  start_behind_relays();
  auto client = proxy->connect();
  for (auto& relay : relays) relay.hold_requests(true);
  for (std::size_t replica = 0; replica < 2; ++replica) set.replica(replica).set({{"primary_conninfo", ""}});
  ASSERT_TRUE(isolated()) << proxy->log();
  const auto before = set.primary().scalar("SELECT count(*) FROM t");
  auto write = std::async(std::launch::async, [&] { client.exec("INSERT INTO t VALUES (2)"); });
  set.replica(0).promote();
  set.replica(1).repoint(set.replica(0));
  EXPECT_EQ(write.wait_for(1s), std::future_status::timeout);
  for (auto& relay : relays) relay.hold_requests(false);
  write.get();
  EXPECT_EQ(set.primary().scalar("SELECT count(*) FROM t"), before);
  EXPECT_EQ(set.replica(0).scalar("SELECT count(*) FROM t WHERE id = 2"), "1");
  EXPECT_TRUE(is("pg1", "fenced")) << proxy->log();
}

TEST_F(AloneWithThePrimary, replicas_that_answer_the_primary_are_in_sight) {
  start_behind_relays();
  for (auto& relay : relays) relay.hold_requests(true);
  EXPECT_TRUE(is("pg2", "down"));
  EXPECT_TRUE(is("pg3", "down"));
  auto client = proxy->connect();
  for (int i = 0; i < 100; ++i) client.exec("INSERT INTO t VALUES (1)");
  EXPECT_FALSE(isolated(4s)) << proxy->log();
  // Then the primary loses them, too.
  for (std::size_t replica = 0; replica < 2; ++replica) set.replica(replica).set({{"primary_conninfo", ""}});
  EXPECT_TRUE(isolated());
  for (auto& relay : relays) relay.hold_requests(false);
  client.exec("INSERT INTO t VALUES (1)");
}

TEST_F(AloneWithThePrimary, writes_go_on_if_the_operator_says_so) {
  start(members_yaml(set), "{ isolation: warn }");
  auto client = proxy->connect();
  for (std::size_t replica = 0; replica < 2; ++replica) set.replica(replica).sigstop_tree();
  ASSERT_TRUE(isolated());
  client.exec("INSERT INTO t VALUES (1)");
  EXPECT_TRUE(proxy->wait_log("writes go on: pg1 is the only one in sight"));
  for (std::size_t replica = 0; replica < 2; ++replica) set.replica(replica).sigcont_tree();
}

}  // namespace
}  // namespace holdfast::testing
