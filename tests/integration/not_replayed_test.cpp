// What a standby refuses because it has not replayed something yet: the primary is asked, and the client gets its
// answer. Replay is paused throughout, so that nothing depends on time, and reads go to the standby (`consistency:
// eventual`).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <vector>

#include "tests/support/endpoint.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

class NotReplayed : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    set_ = new ReplicationSet({.replicas = 1});
    primary().exec(
        "CREATE FUNCTION member() RETURNS text LANGUAGE sql STABLE AS $$ SELECT current_setting('cluster_name') $$;"
        "CREATE TABLE old (id int); INSERT INTO old VALUES (1);"
        "CREATE TABLE hidden (id int); INSERT INTO hidden VALUES (1);"
        "CREATE VIEW seen AS SELECT id FROM old; CREATE SCHEMA known; CREATE TYPE mood AS ENUM ('sad');"
        "CREATE DOMAIN small AS int NOT NULL CHECK (VALUE < 10);"
        "GRANT SELECT ON old, seen TO app; GRANT USAGE ON SCHEMA known TO app");
  }
  static void TearDownTestSuite() { delete set_; }
  void SetUp() override {
    ReplicationSet::wait_caught_up(primary(), replica());
    start();
  }
  void TearDown() override {
    proxy_.reset();
    replica().exec("SELECT pg_wal_replay_resume()");
    primary().exec("DROP TABLE IF EXISTS a");
    primary().exec("DROP DATABASE IF EXISTS later");
    primary().exec("DROP ROLE IF EXISTS late");
  }
  void start(const std::string& more =
                 "reads: { consistency: eventual,"
                 " functions: [ member, fresh, s.fresh, known.fresh ] }\n") {
    proxy_.emplace(endpoint({.members = members_yaml(*set_), .workers = 1, .more = more}));
    wait_for_reads_of_the_replica();
  }
  void wait_for_reads_of_the_replica() {
    auto client = proxy_->connect();
    ASSERT_TRUE(wait_until(20s, [&] { return client.scalar("SELECT member()") == "pg2"; })) << proxy_->log();
  }
  void pause() {
    replica().exec("SELECT pg_wal_replay_pause()");
    ASSERT_TRUE(
        wait_until(10s, [&] { return replica().scalar("SELECT pg_get_wal_replay_pause_state()") == "paused"; }));
  }
  void resume() {
    replica().exec("SELECT pg_wal_replay_resume()");
    ReplicationSet::wait_caught_up(primary(), replica());
  }
  [[nodiscard]] double retries() const {
    return proxy_->metric("holdfast_retries_total{reason=\"refused\"}").value_or(0);
  }
  // What a client of the standby itself is told.
  [[nodiscard]] std::string refusal_of_the_standby(const std::string& sql) {
    auto client = replica().connect();
    return sqlstate_of([&] { client.exec(sql); });
  }

  static Server& primary() { return set_->primary(); }
  static Server& replica() { return set_->replica(); }

  static ReplicationSet* set_;
  std::optional<Holdfast> proxy_;
};
ReplicationSet* NotReplayed::set_ = nullptr;

struct Case {
  const char* ddl;
  const char* sql;       // its last column says who answers
  const char* sqlstate;  // of the standby
};

