// Where statements run, seen by the real servers: which member answers, in the simple and the extended protocol.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/support/endpoint.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

enum class Protocol { simple, extended };

// member() says which member runs it; the classifier is told that it only reads. It lives in the tests' database.
class Routing : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    set_ = new ReplicationSet({.replicas = 2});
    auto& primary = set_->primary();
    primary.exec(
        "CREATE FUNCTION member() RETURNS text LANGUAGE sql STABLE AS $$ SELECT current_setting('cluster_name') $$;"
        "CREATE FUNCTION unlisted() RETURNS text LANGUAGE sql STABLE AS $$ SELECT current_setting('cluster_name') $$;"
        "CREATE TABLE t (id int PRIMARY KEY, at text);"
        "INSERT INTO t VALUES (1, 'one');"
        "CREATE VIEW locked AS SELECT id, member() AS m FROM t FOR UPDATE;"
        "CREATE FUNCTION writes() RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t SELECT max(id) + 1 FROM t;"
        " RETURN current_setting('cluster_name'); END $$;"
        "CREATE VIEW writing AS SELECT writes() AS m;"
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO app; GRANT CREATE ON SCHEMA public TO app");
    for (int i = 0; i < 2; ++i) ReplicationSet::wait_caught_up(primary, set_->replica(i));
    // With `session` what one client wrote doesn't keep the next one's reads at home.
    proxy_ = new Holdfast(
        endpoint({.members = members_yaml(*set_), .more = "reads: { functions: [ member ], consistency: session }\n"}));
    auto client = proxy_->connect();
    ASSERT_TRUE(wait_until(10s, [&] { return client.scalar("SELECT member()") != "pg1"; })) << proxy_->log();
  }
  static void TearDownTestSuite() {
    delete proxy_;
    delete set_;
  }

  static std::string where(Connection& client, const std::string& sql, Protocol protocol) {
    const auto rows = protocol == Protocol::simple ? client.rows(sql) : client.rows(sql, std::vector<Value>{});
    return rows.empty() || rows[0].empty() ? "" : rows[0].back().value_or("");
  }
  static bool on_primary(const std::string& member) { return member == "pg1"; }

  // A statement that answers with its member in the last column of its first row goes to a replica, or never does.
  static void expect_replica(const std::string& sql) {
    for (const auto protocol : {Protocol::simple, Protocol::extended}) {
      auto client = proxy_->connect();
      EXPECT_FALSE(on_primary(where(client, sql, protocol))) << sql;
      EXPECT_NE(where(client, sql, protocol), "") << sql;
    }
  }
  static void expect_primary(const std::string& sql) {
    for (const auto protocol : {Protocol::simple, Protocol::extended}) {
      auto client = proxy_->connect();
      for (int i = 0; i < 3; ++i) EXPECT_EQ(where(client, sql, protocol), "pg1") << sql;
    }
  }

  static ReplicationSet* set_;
  static Holdfast* proxy_;
};
ReplicationSet* Routing::set_ = nullptr;
Holdfast* Routing::proxy_ = nullptr;

TEST_F(Routing, reads_run_on_replicas) {
  expect_replica("SELECT member()");
  expect_replica("/* INSERT */ -- UPDATE\n SELECT member()");
  expect_replica("(SELECT member())");
  expect_replica("WITH m AS (SELECT member()) SELECT * FROM m");
  expect_replica("VALUES (member())");
  expect_replica("SELECT id, member() FROM t UNION ALL SELECT id, member() FROM t");
  expect_replica("SELECT random(), now(), public.member()");
}

TEST_F(Routing, both_replicas_get_reads) {
  std::set<std::string> seen;
  std::vector<Connection> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(proxy_->connect());
    clients.back().exec("BEGIN READ ONLY");
    seen.insert(clients.back().scalar("SELECT member()"));
  }
  EXPECT_EQ(seen, (std::set<std::string>{"pg2", "pg3"}));
}

