// Ways that the text doesn't show: functions behind triggers, defaults, views, types and policies.
#include <string_view>

#include "tests/integration/leak_ways.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

using wire::query;

constexpr const char* schema = R"(
  CREATE TABLE victim (id int); INSERT INTO victim VALUES (1);
  CREATE TABLE payload (what text); INSERT INTO payload VALUES ('nothing');
  CREATE TABLE plain (id int, v text);
  CREATE TABLE ser (id serial, v text);
  CREATE TABLE seeded (value float8); INSERT INTO seeded
    SELECT CASE WHEN s IS NOT NULL THEN random() END FROM (SELECT setseed(0.5)::text s) x;
  CREATE FUNCTION leak() RETURNS int LANGUAGE plpgsql AS $$
    BEGIN
      CASE (SELECT what FROM payload)
        WHEN 'nothing' THEN NULL;
        WHEN 'setting' THEN PERFORM set_config('app.x', 'leaked', false);
        WHEN 'datestyle' THEN PERFORM set_config('datestyle', 'German', false);
        WHEN 'path' THEN PERFORM set_config('search_path', 'hidden', false);
        WHEN 'role' THEN PERFORM set_config('role', 'other', false);
        WHEN 'local' THEN PERFORM set_config('app.y', 'leaked', true);
        WHEN 'lock' THEN PERFORM pg_advisory_lock_shared(99);
        WHEN 'sequence' THEN PERFORM nextval('ser_id_seq');
        WHEN 'temp' THEN EXECUTE 'CREATE TEMP TABLE IF NOT EXISTS victim (hidden int)';
        WHEN 'listen' THEN EXECUTE 'LISTEN leak_news';
      END CASE;
      RETURN 1;
    END $$;
  CREATE FUNCTION leak_pure(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN leak() * 0 + $1; END $$;
  CREATE FUNCTION leak_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM leak(); RETURN NEW; END $$;
  CREATE FUNCTION leak_event() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM leak(); END $$;

  CREATE TABLE by_trigger (id int);
  CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON by_trigger FOR EACH ROW EXECUTE FUNCTION leak_row();
  CREATE TABLE by_statement_trigger (id int);
  CREATE TRIGGER t AFTER INSERT OR TRUNCATE ON by_statement_trigger FOR EACH STATEMENT EXECUTE FUNCTION leak_row();
  CREATE TABLE by_deferred (id int);
  CREATE CONSTRAINT TRIGGER t AFTER INSERT ON by_deferred DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION leak_row();
  CREATE TABLE by_partition (id int) PARTITION BY RANGE (id);
  CREATE TABLE by_partition_1 PARTITION OF by_partition FOR VALUES FROM (0) TO (100);
  CREATE TRIGGER t AFTER INSERT ON by_partition_1 FOR EACH ROW EXECUTE FUNCTION leak_row();
  CREATE TABLE cascade_parent (id int PRIMARY KEY);
  CREATE TABLE by_cascade (id int REFERENCES cascade_parent ON DELETE CASCADE);
  INSERT INTO cascade_parent SELECT generate_series(1, 50); INSERT INTO by_cascade SELECT generate_series(1, 50);
  CREATE TRIGGER t AFTER DELETE ON by_cascade FOR EACH ROW EXECUTE FUNCTION leak_row();
  CREATE TABLE by_default (id int, made int DEFAULT leak());
  CREATE TABLE by_generated (id int, made int GENERATED ALWAYS AS (leak_pure(id)) STORED);
  CREATE TABLE by_check (id int CHECK (leak_pure(id) IS NOT NULL));
  CREATE TABLE by_index (id int); CREATE INDEX ON by_index (leak_pure(id));
  CREATE TABLE by_partial_index (id int); CREATE INDEX ON by_partial_index (id) WHERE leak_pure(id) > 0;
  CREATE TABLE by_partition_key (id int) PARTITION BY RANGE (leak_pure(id));
  CREATE TABLE by_partition_key_1 PARTITION OF by_partition_key DEFAULT;
  CREATE TABLE by_policy (id int); INSERT INTO by_policy VALUES (1);
  ALTER TABLE by_policy ENABLE ROW LEVEL SECURITY; ALTER TABLE by_policy FORCE ROW LEVEL SECURITY;
  CREATE POLICY p ON by_policy USING (leak() = 1);
  CREATE TABLE by_rule (id int);
  CREATE RULE r AS ON INSERT TO by_rule DO ALSO SELECT leak();
  CREATE VIEW by_view AS SELECT leak() AS made;
  CREATE VIEW by_view_of_view AS SELECT made + 1 AS made FROM by_view;
  CREATE VIEW settings_view AS SELECT name, setting FROM pg_settings;
  CREATE TABLE behind_instead (id int); CREATE VIEW by_instead AS SELECT id FROM behind_instead;
  CREATE TRIGGER t INSTEAD OF INSERT ON by_instead FOR EACH ROW EXECUTE FUNCTION leak_row();
  CREATE DOMAIN by_domain AS int CHECK (leak_pure(VALUE) IS NOT NULL);
  CREATE TABLE of_domain (v by_domain);
  CREATE TYPE pair AS (a int, b int);
  CREATE FUNCTION pair_of(int) RETURNS pair LANGUAGE sql AS 'SELECT ROW(leak(), $1)::pair';
  CREATE CAST (int AS pair) WITH FUNCTION pair_of(int);
  CREATE FUNCTION added(pair, pair) RETURNS int LANGUAGE sql AS 'SELECT leak()';
  CREATE OPERATOR + (LEFTARG = pair, RIGHTARG = pair, FUNCTION = added);
  CREATE FUNCTION equal_pairs(pair, int) RETURNS boolean LANGUAGE sql AS 'SELECT leak() = 1';
  CREATE OPERATOR = (LEFTARG = pair, RIGHTARG = int, FUNCTION = equal_pairs);
  CREATE FUNCTION made(plain) RETURNS int LANGUAGE sql AS 'SELECT leak()';
  CREATE FUNCTION step(int, int) RETURNS int LANGUAGE sql AS 'SELECT leak()';
  CREATE AGGREGATE by_aggregate (int) (SFUNC = step, STYPE = int, INITCOND = '0');
  CREATE PROCEDURE by_procedure() LANGUAGE plpgsql AS $$ BEGIN PERFORM leak(); END $$;
  CREATE MATERIALIZED VIEW by_materialized AS SELECT leak() AS made WITH NO DATA;
  INSERT INTO plain VALUES (1, 'one');
  CREATE SCHEMA hidden; CREATE TABLE hidden.victim (hidden int);)";