// One of each kind that class 42 and its neighbours have; each is read in both protocols, and once replay goes on the
// same texts are the standby's again.
TEST_F(NotReplayed, what_the_primary_has_is_read_there) {
  const std::vector<Case> cases{
      {"CREATE TABLE a (id int); GRANT SELECT ON a TO app", "SELECT count(*), member() FROM a", "42P01"},
      {"CREATE SCHEMA s; CREATE TABLE s.a (id int); GRANT USAGE ON SCHEMA s TO app; GRANT SELECT ON s.a TO app",
       "SELECT count(*), member() FROM s.a", "42P01"},
      {"CREATE FUNCTION s.fresh() RETURNS int LANGUAGE sql AS 'SELECT 1'", "SELECT s.fresh(), member()", "3F000"},
      {"CREATE FUNCTION fresh() RETURNS int LANGUAGE sql AS 'SELECT 1'", "SELECT fresh(), member()", "42883"},
      {"CREATE FUNCTION known.fresh() RETURNS int LANGUAGE sql AS 'SELECT 1'", "SELECT known.fresh(), member()",
       "42883"},
      {"CREATE TYPE colour AS ENUM ('red')", "SELECT 'red'::colour, member()", "42704"},
      {"ALTER TYPE mood ADD VALUE 'glad'", "SELECT 'glad'::mood, member()", "22P02"},
      {"ALTER TABLE old ADD COLUMN more int", "SELECT max(more), member() FROM old", "42703"},
      {"CREATE VIEW again AS SELECT id FROM old; GRANT SELECT ON again TO app", "SELECT max(id), member() FROM again",
       "42P01"},
      {"CREATE OR REPLACE VIEW seen AS SELECT id, id AS twice FROM old", "SELECT max(twice), member() FROM seen",
       "42703"},
      {"GRANT SELECT ON hidden TO app", "SELECT max(id), member() FROM hidden", "42501"},
      {"CREATE COLLATION c (locale = 'C')", "SELECT 'a' COLLATE c, member()", "42704"},
      {"CREATE TEXT SEARCH CONFIGURATION plain (COPY = simple)", "SELECT to_tsvector('plain', 'a'), member()", "42704"},
      {"CREATE TEXT SEARCH CONFIGURATION other (COPY = simple)",
       "SELECT set_config('default_text_search_config', 'other', true), member()", "22023"},
      {"CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)", "SELECT 1 === 1, member()", "42883"},
      {"ALTER DOMAIN small DROP CONSTRAINT small_check", "SELECT 11::small, member()", "23514"},
      {"ALTER DOMAIN small DROP NOT NULL", "SELECT NULL::small, member()", "23502"},
      {"CREATE ROLE somebody", "SELECT has_table_privilege('somebody', 'old', 'SELECT'), member()", "42704"},
      {"CREATE DATABASE elsewhere", "SELECT has_database_privilege('elsewhere', 'CONNECT'), member()", "3D000"},
  };
  pause();
  for (const auto& [ddl, sql, sqlstate] : cases) primary().exec(ddl);
  for (const auto& [ddl, sql, sqlstate] : cases) {
    EXPECT_EQ(refusal_of_the_standby(sql), sqlstate) << sql;
    const auto before = retries();
    auto client = proxy_->connect();
    EXPECT_EQ(client.rows(sql).at(0).at(1), "pg1") << sql;
    EXPECT_EQ(client.rows(sql, std::vector<Value>{}).at(0).at(1), "pg1") << sql;
    EXPECT_EQ(retries(), before + 2) << sql << ": the standby was asked both times";
  }
  resume();
  for (const auto& [ddl, sql, sqlstate] : cases) {
    auto client = proxy_->connect();
    EXPECT_EQ(client.rows(sql).at(0).at(1), "pg2") << sql << ": nothing was learnt of it";
  }
}

// A wrong statement is asked of both, and its error is the primary's, once.
TEST_F(NotReplayed, what_nobody_has_is_told_once) {
  pause();
  auto client = proxy_->connect();
  EXPECT_EQ(sqlstate_of([&] { client.exec("SELECT * FROM nobodys"); }), "42P01");
  EXPECT_EQ(sqlstate_of([&] { client.rows("SELECT * FROM nobodys", std::vector<Value>{}); }), "42P01");
  EXPECT_EQ(client.scalar("SELECT member()"), "pg2");
}

TEST_F(NotReplayed, prepared_statements_find_it_at_their_parse_and_at_their_bind) {
  auto early = proxy_->connect();
  const auto prepared = [](Connection& client, const char* name, const char* sql) {
    return checked_rows(PQprepare(client.raw(), name, sql, 0, nullptr), client.raw());
  };
  const auto executed = [](Connection& client, const char* name, const char* value) {
    return checked_rows(PQexecPrepared(client.raw(), name, value != nullptr ? 1 : 0, &value, nullptr, nullptr, 0),
                        client.raw());
  };
  prepared(early, "mood", "SELECT $1::mood, member()");
  EXPECT_EQ(executed(early, "mood", "sad").at(0).at(1), "pg2");
  pause();
  primary().exec("ALTER TYPE mood ADD VALUE 'calm'; CREATE TABLE a (id int); GRANT SELECT ON a TO app");
  EXPECT_EQ(executed(early, "mood", "calm").at(0).at(1), "pg1") << "refused at its Bind";
  EXPECT_EQ(executed(early, "mood", "sad").at(0).at(1), "pg2");
  prepared(early, "a", "SELECT count(*), member() FROM a");
  PGresult* described = PQdescribePrepared(early.raw(), "a");
  EXPECT_EQ(PQnfields(described), 2) << PQerrorMessage(early.raw());
  PQclear(described);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(executed(early, "a", nullptr).at(0).at(1), "pg1");
  auto late = proxy_->connect();
  prepared(late, "mine", "SELECT count(*), member() FROM a");
  EXPECT_EQ(executed(late, "mine", nullptr).at(0).at(1), "pg1");
}