TEST_F(Routing, what_may_write_runs_on_the_primary) {
  expect_primary("INSERT INTO t SELECT max(id) + 1 FROM t RETURNING member()");
  expect_primary("UPDATE t SET at = 'x' WHERE id = 1 RETURNING member()");
  expect_primary("SELECT member() FROM t WHERE id = 1 FOR UPDATE");
  expect_primary("SELECT member() FROM (SELECT * FROM t FOR SHARE) AS s");
  expect_primary("WITH a AS (SELECT 1), w AS (UPDATE t SET at = 'y' WHERE id = 1 RETURNING id) SELECT member() FROM w");
  expect_primary("/* harmless */ UPDATE t SET at = 'x' WHERE id = 1 RETURNING member()");
  expect_primary("SELECT unlisted()");
  expect_primary("SELECT current_setting('cluster_name')");
  expect_primary("SELECT txid_current(), member()");
  expect_primary("SELECT pg_advisory_xact_lock(7)::text, member()");
  expect_primary("/* holdfast: primary */ SELECT member()");
  expect_primary("SHOW cluster_name");
}

TEST_F(Routing, statements_without_rows_run_on_the_primary) {
  for (const auto protocol : {Protocol::simple, Protocol::extended}) {
    auto client = proxy_->connect();
    const auto run = [&](const std::string& sql) { where(client, sql, protocol); };
    run("SELECT member() AS m INTO into_table");
    EXPECT_EQ(client.scalar("SELECT m FROM into_table"), "pg1");
    run("DROP TABLE into_table");
    run("CREATE TABLE as_table AS SELECT member() AS m");
    EXPECT_EQ(client.scalar("SELECT m FROM as_table"), "pg1");
    run("DROP TABLE as_table");
    run("EXPLAIN ANALYZE INSERT INTO t SELECT max(id) + 1 FROM t");
    run("DO $$ BEGIN INSERT INTO t SELECT max(id) + 1 FROM t; END $$");
    run("TRUNCATE t");
    run("INSERT INTO t VALUES (1, 'one')");
  }
}

TEST_F(Routing, every_statement_of_a_query_string_counts) {
  auto client = proxy_->connect();
  EXPECT_EQ(client.scalar("UPDATE t SET at = 'z' WHERE id = 1; SELECT member()"), "pg1");
  EXPECT_EQ(client.scalar("SELECT member(); UPDATE t SET at = 'z' WHERE id = 1 RETURNING member()"), "pg1");
  auto reader = proxy_->connect();
  // Not at once behind the DDL of another test: what is hidden in the database is unknown for a moment.
  EXPECT_TRUE(wait_until(10s, [&] { return reader.scalar("SELECT 1; SELECT member()") != "pg1"; }));
}

TEST_F(Routing, a_read_only_transaction_stays_on_one_replica) {
  for (int i = 0; i < 2; ++i) ReplicationSet::wait_caught_up(set_->primary(), set_->replica(i));
  for (const char* begin : {"BEGIN READ ONLY", "START TRANSACTION ISOLATION LEVEL READ COMMITTED READ ONLY"}) {
    for (const auto protocol : {Protocol::simple, Protocol::extended}) {
      auto client = proxy_->connect();
      where(client, begin, protocol);
      const auto first = where(client, "SELECT member()", protocol);
      EXPECT_NE(first, "pg1") << begin;
      for (int i = 0; i < 5; ++i) EXPECT_EQ(where(client, "SELECT id, member() FROM t", protocol), first);
      EXPECT_EQ(sqlstate_of([&] { where(client, "UPDATE t SET at = 'never'", protocol); }), "25006");
      where(client, "ROLLBACK", protocol);
    }
  }
}

// The kind: what a session does in a read-only block on a standby is not what it would be at PostgreSQL: settings and
// locks stay behind on the wrong server, and every write fails from then on; what only a primary can do is refused.
TEST_F(Routing, a_read_only_block_answers_as_the_primary_would) {
  for (int i = 0; i < 2; ++i) ReplicationSet::wait_caught_up(set_->primary(), set_->replica(i));
  struct Step {
    const char* sql;
    const char* value;
  };
  for (const auto& step :
       {Step{"SELECT set_config('statement_timeout', '9s', false)", "9s"}, Step{"SET statement_timeout = '9s'", ""},
        Step{"SELECT pg_advisory_lock(4711)", ""}, Step{"LISTEN news", ""}, Step{"NOTIFY news", ""},
        Step{"SELECT pg_notify('news', 'x')", ""}, Step{"SELECT txid_current() > 0", "t"},
        Step{"SELECT pg_is_in_recovery()", "f"}, Step{"SHOW transaction_read_only", "on"}, Step{"ANALYZE t", ""},
        Step{"PREPARE p AS SELECT 1", ""}}) {
    for (const auto protocol : {Protocol::simple, Protocol::extended}) {
      for (const char* first : {"", "SELECT member()", "SELECT count(*) FROM t"}) {
        SCOPED_TRACE(std::string(step.sql) + " behind " + first);
        auto client = proxy_->connect();
        where(client, "BEGIN READ ONLY", protocol);
        if (*first != '\0') where(client, first, protocol);
        EXPECT_EQ(where(client, step.sql, protocol), step.value);
        EXPECT_EQ(client.scalar("SELECT member()"), "pg1") << "the block goes on there";
        EXPECT_EQ(sqlstate_of([&] { client.exec("UPDATE t SET at = 'never'"); }), "25006") << "it is read-only still";
        client.exec("ROLLBACK");
        EXPECT_EQ(where(client, "UPDATE t SET at = 'x' WHERE id = 1 RETURNING member()", protocol), "pg1");
      }
    }
  }
}

