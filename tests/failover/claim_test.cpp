// A standby that is promoted beside a primary that lives and that another standby follows.
//
// The kind: whoever is on the highest timeline was the primary, also when somebody promoted it by mistake. Tried: the
// mistake, with writers in autocommit and in transactions; the promotion that is meant, by which the other standby or
// the end of the old primary says so; and the end of the old primary after the mistake was refused.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/support/endpoint.hpp"
#include "tests/support/holdfast.hpp"
#include "tests/support/postgres.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

class PromotionBesideThePrimary : public ::testing::Test {
 protected:
  explicit PromotionBesideThePrimary(const std::string& wait = "2s")
      : proxy(
            endpoint({.members = members_yaml(set), .cluster_more = "    failover: { claim_wait: " + wait + " }\n"})) {
    set.primary().exec("CREATE TABLE t (id int PRIMARY KEY); GRANT ALL ON t TO app");
    for (int replica = 0; replica < 2; ++replica) {
      ReplicationSet::wait_caught_up(set.primary(), set.replica(static_cast<std::size_t>(replica)));
    }
  }
  bool is(const std::string& member, const std::string& state) {
    return wait_until(20s, [&] {
      return proxy.metric("holdfast_member_state{cluster=\"main\",member=\"" + member + "\",state=\"" + state +
                          "\"}") == 1.0;
    });
  }
  ReplicationSet set{{.replicas = 2}};
  Holdfast proxy;
};

// In autocommit and in transactions; none sees an error, and what was acknowledged is on the primary.
TEST_F(PromotionBesideThePrimary, by_mistake_costs_a_pause) {
  std::atomic<bool> stop{false};
  std::atomic<int> next{0};
  std::atomic<int> acknowledged{0};
  std::vector<std::thread> writers;
  for (const bool block : {false, true}) {
    writers.emplace_back([&, block] {
      auto client = proxy.connect();
      while (!stop) {
        const auto row = "INSERT INTO t VALUES (" + std::to_string(next++) + ")";
        if (block) client.exec("BEGIN");
        client.exec(row);
        if (block) client.exec("COMMIT");
        ++acknowledged;
      }
    });
  }
  EXPECT_TRUE(wait_until(10s, [&] { return acknowledged > 50; }));
  set.replica(0).promote();
  EXPECT_TRUE(proxy.wait_log("split_brain"));
  EXPECT_TRUE(is("pg2", "fenced")) << proxy.log();
  const int before = acknowledged;
  EXPECT_TRUE(wait_until(10s, [&] { return acknowledged > before + 50; })) << proxy.log();
  stop = true;
  for (auto& writer : writers) writer.join();
  EXPECT_EQ(set.primary().scalar("SELECT count(*) FROM t"), std::to_string(acknowledged));
  EXPECT_TRUE(is("pg1", "primary"));
  EXPECT_EQ(proxy.metric("holdfast_cluster_epoch{cluster=\"main\"}"), 1.0);
  EXPECT_TRUE(proxy.log().find("was promoted to timeline 2 beside pg1") != std::string::npos) << proxy.log();
}

TEST_F(PromotionBesideThePrimary, is_followed_when_the_standbys_follow_it) {
  set.replica(0).promote();
  set.replica(1).repoint(set.replica(0));
  EXPECT_TRUE(is("pg2", "primary")) << proxy.log();
  EXPECT_TRUE(is("pg1", "fenced"));
  auto client = proxy.connect();
  client.exec("INSERT INTO t VALUES (1)");
  EXPECT_EQ(set.replica(0).scalar("SELECT count(*) FROM t"), "1");
}

TEST_F(PromotionBesideThePrimary, is_followed_when_the_old_primary_ends) {
  set.replica(0).promote();
  ASSERT_TRUE(proxy.wait_log("split_brain"));
  set.primary().kill9_tree();
  EXPECT_TRUE(is("pg2", "primary")) << proxy.log();
}

TEST_F(PromotionBesideThePrimary, that_was_refused_is_none_when_the_old_primary_ends) {
  set.replica(0).promote();
  ASSERT_TRUE(is("pg2", "fenced")) << proxy.log();
  auto client = proxy.connect();
  client.exec("INSERT INTO t VALUES (1)");
  // Its row is safe with the standby that followed.
  EXPECT_TRUE(wait_until(10s, [&] { return set.replica(1).scalar("SELECT count(*) FROM t") == "1"; }));
  set.primary().kill9_tree();
  ASSERT_TRUE(is("pg1", "down")) << proxy.log();
  EXPECT_TRUE(is("pg2", "fenced"));
  EXPECT_EQ(proxy.metric("holdfast_cluster_has_primary{cluster=\"main\"}").value_or(0), 0.0);
}

}  // namespace
}  // namespace holdfast::testing