// An OID that the client knows from the primary stands for nothing on the standby: XX000, "cache lookup failed".
TEST_F(NotReplayed, type_of_a_parameter_is_known_by_its_oid) {
  pause();
  primary().exec("CREATE TYPE shade AS ENUM ('red')");
  const auto oid = static_cast<Oid>(std::stoul(primary().scalar("SELECT 'shade'::regtype::oid")));
  auto client = proxy_->connect();
  const char* value = "red";
  const auto rows = checked_rows(
      PQexecParams(client.raw(), "SELECT $1, member()", 1, &oid, &value, nullptr, nullptr, 0), client.raw());
  EXPECT_EQ(rows.at(0), (Row{"red", "pg1"}));
}

TEST_F(NotReplayed, in_a_string_of_statements_and_in_a_batch_the_whole_unit_is_asked_again) {
  pause();
  primary().exec("CREATE TABLE a (id int); GRANT SELECT ON a TO app");
  auto client = proxy_->connect();
  EXPECT_EQ(client.rows("SELECT 1; SELECT count(*), member() FROM a; SELECT 2, member()").at(0), (Row{"2", "pg1"}));
  EXPECT_EQ(client.rows("SELECT 1; SELECT 2, member()").at(0), (Row{"2", "pg2"}));

  const auto peer = wire::log_in(proxy_->port());
  const auto run = [](const std::string& sql) { return wire::parse("", sql) + wire::bind("") + wire::execute(); };
  // One Sync: all of it again, and what comes behind it is answered behind it.
  peer->send(run("SELECT member()") + run("SELECT count(*) FROM a") + wire::sync() + run("SELECT member()") +
             wire::sync());
  EXPECT_EQ(peer->read_until('Z'), "12DC12DCZ");
  EXPECT_THAT(wire::read_value(*peer), ::testing::AnyOf("pg1", "pg2"));
  // Names of the unit are as if it had run once.
  peer->send(wire::parse("one", "SELECT member()") + wire::parse("two", "SELECT count(*) FROM a") + wire::bind("one") +
             wire::execute() + wire::sync());
  EXPECT_EQ(wire::read_value(*peer), "pg1");
  peer->send(wire::bind("two") + wire::execute() + wire::sync());
  EXPECT_EQ(wire::read_value(*peer), "0");
}

TEST_F(NotReplayed, block_that_begins_with_it_is_the_primarys_from_its_beginning) {
  pause();
  primary().exec("CREATE TABLE a (id int); GRANT SELECT ON a TO app");
  for (const char* first : {"SELECT count(*), member() FROM a", "SELECT 1; SELECT count(*), member() FROM a"}) {
    auto client = proxy_->connect();
    client.exec("BEGIN READ ONLY");
    EXPECT_EQ(client.rows(first).at(0), (Row{"0", "pg1"}));
    EXPECT_EQ(client.scalar("SELECT member()"), "pg1") << "a block never changes its member";
    client.exec("COMMIT");
    EXPECT_EQ(client.scalar("SELECT member()"), "pg2");
  }
  auto client = proxy_->connect();
  client.exec("BEGIN READ ONLY");
  EXPECT_EQ(client.rows("SELECT count(*), member() FROM a", std::vector<Value>{}).at(0), (Row{"0", "pg1"}));
  client.exec("COMMIT");
  // Behind an answer of the standby the block, which has only read, begins again on the primary.
  client.exec("BEGIN READ ONLY");
  EXPECT_EQ(client.scalar("SELECT member()"), "pg2");
  EXPECT_EQ(client.rows("SELECT count(*), member() FROM a").at(0), (Row{"0", "pg1"}));
  EXPECT_EQ(sqlstate_of([&] { client.exec("SELECT count(*) FROM nowhere"); }), "42P01") << "nor has the primary";
  EXPECT_EQ(sqlstate_of([&] { client.exec("SELECT 1"); }), "25P02");
  client.exec("ROLLBACK");
  EXPECT_EQ(client.scalar("SELECT count(*) FROM a"), "0");
}

