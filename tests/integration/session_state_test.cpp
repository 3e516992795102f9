// What one client leaves in a session is never met by the next: one server connection, many clients.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include "tests/support/endpoint.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

class SessionState : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
    server_->exec("CREATE ROLE other; GRANT other TO app; CREATE TABLE kept (id int); GRANT ALL ON kept TO app");
  }
  static void TearDownTestSuite() { delete server_; }

  // One server connection for everybody: whoever comes next gets the one that was just left.
  Holdfast proxy_{endpoint({.members = member_yaml(*server_), .pool = "mode: transaction, size: 1, wait_timeout: 5s"})};

  double pins(const std::string& reason) const {
    return proxy_.metric("holdfast_pins_total{reason=\"" + reason + "\"}").value_or(-1);
  }

  static Server* server_;
};
Server* SessionState::server_ = nullptr;

struct Leaves {
  friend void PrintTo(const Leaves& leaves, std::ostream* out) { *out << leaves.name; }

  const char* name;
  const char* reason;  // of the pin
  const char* sql;     // leaves it
  const char* seen;    // asks for it: one value
  const char* there;   // the answer while it is there
  const char* gone;    // … for a fresh session
};

class Leftover : public SessionState, public ::testing::WithParamInterface<Leaves> {};

TEST_P(Leftover, stays_with_its_client_and_no_longer) {
  const auto& leaves = GetParam();
  auto waiting = proxy_.connect();
  auto next = proxy_.connect();
  {
    auto client = proxy_.connect();
    client.exec(leaves.sql);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(client.scalar(leaves.seen), leaves.there);
    EXPECT_EQ(pins(leaves.reason), 1);
    // Nobody else gets its server meanwhile.
    ASSERT_EQ(PQsendQuery(waiting.raw(), "SELECT 1"), 1);
    ASSERT_TRUE(wait_until(5s, [&] { return proxy_.metric("holdfast_clients_waiting") == 1; }));
    EXPECT_EQ(client.scalar(leaves.seen), leaves.there);
  }
  EXPECT_EQ(checked_rows(PQgetResult(waiting.raw()), waiting.raw())[0][0], "1");
  EXPECT_EQ(next.scalar(leaves.seen), leaves.gone);
  EXPECT_EQ(server_->scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "0");
}

