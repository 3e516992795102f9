// A READ ONLY block that begins on a standby shows in nothing: every script is run on the primary itself and through
// Holdfast with reads split, the answers are compared, and so is what the session can do behind the block.
#include "tests/integration/read_only_block.hpp"

namespace holdfast::testing {
namespace {

// Each of these makes a block one that can't begin again elsewhere, and then leaves something in the session: the
// client was kept on the standby for good, and each of its writes failed with 25006.
TEST_F(ReadOnlyBlock, keeps_nobody_on_a_standby) {
  for (const auto& script : std::vector<std::vector<std::string>>{
           {begin, read, "SAVEPOINT a", set, "COMMIT"},
           {begin, read, "SAVEPOINT a", "SELECT 1/0", "ROLLBACK TO a", set, "RELEASE a", "COMMIT"},
           {begin, "SAVEPOINT a", read, set, "ROLLBACK TO a", "COMMIT"},
           {begin, read, "DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id", "FETCH c", set, "FETCH c", "COMMIT"},
           {begin, "DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id", "FETCH 2 FROM c", "LISTEN news", "FETCH c",
            "COMMIT"},
           {begin, read, "DECLARE c CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id", "COMMIT", "FETCH ALL c"},
           {"BEGIN READ ONLY; SELECT count(*) FROM t", set, "COMMIT"},
           {"START TRANSACTION READ ONLY; SELECT count(*) FROM t", "LISTEN news", "COMMIT"},
           {"SELECT 1; BEGIN READ ONLY", read, set, "COMMIT"},
           {"BEGIN READ ONLY /*" + std::string(300, 'x') + "*/", read, set, "COMMIT"},
           {"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", read, set, "COMMIT"},
           {"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", read, "LISTEN news", "SELECT 1", "COMMIT"},
           {"BEGIN ISOLATION LEVEL REPEATABLE READ", "SET TRANSACTION READ ONLY", read, set, "COMMIT"},
           {"BEGIN", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY", read, set, "COMMIT"},
           {begin, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", read, "SHOW transaction_isolation", set,
            "COMMIT"},
           {begin, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", read, "SHOW transaction_isolation", set, "COMMIT"},
           {begin, "SELECT set_config('lock_timeout', '5s', true)", set, "SHOW lock_timeout", "COMMIT"},
           {begin, read, "SELECT set_config('lock_timeout', '5s', true)", set, "SHOW lock_timeout", "COMMIT"},
           {begin, "SET LOCAL lock_timeout = '5s'", read, set, "SHOW lock_timeout", "COMMIT"},
           {begin, read, "SET LOCAL lock_timeout = '5s'", "LISTEN news", "SHOW lock_timeout", "COMMIT"},
           {begin, read, "SELECT 1; SET LOCAL lock_timeout = '5s'", set, "SHOW lock_timeout", "COMMIT"},
           {begin, "SET LOCAL lock_timeout = '5s'; SELECT 1", "LISTEN news", "SHOW lock_timeout", "COMMIT"},
           {begin, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1", set, "SHOW transaction_isolation",
            "COMMIT"},
           {begin, "SELECT sets()", set, "COMMIT"},
           {begin, read, "SELECT sets()", "COMMIT"},
           {begin, read, "SELECT sets_local()", set, "SHOW lock_timeout", "COMMIT"},
           {begin, "SELECT sets_local()", "SELECT pg_is_in_recovery()", "SHOW lock_timeout", "COMMIT"},
           {begin, read, "DO $$ BEGIN PERFORM sets() ; END $$", "COMMIT"},
           {begin, read, "SET CONSTRAINTS ALL IMMEDIATE", set, "COMMIT"},
           {begin, read, "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", "COMMIT"},
           {begin, read, "SELECT pg_advisory_lock(7)", "SAVEPOINT a", "SELECT pg_advisory_unlock(7)", "COMMIT"},
           {begin, read, "PREPARE p AS SELECT 1", "EXECUTE p", "COMMIT", "EXECUTE p"},
       })
    expect_as_on_primary(script);
}

// In a failed block nothing takes effect but its end, and what comes behind that in the same string.
TEST_F(ReadOnlyBlock, that_has_failed_keeps_nobody_on_a_standby) {
  for (const auto& script : std::vector<std::vector<std::string>>{
           {begin, "SELECT 1/0", set, "ROLLBACK"},
           {begin, read, "SELECT 1/0", set, "LISTEN news", "SELECT sets()", "COMMIT"},
           {begin, read, "SELECT 1/0", "SAVEPOINT a", "ROLLBACK TO a", "ROLLBACK"},
           {begin, read, "SELECT 1/0", "no statement", "ROLLBACK"},
           {begin, read, "SELECT 1/0", "BEGIN", "ROLLBACK"},
           {begin, read, "SELECT 1/0", "SET TRANSACTION READ WRITE", "ROLLBACK"},
           {begin, read, "SELECT 1/0", "ROLLBACK; SET statement_timeout = '9s'"},
           {begin, read, "SELECT 1/0", "ROLLBACK; BEGIN READ ONLY; SELECT 1", set, "COMMIT"},
           {"BEGIN READ ONLY; SELECT 1/0; COMMIT", set, "ROLLBACK"},
           {"BEGIN READ ONLY; SELECT 1/0", "ROLLBACK; SET statement_timeout = '9s'"},
           {"SELECT 1; BEGIN READ ONLY; SELECT 1/0", set, "LISTEN news", "COMMIT"},
           {begin, read, "SELECT 1/0", "ROLLBACK AND CHAIN", read, set, "COMMIT"},
           {begin, read, "SELECT 1/0", "COMMIT AND CHAIN", "SHOW transaction_read_only", "LISTEN news", "COMMIT"},
           {"BEGIN", "SET TRANSACTION READ ONLY", "SELECT 1/0", "ROLLBACK AND CHAIN", "SHOW transaction_read_only", set,
            "COMMIT"},
       })
    expect_as_on_primary(script);
}

TEST_F(ReadOnlyBlock, in_a_chain_keeps_nobody_on_a_standby) {
  for (const auto& script : std::vector<std::vector<std::string>>{
           {begin, read, "COMMIT AND CHAIN", read, set, "COMMIT"},
           {begin, read, "ROLLBACK AND CHAIN", "SHOW transaction_read_only", "LISTEN news", "COMMIT AND CHAIN", set,
            "COMMIT"},
           {"BEGIN", "SET TRANSACTION READ ONLY", read, "COMMIT AND CHAIN", "SHOW transaction_read_only", set,
            "COMMIT"},
           {begin, read, "COMMIT; BEGIN READ ONLY; SELECT 1", set, "COMMIT"},
           {begin, read, "BEGIN", read, set, "COMMIT"},
           {begin, read, "BEGIN ISOLATION LEVEL REPEATABLE READ", set, "COMMIT"},
       })
    expect_as_on_primary(script);
}

// Behind a query a transaction's modes are what they are (25001), although the block began again.
TEST_F(ReadOnlyBlock, has_its_modes_for_good_behind_a_query) {
  for (const auto& script : std::vector<std::vector<std::string>>{
           {begin, read, "SET TRANSACTION READ WRITE", "ROLLBACK"},
           {begin, read, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "ROLLBACK"},
           {begin, read, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "ROLLBACK"},
           {begin, read, "SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "COMMIT"},
           {begin, read, "SET TRANSACTION SNAPSHOT '00000003-0000001B-1'", "ROLLBACK"},
           {begin, read, "SET transaction_read_only = off", "ROLLBACK"},
           {begin, read, "SET LOCAL transaction_isolation = 'repeatable read'", "ROLLBACK"},
           {begin, read, "SET TRANSACTION READ ONLY", "COMMIT"},
           {begin, read, "SHOW transaction_isolation", "SET TRANSACTION READ WRITE", "ROLLBACK"},
           {begin, read, set, "SET TRANSACTION READ WRITE", "ROLLBACK"},
           {begin, "SHOW transaction_isolation", "SET TRANSACTION READ WRITE", "UPDATE t SET at = at", "COMMIT"},
           {begin, "SET TRANSACTION READ WRITE", "UPDATE t SET at = at", "COMMIT"},
           {begin, "SELECT 1/0", "SET TRANSACTION READ WRITE", "ROLLBACK"},
           {"BEGIN", "SET TRANSACTION READ ONLY", "SET TRANSACTION READ WRITE", "UPDATE t SET at = at", "COMMIT"},
           {"BEGIN", "SET TRANSACTION READ ONLY", read, "SET TRANSACTION READ WRITE", "ROLLBACK"},
           {"BEGIN", "SET TRANSACTION READ ONLY", read, "UPDATE t SET at = 'never'", "ROLLBACK"},
           {"BEGIN", "SET TRANSACTION READ ONLY", read, set, "SHOW transaction_read_only", "UPDATE t SET at = 'never'",
            "ROLLBACK"},
           {"BEGIN", "SET TRANSACTION READ ONLY, ISOLATION LEVEL READ UNCOMMITTED", read, "SHOW transaction_isolation",
            "COMMIT"},
           {"BEGIN", "SET TRANSACTION READ NEVER", "ROLLBACK"},
       })
    expect_as_on_primary(script);
}

// What a READ ONLY transaction may do on a primary and not on a standby (manual, 26.4.1), and what neither may.
TEST_F(ReadOnlyBlock, may_do_what_a_primary_allows) {
  for (const char* what : {"LISTEN news",
                           "UNLISTEN news",
                           "UNLISTEN *",
                           "NOTIFY news",
                           "SELECT pg_notify('news', 'x')",
                           "SELECT txid_current() > 0",
                           "SELECT pg_current_xact_id() IS NULL",
                           "SELECT txid_current_snapshot() IS NULL",
                           "SELECT length(pg_export_snapshot()) > 0",
                           "SELECT pg_advisory_lock(7)",
                           "SELECT pg_advisory_xact_lock(7)",
                           "SELECT pg_try_advisory_lock_shared(7)",
                           "LOCK TABLE t IN ACCESS SHARE MODE",
                           "LOCK TABLE t IN ROW SHARE MODE",
                           "LOCK TABLE t IN EXCLUSIVE MODE",
                           "SELECT pg_is_in_recovery()",
                           "SHOW in_hot_standby",
                           "ANALYZE t",
                           "VACUUM t",
                           "CREATE TEMP TABLE tt (x int)",
                           "CREATE TABLE made (x int)",
                           "SELECT nextval('t_id_seq')",
                           "SELECT id FROM t FOR UPDATE",
                           "INSERT INTO t (at) VALUES ('never')",
                           "DECLARE c CURSOR FOR SELECT 1",
                           "DISCARD PLANS",
                           "DISCARD SEQUENCES",
                           "DISCARD TEMP",
                           "DISCARD ALL",
                           "DEALLOCATE ALL",
                           "RESET ALL",
                           "RESET statement_timeout",
                           "SET ROLE NONE",
                           "LOAD 'plpgsql'",
                           "SELECT currval('t_id_seq')",
                           "SELECT pg_stat_get_xact_numscans(0)"}) {
    expect_as_on_primary({begin, read, what, "ROLLBACK"});
    expect_as_on_primary({begin, what, read, "COMMIT"});
    expect_as_on_primary({"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", read, what, read, "COMMIT"});
  }
  expect_as_on_primary({begin, read, "PREPARE TRANSACTION 'read'", "ROLLBACK PREPARED 'read'"});
}

// A view hides it from the text, so a standby gets it, and refuses.
TEST_F(ReadOnlyBlock, may_do_what_a_primary_allows_through_a_view) {
  for (const char* what : {"SELECT x FROM numbered", "SELECT x FROM hidden"}) {
    expect_as_on_primary({begin, what, read, "COMMIT"});
    expect_as_on_primary({begin, read, what, set, "SET TRANSACTION READ WRITE", "COMMIT"});
    expect_as_on_primary(
        {"BEGIN", "SET TRANSACTION READ ONLY", read, read, what, "SHOW transaction_read_only", "COMMIT"});
    expect_as_on_primary({begin, "SELECT 1/0", what, "no statement", "COMMIT"});
  }
}

// What only reads, statement by statement, stays on the standby; what leaves something in the block is the primary's.
TEST_F(ReadOnlyBlock, stays_on_the_standby_while_it_only_reads) {
  const auto member = [](const std::vector<std::string>& steps) {
    auto client = proxy_->connect();
    for (const auto& step : steps) {
      PQclear(PQexecParams(client.raw(), step.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0));
    }
    return client.scalar("SELECT member()");
  };
  EXPECT_EQ(member({begin}), "pg2");
  EXPECT_EQ(member({begin, read, read}), "pg2");
  EXPECT_EQ(member({"START TRANSACTION READ ONLY, ISOLATION LEVEL READ COMMITTED", read}), "pg2");
  EXPECT_EQ(member({begin, read, "COMMIT", begin, read}), "pg2");
  EXPECT_EQ(member({begin, "SELECT 1/0", "ROLLBACK", begin, read}), "pg2");
  auto client = proxy_->connect();
  client.exec("BEGIN");
  client.exec("SET TRANSACTION READ ONLY");
  EXPECT_EQ(client.scalar("SELECT member()"), "pg2");
  EXPECT_EQ(member({"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", read}), "pg1");
  EXPECT_EQ(member({begin, "SAVEPOINT a"}), "pg1");
  EXPECT_EQ(member({begin, read, "SELECT sets()"}), "pg1");
}

// A hint is for reads: it sends no session to a standby for good.
TEST_F(ReadOnlyBlock, nor_does_a_hint_keep_anybody_on_a_standby) {
  for (const auto& script : std::vector<std::vector<std::string>>{
           {"/* holdfast: replica */ SET statement_timeout = '9s'"},
           {"/* holdfast: replica */ BEGIN", "SELECT 1", set, "COMMIT"},
           {"/* holdfast: replica */ BEGIN", "SAVEPOINT a", set, "COMMIT"},
           {"/* holdfast: replica */ BEGIN ISOLATION LEVEL REPEATABLE READ", read, set, "UPDATE t SET at = at",
            "COMMIT"},
           {"/* holdfast: replica */ BEGIN; SELECT 1", set, "COMMIT"},
           {"/* holdfast: replica */ SELECT sets_local()", set},
           {"/* holdfast: replica */ SELECT sets_local()", begin, read, set, "COMMIT"},
           {"/* holdfast: replica */ SELECT pg_advisory_lock(7)"},
       })
    expect_as_on_primary(script);
}

// default_transaction_isolation of a role or a database is in no text and in no report: such a block has one snapshot.
TEST_F(ReadOnlyBlock, has_one_snapshot_where_that_is_the_default) {
  auto& primary = set_->primary();
  const std::vector<std::string> script = {begin, read, "SHOW transaction_isolation", set, "COMMIT"};
  const auto apply = [&](const std::string& alter) {
    primary.exec(alter);
    ReplicationSet::wait_caught_up(primary, set_->replica(0));
    // Servers of before have the default of before.
    for (auto* server : {&primary, &set_->replica(0)})
      server->exec("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'app'");
    // DDL that the proxy sees makes it ask again: what it knew of before no longer counts.
    proxy_->connect().exec("COMMENT ON TABLE owned IS ''");
  };
  const auto check = [&](const std::string& alter) {
    apply("ALTER " + alter + " SET default_transaction_isolation = 'repeatable read'");
    EXPECT_FALSE(begins_on_standby(proxy_->conninfo())) << alter;
    EXPECT_FALSE(begins_on_standby(proxy_->conninfo())) << alter << ", when the answer is there";
    auto writer = set_->primary().connect("app");
    auto client = proxy_->connect();
    client.exec(begin);
    const auto before = client.scalar(read);
    writer.exec("INSERT INTO t (at) VALUES ('later')");
    EXPECT_EQ(client.scalar("SHOW transaction_isolation"), "repeatable read") << alter;
    EXPECT_EQ(client.scalar(read), before) << alter;
    client.exec(set);
    EXPECT_EQ(client.scalar(read), before) << alter;
    client.exec("COMMIT");
    client.exec("UPDATE t SET at = at WHERE id = 1");
    // A level of its own is another matter.
    client = proxy_->connect();
    const auto on_standby = [&] {
      client.exec("BEGIN READ ONLY ISOLATION LEVEL READ COMMITTED");
      const bool standby = client.scalar("SELECT member()") == "pg2";
      client.exec("COMMIT");
      return standby;
    };
    EXPECT_TRUE(wait_until(std::chrono::seconds(10), on_standby)) << alter;
    apply("ALTER " + alter + " RESET default_transaction_isolation");
    wait_for_standby();
  };
  check("ROLE app");
  check("DATABASE app");
  check("ROLE app IN DATABASE app");
  const std::string asks = " options='-c default_transaction_isolation=repeatable\\\\ read'";
  for (const auto way : {Way::simple, Way::extended, Way::prepared})
    EXPECT_EQ(transcript(proxy_->conninfo() + asks, then_writes(script), way),
              transcript(primary.conninfo("app") + asks, then_writes(script), way));
}

// Read-only by what its session asked for at start: the same holds.
TEST_F(ReadOnlyBlock, by_default_keeps_nobody_on_a_standby) {
  const std::string asks = " options='-c default_transaction_read_only=on'";
  for (const auto& script : std::vector<std::vector<std::string>>{
           {"BEGIN", read, "SAVEPOINT a", set, "COMMIT"},
           {"BEGIN", read, "SET TRANSACTION READ WRITE", "ROLLBACK"},
           {"BEGIN", "SET TRANSACTION READ WRITE", "UPDATE t SET at = at", "COMMIT"},
           {"BEGIN ISOLATION LEVEL REPEATABLE READ", read, "LISTEN news", set, "COMMIT"},
           {"BEGIN; SELECT 1", read, set, "COMMIT"},
           {"BEGIN", read, "SELECT 1/0", "ROLLBACK AND CHAIN", "SHOW transaction_read_only", set, "COMMIT"},
           {"BEGIN", read, "SET default_transaction_read_only = off", "COMMIT", "UPDATE t SET at = at"},
       }) {
    for (const auto way : {Way::simple, Way::extended, Way::prepared}) {
      const auto steps = then_writes(script);
      EXPECT_EQ(transcript(proxy_->conninfo() + asks, steps, way),
                transcript(set_->primary().conninfo("app") + asks, steps, way))
          << name_of(way);
    }
  }
}

}  // namespace
}  // namespace holdfast::testing