TEST_F(Routing, a_read_only_block_may_become_writable_in_either_protocol) {
  for (const auto protocol : {Protocol::simple, Protocol::extended}) {
    auto client = proxy_->connect();
    where(client, "BEGIN READ ONLY", protocol);
    where(client, "SET TRANSACTION READ WRITE", protocol);
    EXPECT_EQ(where(client, "UPDATE t SET at = 'x' WHERE id = 1 RETURNING member()", protocol), "pg1");
    where(client, "COMMIT", protocol);
  }
}

// What was asked for as one snapshot stays one, so such a block could not begin again.
TEST_F(Routing, a_block_with_one_snapshot_is_the_primarys) {
  for (int i = 0; i < 2; ++i) ReplicationSet::wait_caught_up(set_->primary(), set_->replica(i));
  auto client = proxy_->connect();
  client.exec("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  EXPECT_EQ(client.scalar("SELECT member()"), "pg1");
  EXPECT_EQ(client.scalar("SELECT pg_is_in_recovery()"), "f");
  client.exec("COMMIT");
}

// A function that nobody knows may change the session or take a lock: it does so where the session writes.
TEST_F(Routing, unknown_function_in_a_read_only_block_is_the_primarys) {
  for (int i = 0; i < 2; ++i) ReplicationSet::wait_caught_up(set_->primary(), set_->replica(i));
  for (const auto protocol : {Protocol::simple, Protocol::extended}) {
    auto client = proxy_->connect();
    client.exec("BEGIN READ ONLY");
    EXPECT_NE(where(client, "SELECT member()", protocol), "pg1");
    EXPECT_EQ(where(client, "SELECT unlisted()", protocol), "pg1");
    client.exec("COMMIT");
    EXPECT_EQ(where(client, "UPDATE t SET at = 'x' WHERE id = 1 RETURNING member()", protocol), "pg1");
  }
}

// A hint may send such a function to a replica. What it may have left there is a guess, and no reason to refuse writes.
TEST_F(Routing, unknown_function_that_a_hint_sends_to_a_replica_keeps_nobody_from_writing) {
  for (int i = 0; i < 2; ++i) ReplicationSet::wait_caught_up(set_->primary(), set_->replica(i));
  for (const auto protocol : {Protocol::simple, Protocol::extended}) {
    for (const char* begin : {"", "BEGIN", "BEGIN READ ONLY"}) {
      auto client = proxy_->connect();
      const auto replica = where(client, "/* holdfast: replica */ SELECT unlisted()", protocol);
      EXPECT_NE(replica, "pg1");
      for (int i = 0; i < 3; ++i) EXPECT_EQ(where(client, "SELECT member()", protocol), replica);
      if (*begin != '\0') where(client, begin, protocol);
      where(client, "SET statement_timeout = '9s'", protocol);
      if (*begin != '\0') where(client, "COMMIT", protocol);
      EXPECT_EQ(where(client, "UPDATE t SET at = 'x' WHERE id = 1 RETURNING member()", protocol), "pg1");
    }
  }
}

TEST_F(Routing, any_other_transaction_is_the_primarys) {
  for (const char* begin : {"BEGIN", "START TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY"}) {
    auto client = proxy_->connect();
    client.exec(begin);
    EXPECT_EQ(client.scalar("SELECT member()"), "pg1") << begin;
    client.exec("COMMIT");
  }
}

// The block's first statement may still say what kind of block it is.
TEST_F(Routing, the_first_statement_of_a_block_decides) {
  const auto where_ends_up = [&](const std::string& begin, const std::string& first) {
    auto client = proxy_->connect();  // one that has written nothing
    client.exec(begin);
    client.exec(first);
    const auto member = client.scalar("SELECT member()");
    client.exec("COMMIT");
    return member;
  };
  for (const char* begin : {"BEGIN", "START TRANSACTION", "BEGIN ISOLATION LEVEL REPEATABLE READ", "begin;"}) {
    const bool one_snapshot = std::string_view(begin).find("REPEATABLE") != std::string_view::npos;
    EXPECT_EQ(where_ends_up(begin, "SET TRANSACTION READ ONLY") == "pg1", one_snapshot) << begin;
    EXPECT_EQ(where_ends_up(begin, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"), "pg1") << begin;
    EXPECT_EQ(where_ends_up(begin, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY"), "pg1") << begin;
    EXPECT_EQ(where_ends_up(begin, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"), "pg1") << begin;
    EXPECT_EQ(where_ends_up(begin, "SELECT 1"), "pg1") << begin;
    EXPECT_EQ(where_ends_up(begin, "SAVEPOINT a"), "pg1") << begin;
  }
  EXPECT_EQ(where_ends_up("BEGIN READ ONLY", "SELECT unlisted()"), "pg1");
  EXPECT_EQ(where_ends_up("BEGIN READ ONLY", "SELECT pg_is_in_recovery()"), "pg1");
  EXPECT_EQ(where_ends_up("BEGIN READ ONLY", "SAVEPOINT a"), "pg1");
  EXPECT_EQ(where_ends_up("BEGIN READ WRITE", "SET TRANSACTION READ ONLY"), "pg1");
  // The block may be made writable before its first query.
  auto client = proxy_->connect();
  client.exec("BEGIN READ ONLY");
  client.exec("SET TRANSACTION READ WRITE");
  EXPECT_EQ(client.scalar("UPDATE t SET at = 'writable' WHERE id = 1 RETURNING member()"), "pg1");
  client.exec("COMMIT");
  EXPECT_EQ(client.scalar("/* holdfast: primary */ SELECT at FROM t WHERE id = 1"), "writable");
  // A hint at the BEGIN is for the block.
  EXPECT_NE(where_ends_up("/* holdfast: replica */ BEGIN", "SELECT 1"), "pg1");
  EXPECT_EQ(where_ends_up("BEGIN", "/* holdfast: replica */ SELECT 1"), "pg1");
}

TEST_F(Routing, blocks_that_are_read_only_by_default_run_on_replicas) {
  const auto check = [](Connection& client) {
    client.exec("BEGIN");
    EXPECT_NE(client.scalar("SELECT member()"), "pg1");
    EXPECT_EQ(sqlstate_of([&] { client.exec("UPDATE t SET at = 'never'"); }), "25006");
    client.exec("ROLLBACK");
    client.exec("BEGIN");
    client.exec("SET TRANSACTION READ WRITE");
    EXPECT_EQ(client.scalar("UPDATE t SET at = 'x' WHERE id = 1 RETURNING member()"), "pg1");
    client.exec("COMMIT");
    client.exec("BEGIN READ WRITE");
    EXPECT_EQ(client.scalar("UPDATE t SET at = 'x' WHERE id = 1 RETURNING member()"), "pg1");
    client.exec("COMMIT");
  };
  Connection asked(proxy_->conninfo() + " options='-c default_transaction_read_only=yes'");
  check(asked);
  // Set for the role: the servers say so at log-in.
  auto& primary = set_->primary();
  primary.exec("CREATE ROLE reader LOGIN IN ROLE app; ALTER ROLE reader SET default_transaction_read_only = on");
  for (int i = 0; i < 2; ++i) ReplicationSet::wait_caught_up(primary, set_->replica(i));
  auto reader = proxy_->connect("reader");
  EXPECT_EQ(reader.scalar("SHOW default_transaction_read_only"), "on");
  check(reader);
  auto writer = proxy_->connect();
  writer.exec("BEGIN");
  EXPECT_EQ(writer.scalar("UPDATE t SET at = 'y' WHERE id = 1 RETURNING member()"), "pg1");
  writer.exec("COMMIT");
}

// Each round: a write, then a read in either protocol by the same session. One replica stands still for half of them.
TEST_F(Routing, a_session_sees_its_own_writes) {
  auto client = proxy_->connect();
  client.exec("CREATE TABLE seen (id int PRIMARY KEY)");
  int on_replica = 0;
  const auto rounds = [&](int from, int to) {
    for (int i = from; i < to; ++i) {
      const auto id = std::to_string(i);
      client.exec("INSERT INTO seen VALUES (" + id + ")");
      const auto simple = client.rows("SELECT count(*), member() FROM seen WHERE id = " + id);
      const auto extended = client.rows("SELECT count(*), member() FROM seen WHERE id = $1", {id});
      ASSERT_EQ(simple[0][0], "1") << "round " << i << " on " << simple[0][1].value_or("");
      ASSERT_EQ(extended[0][0], "1") << "round " << i << " on " << extended[0][1].value_or("");
      on_replica += extended[0][1] != "pg1";
    }
  };
  rounds(0, 250);
  set_->replica(0).exec("SELECT pg_wal_replay_pause()");
  rounds(250, 500);
  set_->replica(0).exec("SELECT pg_wal_replay_resume()");
  // It does not stay away from the replicas for ever.
  EXPECT_TRUE(wait_until(10s, [&] { return client.scalar("SELECT member()") != "pg1"; }));
  client.exec("DROP TABLE seen");
  RecordProperty("reads_on_replicas", on_replica);
}

TEST_F(Routing, a_paused_replica_does_not_serve_who_wrote) {
  set_->replica(0).exec("SELECT pg_wal_replay_pause()");
  set_->replica(1).exec("SELECT pg_wal_replay_pause()");
  auto client = proxy_->connect();
  client.exec("INSERT INTO t SELECT max(id) + 1 FROM t");
  const auto most = client.scalar("SELECT max(id) FROM t");
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(client.scalar("SELECT member()"), "pg1");
    EXPECT_EQ(client.scalar("SELECT max(id) FROM t"), most);
  }
  set_->replica(0).exec("SELECT pg_wal_replay_resume()");
  set_->replica(1).exec("SELECT pg_wal_replay_resume()");
  EXPECT_TRUE(wait_until(10s, [&] { return client.scalar("SELECT member()") != "pg1"; }));
}

// A view hides what its text does not show: the standby refuses, and the client is served by the primary.
TEST_F(Routing, what_a_standby_refuses_is_run_on_the_primary) {
  for (const auto protocol : {Protocol::simple, Protocol::extended}) {
    auto client = proxy_->connect();
    ASSERT_TRUE(wait_until(10s, [&] { return client.scalar("SELECT member()") != "pg1"; }));
    EXPECT_EQ(where(client, "SELECT m FROM locked WHERE id = 1", protocol), "pg1");
    EXPECT_EQ(where(client, "SELECT m FROM writing", protocol), "pg1");
    EXPECT_EQ(where(client, "SELECT m FROM writing", protocol), "pg1");
  }
  EXPECT_GT(proxy_->metric("holdfast_retries_total{reason=\"refused\"}").value_or(0), 0);
}

TEST_F(Routing, a_pipeline_of_reads_and_writes_is_answered_in_order) {
  auto client = proxy_->connect();
  ASSERT_EQ(PQenterPipelineMode(client.raw()), 1);
  for (int i = 0; i < 200; ++i) {
    const auto sql = i % 3 == 0 ? "UPDATE t SET at = 'p' WHERE id = 1 RETURNING " + std::to_string(i)
                                : "SELECT " + std::to_string(i);
    ASSERT_EQ(PQsendQueryParams(client.raw(), sql.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0), 1);
    ASSERT_EQ(PQpipelineSync(client.raw()), 1);
  }
  for (int i = 0; i < 200; ++i) {
    PGresult* result = PQgetResult(client.raw());
    ASSERT_EQ(PQresultStatus(result), PGRES_TUPLES_OK) << PQresultErrorMessage(result);
    EXPECT_EQ(PQgetvalue(result, 0, 0), std::to_string(i));
    PQclear(result);
    EXPECT_EQ(PQgetResult(client.raw()), nullptr);
    result = PQgetResult(client.raw());
    ASSERT_EQ(PQresultStatus(result), PGRES_PIPELINE_SYNC);
    PQclear(result);
  }
}

}  // namespace
}  // namespace holdfast::testing