INSTANTIATE_TEST_SUITE_P(
    All, Leftover,
    ::testing::Values(
        Leaves{"custom_setting", "set", "SET app.\"user\" = 'alice'",
               "SELECT coalesce(current_setting('app.user', true), '')", "alice", ""},
        Leaves{"search_path", "set", "SET search_path = pg_catalog", "SHOW search_path", "pg_catalog",
               "\"$user\", public"},
        Leaves{"set_config", "set", "SELECT set_config('work_mem', '77kB', false)", "SHOW work_mem", "77kB", "4MB"},
        Leaves{"default_read_only", "set", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
               "SHOW transaction_read_only", "on", "off"},
        Leaves{"role", "role", "SET ROLE other", "SELECT current_user", "other", "app"},
        Leaves{"temp_table", "temp_object", "CREATE TEMP TABLE kept (id int, mine int)",
               "SELECT count(*) FROM pg_attribute WHERE attrelid = 'kept'::regclass AND attname = 'mine'", "1", "0"},
        Leaves{"advisory_lock", "advisory_lock", "SELECT pg_advisory_lock(42)",
               "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "1", "0"},
        Leaves{"listen", "listen", "LISTEN news", "SELECT count(*) FROM pg_listening_channels()", "1", "0"},
        Leaves{"prepare", "sql_prepare", "PREPARE mine AS SELECT 1",
               "SELECT count(*) FROM pg_prepared_statements WHERE name = 'mine'", "1", "0"},
        Leaves{"hold_cursor", "hold_cursor", "DECLARE mine CURSOR WITH HOLD FOR SELECT 1",
               "SELECT count(*) FROM pg_cursors", "1", "0"}),
    [](const auto& leaves) { return std::string(leaves.param.name); });

TEST_F(SessionState, names_are_free_again_after_deallocate_all_and_discard_all) {
  auto client = proxy_.connect();
  auto other = proxy_.connect();
  for (const char* thrown_away : {"DEALLOCATE ALL", "DISCARD ALL"}) {
    checked_rows(PQprepare(client.raw(), "one", "SELECT 1", 0, nullptr), client.raw());
    client.exec(thrown_away);
    EXPECT_EQ(sqlstate_of([&] {
                checked_rows(PQexecPrepared(client.raw(), "one", 0, nullptr, nullptr, nullptr, 0), client.raw());
              }),
              "26000")
        << thrown_away;
    checked_rows(PQprepare(client.raw(), "one", "SELECT 2", 0, nullptr), client.raw());
    const auto rows = checked_rows(PQexecPrepared(client.raw(), "one", 0, nullptr, nullptr, nullptr, 0), client.raw());
    EXPECT_EQ(rows.at(0).at(0), "2") << thrown_away;
    client.exec("DEALLOCATE ALL");
  }
}

TEST_F(SessionState, name_made_behind_a_deallocate_all_in_the_pipeline_stays) {
  auto client = proxy_.connect();
  auto* raw = client.raw();
  ASSERT_EQ(PQenterPipelineMode(raw), 1);
  ASSERT_EQ(PQsendQueryParams(raw, "DEALLOCATE ALL", 0, nullptr, nullptr, nullptr, nullptr, 0), 1);
  ASSERT_EQ(PQpipelineSync(raw), 1);
  ASSERT_EQ(PQsendPrepare(raw, "young", "SELECT 7", 0, nullptr), 1);
  ASSERT_EQ(PQpipelineSync(raw), 1);
  for (int syncs = 0; syncs < 2;) {
    PGresult* result = PQgetResult(raw);
    if (result == nullptr) continue;  // between two statements
    const auto status = PQresultStatus(result);
    PQclear(result);
    ASSERT_NE(status, PGRES_FATAL_ERROR) << PQerrorMessage(raw);
    if (status == PGRES_PIPELINE_SYNC) ++syncs;
  }
  ASSERT_EQ(PQexitPipelineMode(raw), 1);
  for (int i = 0; i < 2; ++i) {
    const auto rows = checked_rows(PQexecPrepared(raw, "young", 0, nullptr, nullptr, nullptr, 0), raw);
    EXPECT_EQ(rows.at(0).at(0), "7");
  }
}

// DBD::Pg, PDO and postgres_fdw prepare by the protocol and deallocate in SQL. In and out of a block, on PostgreSQL and
// through us.
TEST_F(SessionState, names_made_by_the_protocol_are_deallocated_in_sql) {
  const auto story = [](Connection& client) {
    std::string told;
    const auto note = [&](PGresult* result) {
      const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
      told += (state != nullptr ? std::string(state) : std::string(PQcmdStatus(result))) + "/" +
              std::to_string(PQtransactionStatus(client.raw())) + " ";
      PQclear(result);
    };
    const auto run = [&](const char* sql) { note(PQexec(client.raw(), sql)); };
    const auto use = [&](const char* name) {
      note(PQexecPrepared(client.raw(), name, 0, nullptr, nullptr, nullptr, 0));
    };
    const auto prepare = [&](const char* name) { note(PQprepare(client.raw(), name, "SELECT 1", 0, nullptr)); };
    prepare("p1");
    run("DEALLOCATE p1");
    use("p1");
    run("DEALLOCATE p1");
    prepare("p1");
    prepare("Quoted Name");
    run("BEGIN");
    run("DEALLOCATE \"Quoted Name\"");
    run("DEALLOCATE PREPARE p1");
    prepare("p1");
    use("p1");
    run("INSERT INTO kept VALUES (1)");
    run("DEALLOCATE P1;");
    use("p1");
    run("DEALLOCATE p1");
    run("ROLLBACK");
    prepare("p2");
    use("p2");
    run("DEALLOCATE never");
    run("DEALLOCATE p2");
    run("PREPARE p3 AS SELECT 2");
    run("DEALLOCATE p3");
    return told;
  };
  Connection direct(server_->conninfo());
  auto client = proxy_.connect();
  EXPECT_EQ(story(client), story(direct));
}

TEST_F(SessionState, a_deallocate_in_the_pipeline_keeps_its_place) {
  auto client = proxy_.connect();
  PQclear(PQprepare(client.raw(), "piped", "SELECT 5", 0, nullptr));
  ASSERT_EQ(PQenterPipelineMode(client.raw()), 1);
  ASSERT_EQ(PQsendQueryPrepared(client.raw(), "piped", 0, nullptr, nullptr, nullptr, 0), 1);
  ASSERT_EQ(PQpipelineSync(client.raw()), 1);
  ASSERT_EQ(PQsendQueryParams(client.raw(), "DEALLOCATE piped", 0, nullptr, nullptr, nullptr, nullptr, 0), 1);
  ASSERT_EQ(PQpipelineSync(client.raw()), 1);
  ASSERT_EQ(PQsendQueryParams(client.raw(), "SELECT 6", 0, nullptr, nullptr, nullptr, nullptr, 0), 1);
  ASSERT_EQ(PQpipelineSync(client.raw()), 1);
  std::string told;
  for (int syncs = 0; syncs < 3;) {
    PGresult* result = PQgetResult(client.raw());
    if (result == nullptr) continue;
    const auto status = PQresultStatus(result);
    syncs += status == PGRES_PIPELINE_SYNC;
    if (status == PGRES_TUPLES_OK) told += PQgetvalue(result, 0, 0);
    if (status == PGRES_FATAL_ERROR) told += PQresultErrorField(result, PG_DIAG_SQLSTATE);
    told += ' ';
    PQclear(result);
  }
  EXPECT_THAT(told, ::testing::StartsWith("5 "));
  EXPECT_THAT(told, ::testing::HasSubstr("6 "));
}

TEST_F(SessionState, discard_all_ends_a_pin) {
  auto client = proxy_.connect();
  auto other = proxy_.connect();
  client.exec("SET work_mem = '99kB'");
  client.exec("DISCARD ALL");
  EXPECT_EQ(other.scalar("SHOW work_mem"), "4MB");  // the only server is free again, and clean
  EXPECT_EQ(client.scalar("SHOW work_mem"), "4MB");
}

TEST_F(SessionState, a_set_that_was_rolled_back_is_gone) {
  auto client = proxy_.connect();
  client.exec("BEGIN; SET work_mem = '99kB'");
  client.exec("ROLLBACK");
  EXPECT_EQ(client.scalar("SHOW work_mem"), "4MB");
}

TEST_F(SessionState, a_set_that_the_server_refuses_fails_at_once) {
  auto client = proxy_.connect();
  EXPECT_EQ(sqlstate_of([&] { client.exec("SET work_mem = 'plenty'"); }), "22023");
  EXPECT_EQ(sqlstate_of([&] { client.exec("SET no_such_setting = 1"); }), "42704");
  EXPECT_EQ(client.scalar("SHOW work_mem"), "4MB");
}

TEST_F(SessionState, start_up_options_hold_for_their_client_only) {
  auto slow =
      Connection(proxy_.conninfo() + " options='-c statement_timeout=4321ms -c app.who=slow' application_name=slow");
  auto quick = Connection(proxy_.conninfo() +
                          " options='-c statement_timeout=1234ms' application_name=quick client_encoding=LATIN1");
  auto plain = proxy_.connect();
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(slow.scalar("SHOW statement_timeout"), "4321ms");
    EXPECT_EQ(plain.scalar("SHOW statement_timeout"), "0");
    EXPECT_EQ(quick.scalar("SHOW statement_timeout"), "1234ms");
    EXPECT_EQ(slow.scalar("SHOW application_name"), "slow");
    EXPECT_EQ(quick.scalar("SHOW client_encoding"), "LATIN1");
    EXPECT_EQ(plain.scalar("SHOW client_encoding"), "UTF8");
    EXPECT_EQ(plain.scalar("SELECT coalesce(current_setting('app.who', true), '')"), "");
    EXPECT_EQ(slow.scalar("SELECT current_setting('app.who', true)"), "slow");
  }
  EXPECT_EQ(pins("set"), 0);
  EXPECT_EQ(sqlstate_of([&] { quick.exec("SELECT pg_sleep(30)"); }), "57014");
}

