// What must hold when the primary goes, on real servers: nobody is disconnected, nothing acknowledged is lost, nothing
// runs twice, and a primary that comes back gets not one statement.
#include <gtest/gtest.h>

#include <signal.h>

#include <atomic>
#include <thread>

#include "tests/support/endpoint.hpp"
#include "tests/support/holdfast.hpp"
#include "tests/support/load.hpp"
#include "tests/support/postgres.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

std::string config_for(ReplicationSet& set, const std::string& more = {}) {
  return "listen:\n"
         "  - address: 127.0.0.1:${port}\n"
         "clusters:\n"
         "  main:\n"
         "    members:\n" +
         members_yaml(set) + "    monitor: { user: holdfast, password: " + monitor_password +
         " }\n"
         "databases:\n"
         "  \"*\": { cluster: main }\n"
         "pool: { size: 16 }\n"
         "auth: { users_file: ${folder}/users.txt }\n"
         "http: { address: \"127.0.0.1:${http_port}\" }\n" +
         more;
}

class Failover : public ::testing::Test {
 protected:
  static ReplicationOptions quorum() {
    return {.replicas = 2, .quorum = true, .server = {.settings = {{"wal_receiver_timeout", "2s"}}}};
  }
  static HoldfastOptions options(ReplicationSet& set, const std::string& more = {}) {
    return {.config = config_for(set, more),
            .files = {{"users.txt", std::string("\"app\" \"") + app_password + "\"\n"}}};
  }
  static std::string on(const std::string& name, const std::string& member) {
    return name + "{cluster=\"main\",member=\"" + member + "\"";
  }
  static void wait_for_acknowledged(const Load& load, std::uint64_t count) {
    ASSERT_TRUE(wait_until(60s, [&] { return load.acknowledged() >= count; })) << load.acknowledged();
  }
  // pg2 becomes primary and pg3 follows it: with quorum commit nothing is acknowledged before that.
  static void promote_pg2(ReplicationSet& set) {
    set.replica(0).promote();
    set.replica(1).repoint(set.replica(0));
  }
  // The primary is gone: the replica that has most becomes one, the other follows it.
  static Server& promote_one(ReplicationSet& set) {
    Server& heir = most_advanced(set);
    heir.promote();
    Server& other = &heir == &set.replica(0) ? set.replica(1) : set.replica(0);
    other.repoint(heir);
    return heir;
  }
  static void wait_caught_up(ReplicationSet& set) {
    for (std::size_t i = 0; i < 2; ++i) ReplicationSet::wait_caught_up(set.primary(), set.replica(i));
  }
  // The replica that has received most, as an administrator would choose.
  static Server& most_advanced(ReplicationSet& set) {
    // Once nothing more can arrive: one that is ahead of the chosen one could never follow it.
    for (std::size_t i = 0; i < 2; ++i) {
      static_cast<void>(
          wait_until(5s, [&] { return set.replica(i).scalar("SELECT count(*) FROM pg_stat_wal_receiver") == "0"; }));
    }
    const auto position = [](Server& server) {
      return std::stoull(server.scalar("SELECT (pg_last_wal_receive_lsn() - '0/0')::bigint"));
    };
    return position(set.replica(0)) >= position(set.replica(1)) ? set.replica(0) : set.replica(1);
  }
};

