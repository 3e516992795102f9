#include "tests/integration/leak_ways.hpp"

#include <algorithm>
#include <cctype>

#include "protocol/bytes.hpp"
#include "protocol/message.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

using namespace std::string_literals;
using wire::query;

std::string number16(unsigned value) {
  return {static_cast<char>(value >> 8U), static_cast<char>(value & 255U)};
}
std::string number32(unsigned value) {
  return number16(value >> 16U) + number16(value & 0xffffU);
}
std::string values(const std::vector<std::string>& parameters) {
  std::string bytes = number16(static_cast<unsigned>(parameters.size()));
  for (const auto& value : parameters) bytes += number32(static_cast<unsigned>(value.size())) + value;
  return bytes;
}
std::string bound(const std::string& sql, const std::vector<std::string>& parameters) {
  return wire::parse("", sql) + message_bytes('B', "\0\0"s + number16(0) + values(parameters) + number16(0)) +
         wire::execute() + wire::sync();
}
// Oids of src/include/catalog/pg_proc.dat.
std::string call(unsigned function, const std::vector<std::string>& parameters) {
  return message_bytes('F', number32(function) + number16(0) + values(parameters) + number16(0));
}
std::string binary64(unsigned value) {
  return number32(0) + number32(value);
}
// The same with binary parameters.
std::string call_binary(unsigned function, const std::vector<std::string>& parameters) {
  return message_bytes('F', number32(function) + number16(1) + number16(1) + values(parameters) + number16(1));
}
constexpr unsigned set_config = 2078;               // (text, text, bool)
constexpr unsigned pg_advisory_lock = 2880;         // (bigint)
constexpr unsigned pg_advisory_lock_shared = 2881;  // (bigint)
constexpr unsigned pg_try_advisory_lock = 2882;     // (bigint)

std::string in_one_word(std::string text) {
  for (char& byte : text)
    if (std::isalnum(static_cast<unsigned char>(byte)) == 0) byte = '_';
  return text;
}