TEST_F(NotReplayed, route_replica_gets_the_standbys_answer) {
  start("route: replica\nreads: { functions: [ member ] }\n");
  pause();
  primary().exec("CREATE TABLE a (id int); GRANT SELECT ON a TO app");
  primary().exec("CREATE DATABASE later");
  auto client = proxy_->connect();
  EXPECT_EQ(sqlstate_of([&] { client.exec("SELECT count(*) FROM a"); }), "42P01");
  auto of_database = proxy_->connect("app", "later");  // the log-in is the primary's
  EXPECT_EQ(sqlstate_of([&] { of_database.exec("SELECT 1"); }), "3D000");
}

// ---- at the log-in on the standby

TEST_F(NotReplayed, clients_of_a_new_database_and_of_a_new_role_are_served_by_the_primary) {
  pause();
  primary().exec("CREATE ROLE late LOGIN; GRANT app TO late");
  primary().exec("CREATE DATABASE later");
  for (int i = 0; i < 20; ++i) {
    auto of_database = proxy_->connect("app", "later");
    EXPECT_EQ(of_database.scalar("SELECT 1"), "1");
    auto of_role = proxy_->connect("late");
    EXPECT_EQ(of_role.scalar("SELECT member()"), "pg1");
    EXPECT_EQ(of_role.scalar("SELECT member()", std::vector<Value>{}), "pg1");
  }
  // At 20, 40, 80, … ms after its refusal the standby is asked again, not by each of the sixty reads.
  EXPECT_LT(proxy_->metric("holdfast_server_connects_failed_total").value_or(99), 60);
  resume();
  auto of_role = proxy_->connect("late");
  EXPECT_TRUE(wait_until(10s, [&] { return of_role.scalar("SELECT member()") == "pg2"; })) << proxy_->log();
}

TEST_F(NotReplayed, role_in_the_options_of_a_client_is_known_to_the_primary) {
  pause();
  primary().exec("CREATE ROLE late; GRANT late TO app");
  Connection client(proxy_->conninfo() + " options='-c role=late'");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.scalar("SELECT member()"), "pg1");
  resume();
  EXPECT_EQ(client.scalar("SELECT member()"), "pg2");
}

TEST(NotReplayedPassword, new_password_is_known_to_the_primary) {
  ReplicationSet set({.replicas = 1, .server = {.host_auth = "scram-sha-256"}});
  auto& primary = set.primary();
  primary.exec(
      "CREATE FUNCTION member() RETURNS text LANGUAGE sql STABLE AS $$ SELECT current_setting('cluster_name') $$");
  ReplicationSet::wait_caught_up(primary, set.replica());
  auto options = endpoint({.members = members_yaml(set),
                           .auth = "users_file: \"${folder}/userlist.txt\"",
                           .more = "reads: { consistency: eventual, functions: [ member ] }\n"});
  options.files["userlist.txt"] = "\"app\" \"app-secret-2\"\n\"app2\" \""s + app_password + "\"\n";
  Holdfast proxy(options);
  auto other = proxy.connect("app2");
  ASSERT_TRUE(wait_until(20s, [&] { return other.scalar("SELECT member()") == "pg2"; })) << proxy.log();
  set.replica().exec("SELECT pg_wal_replay_pause()");
  ASSERT_TRUE(
      wait_until(10s, [&] { return set.replica().scalar("SELECT pg_get_wal_replay_pause_state()") == "paused"; }));
  primary.exec("ALTER ROLE app PASSWORD 'app-secret-2'");
  Connection client(proxy.conninfo() + " password=app-secret-2");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.scalar("SELECT member()"), "pg1");
}

// While there is no primary a log-in is tried on a standby: what that has not heard of waits for the primary to come.
TEST_F(NotReplayed, log_in_that_the_standby_refuses_waits_for_the_primary) {
  pause();
  primary().exec("CREATE ROLE late LOGIN");
  primary().stop();
  ASSERT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_cluster_has_primary{cluster=\"main\"}") == 0; }));
  auto answer = std::async(std::launch::async, [&] {
    Connection client(proxy_->conninfo("late") + " connect_timeout=60");
    return client.scalar("SELECT member()");
  });
  EXPECT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_clients_held") == 1; })) << proxy_->log();
  primary().start();
  EXPECT_EQ(answer.get(), "pg1");
}

}  // namespace
}  // namespace holdfast::testing
