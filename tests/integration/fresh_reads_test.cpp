// A read sees every write that was finished before it, whichever client's it was, in whatever way it was written: the
// default of reads.consistency. The standby is asynchronous, and its replay is delayed or paused, so that each read of
// it that comes too early is stale for certain.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/endpoint.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

class FreshReads : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    set_ = new ReplicationSet({.replicas = 1});
    primary().exec(
        "CREATE FUNCTION member() RETURNS text LANGUAGE sql STABLE AS $$ SELECT current_setting('cluster_name') $$;"
        "CREATE TABLE t (id int); GRANT ALL ON t TO app; CREATE SEQUENCE s; GRANT ALL ON s TO app;"
        "CREATE FUNCTION adds(i int) RETURNS int LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO t VALUES (i); RETURN i; END $$;"
        "CREATE PROCEDURE commits(i int) LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (i); COMMIT; END $$");
    primary().exec("CREATE DATABASE other");
  }
  static void TearDownTestSuite() { delete set_; }
  void SetUp() override {
    ReplicationSet::wait_caught_up(primary(), replica());
    start();
  }
  void TearDown() override {
    proxy_.reset();
    replica().exec("SELECT pg_wal_replay_resume()");
    replica().set({{"recovery_min_apply_delay", "0"}});
    primary().exec("TRUNCATE t");
  }
  void start(const std::string& settings = "pool: { size: 8 }\n", int workers = 2) {
    proxy_.emplace(HoldfastOptions{
        .config = "listen: [{ address: \"127.0.0.1:${port}\" }]\nworkers: " + std::to_string(workers) +
                  "\nclusters:\n  main:\n    members:\n" + members_yaml(*set_) +
                  "    monitor: { user: holdfast, password: " + monitor_password +
                  " }\ndatabases: { \"*\": { cluster: main } }\nauth: { method: trust }\n"
                  "users: { app: { reads: { functions: [ member ] } }, app2: { pool: { mode: session } } }\n"
                  "http: { address: \"127.0.0.1:${http_port}\" }\n" +
                  settings});
    auto client = proxy_->connect();
    ASSERT_TRUE(wait_until(20s, [&] { return client.scalar("SELECT member()") == "pg2"; })) << proxy_->log();
  }
  void pause() {
    replica().exec("SELECT pg_wal_replay_pause()");
    ASSERT_TRUE(
        wait_until(10s, [&] { return replica().scalar("SELECT pg_get_wal_replay_pause_state()") == "paused"; }));
  }
  void resume_until_reads_leave_the_primary(Connection& reader) {
    replica().exec("SELECT pg_wal_replay_resume()");
    EXPECT_TRUE(wait_until(10s, [&] { return reader.scalar("SELECT member()") == "pg2"; }));
  }

  static Server& primary() { return set_->primary(); }
  static Server& replica() { return set_->replica(); }

  static ReplicationSet* set_;
  std::optional<Holdfast> proxy_;
};
ReplicationSet* FreshReads::set_ = nullptr;

TEST_F(FreshReads, of_another_connection_never_miss_a_write) {
  replica().set({{"recovery_min_apply_delay", "3ms"}});
  auto writer = proxy_->connect();
  auto reader = proxy_->connect();
  int on_replica = 0;
  for (int i = 0; i < 600; ++i) {
    const auto id = std::to_string(i);
    writer.exec("INSERT INTO t VALUES (" + id + ")");
    const auto simple = reader.rows("SELECT count(*), member() FROM t WHERE id = " + id);
    ASSERT_EQ(simple[0][0], "1") << "round " << i << " on " << simple[0][1].value_or("");
    const auto extended = reader.rows("SELECT count(*), member() FROM t WHERE id = $1", {id});
    ASSERT_EQ(extended[0][0], "1") << "round " << i << " on " << extended[0][1].value_or("");
    if (i % 20 != 0) continue;
    // Without writes the reads go back to the standby, which has this one then.
    ASSERT_TRUE(wait_until(10s, [&] { return reader.scalar("SELECT member()") == "pg2"; }));
    on_replica += reader.rows("SELECT count(*), member() FROM t WHERE id = " + id)[0] == Row{"1", "pg2"};
  }
  EXPECT_GT(on_replica, 0);
}