TEST_F(SessionState, start_up_options_are_reported_as_the_server_says_them) {
  auto german =
      Connection(proxy_.conninfo() + " options='-c DateStyle=german -c TimeZone=europe/berlin' client_encoding=latin1");
  auto plain = proxy_.connect();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(german.scalar("SELECT DATE '2026-02-01'"), "01.02.2026");
    EXPECT_EQ(plain.scalar("SELECT DATE '2026-02-01'"), "2026-02-01");
    EXPECT_EQ(german.parameter("DateStyle"), "German, DMY");
    EXPECT_EQ(german.parameter("client_encoding"), "LATIN1");
    EXPECT_EQ(german.parameter("TimeZone"), "Europe/Berlin");
    EXPECT_EQ(plain.parameter("DateStyle"), "ISO, MDY");
    EXPECT_EQ(plain.parameter("client_encoding"), "UTF8");
  }
}

TEST_F(SessionState, an_invalid_option_fails_the_log_in_as_postgresql_would) {
  EXPECT_EQ(refusal_of(proxy_.conninfo() + " options='-c statement_timeout=soon'").sqlstate, "22023");
  EXPECT_EQ(refusal_of(proxy_.conninfo() + " options='-c no_such_setting=1'").sqlstate, "42704");
  EXPECT_EQ(refusal_of(proxy_.conninfo() + " client_encoding=klingon").sqlstate, "22023");
  auto plain = proxy_.connect();
  EXPECT_EQ(plain.scalar("SHOW statement_timeout"), "0");
}

