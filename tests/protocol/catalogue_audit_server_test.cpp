// The audit of a real database: which hidden code it finds, and which it takes for harmless.
//
// The kind: a statement's text doesn't show what its tables, views, types and operators run. Each row makes one such
// object; where another kind of object is possible, add it here.
#include <gtest/gtest.h>

#include <ostream>

#include "protocol/catalogue_audit.hpp"
#include "tests/support/postgres.hpp"
#include "tests/support/wait.hpp"

namespace holdfast::protocol {
namespace {

using namespace std::chrono_literals;
using holdfast::testing::Server;
using holdfast::testing::wait_until;

struct Made {
  friend void PrintTo(const Made& made, std::ostream* out) { *out << made.name; }
  const char* name;
  const char* sql;
  Hidden expected;
};

constexpr auto both(Hidden a, Hidden b) {
  return static_cast<Hidden>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}

// As a server of the pool would answer, under settings that would spoil it.
Hidden audited_at(const Server& server) {
  auto client = server.connect("app");
  client.exec(
      "SET standard_conforming_strings = off; SET search_path = public;"
      "SET default_transaction_isolation = 'read committed'");
  const auto text = client.scalar(std::string(audit_query()));
  EXPECT_EQ(client.scalar("SHOW search_path"), "public") << "its settings end with it";
  std::vector<std::byte> row;
  Writer(row).u16(1).u32(static_cast<std::uint32_t>(text.size())).bytes(as_bytes(text));
  const auto hidden = read_audit(row);
  EXPECT_TRUE(hidden) << text;
  return hidden.value_or(Hidden::nothing);
}

class CatalogueAudit : public ::testing::TestWithParam<Made> {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
    server_->exec(
        "CREATE FUNCTION leaves() RETURNS text LANGUAGE sql AS $$ SELECT set_config('app.x', 'y', false) $$;"
        "CREATE FUNCTION calls_it() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN leaves(); END $$;"
        "CREATE FUNCTION leaves(int) RETURNS int LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_advisory_lock(1); RETURN 1; END $$;"
        "CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM set_config('app.x', 'y', false); RETURN new; END $$;"
        "CREATE FUNCTION touches() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " new.at = now(); -- don't set anything\n"
        " INSERT INTO log(what) VALUES ('it''s set') ON CONFLICT DO NOTHING;"
        " UPDATE log AS l SET what = upper(what) WHERE length(what) < 3 AND what IN ('a', 'b');"
        " IF tg_op = 'UPDATE' THEN /* call it */ RETURN coalesce(new, old); END IF; RETURN new; END $$;"
        "CREATE TABLE log (what text UNIQUE);"
        "CREATE TABLE t (id serial PRIMARY KEY, a text CHECK (length(a) < 100), at timestamptz DEFAULT now())");
  }
  static void TearDownTestSuite() { delete server_; }
  static Hidden audited() { return audited_at(*server_); }

