// Reads that wait for a replica to be fresh enough (reads.freshness_wait).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/endpoint.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

class Marks : public ::testing::Test {
 protected:
  void SetUp() override {
    primary_.exec(
        "CREATE FUNCTION member() RETURNS text LANGUAGE sql STABLE AS $$ SELECT current_setting('cluster_name') $$;"
        "CREATE TABLE t (id int); GRANT ALL ON t TO app");
    ReplicationSet::wait_caught_up(primary_, replica_);
    proxy_.emplace(endpoint({.members = members_yaml(set_),
                             .workers = 1,
                             .pool = "size: 4, hold_timeout: 60s",
                             .more = "reads: { functions: [ member ], consistency: session, freshness_wait: 3s }\n"}));
  }
  // Until a session without a past is served by the replica.
  void wait_for_reads_of_the_replica() {
    auto fresh = proxy_->connect();
    ASSERT_TRUE(wait_until(20s, [&] { return fresh.scalar("SELECT member()") == "pg2"; })) << proxy_->log();
  }

  ReplicationSet set_{{.replicas = 1}};
  Server& primary_ = set_.primary();
  Server& replica_ = set_.replica();
  std::optional<Holdfast> proxy_;
};

TEST_F(Marks, a_read_waits_for_a_replica_that_has_its_sessions_write) {
  wait_for_reads_of_the_replica();
  auto client = proxy_->connect();
  replica_.exec("SELECT pg_wal_replay_pause()");
  client.exec("INSERT INTO t VALUES (1)");
  client.ask("SELECT count(*), member() FROM t");
  replica_.exec("SELECT pg_wal_replay_resume()");
  EXPECT_EQ(client.answer().at(0), (Row{"1", "pg2"}));
}

// A read has waited in vain; then there was no primary either, and it was held until there was one. The wait that it
// has had is its own: the next read may wait again.
TEST_F(Marks, a_wait_that_ended_without_a_primary_is_not_the_next_reads) {
  wait_for_reads_of_the_replica();
  auto client = proxy_->connect();
  replica_.exec("SELECT pg_wal_replay_pause()");
  client.exec("INSERT INTO t VALUES (1)");
  primary_.stop();
  ASSERT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_cluster_has_primary{cluster=\"main\"}") == 0; }));
  client.ask("SELECT count(*), member() FROM t");
  ASSERT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_clients_held") == 1; })) << proxy_->log();
  primary_.start();
  EXPECT_EQ(client.answer(20s).at(0), (Row{"1", "pg1"}));
  wait_for_reads_of_the_replica();
  // The replica stands still: it lacks what the session has seen, until replay goes on.
  client.ask("SELECT count(*), member() FROM t");
  replica_.exec("SELECT pg_wal_replay_resume()");
  EXPECT_EQ(client.answer().at(0), (Row{"1", "pg2"}));
}

}  // namespace
}  // namespace holdfast::testing