TEST_F(SessionState, reset_goes_back_to_what_was_asked_for_at_the_start) {
  auto client =
      Connection(proxy_.conninfo() + " options='-c statement_timeout=4321ms -c work_mem=77kB' application_name=mine");
  for (const char* reset :
       {"RESET statement_timeout", "SET statement_timeout TO DEFAULT", "RESET ALL", "DISCARD ALL"}) {
    client.exec("SET statement_timeout = 1000");
    EXPECT_EQ(client.scalar("SHOW statement_timeout"), "1s");
    client.rows(reset, {});
    EXPECT_EQ(client.scalar("SHOW statement_timeout"), "4321ms") << reset;
    EXPECT_EQ(client.scalar("SHOW work_mem"), "77kB") << reset;
    EXPECT_EQ(client.parameter("application_name"), "mine") << reset;
  }
  client.exec("BEGIN; SET statement_timeout = 1000");
  client.exec("RESET statement_timeout");
  client.exec("ROLLBACK");
  EXPECT_EQ(client.scalar("SHOW statement_timeout"), "4321ms");
}

TEST_F(SessionState, an_open_transaction_of_a_vanished_client_is_rolled_back) {
  for (int i = 0; i < 3; ++i) {
    auto client = proxy_.connect();
    client.exec("BEGIN");
    client.exec("INSERT INTO kept VALUES (1)");
  }
  auto next = proxy_.connect();
  EXPECT_EQ(next.scalar("SELECT count(*) FROM kept"), "0");
  EXPECT_EQ(proxy_.metric("holdfast_servers_opened_total"), 1);
}

TEST_F(SessionState, prepared_names_are_each_clients_own) {
  auto one = proxy_.connect();
  auto two = proxy_.connect();
  const auto prepare = [](Connection& client, const char* sql) {
    PGresult* result = PQprepare(client.raw(), "same", sql, 0, nullptr);
    EXPECT_EQ(PQresultStatus(result), PGRES_COMMAND_OK) << PQresultErrorMessage(result);
    PQclear(result);
  };
  const auto execute = [](Connection& client) {
    return checked_rows(PQexecPrepared(client.raw(), "same", 0, nullptr, nullptr, nullptr, 0), client.raw());
  };
  prepare(one, "SELECT 'one'");
  prepare(two, "SELECT 'two'");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(execute(one)[0][0], "one");
    EXPECT_EQ(execute(two)[0][0], "two");
  }
  auto three = proxy_.connect();
  EXPECT_EQ(sqlstate_of([&] { execute(three); }), "26000");
  EXPECT_EQ(sqlstate_of([&] { checked_rows(PQprepare(one.raw(), "same", "SELECT 1", 0, nullptr), one.raw()); }),
            "42P05");
  EXPECT_EQ(execute(one)[0][0], "one");
}

// The parameters of a session pool's server go with it: the next client starts from the defaults.
TEST(SessionPool, is_cleaned_between_clients) {
  Server server;
  server.start();
  const Holdfast proxy(endpoint({.members = member_yaml(server), .pool = "mode: session, size: 1"}));
  for (int i = 0; i < 3; ++i) {
    auto client = proxy.connect();
    EXPECT_EQ(client.scalar("SHOW work_mem"), "4MB");
    EXPECT_EQ(client.scalar("SELECT count(*) FROM pg_class WHERE relname = 'mine'"), "0");
    client.exec("SET work_mem = '1MB'");
    client.exec("CREATE TEMP TABLE mine (id int)");
  }
  EXPECT_EQ(proxy.metric("holdfast_servers_opened_total"), 1);
}

// DISCARD ALL leaves a custom setting behind, empty: the next client that may ask for it gets another connection.
TEST(SessionPool, has_no_custom_settings_of_others) {
  Server server;
  server.start();
  const Holdfast proxy(endpoint({.members = member_yaml(server), .pool = "mode: session, size: 1"}));
  for (int i = 0; i < 3; ++i) {
    auto client = proxy.connect();
    EXPECT_EQ(client.scalar("SELECT current_setting('app.user', true) IS NULL"), "t");
    client.exec("SET app.\"user\" = 'alice'");
  }
}

}  // namespace
}  // namespace holdfast::testing