struct Said {
  const char* name;
  const char* sql;
};
// Plain SQL, by the simple protocol and, if it is one statement, by the extended one.
constexpr Said plain[] = {
    {"set_search_path", "SET search_path = hidden"},
    {"set_custom", "SET app.x = 'leaked'"},
    {"set_datestyle", "SET datestyle = German"},
    {"set_timezone", "SET TIME ZONE 'Asia/Tokyo'"},
    {"set_intervalstyle", "SET intervalstyle = iso_8601"},
    {"set_statement_timeout", "SET statement_timeout = '77s'"},
    {"set_encoding", "SET client_encoding = LATIN1"},
    {"set_names", "SET NAMES 'LATIN1'"},
    {"set_encoding_that_hides_ascii", "SET client_encoding = SJIS"},
    {"set_strings", "SET standard_conforming_strings = off"},
    {"set_bytea_output", "SET bytea_output = escape"},
    {"set_float_digits", "SET extra_float_digits = 0"},
    {"set_application_name", "SET application_name = 'leaked'"},
    {"set_role", "SET ROLE other"},
    {"set_session_authorization", "SET SESSION AUTHORIZATION app"},
    {"set_characteristics_read_only", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"},
    {"set_characteristics_isolation", "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE"},
    {"set_default_read_only", "SET default_transaction_read_only = on"},
    {"set_default_isolation", "SET default_transaction_isolation = 'repeatable read'"},
    {"set_default_deferrable", "SET default_transaction_deferrable = on"},
    {"set_xml_option", "SET XML OPTION DOCUMENT"},
    {"set_lock_timeout_and_more", "SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = '55s'"},
    {"set_planner", "SET enable_seqscan = off"},
    {"set_work_mem", "SET work_mem = '77kB'"},
    {"set_row_security", "SET row_security = off"},
    {"set_to_default", "SET app.x TO DEFAULT"},
    {"reset_custom", "RESET app.x"},
    {"set_local_in_a_block", "BEGIN; SET LOCAL app.x = 'leaked'; COMMIT"},
    {"set_local_rolled_back", "BEGIN; SET LOCAL app.x = 'leaked'; ROLLBACK"},
    {"set_rolled_back", "BEGIN; SET app.x = 'leaked'; ROLLBACK"},
    {"set_in_a_savepoint_rolled_back", "BEGIN; SAVEPOINT a; SET app.x = 'leaked'; ROLLBACK TO a; COMMIT"},
    {"set_local_outside", "SET LOCAL app.x = 'leaked'"},
    {"set_local_of_two_queries", "BEGIN; SET LOCAL app.x = 'leaked'; SELECT 1; COMMIT; SELECT 2"},
    {"set_config_for_the_session", "SELECT set_config('app.x', 'leaked', false)"},
    {"set_config_local", "SELECT set_config('app.x', 'leaked', true)"},
    {"set_config_local_path", "BEGIN; SELECT set_config('search_path', 'hidden', true); COMMIT"},
    {"set_config_by_an_expression", "SELECT set_config('app.' || 'x', 'leaked', 1 > 2)"},
    {"set_config_of_the_catalog", "SELECT pg_catalog.set_config('role', 'other', false)"},
    {"set_config_in_a_subquery", "SELECT 1 WHERE (SELECT set_config('app.x', 'leaked', false)) <> ''"},
    {"set_config_in_from", "SELECT * FROM set_config('app.x', 'leaked', false)"},
    {"set_config_in_values", "VALUES (set_config('app.x', 'leaked', false))"},
    {"set_config_in_lateral", "SELECT * FROM plain, LATERAL set_config('app.x', 'leaked', false)"},
    {"set_config_in_an_insert", "INSERT INTO plain SELECT 2, set_config('app.x', 'leaked', false)"},
    {"set_config_in_returning", "UPDATE plain SET id = id RETURNING set_config('app.x', 'leaked', false)"},
    {"set_config_in_copy", "COPY (SELECT set_config('app.x', 'leaked', false)) TO STDOUT"},
    {"set_config_in_explain", "EXPLAIN ANALYZE SELECT set_config('app.x', 'leaked', false)"},
    {"set_config_in_a_cursor",
     "BEGIN; DECLARE c CURSOR FOR SELECT set_config('app.x', 'leaked', false); FETCH c; COMMIT"},
    {"set_config_in_a_prepared_statement",
     "PREPARE q1 AS SELECT set_config('app.x', 'leaked', false); EXECUTE q1; DEALLOCATE q1"},
    {"set_config_in_do", "DO $$ BEGIN PERFORM set_config('app.x', 'leaked', false); END $$"},
    {"set_config_in_create_table_as",
     "CREATE TABLE made AS SELECT set_config('app.x', 'leaked', false) AS x; DROP TABLE made"},
    {"set_in_do", "DO $$ BEGIN SET app.x = 'leaked'; END $$"},
    {"update_pg_settings", "UPDATE pg_settings SET setting = 'German' WHERE name = 'DateStyle'"},
    {"update_pg_settings_by_schema",
     "UPDATE pg_catalog.pg_settings SET setting = '77s' WHERE name = 'statement_timeout'"},
    {"update_pg_settings_by_alias", "UPDATE pg_settings AS s SET setting = '77s' WHERE s.name = 'statement_timeout'"},
    {"update_a_view_of_pg_settings", "UPDATE settings_view SET setting = '77s' WHERE name = 'statement_timeout'"},
    {"temp_table", "CREATE TEMP TABLE victim (hidden int)"},
    {"temp_table_by_schema", "CREATE TABLE pg_temp.victim (hidden int)"},
    {"temp_table_as", "CREATE TEMP TABLE victim AS SELECT 7 AS hidden"},
    {"temp_table_into", "SELECT 7 AS hidden INTO TEMP victim"},
    {"temp_table_like", "CREATE LOCAL TEMPORARY TABLE victim (LIKE payload)"},
    {"temp_table_on_commit_drop", "BEGIN; CREATE TEMP TABLE victim (hidden int) ON COMMIT DROP; COMMIT"},
    {"temp_table_rolled_back", "BEGIN; CREATE TEMP TABLE victim (hidden int); ROLLBACK"},
    {"temp_table_in_do", "DO $$ BEGIN CREATE TEMP TABLE victim (hidden int); END $$"},
    {"temp_view", "CREATE TEMP VIEW victim AS SELECT 7 AS hidden"},
    {"temp_view_by_its_tables", "CREATE TEMP TABLE tt (x int); CREATE VIEW pg_temp.victim AS SELECT * FROM tt"},
    {"temp_sequence", "CREATE TEMP SEQUENCE ser_id_seq"},
    {"temp_function", "CREATE FUNCTION pg_temp.hidden() RETURNS int LANGUAGE sql AS 'SELECT 1'"},
    {"temp_type", "CREATE TYPE pg_temp.hidden AS ENUM ('x')"},
    {"temp_domain", "CREATE DOMAIN pg_temp.hidden AS int"},
    {"temp_by_search_path", "SET search_path = pg_temp; CREATE TABLE victim (hidden int)"},
    {"temp_by_local_search_path", "BEGIN; SET LOCAL search_path = pg_temp; CREATE TABLE victim (hidden int); COMMIT"},
    {"temp_by_set_config",
     "BEGIN; SELECT set_config('search_path', 'pg_temp', true); CREATE TABLE victim (hidden int); COMMIT"},
    {"temp_as_by_search_path",
     "BEGIN; SET LOCAL search_path = pg_temp; CREATE TABLE victim AS SELECT 7 AS hidden; COMMIT"},
    {"temp_into_by_search_path", "BEGIN; SET LOCAL search_path = pg_temp; SELECT 7 AS hidden INTO victim; COMMIT"},
    {"temp_schema_elements", "BEGIN; SET LOCAL search_path = pg_temp; CREATE SEQUENCE ser_id_seq; COMMIT"},
    {"lock", "SELECT pg_advisory_lock(99)"},
    {"lock_shared", "SELECT pg_advisory_lock_shared(99)"},
    {"lock_of_two_keys", "SELECT pg_advisory_lock(9, 9)"},
    {"lock_try", "SELECT pg_try_advisory_lock(99)"},
    {"lock_try_shared", "SELECT pg_try_advisory_lock_shared(99)"},
    {"lock_in_where", "SELECT 1 FROM plain WHERE pg_try_advisory_lock(id)"},
    {"lock_of_the_transaction", "SELECT pg_advisory_xact_lock(99)"},
    {"lock_taken_twice", "SELECT pg_advisory_lock(99), pg_advisory_lock(99); SELECT pg_advisory_unlock(99)"},
    {"lock_in_a_block_rolled_back", "BEGIN; SELECT pg_advisory_lock(99); ROLLBACK"},
    {"lock_in_do", "DO $$ BEGIN PERFORM pg_advisory_lock(99); END $$"},
    {"listen", "LISTEN leak_news"},
    {"listen_in_a_block", "BEGIN; LISTEN leak_news; COMMIT"},
    {"listen_in_do", "DO $$ BEGIN LISTEN leak_news; END $$"},
    {"prepare", "PREPARE q1 AS SELECT 'hidden'"},
    {"prepare_in_a_block_rolled_back", "BEGIN; PREPARE q1 AS SELECT 'hidden'; ROLLBACK"},
    {"prepare_in_do", "DO $$ BEGIN EXECUTE 'PREPARE q1 AS SELECT 1'; END $$"},
    {"cursor_with_hold", "DECLARE c CURSOR WITH HOLD FOR SELECT 'hidden'"},
    {"cursor_with_hold_in_a_block", "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 'hidden'; FETCH c; COMMIT"},
    {"insert_into_serial", "INSERT INTO ser (v) VALUES ('mine')"},
    {"insert_into_serial_returning", "INSERT INTO ser (v) VALUES ('mine') RETURNING id"},
    {"insert_into_serial_in_a_cte", "WITH i AS (INSERT INTO ser (v) VALUES ('mine')) SELECT 1"},
    {"nextval", "SELECT nextval('ser_id_seq')"},
    {"setval", "SELECT setval('ser_id_seq', 4711)"},
    {"nextval_rolled_back", "BEGIN; SELECT nextval('ser_id_seq'); ROLLBACK"},
    {"setseed", "SELECT setseed(0.5)"},
    {"set_seed", "SET SEED TO 0.5"},
    {"open_block", "BEGIN; INSERT INTO victim VALUES (2)"},
    {"open_serializable_block", "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY; SELECT 1"},
    {"open_block_with_a_cursor", "BEGIN; DECLARE c CURSOR FOR SELECT 1; FETCH c"},
    {"create_schema", "CREATE SCHEMA app; CREATE TABLE app.victim (hidden int); DROP SCHEMA app CASCADE"},
};
constexpr Said failing[] = {
    {"set_in_a_failed_block", "BEGIN; SET app.x = 'leaked'; SELECT 1/0"},
    {"set_in_front_of_an_error", "SET app.x = 'leaked'; SELECT 1/0"},
    {"set_config_in_front_of_an_error", "SELECT set_config('app.x', 'leaked', false), 1/(id - id) FROM plain"},
    {"lock_in_front_of_an_error", "SELECT pg_advisory_lock(99), 1/(id - id) FROM plain"},
    {"temp_in_front_of_an_error", "CREATE TEMP TABLE victim (hidden int); SELECT 1/0"},
    {"temp_behind_a_commit_in_front_of_an_error", "BEGIN; CREATE TEMP TABLE victim (hidden int); COMMIT; SELECT 1/0"},
    {"open_failed_block", "BEGIN; INSERT INTO victim VALUES (2); SELECT 1/0"},
    {"insert_into_serial_that_fails", "INSERT INTO ser (v) SELECT (1/(2 - g))::text FROM generate_series(1, 2) g"},
};

void add_plain(std::vector<Way>& ways) {
  for (const auto& said : plain) {
    const std::string sql = said.sql;
    ways.push_back({.name = said.name, .says = {query(sql)}});
    if (sql.find("; ") == std::string::npos)
      ways.push_back({.name = said.name + "_extended"s, .says = {extended(sql)}});
    else if (sql.starts_with("BEGIN; ")) {
      // One Query for each statement, as most clients send them.
      Way way{.name = said.name + "_by_statements"s, .says = {}};
      std::string rest = sql;
      for (auto at = rest.find("; "); at != std::string::npos; at = rest.find("; ")) {
        way.says.push_back(query(rest.substr(0, at)));
        rest = rest.substr(at + 2);
      }
      way.says.push_back(query(rest));
      ways.push_back(way);
    }
  }
  for (const auto& said : failing) ways.push_back({.name = said.name, .says = {query(said.sql)}, .fails = true});
}

void add_by_protocol(std::vector<Way>& ways) {
  ways.push_back({.name = "set_config_of_bound_parameters",
                  .says = {bound("SELECT set_config($1, $2, $3)", {"app.x", "leaked", "false"})}});
  ways.push_back(
      {.name = "set_config_of_bound_local", .says = {bound("SELECT set_config('app.x', 'leaked', $1)", {"true"})}});
  ways.push_back({.name = "lock_of_bound_parameters", .says = {bound("SELECT pg_advisory_lock($1)", {"99"})}});
  ways.push_back({.name = "call_set_config", .says = {call(set_config, {"app.x", "leaked", "false"})}});
  ways.push_back({.name = "call_set_config_of_the_role", .says = {call(set_config, {"role", "other", "false"})}});
  ways.push_back(
      {.name = "call_set_config_of_the_path", .says = {call(set_config, {"search_path", "hidden", "false"})}});
  ways.push_back({.name = "call_set_config_local", .says = {call(set_config, {"app.x", "leaked", "true"})}});
  ways.push_back({.name = "call_set_config_in_a_block",
                  .says = {query("BEGIN"), call(set_config, {"app.x", "leaked", "false"}), query("COMMIT")}});
  ways.push_back({.name = "call_lock", .says = {call(pg_advisory_lock, {"99"})}});
  ways.push_back({.name = "call_lock_shared", .says = {call(pg_advisory_lock_shared, {"99"})}});
  ways.push_back({.name = "call_lock_binary", .says = {call_binary(pg_try_advisory_lock, {binary64(99)})}});
  ways.push_back({.name = "call_lock_and_fails",
                  .says = {call(pg_advisory_lock, {"99"}), call(pg_advisory_lock, {"x"})},
                  .fails = true});
  ways.push_back({.name = "statement_by_the_protocol", .says = {wire::parse("s1", "SELECT 'hidden'") + wire::sync()}});
  ways.push_back({.name = "unnamed_statement_and_portal",
                  .says = {wire::parse("", "SELECT 'hidden'") + wire::bind("") + wire::sync()}});
  ways.push_back({.name = "pipeline_that_sets_and_resets",
                  .says = {wire::parse("", "SET app.x = 'leaked'") + wire::bind("") + wire::execute() +
                           wire::parse("", "RESET app.x") + wire::bind("") + wire::execute() + wire::sync()}});
  ways.push_back({.name = "pipeline_that_sets_and_fails",
                  .says = {wire::parse("", "SELECT pg_advisory_lock(99)") + wire::bind("") + wire::execute() +
                           wire::parse("", "SELECT 1/0") + wire::bind("") + wire::execute() + wire::sync()},
                  .fails = true});
  ways.push_back({.name = "discard_all_and_set_in_one_batch",
                  .says = {wire::parse("", "DISCARD ALL") + wire::bind("") + wire::execute() + wire::sync() +
                           wire::parse("", "SET app.x = 'leaked'") + wire::bind("") + wire::execute() + wire::sync()}});
  ways.push_back({.name = "set_and_discard_all", .says = {query("SET app.x = 'leaked'"), query("DISCARD ALL")}});
  ways.push_back({.name = "set_and_discard_all_and_set",
                  .says = {query("SET app.x = 'leaked'"), query("DISCARD ALL"), query("SET app.y = 'leaked'")}});
  ways.push_back(
      {.name = "set_and_discard_all_in_two_writes",
       .says = {query("SET app.x = 'leaked'") + query("DISCARD ALL") + query("SELECT pg_advisory_lock(99)")}});
  // Start-up parameters and options.
  const std::pair<const char*, const char*> starts[] = {
      {"search_path", "hidden"},      {"app.x", "leaked"},
      {"DateStyle", "German"},        {"TimeZone", "Asia/Tokyo"},
      {"client_encoding", "LATIN1"},  {"role", "other"},
      {"options", "-c app.x=leaked"}, {"options", "-c search_path=hidden -c statement_timeout=77s"},
      {"application_name", "leaked"}, {"options", "-c default_transaction_read_only=on"},
      {"options", "-c role=other"},   {"standard_conforming_strings", "off"},
  };
  for (const auto& [name, value] : starts)
    ways.push_back({.name = in_one_word("start_with_"s + name + "_" + value),
                    .says = {query("SELECT 1")},
                    .start = {{name, value}}});
  ways.push_back({.name = "start_with_pg_temp_as_path",
                  .says = {query("CREATE TABLE victim (hidden int)")},
                  .start = {{"options", "-c search_path=pg_temp"}}});
  ways.push_back({.name = "start_with_pg_temp_as_path_extended",
                  .says = {extended("CREATE TABLE victim AS SELECT 7 AS hidden")},
                  .start = {{"search_path", "pg_temp, public"}}});
  // Those that go in the middle of something.
  ways.push_back({.name = "half_a_query", .says = {query("SELECT 1")}, .rest = query("SELECT 'hidden'").substr(0, 12)});
  ways.push_back({.name = "half_a_query_in_a_block",
                  .says = {query("BEGIN"), query("INSERT INTO victim VALUES (2)")},
                  .rest = query("COMMIT; SELECT 'hidden'").substr(0, 13)});
  ways.push_back({.name = "half_a_bind",
                  .says = {wire::parse("s1", "SELECT 1") + wire::sync()},
                  .rest = wire::bind("s1").substr(0, 8)});
  ways.push_back({.name = "batch_without_a_sync",
                  .says = {query("SELECT 1")},
                  .rest = wire::parse("", "INSERT INTO victim VALUES (2)") + wire::bind("") + wire::execute()});
  ways.push_back(
      {.name = "batch_with_a_flush",
       .says = {query("SELECT 1")},
       .rest = wire::parse("s1", "SELECT pg_advisory_lock(99)") + wire::bind("s1") + wire::execute() + wire::flush()});
  ways.push_back({.name = "copy_without_an_end",
                  .says = {query("SELECT 1")},
                  .rest = query("COPY victim FROM STDIN") + wire::copy_data("2\n")});
  ways.push_back({.name = "copy_in_the_middle_of_its_data",
                  .says = {query("SELECT 1")},
                  .rest = query("COPY victim FROM STDIN") + wire::copy_data("2\n3\n4\n").substr(0, 8)});
  ways.push_back(
      {.name = "copy_that_fails_in_the_middle_of_its_data",
       .says = {query("SELECT 1")},
       .rest = query("COPY victim FROM STDIN") + wire::copy_data("bad\n") + wire::copy_data("2\n3\n").substr(0, 7)});
  ways.push_back({.name = "statement_that_runs",
                  .says = {query("SELECT 1")},
                  .rest = query("SELECT pg_advisory_lock(99), pg_sleep(30)")});
  // What only a superuser may.
  ways.push_back({.name = "load", .says = {query("LOAD 'auto_explain'")}, .user = "postgres"});
  ways.push_back({.name = "load_extended", .says = {extended("LOAD 'auto_explain'")}, .user = "postgres"});
  ways.push_back({.name = "session_authorization_of_a_superuser",
                  .says = {query("SET SESSION AUTHORIZATION app")},
                  .user = "postgres"});
  ways.push_back(
      {.name = "replication_role", .says = {query("SET session_replication_role = replica")}, .user = "postgres"});
}

}  // namespace

