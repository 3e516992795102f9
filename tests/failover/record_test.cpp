// What a proxy knows when it starts again, and what it says of WAL that a new primary lacks; on real servers.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/endpoint.hpp"
#include "tests/support/holdfast.hpp"
#include "tests/support/postgres.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

class AcceptedPrimary : public ::testing::Test {
 protected:
  [[nodiscard]] HoldfastOptions options(ReplicationSet& set, const std::string& state_dir) const {
    auto result = endpoint({.members = members_yaml(set),
                            .workers = 1,
                            .pool = "size: 4, hold_timeout: 1s",
                            .more = "state_dir: \"" + state_dir + "\"\n"});
    return result;
  }
  [[nodiscard]] HoldfastOptions options(ReplicationSet& set) const { return options(set, state_.path().string()); }
  // pg2 was promoted, and a proxy has seen it; then that proxy ends, pg2 dies, and pg1 is back as it was.
  void stale_primary_alone(ReplicationSet& set) {
    {
      Holdfast proxy(options(set));
      auto client = proxy.connect();
      client.exec("CREATE TABLE t (a int)");
      ReplicationSet::wait_caught_up(set.primary(), set.replica());
      set.primary().stop();
      set.replica().promote();
      client.exec("INSERT INTO t VALUES (1)");
    }
    set.replica().stop();
    set.primary().start();
  }
  [[nodiscard]] std::filesystem::path file() const { return state_.path() / "main.record"; }
  static constexpr const char* has_primary = "holdfast_cluster_has_primary{cluster=\"main\"}";

  TempDir state_;
};

TEST_F(AcceptedPrimary, outlives_the_proxy_a_stale_one_gets_no_write) {
  ReplicationSet set({.replicas = 1});
  stale_primary_alone(set);
  ASSERT_TRUE(std::filesystem::exists(file()));
  auto with_record = options(set);
  with_record.wait_ready = false;
  Holdfast proxy(with_record);
  ASSERT_TRUE(proxy.wait_log("earlier run"));
  const auto refused = sqlstate_of([&] { proxy.connect().exec("INSERT INTO t VALUES (2)"); });
  EXPECT_NE(refused.find("there has been no primary for 1000 ms"), std::string::npos) << refused;
  EXPECT_EQ(set.primary().scalar("SELECT count(*) FROM t"), "0");
  const auto ready = proxy.get("/readyz");
  EXPECT_EQ(ready.status, 503);
  EXPECT_NE(ready.body.find("pg2 was the primary on timeline 2 in an earlier run"), std::string::npos) << ready.body;
  // The right one comes back: nothing needs a restart.
  set.replica().start();
  ASSERT_TRUE(wait_until(20s, [&] { return proxy.metric(has_primary) == 1.0; })) << proxy.log();
  proxy.connect().exec("INSERT INTO t VALUES (3)");
  EXPECT_EQ(set.replica().scalar("SELECT string_agg(a::text, ',' ORDER BY a) FROM t"), "1,3");
}

TEST_F(AcceptedPrimary, is_given_up_when_the_operator_removes_the_file_and_reloads) {
  ReplicationSet set({.replicas = 1});
  stale_primary_alone(set);
  auto with_record = options(set);
  with_record.wait_ready = false;
  Holdfast proxy(with_record);
  ASSERT_TRUE(proxy.wait_log("earlier run"));
  proxy.reload();
  ASSERT_TRUE(proxy.wait_log("reloaded"));
  EXPECT_EQ(proxy.metric(has_primary), 0.0) << "a reload alone changes nothing";
  std::filesystem::remove(file());
  proxy.reload();
  ASSERT_TRUE(wait_until(20s, [&] { return proxy.metric(has_primary) == 1.0; })) << proxy.log();
  proxy.connect().exec("INSERT INTO t VALUES (2)");
  EXPECT_EQ(set.primary().scalar("SELECT count(*) FROM t"), "1");
  EXPECT_TRUE(wait_until(10s, [&] { return std::filesystem::exists(file()); })) << "a new record";
  EXPECT_NE(proxy.log().find("record_ended"), std::string::npos);
}

TEST_F(AcceptedPrimary, a_directory_that_is_not_there_is_said_and_harms_nothing) {
  ReplicationSet set({.replicas = 1});
  Holdfast proxy(options(set, (state_.path() / "missing").string()));
  ASSERT_TRUE(proxy.wait_log("record_not_kept"));
  EXPECT_TRUE(wait_until(10s, [&] { return proxy.metric("holdfast_record_kept{cluster=\"main\"}") == 0.0; }));
  EXPECT_EQ(proxy.connect().scalar("SELECT 1"), "1");
  // Made by now: a reload is enough.
  std::filesystem::create_directory(state_.path() / "missing");
  proxy.reload();
  EXPECT_TRUE(wait_until(10s, [&] { return proxy.metric("holdfast_record_kept{cluster=\"main\"}") == 1.0; }));
  EXPECT_TRUE(std::filesystem::exists(state_.path() / "missing" / "main.record"));
  // And gone again.
  std::filesystem::remove_all(state_.path() / "missing");
  proxy.reload();
  EXPECT_TRUE(wait_until(10s, [&] { return proxy.metric("holdfast_record_kept{cluster=\"main\"}") == 0.0; }));
}

TEST_F(AcceptedPrimary, an_unreadable_record_is_an_error_in_the_log_and_replaced) {
  ReplicationSet set({.replicas = 1});
  std::filesystem::copy_file("/etc/hostname", file());
  Holdfast proxy(options(set));
  ASSERT_TRUE(proxy.wait_log("record_unreadable"));
  EXPECT_TRUE(wait_until(10s, [&] { return proxy.metric("holdfast_record_kept{cluster=\"main\"}") == 1.0; }));
  EXPECT_EQ(proxy.connect().scalar("SELECT 1"), "1");
}

// Asynchronous replication, and the standby had been cut off: what was acknowledged meanwhile is lost, and that is
// said.
TEST_F(AcceptedPrimary, wal_that_the_next_one_lacks_is_reported) {
  ReplicationSet set({.replicas = 1});
  Holdfast proxy(options(set));
  auto client = proxy.connect();
  client.exec("CREATE TABLE t (a text)");
  ReplicationSet::wait_caught_up(set.primary(), set.replica());
  const auto upstream = set.replica().scalar("SHOW primary_conninfo");
  set.replica().set({{"primary_conninfo", ""}});
  ASSERT_TRUE(
      wait_until(20s, [&] { return set.replica().scalar("SELECT count(*) FROM pg_stat_wal_receiver") == "0"; }));
  const auto fork = set.primary().scalar("SELECT pg_current_wal_lsn()");
  client.exec("INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 1000)");
  const auto reached = std::stod(set.primary().scalar("SELECT pg_current_wal_lsn() - '" + fork + "'"));
  ASSERT_GT(reached, 1'000'000);
  // The monitor has seen it.
  ASSERT_TRUE(wait_until(10s, [&] {
    return proxy.metric("holdfast_member_lag_bytes{cluster=\"main\",member=\"pg2\"}").value_or(0) >= reached;
  })) << proxy.log();
  set.primary().kill9_tree();
  set.replica().promote();
  ASSERT_TRUE(proxy.wait_log("wal_left_behind")) << proxy.log();
  const auto lost = proxy.metric("holdfast_wal_left_behind_bytes_total{cluster=\"main\"}").value_or(0);
  EXPECT_GT(lost, reached * 0.9);
  EXPECT_LE(lost, reached * 1.1);
}

}  // namespace
}  // namespace holdfast::testing