// Each way of writing: while replay stands still, the next read of another client is the primary's.
TEST_F(FreshReads, whatever_way_it_was_written) {
  using Write = std::function<void(Connection&, const std::string& id)>;
  const std::vector<std::pair<const char*, Write>> ways{
      {"autocommit", [](auto& client, auto& id) { client.exec("INSERT INTO t VALUES (" + id + ")"); }},
      {"extended", [](auto& client, auto& id) { client.rows("INSERT INTO t VALUES ($1)", {id}); }},
      {"prepared",
       [](auto& client, auto& id) {
         checked_rows(PQprepare(client.raw(), "p", "INSERT INTO t VALUES ($1)", 1, nullptr), client.raw());
         const char* value = id.c_str();
         checked_rows(PQexecPrepared(client.raw(), "p", 1, &value, nullptr, nullptr, 0), client.raw());
       }},
      {"block",
       [](auto& client, auto& id) {
         client.exec("BEGIN");
         client.exec("INSERT INTO t VALUES (" + id + ")");
         client.exec("COMMIT");
       }},
      {"string", [](auto& client, auto& id) { client.exec("SELECT 1; INSERT INTO t VALUES (" + id + "); SELECT 2"); }},
      {"copy",
       [](auto& client, auto& id) {
         client.rows("COPY t FROM STDIN");
         const auto line = id + "\n";
         ASSERT_EQ(PQputCopyData(client.raw(), line.c_str(), static_cast<int>(line.size())), 1);
         ASSERT_EQ(PQputCopyEnd(client.raw(), nullptr), 1);
         checked_rows(PQgetResult(client.raw()), client.raw());
         ASSERT_EQ(PQgetResult(client.raw()), nullptr);
       }},
      {"function", [](auto& client, auto& id) { client.exec("SELECT adds(" + id + ")"); }},
      {"procedure", [](auto& client, auto& id) { client.exec("CALL commits(" + id + ")"); }},
      {"do", [](auto& client, auto& id) { client.exec("DO $$ BEGIN INSERT INTO t VALUES (" + id + "); END $$"); }},
      {"common table expression",
       [](auto& client, auto& id) {
         client.exec("WITH w AS (INSERT INTO t VALUES (" + id + ") RETURNING id) TABLE w");
       }},
      {"pinned",
       [](auto& client, auto& id) {
         client.exec("SET work_mem = '5MB'");
         client.exec("INSERT INTO t VALUES (" + id + ")");
       }},
      {"sql prepare",
       [](auto& client, auto& id) {
         client.exec("PREPARE q AS INSERT INTO t VALUES ($1)");
         client.exec("EXECUTE q(" + id + ")");
       }},
      {"prefixed by a hint",
       [](auto& client, auto& id) { client.exec("/* holdfast: primary */ INSERT INTO t VALUES (" + id + ")"); }},
  };
  auto reader = proxy_->connect();
  auto in_session_mode = proxy_->connect("app2");
  int id = 0;
  for (const auto& [name, write] : ways) {
    for (const bool session : {false, true}) {
      if (session && name == "autocommit"s) primary().exec("GRANT app TO app2");
      auto writer = proxy_->connect();
      pause();
      const auto next = std::to_string(++id);
      write(session ? in_session_mode : writer, next);
      EXPECT_EQ(reader.rows("SELECT count(*), member() FROM t WHERE id = " + next).at(0), (Row{"1", "pg1"})) << name;
      resume_until_reads_leave_the_primary(reader);
      if (session) in_session_mode.exec("DISCARD ALL");
    }
  }
}

// The client is told of its commit by the CommandComplete, long before the Sync that it hasn't sent.
TEST_F(FreshReads, a_commit_that_was_told_by_a_flush_counts) {
  auto reader = proxy_->connect();
  const auto writer = wire::log_in(proxy_->port());
  pause();
  const auto run = [](const std::string& sql) { return wire::parse("", sql) + wire::bind("") + wire::execute(); };
  writer->send(run("BEGIN") + run("INSERT INTO t VALUES (1)") + run("COMMIT") + wire::flush());
  EXPECT_EQ(writer->read_until('C'), "12C");
  EXPECT_EQ(writer->read_until('C'), "12C");
  EXPECT_EQ(writer->read_until('C'), "12C");
  EXPECT_EQ(reader.rows("SELECT count(*), member() FROM t").at(0), (Row{"1", "pg1"}));
}

// Its statement is canceled, but goes on for longer than marks take to advance, and then commits.
TEST_F(FreshReads, a_write_whose_client_is_gone_counts_from_its_end) {
  primary().exec(
      "CREATE OR REPLACE FUNCTION slow() RETURNS int LANGUAGE plpgsql AS $$"
      " DECLARE until timestamptz = clock_timestamp() + interval '700ms';"
      " BEGIN WHILE clock_timestamp() < until LOOP"
      "   BEGIN PERFORM pg_sleep(0.02); EXCEPTION WHEN query_canceled THEN NULL; END;"
      " END LOOP; RETURN 7; END $$");
  ReplicationSet::wait_caught_up(primary(), replica());
  auto reader = proxy_->connect();
  pause();
  // A cancel request that comes between two of its blocks ends it: then it is tried again.
  for (int tries = 0; tries < 10 && primary().scalar("SELECT count(*) FROM t") == "0"; ++tries) {
    {
      const auto writer = wire::log_in(proxy_->port());
      writer->send(wire::query("INSERT INTO t VALUES (slow())"));
      ASSERT_TRUE(wait_until(10s, [&] {
        return primary().scalar(
                   "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'INSERT%slow%' AND state = 'active'") == "1";
      }));
    }
    ASSERT_TRUE(wait_until(10s, [&] {
      return primary().scalar(
                 "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'INSERT%slow%' AND state = 'active'") == "0";
    }));
  }
  // The proxy hears of its end from its server, a moment later than this test does.
  EXPECT_TRUE(wait_until(10s, [&] { return reader.scalar("SELECT count(*) FROM t") == "1"; }));
  EXPECT_EQ(primary().scalar("SELECT count(*) FROM t"), "1");
}