std::string extended(const std::string& sql) {
  return wire::parse("", sql) + wire::bind("") + wire::execute() + wire::sync();
}

std::vector<Way> all_ways() {
  std::vector<Way> ways;
  add_plain(ways);
  add_by_protocol(ways);
  add_hidden_ways(ways);
  return ways;
}

namespace {

// How many units a write has, each with a ReadyForQuery of its own: another client may get the server between two.
int units_in(std::string_view bytes) {
  int units = 0;
  while (bytes.size() >= protocol::header_size) {
    if (bytes[0] == 'Q' || bytes[0] == 'S' || bytes[0] == 'F') ++units;
    const auto size = protocol::load_be<std::uint32_t>(protocol::as_bytes(bytes).data() + 1) + std::size_t{1};
    bytes.remove_prefix(std::min(size, bytes.size()));
  }
  return units;
}

}  // namespace

Leaver::Leaver(int port, Server& server, const Way& way) {
  if (!way.payload.empty()) server.exec("UPDATE payload SET what = '" + way.payload + "'");
  std::vector<std::pair<std::string, std::string>> parameters{{"user", way.user}, {"database", "app"}};
  parameters.insert(parameters.end(), way.start.begin(), way.start.end());
  peer_ = std::make_unique<PeerConnection>(connect_to(port));
  peer_->send(startup_bytes(parameters));
  bool failed = false;
  const auto read_answer = [&] {
    for (;;) {
      const auto message = peer_->read_message();
      if (message.type == 'E') {
        failed = true;
        if (!way.fails) fault_ = wire::sqlstate(message) + " " + message.body;
      }
      if (message.type == 'Z') return;
    }
  };
  read_answer();
  for (const auto& bytes : way.says) {
    peer_->send(bytes);
    for (int left = units_in(bytes); left > 0; --left) read_answer();
  }
  if (way.fails && !failed) fault_ = "nothing failed";
  peer_->send(way.rest);
}

}  // namespace holdfast::testing