constexpr const char* by_superuser = R"(
  CREATE ROLE other; GRANT other TO app; GRANT USAGE, CREATE ON SCHEMA public TO other;
  GRANT ALL ON ALL TABLES IN SCHEMA public TO other; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO other;
  CREATE EVENT TRIGGER by_event ON ddl_command_end WHEN TAG IN ('COMMENT') EXECUTE FUNCTION leak_event();)";

// What statements hide, and the statements that run it.
constexpr const char* payloads[] = {"setting", "datestyle", "path", "role",  "local",
                                    "lock",    "sequence",  "temp", "listen"};
struct Carrier {
  const char* name;
  const char* sql;
  bool pure = false;  // its function may make no table and no LISTEN
};
constexpr Carrier carriers[] = {
    {"trigger", "INSERT INTO by_trigger VALUES (1)"},
    {"update_trigger", "WITH i AS (INSERT INTO by_trigger VALUES (1)) UPDATE by_trigger SET id = 2"},
    {"merge", "MERGE INTO by_trigger USING (VALUES (3)) s (id) ON false WHEN NOT MATCHED THEN INSERT VALUES (s.id)"},
    {"cte", "WITH i AS (INSERT INTO by_trigger VALUES (1) RETURNING id) SELECT * FROM i"},
    {"statement_trigger", "INSERT INTO by_statement_trigger SELECT 1 WHERE false"},
    {"truncate_trigger", "TRUNCATE by_statement_trigger"},
    {"deferred_trigger", "INSERT INTO by_deferred VALUES (1)"},
    {"partition_trigger", "INSERT INTO by_partition VALUES (1)"},
    {"cascade", "DELETE FROM cascade_parent WHERE id = (SELECT min(id) FROM cascade_parent)"},
    {"instead_trigger", "INSERT INTO by_instead VALUES (1)"},
    {"column_default", "INSERT INTO by_default VALUES (1)"},
    {"add_column",
     "CREATE TABLE added_to AS SELECT 1 AS id; ALTER TABLE added_to ADD COLUMN made int DEFAULT leak();"
     "DROP TABLE added_to"},
    {"generated_column", "INSERT INTO by_generated VALUES (1)", true},
    {"check", "INSERT INTO by_check VALUES (1)", true},
    {"index_expression", "INSERT INTO by_index VALUES (1)", true},
    {"partial_index", "INSERT INTO by_partial_index VALUES (1)", true},
    {"partition_key", "INSERT INTO by_partition_key VALUES (1)", true},
    {"policy", "SELECT * FROM by_policy"},
    {"rule", "INSERT INTO by_rule VALUES (1)"},
    {"view", "SELECT * FROM by_view"},
    {"view_of_view", "SELECT count(made) FROM by_view_of_view"},
    {"view_in_exists", "SELECT 1 WHERE (SELECT made FROM by_view) = 1"},
    {"cast", "SELECT 1::pair"},
    {"cast_function", "SELECT CAST(id AS pair) FROM plain"},
    {"operator", "SELECT ROW(1, 2)::pair + ROW(1, 2)::pair"},
    {"operator_in_any", "SELECT ROW(1, 2)::pair = ANY (ARRAY[1, 2])"},
    {"case_operator", "SELECT CASE ROW(1, 2)::pair WHEN 1 THEN 2 END"},
    {"domain", "SELECT 1::by_domain", true},
    {"domain_literal", "SELECT by_domain '1'", true},
    {"domain_column", "INSERT INTO of_domain VALUES (1)", true},
    {"attribute_notation", "SELECT (plain).made FROM plain"},
    {"aggregate", "SELECT by_aggregate(id) FROM plain"},
    {"function", "SELECT leak()"},
    {"function_in_from", "SELECT * FROM leak()"},
    {"procedure", "CALL by_procedure()"},
    {"do_block", "DO $$ BEGIN PERFORM leak(); END $$"},
    {"event_trigger", "COMMENT ON TABLE plain IS 'commented'"},
    {"cursor", "BEGIN; DECLARE c CURSOR FOR SELECT * FROM by_view; FETCH c; COMMIT"},
    {"copy_out", "COPY (SELECT * FROM by_view) TO STDOUT"},
    {"explain_analyze", "EXPLAIN ANALYZE SELECT * FROM by_view"},
    {"sql_prepared", "PREPARE q9 AS INSERT INTO by_trigger VALUES (1); EXECUTE q9; DEALLOCATE q9"},
    {"create_index", "CREATE INDEX made_index ON plain (leak_pure(id)); DROP INDEX made_index", true},
    {"in_a_block", "BEGIN; INSERT INTO by_trigger VALUES (1); COMMIT"},
    {"in_a_savepoint", "BEGIN; SAVEPOINT a; INSERT INTO by_trigger VALUES (1); RELEASE a; COMMIT"},
};

}  // namespace