  static Server* server_;
};
Server* CatalogueAudit::server_ = nullptr;

TEST_P(CatalogueAudit, finds_what_is_there_and_no_more) {
  ASSERT_EQ(audited(), Hidden::sequences) << "of the serial column";
  auto owner = server_->connect("postgres");
  owner.exec("BEGIN; CREATE SCHEMA made; SET LOCAL search_path = made, public; SET LOCAL check_function_bodies = off");
  owner.exec(GetParam().sql);
  owner.exec("COMMIT");
  EXPECT_EQ(audited(), both(GetParam().expected, Hidden::sequences));
  owner.exec("DROP SCHEMA made CASCADE; DROP EVENT TRIGGER IF EXISTS event; DROP CAST IF EXISTS (t AS log)");
}

constexpr auto writes = both(Hidden::writes_leave, Hidden::writes_look);  // a function of the user's: may do either
constexpr auto reads =  // … and `leaves(int)` locks
    both(both(Hidden::reads_leave, Hidden::reads_look), both(Hidden::reads_write, Hidden::reads_lock));

INSTANTIATE_TEST_SUITE_P(
    Of, CatalogueAudit,
    ::testing::Values(
        Made{"trigger", "CREATE TRIGGER x BEFORE INSERT ON t EXECUTE FUNCTION fires(); ALTER TRIGGER x ON t RENAME TO y;"
                        "CREATE TABLE u (a int); CREATE TRIGGER x AFTER INSERT ON u EXECUTE FUNCTION fires();"
                        "DROP TRIGGER y ON t",
             writes},
        Made{"event_trigger",
             "CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS"
             " $$ BEGIN PERFORM set_config('a.b', '', false); END $$;"
             "CREATE EVENT TRIGGER event ON ddl_command_end EXECUTE FUNCTION on_ddl()",
             writes},
        Made{"default_by_function", "CREATE TABLE u (a text DEFAULT leaves())", writes},
        Made{"default_by_another", "CREATE TABLE u (a text DEFAULT calls_it())", writes},
        Made{"default_by_builtin", "CREATE TABLE u (a text DEFAULT set_config('a.b', 'c', false))", Hidden::writes_leave},
        Made{"default_by_lastval", "CREATE TABLE u (a bigint DEFAULT lastval())", Hidden::writes_look},
        Made{"check", "CREATE TABLE u (a int CHECK (leaves(a) = 1))", writes},
        Made{"index_expression",
             "CREATE FUNCTION sly(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT leaves($1)';"
             "CREATE TABLE u (a int); CREATE INDEX ON u (sly(a))",
             writes},
        Made{"generated_column",
             "CREATE FUNCTION sly(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT leaves($1)';"
             "CREATE TABLE u (a int, b int GENERATED ALWAYS AS (sly(a)) STORED)",
             writes},
        Made{"rule", "CREATE TABLE u (a int); CREATE RULE r AS ON INSERT TO u DO ALSO SELECT leaves()", reads},
        Made{"view_of_function", "CREATE VIEW v AS SELECT leaves()", reads},
        Made{"view_of_builtin", "CREATE VIEW v AS SELECT pg_try_advisory_lock(7)",
             both(Hidden::reads_leave, Hidden::reads_lock)},
        Made{"view_of_a_lock_of_the_transaction", "CREATE VIEW v AS SELECT pg_try_advisory_xact_lock(7)", Hidden::reads_lock},
        Made{"view_of_a_function_that_locks",
             "CREATE FUNCTION locks() RETURNS bool LANGUAGE sql AS 'SELECT pg_try_advisory_xact_lock_shared(7)';"
             "CREATE VIEW v AS SELECT locks()",
             Hidden::reads_lock},
        Made{"policy_of_a_setting",
             "CREATE TABLE u (a text); ALTER TABLE u ENABLE ROW LEVEL SECURITY;"
             "CREATE POLICY p ON u USING (a = current_setting('app.tenant', true))",
             Hidden::asks_settings},
        Made{"default_by_a_setting", "CREATE TABLE u (a text DEFAULT current_setting('app.tenant', true))",
             Hidden::asks_settings},
        Made{"function_that_asks_for_a_setting",
             "CREATE FUNCTION tenant() RETURNS text LANGUAGE sql AS $$ SELECT current_setting('app.tenant', true) $$",
             Hidden::asks_settings},
        Made{"function_that_asks_for_some_setting",
             "CREATE FUNCTION tenant(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN current_setting($1); END $$",
             Hidden::asks_settings},
        Made{"function_that_asks_for_a_setting_in_parts",
             "CREATE FUNCTION tenant() RETURNS text LANGUAGE sql AS $$ SELECT current_setting('app' || '.tenant') $$",
             Hidden::asks_settings},
        Made{"function_that_shows_a_setting",
             "CREATE FUNCTION tenant() RETURNS text LANGUAGE plpgsql AS"
             " $$ DECLARE t text; BEGIN EXECUTE 'SHOW app.tenant' INTO t; RETURN t; END $$",
             Hidden::asks_settings},
        Made{"function_with_a_body_that_asks_for_a_setting",
             "CREATE FUNCTION tenant() RETURNS text LANGUAGE sql"
             " BEGIN ATOMIC SELECT current_setting('app.tenant', true); END",
             Hidden::asks_settings},
        Made{"function_that_asks_for_a_setting_of_postgresql",
             "CREATE FUNCTION member() RETURNS text LANGUAGE sql AS $$ SELECT current_setting('cluster_name') $$",
             Hidden::nothing},
        Made{"view_of_lastval", "CREATE VIEW v AS SELECT lastval()", Hidden::reads_look},
        Made{"view_of_nextval", "CREATE VIEW v AS SELECT nextval('t_id_seq')", both(Hidden::reads_leave, Hidden::reads_write)},
        Made{"view_of_a_function_that_writes",
             "CREATE FUNCTION writes() RETURNS text LANGUAGE plpgsql AS"
             " $$ BEGIN INSERT INTO log VALUES ('x'); RETURN ''; END $$; CREATE VIEW v AS SELECT writes()",
             Hidden::reads_write},
        Made{"view_of_a_function_that_updates",
             "CREATE FUNCTION writes() RETURNS text LANGUAGE sql AS 'UPDATE log SET what = what RETURNING what';"
             "CREATE VIEW v AS SELECT writes()",
             Hidden::reads_write},
        Made{"view_of_a_function_that_reads",
             "CREATE FUNCTION longest() RETURNS int LANGUAGE plpgsql AS"
             " $$ BEGIN RETURN (SELECT max(length(what)) FROM log); END $$; CREATE VIEW v AS SELECT longest()",
             Hidden::nothing},
        Made{"aggregate",
             "CREATE FUNCTION step(int, int) RETURNS int LANGUAGE sql AS 'SELECT leaves($1)';"
             "CREATE AGGREGATE sly(int) (sfunc = step, stype = int)",
             reads},
        Made{"view_of_settings", "CREATE VIEW v AS SELECT * FROM pg_settings", Hidden::reads_leave},
        Made{"policy",
             "CREATE TABLE u (a int); ALTER TABLE u ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON u USING (leaves(a) = 1)",
             reads},
        Made{"cast",
             "CREATE FUNCTION convert(t) RETURNS log LANGUAGE sql AS 'SELECT row(leaves())::log';"
             "CREATE CAST (t AS log) WITH FUNCTION convert(t)",
             reads},
        Made{"operator",
             "CREATE FUNCTION same(int, text) RETURNS bool LANGUAGE sql AS 'SELECT leaves($1) = 1';"
             "CREATE OPERATOR === (leftarg = int, rightarg = text, function = same)",
             reads},
        Made{"domain", "CREATE DOMAIN d AS int CHECK (leaves(value) = 1)", reads},
        Made{"attribute_notation", "CREATE FUNCTION extra(t) RETURNS text LANGUAGE sql AS 'SELECT leaves()'", reads},
        Made{"attribute_notation_of_anything",
             "CREATE FUNCTION extra(anyelement) RETURNS text LANGUAGE sql AS 'SELECT leaves()'", reads},
        Made{"attribute_notation_of_a_record",
             "CREATE FUNCTION extra(record) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN leaves(); END $$", reads},
        Made{"attribute_notation_with_a_default",
             "CREATE FUNCTION extra(t, int DEFAULT 1) RETURNS text LANGUAGE sql AS 'SELECT leaves()'", reads},
        Made{"settings_table",
             "CREATE FUNCTION extra(t) RETURNS text LANGUAGE plpgsql AS"
             " $$ BEGIN UPDATE pg_settings SET setting = 'x' WHERE name = 'a.b'; RETURN ''; END $$",
             reads},
        Made{"dollar_quote_with_an_apostrophe",
             "CREATE FUNCTION extra(t) RETURNS text LANGUAGE plpgsql AS"
             " $$ BEGIN PERFORM $q$it's$q$; PERFORM set_config('a.b', '', false); RETURN ''; END $$",
             reads},
        Made{"name_with_an_apostrophe",
             "CREATE FUNCTION extra(t) RETURNS text LANGUAGE plpgsql AS"
             " $$ DECLARE \"it's\" int; BEGIN PERFORM set_config('a.b', '', false); RETURN ''; END $$",
             reads},
        Made{"nested_comment",
             "CREATE FUNCTION extra(t) RETURNS text LANGUAGE plpgsql AS"
             " $$ BEGIN /* /* */ ' */ PERFORM set_config('a.b', '', false); RETURN ''; /* ' */ END $$",
             reads},
        Made{"set_in_a_loop_over_locked_rows",
             "CREATE FUNCTION extra(t) RETURNS text LANGUAGE plpgsql AS"
             " $$ DECLARE r log; BEGIN FOR r IN SELECT * FROM log FOR UPDATE NOWAIT LOOP SET a.b = 1; END LOOP;"
             " RETURN ''; END $$",
             reads},
        Made{"temporary_schema",
             "CREATE FUNCTION extra(t) RETURNS text LANGUAGE plpgsql SET search_path = pg_temp AS"
             " $$ BEGIN CREATE TABLE leak AS SELECT 1; RETURN ''; END $$",
             reads},
        Made{"cursor_with_hold",
             "CREATE FUNCTION extra(t) RETURNS text LANGUAGE sql AS"
             " 'DECLARE c CURSOR WITH HOLD FOR SELECT 1; SELECT ''x''::text'",
             reads},
        Made{"harmless_quoted_names",
             "CREATE FUNCTION extra(t) RETURNS text LANGUAGE plpgsql SET search_path = public, pg_temp AS"
             " $$ BEGIN RETURN (SELECT \"what\" || 'it' || upper(\"what\") FROM \"log\" LIMIT 1); END $$",
             Hidden::nothing},
        Made{"body_of_statements",
             "CREATE FUNCTION extra(t) RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT leaves(); END", reads},
        Made{"dynamic_sql",
             "CREATE FUNCTION extra(t) RETURNS text LANGUAGE plpgsql AS"
             " $$ BEGIN EXECUTE 'SE' || 'T a.b = 1'; RETURN ''; END $$",
             reads},
        Made{"string_that_ends_early",
             "CREATE FUNCTION extra(t) RETURNS text LANGUAGE plpgsql AS"
             " $$ DECLARE a text := E'\\''; BEGIN PERFORM set_config('a.b', '', false); RETURN a; END $$",
             reads},
        Made{"comment_in_a_string",
             "CREATE FUNCTION extra(t) RETURNS text LANGUAGE plpgsql AS"
             " $$ BEGIN PERFORM '--', set_config('a.b', '', false); RETURN ''; END $$",
             reads},
        Made{"quote_in_a_comment",
             "CREATE FUNCTION extra(t) RETURNS text LANGUAGE plpgsql AS"
             " $$ BEGIN -- it's\n PERFORM set_config('a.b', '', false); RETURN 'it''s'; END $$",
             reads},
        Made{"set_behind_an_update",
             "CREATE FUNCTION extra(t) RETURNS text LANGUAGE plpgsql AS"
             " $$ BEGIN UPDATE log SET what = ''; SET a.b = 1; RETURN ''; END $$",
             reads},
        Made{"temporary_table",
             "CREATE FUNCTION extra(t) RETURNS text LANGUAGE plpgsql AS"
             " $$ BEGIN CREATE TEMP TABLE IF NOT EXISTS x (a int); RETURN ''; END $$",
             reads},
        Made{"harmless_trigger", "CREATE TABLE u (a int); CREATE TRIGGER x BEFORE UPDATE ON u EXECUTE FUNCTION touches()",
             Hidden::nothing},
        Made{"harmless_view", "CREATE VIEW v AS SELECT id, upper(a) FROM t WHERE a ~ 'x' ORDER BY random()",
             Hidden::nothing},
        Made{"harmless_tables",
             "CREATE TABLE u (id bigserial, r uuid DEFAULT gen_random_uuid(), j jsonb CHECK (jsonb_typeof(j) = 'object'),"
             " t int REFERENCES t); CREATE INDEX ON u (lower(r::text)); CREATE MATERIALIZED VIEW m AS SELECT * FROM u",
             Hidden::nothing},
        Made{"function_that_nothing_calls",
             "CREATE FUNCTION free(int) RETURNS text LANGUAGE sql AS 'SELECT leaves()'", Hidden::nothing}),
    [](const auto& made) { return std::string(made.param.name); });

TEST(CatalogueAuditOfDefaults, finds_blocks_with_one_snapshot) {
  Server server;
  server.start();
  ASSERT_EQ(audited_at(server), Hidden::nothing);
  auto owner = server.connect("postgres");
  for (const char* where : {"ROLE app", "ROLE postgres", "DATABASE app", "ROLE app IN DATABASE app", "ROLE ALL"}) {
    const auto alter = std::string("ALTER ") + where;
    for (const char* level : {"repeatable read", "Serializable"}) {
      owner.exec(alter + " SET default_transaction_isolation = '" + level + "'");
      EXPECT_EQ(audited_at(server), Hidden::one_snapshot) << where << level;
    }
    for (const char* level : {"Read Committed", "read uncommitted"}) {
      owner.exec(alter + " SET default_transaction_isolation = '" + level + "'");
      EXPECT_EQ(audited_at(server), Hidden::nothing) << where << level;
    }
    owner.exec(alter + " RESET default_transaction_isolation");
    EXPECT_EQ(audited_at(server), Hidden::nothing) << where;
  }
  owner.exec("ALTER DATABASE postgres SET default_transaction_isolation = 'repeatable read'");
  EXPECT_EQ(audited_at(server), Hidden::nothing) << "another database";
  server.set({{"default_transaction_isolation", "repeatable read"}});
  EXPECT_TRUE(wait_until(10s, [&] { return audited_at(server) == Hidden::one_snapshot; }));
}

TEST(CatalogueAuditRow, is_one_number_in_range) {
  const auto read = [](std::string_view text) {
    std::vector<std::byte> row;
    Writer(row).u16(1).u32(static_cast<std::uint32_t>(text.size())).bytes(as_bytes(text));
    return read_audit(row);
  };
  EXPECT_EQ(read("0"), Hidden::nothing);
  EXPECT_EQ(read("511"), Hidden::anything);
  for (const char* text : {"", "512", "-1", "1x", "0001", "t"}) EXPECT_FALSE(read(text)) << text;
  EXPECT_FALSE(read_audit({}));
  std::vector<std::byte> null;
  Writer(null).u16(1).u32(0xffffffff);
  EXPECT_FALSE(read_audit(null));
}

}  // namespace
}  // namespace holdfast::protocol