TEST_F(FreshReads, a_busy_database_keeps_no_reads_of_another_at_home) {
  auto reader = proxy_->connect();
  auto elsewhere = proxy_->connect("app", "other");
  primary().connect("postgres", "other").exec("CREATE TABLE o (id int); GRANT ALL ON o TO app");
  ReplicationSet::wait_caught_up(primary(), replica());
  pause();
  elsewhere.exec("INSERT INTO o VALUES (1)");
  EXPECT_EQ(reader.scalar("SELECT member()"), "pg2");
  // What all databases share is everybody's.
  Connection superuser(proxy_->conninfo("postgres", "other"));
  superuser.exec("CREATE ROLE everybodys");
  EXPECT_EQ(reader.rows("SELECT count(*), member() FROM pg_roles WHERE rolname = 'everybodys'").at(0),
            (Row{"1", "pg1"}));
  superuser.exec("DROP ROLE everybodys");
}

TEST_F(FreshReads, questions_and_empty_transactions_keep_nobody_at_home) {
  auto reader = proxy_->connect();
  auto other = proxy_->connect();
  const auto peer = wire::log_in(proxy_->port());
  pause();
  other.exec("SHOW transaction_isolation");
  other.exec("SELECT pg_is_in_recovery()");
  other.exec("BEGIN");
  other.exec("SELECT count(*) FROM t");
  other.exec("COMMIT");
  peer->send(wire::parse("", "BEGIN") + wire::bind("") + wire::execute() + wire::sync());
  EXPECT_EQ(peer->read_until('Z'), "12CZ");
  peer->send(wire::query("ROLLBACK"));
  EXPECT_EQ(peer->read_until('Z'), "CZ");
  EXPECT_EQ(reader.scalar("SELECT member()"), "pg2");
}

// What was written through an earlier process counts as well.
TEST_F(FreshReads, a_new_process_begins_with_nothing_older_than_itself) {
  auto writer = proxy_->connect();
  pause();
  writer.exec("INSERT INTO t VALUES (1)");
  proxy_.reset();
  proxy_.emplace(endpoint({.members = members_yaml(*set_), .more = "reads: { functions: [ member ] }\n"}));
  auto reader = proxy_->connect();
  EXPECT_EQ(reader.rows("SELECT count(*), member() FROM t").at(0), (Row{"1", "pg1"}));
  resume_until_reads_leave_the_primary(reader);
  EXPECT_EQ(reader.rows("SELECT count(*), member() FROM t").at(0), (Row{"1", "pg2"}));
}

// The primary's only server is taken: the read that waits for it takes the standby once that is fresh.
TEST_F(FreshReads, read_in_the_primarys_line_takes_the_standby_if_that_is_sooner) {
  start("pool: { size: 1 }\n", 1);
  auto writer = proxy_->connect();
  auto reader = proxy_->connect();
  pause();
  writer.exec("INSERT INTO t VALUES (1)");
  writer.exec("BEGIN");
  writer.exec("SELECT 1");  // it keeps the primary's server
  reader.ask("SELECT count(*), member() FROM t");
  ASSERT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_clients_waiting") == 1; }));
  replica().exec("SELECT pg_wal_replay_resume()");
  EXPECT_EQ(reader.answer().at(0), (Row{"1", "pg2"}));
  writer.exec("COMMIT");
}

// One database by two names, and one set of servers by two names: a write through either is everybody's.
TEST_F(FreshReads, of_a_database_that_has_two_names) {
  const auto members = members_yaml(*set_);
  const auto monitor = "    monitor: { user: holdfast, password: "s + monitor_password + " }\n";
  proxy_.reset();
  proxy_.emplace(HoldfastOptions{
      .config = "listen: [{ address: \"127.0.0.1:${port}\" }]\nclusters:\n  main:\n    members:\n" + members + monitor +
                "  alias:\n    members:\n" + members + monitor +
                "databases:\n  app: { cluster: main }\n  same: { cluster: main, database: app }\n"
                "  elsewhere: { cluster: alias, database: app }\nauth: { method: trust }\n"
                "reads: { functions: [ member ] }\nhttp: { address: \"127.0.0.1:${http_port}\" }\n"});
  const std::vector<std::string> names{"app", "same", "elsewhere"};
  for (const auto& written : names) {
    for (const auto& read : names) {
      SCOPED_TRACE(written + ", then " + read);
      auto reader = proxy_->connect("app", read);
      ASSERT_TRUE(wait_until(20s, [&] { return reader.scalar("SELECT member()") == "pg2"; }));
      pause();
      proxy_->connect("app", written).exec("INSERT INTO t VALUES (77)");
      EXPECT_EQ(reader.rows("SELECT count(*), member() FROM t WHERE id = 77").at(0), (Row{"1", "pg1"}));
      resume_until_reads_leave_the_primary(reader);
      primary().exec("TRUNCATE t");
      ReplicationSet::wait_caught_up(primary(), replica());
    }
  }
}

}  // namespace
}  // namespace holdfast::testing