TEST_F(Failover, loses_nothing_and_disconnects_nobody_when_the_primary_is_killed) {
  ReplicationSet set(quorum());
  Holdfast proxy(options(set));
  constexpr int writers = 32;
  constexpr std::uint64_t each = 100'000 / writers;
  Load load({.conninfo = proxy.conninfo(),
             .writers = writers,
             .readers = 4,
             .transactions = 4,
             .idle = 8,
             .writes_each = each});
  load.start();
  wait_for_acknowledged(load, 40'000);
  set.primary().kill9_tree();
  Server& heir = promote_one(set);
  load.wait_for_writers();
  load.stop();
  const auto& report = load.report();
  EXPECT_EQ(report.disconnects, 0U);
  EXPECT_EQ(report.idle_broken, 0U);
  EXPECT_EQ(report.wrong_reads, 0U);
  for (const auto& [state, count] : report.errors) {
    EXPECT_TRUE(state == "08007" || state == "40001") << state << ": " << count;
  }
  const auto by_transactions = 2 * (report.transactions + report.unknown_transactions);
  EXPECT_EQ(report.acknowledged.size() + report.unknown.size() - by_transactions, writers * each)
      << "every write was either acknowledged or told to be unknown";
  auto primary = heir.connect("postgres");
  const auto check = check_load(primary, report);
  EXPECT_EQ(check.missing, 0U);
  EXPECT_EQ(check.twice, 0U);
  std::printf("longest write gap %.1f ms, read gap %.1f ms\n",
              static_cast<double>(report.longest_write_gap.length.count()) / 1000,
              static_cast<double>(report.longest_read_gap.length.count()) / 1000);
}

TEST_F(Failover, tells_a_client_inside_a_transaction_40001_and_keeps_it) {
  ReplicationSet set(quorum());
  Holdfast proxy(options(set));
  auto client = proxy.connect();
  client.exec("CREATE TABLE t (a int)");
  client.exec("BEGIN");
  client.exec("INSERT INTO t VALUES (1)");
  set.primary().kill9_tree();
  promote_one(set);
  try {
    client.exec("INSERT INTO t VALUES (2)");
    FAIL() << "the transaction went on";
  } catch (const SqlError& error) {
    EXPECT_EQ(error.sqlstate(), "40001");
  }
  try {
    client.exec("SELECT 1");
    FAIL() << "a failed block answered";
  } catch (const SqlError& error) {
    EXPECT_EQ(error.sqlstate(), "25P02");
  }
  client.exec("ROLLBACK");
  client.exec("INSERT INTO t VALUES (3)");
  EXPECT_EQ(client.scalar("SELECT string_agg(a::text, ',') FROM t"), "3");
}

// libpq takes an error that comes while nothing is asked for a notice: then a bare "pipeline is in sync" would be all
// that the application hears of a row that was acknowledged and is nowhere.
TEST_F(Failover, a_pipeline_without_its_sync_hears_of_the_loss_at_its_sync) {
  ReplicationSet set(quorum());
  Holdfast proxy(options(set));
  auto client = proxy.connect();
  client.exec("CREATE TABLE t (a int)");
  PGconn* raw = client.raw();
  ASSERT_EQ(PQenterPipelineMode(raw), 1);
  ASSERT_EQ(PQsendQueryParams(raw, "INSERT INTO t VALUES (1)", 0, nullptr, nullptr, nullptr, nullptr, 0), 1);
  ASSERT_EQ(PQsendFlushRequest(raw), 1);
  ASSERT_EQ(PQflush(raw), 0);
  const auto next = [raw] {
    PGresult* result = PQgetResult(raw);
    const auto status = result != nullptr ? PQresultStatus(result) : PGRES_EMPTY_QUERY;
    const char* state = result != nullptr ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : nullptr;
    const std::string text = std::string(PQresStatus(status)) + (state != nullptr ? std::string(" ") + state : "");
    PQclear(result);
    return text;
  };
  EXPECT_EQ(next(), "PGRES_COMMAND_OK");
  EXPECT_EQ(next(), "PGRES_EMPTY_QUERY") << "no result: the end of the statement's";
  set.primary().kill9_tree();
  Server& heir = promote_one(set);
  ASSERT_EQ(PQpipelineSync(raw), 1);
  EXPECT_EQ(next(), "PGRES_FATAL_ERROR 40001");
  EXPECT_EQ(next(), "PGRES_EMPTY_QUERY");
  EXPECT_EQ(next(), "PGRES_PIPELINE_SYNC");
  ASSERT_EQ(PQexitPipelineMode(raw), 1);
  EXPECT_TRUE(client.notices().empty()) << client.notices().front();
  EXPECT_EQ(heir.scalar("SELECT count(*) FROM t"), "0");
  client.exec("INSERT INTO t VALUES (2)");
  EXPECT_EQ(client.scalar("SELECT string_agg(a::text, ',') FROM t"), "2");
}

TEST_F(Failover, old_primary_that_returns_gets_no_statement) {
  ReplicationSet set(quorum());
  Holdfast proxy(options(set));
  auto client = proxy.connect();
  client.exec("CREATE TABLE t (a int)");
  set.primary().kill9_tree();
  promote_one(set);
  client.exec("INSERT INTO t VALUES (1)");
  // Back as it was: writable, on the old timeline. It waits for a synchronous standby for ever, so that is taken off.
  Server& old = set.primary();
  old.start();
  old.set({{"synchronous_standby_names", ""}});
  ASSERT_TRUE(wait_until(10s, [&] {
    return proxy.metric(on("holdfast_member_state", "pg1") + ",state=\"fenced\"}") == 1.0;
  })) << proxy.log();
  for (int i = 0; i < 200; ++i) {
    client.exec("INSERT INTO t VALUES (" + std::to_string(i) + ")");
    static_cast<void>(client.scalar("SELECT count(*) FROM t"));
  }
  EXPECT_EQ(old.scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'"), "0");
  EXPECT_EQ(old.scalar("SELECT count(*) FROM t"), "0");
  EXPECT_NE(proxy.log().find("fenced"), std::string::npos);
}

TEST_F(Failover, writes_follow_the_higher_timeline_while_an_old_primary_that_nobody_follows_lives) {
  ReplicationSet set({.replicas = 1, .quorum = false});
  Holdfast proxy(options(set));
  auto client = proxy.connect();
  client.exec("CREATE TABLE t (a int)");
  ReplicationSet::wait_caught_up(set.primary(), set.replica(0));
  set.replica(0).promote();  // the old primary is alive, writable and knows nothing
  ASSERT_TRUE(
      wait_until(10s, [&] { return proxy.metric(on("holdfast_member_state", "pg2") + ",state=\"primary\"}") == 1.0; }));
  client.exec("INSERT INTO t VALUES (1)");
  EXPECT_EQ(set.replica(0).scalar("SELECT count(*) FROM t"), "1");
  EXPECT_EQ(set.primary().scalar("SELECT count(*) FROM t"), "0");
}

TEST_F(Failover, primary_that_hangs_is_noticed_also_by_clients_that_wait_for_answers) {
  ReplicationSet set(quorum());
  Holdfast proxy(options(set));
  auto client = proxy.connect();
  client.exec("CREATE TABLE t (a int)");
  wait_caught_up(set);  // it is pg2 that is promoted below
  set.primary().sigstop_tree();
  std::thread promotion([&] {
    // Somebody else notices too and promotes.
    static_cast<void>(
        wait_until(20s, [&] { return proxy.metric("holdfast_cluster_has_primary{cluster=\"main\"}") == 0.0; }));
    promote_pg2(set);
  });
  std::string state;
  try {
    client.exec("INSERT INTO t VALUES (1)");
  } catch (const SqlError& error) {
    state = error.sqlstate();
  }
  promotion.join();
  EXPECT_TRUE(state.empty() || state == "08007") << state;
  EXPECT_TRUE(client.alive());
  client.exec("INSERT INTO t VALUES (2)");
  EXPECT_EQ(set.replica(0).scalar("SELECT count(*) FROM t WHERE a = 2"), "1");
  set.primary().sigcont_tree();
  client.exec("INSERT INTO t VALUES (3)");
  EXPECT_EQ(set.replica(0).scalar("SELECT count(*) FROM t WHERE a = 3"), "1");
}

TEST_F(Failover, replica_that_dies_moves_its_reads_and_nothing_else) {
  ReplicationSet set(quorum());
  Holdfast proxy(options(set));
  Load load({.conninfo = proxy.conninfo(), .writers = 4, .readers = 8});
  load.start();
  wait_for_acknowledged(load, 500);
  const auto before = load.reads();
  set.replica(0).kill9_tree();
  ASSERT_TRUE(wait_until(30s, [&] { return load.reads() > before + 2000; }));
  load.stop();
  EXPECT_EQ(load.report().disconnects, 0U);
  EXPECT_TRUE(load.report().errors.empty()) << load.report().errors.begin()->first;
  EXPECT_EQ(load.report().wrong_reads, 0U);
}

// Without a proxy a statement that crashes its server does so once. Its client may try again; nobody does it for him on
// every member in turn. Those who write beside it lose nothing that was acknowledged.
TEST_F(Failover, a_statement_that_kills_its_server_does_not_kill_them_all) {
  ReplicationSet set(quorum());
  Holdfast proxy(options(set, "reads: { consistency: session }\n"));
  Load load({.conninfo = proxy.conninfo(), .writers = 4, .readers = 2});
  load.start();
  wait_for_acknowledged(load, 200);
  std::atomic<bool> stop{false};
  std::vector<std::thread> killers;
  for (std::size_t i = 0; i < set.size(); ++i) {
    killers.emplace_back([&, i] {
      while (!stop) {
        auto look = Connection::attempt(set[i].conninfo("postgres"));
        const auto pid_of = [&]() -> pid_t {
          try {
            return std::stoi(
                look->scalar("SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE state = 'active' AND"
                             " wait_event = 'PgSleep'"));
          } catch (const SqlError&) {
            look.reset();  // it crashed
            return 0;
          }
        };
        while (look && !stop) {
          if (const pid_t pid = pid_of(); pid != 0) ::kill(pid, SIGKILL);
        }
      }
    });
  }
  auto client = proxy.connect();
  EXPECT_EQ(sqlstate_of([&] { client.scalar("SELECT pg_sleep(3600)"); }), "57P02");
  EXPECT_EQ(client.scalar("SELECT 1"), "1") << "it goes on";
  const auto before = load.acknowledged();
  wait_for_acknowledged(load, before + 200);
  stop = true;
  for (auto& killer : killers) killer.join();
  // As the postmasters saw it.
  int crashes = 0;
  for (std::size_t i = 0; i < set.size(); ++i) {
    const std::string log = read_file(set[i].log_file());
    for (auto at = log.find("by signal 9"); at != std::string::npos; at = log.find("by signal 9", at + 1)) ++crashes;
  }
  EXPECT_GE(crashes, 1);
  EXPECT_LE(crashes, 2) << "at most one more than without a proxy";
  load.stop();
  EXPECT_EQ(load.report().disconnects, 0U);
  EXPECT_EQ(load.report().wrong_reads, 0U);
  for (const auto& [state, count] : load.report().errors) {
    EXPECT_TRUE(state == "08007" || state == "40001" || state == "57P02") << state << ": " << count;
  }
  auto primary = set.primary().connect("postgres");
  const auto check = check_load(primary, load.report());
  EXPECT_EQ(check.missing, 0U);
  EXPECT_EQ(check.twice, 0U);
}

// A real failover still hides the loss of a read.
TEST_F(Failover, a_read_whose_replica_dies_is_answered_by_another_member) {
  ReplicationSet set(quorum());
  Holdfast proxy(options(set, "reads: { consistency: eventual }\n"));
  auto client = proxy.connect();
  client.ask("SELECT 'read' FROM pg_sleep(1)");
  const auto reads = [](Server& server) {
    return server.scalar("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1";
  };
  Server* where = nullptr;
  ASSERT_TRUE(wait_until(10s, [&] {
    for (std::size_t i = 0; i < set.size() && where == nullptr; ++i)
      if (reads(set[i])) where = &set[i];
    return where != nullptr;
  }));
  where->kill9_tree();
  EXPECT_EQ(client.answer().at(0).at(0), "read");
  EXPECT_EQ(proxy.metric("holdfast_retries_total{reason=\"lost\"}"), 1.0);
}

TEST_F(Failover, writes_that_wait_too_long_for_a_primary_fail_and_reads_go_on) {
  ReplicationSet set(quorum());
  Holdfast proxy(options(set, "reads: { consistency: eventual }\n"));
  auto proxy_config = config_for(set, "reads: { consistency: eventual }\n");
  proxy_config.replace(proxy_config.find("pool: { size: 16 }"), 18, "pool: { size: 16, hold_timeout: 1s }");
  proxy.write_config(proxy_config);
  proxy.reload();
  ASSERT_TRUE(proxy.wait_log("reloaded"));
  auto client = proxy.connect();
  client.exec("CREATE TABLE t (a int)");
  wait_caught_up(set);
  set.primary().kill9_tree();
  try {
    client.exec("INSERT INTO t VALUES (1)");
    FAIL() << "a write succeeded without a primary";
  } catch (const SqlError& error) {
    EXPECT_TRUE(error.sqlstate() == "57P03" || error.sqlstate() == "08007") << error.what();
  }
  try {
    client.exec("INSERT INTO t VALUES (1)");
    FAIL() << "a write succeeded without a primary";
  } catch (const SqlError& error) {
    EXPECT_EQ(error.sqlstate(), "57P03") << error.what();
  }
  EXPECT_EQ(client.scalar("SELECT count(*) FROM t"), "0");
}

}  // namespace
}  // namespace holdfast::testing