void add_hidden_ways(std::vector<Way>& ways) {
  for (const auto& carrier : carriers) {
    for (const std::string payload : payloads) {
      if (carrier.pure && (payload == "temp" || payload == "listen")) continue;
      const bool several = std::string_view(carrier.sql).find("; ") != std::string_view::npos;
      // Settings and locks by every carrier; the rest by three of them, which stand for the others.
      const std::string name = carrier.name;
      const bool stands_for_all = name == "trigger" || name == "view" || name == "column_default";
      if (payload != "setting" && payload != "lock" && !stands_for_all) continue;
      if (payload == "temp" && name == "view") continue;  // a view's table would be the temporary one
      ways.push_back({.name = "hidden_" + payload + "_by_" + name, .says = {query(carrier.sql)}, .payload = payload});
      if (!several && (payload == "setting" || stands_for_all))
        ways.push_back({.name = "hidden_" + payload + "_by_" + name + "_extended",
                        .says = {extended(carrier.sql)},
                        .payload = payload});
    }
  }
  ways.push_back({.name = "hidden_setting_by_copy_in",
                  .says = {query("COPY by_trigger FROM STDIN") + wire::copy_data("1\n") + wire::copy_done()},
                  .payload = "setting"});
  ways.push_back({.name = "hidden_lock_by_copy_in_extended",
                  .says = {wire::parse("", "COPY by_trigger FROM STDIN") + wire::bind("") + wire::execute() +
                           wire::copy_data("1\n") + wire::copy_done() + wire::sync()},
                  .payload = "lock"});
  ways.push_back({.name = "hidden_setting_by_a_prepared_statement",
                  .says = {wire::parse("s1", "INSERT INTO by_trigger VALUES (1)") + wire::sync(),
                           wire::bind("s1") + wire::execute() + wire::sync()},
                  .payload = "setting"});
  ways.push_back({.name = "hidden_lock_by_a_trigger_that_is_rolled_back",
                  .says = {query("BEGIN"), query("INSERT INTO by_trigger VALUES (1)"), query("ROLLBACK")},
                  .payload = "lock"});
  ways.push_back({.name = "hidden_lock_by_a_statement_that_fails",
                  .says = {query("INSERT INTO by_trigger SELECT 1 / (2 - g) FROM generate_series(1, 2) g")},
                  .fails = true,
                  .payload = "lock"});
}

void prepare_ways(Server& server) {
  Connection owner(server.conninfo());
  owner.exec(schema);
  server.exec(by_superuser);
}

}  // namespace holdfast::testing
