// DDL between two Parses of one text: the second one reads today's catalogue, whoever had prepared the text before.
#include <gtest/gtest.h>

#include <functional>
#include <ostream>

#include "tests/integration/reading.hpp"
#include "tests/support/endpoint.hpp"

namespace holdfast::testing {
namespace {

using namespace std::string_literals;

struct Ddl {
  friend void PrintTo(const Ddl& ddl, std::ostream* out) { *out << ddl.name; }
  const char* name;
  const char* made;     // before
  const char* text;     // prepared before and behind
  const char* changed;  // between
};
constexpr Ddl ddls[] = {
    {"add_column", "CREATE TABLE d (a int); INSERT INTO d VALUES (1)", "SELECT * FROM d",
     "ALTER TABLE d ADD b text DEFAULT 'b'"},
    {"drop_column", "CREATE TABLE d (a int, b int)", "SELECT * FROM d", "ALTER TABLE d DROP b"},
    {"drop_a_column_in_use", "CREATE TABLE d (a int, b int)", "SELECT b FROM d", "ALTER TABLE d DROP b"},
    {"change_type", "CREATE TABLE d (a int)", "SELECT a FROM d", "ALTER TABLE d ALTER a TYPE text"},
    {"change_type_of_a_parameter", "CREATE TABLE d (a int)", "SELECT 1 FROM d WHERE a = $1",
     "ALTER TABLE d ALTER a TYPE text"},
    {"change_type_of_an_inserted_parameter", "CREATE TABLE d (a int)", "INSERT INTO d VALUES ($1)",
     "ALTER TABLE d ALTER a TYPE text"},
    {"rename_column", "CREATE TABLE d (a int)", "SELECT * FROM d", "ALTER TABLE d RENAME a TO b"},
    {"drop_table", "CREATE TABLE d (a int)", "SELECT * FROM d", "DROP TABLE d"},
    {"make_again", "CREATE TABLE d (a int)", "SELECT * FROM d", "DROP TABLE d; CREATE TABLE d (b text, c text)"},
    {"swap_tables", "CREATE TABLE d (a int); CREATE TABLE d2 (b text)", "SELECT * FROM d",
     "BEGIN; ALTER TABLE d RENAME TO d3; ALTER TABLE d2 RENAME TO d; COMMIT"},
    {"replace_view", "CREATE VIEW d AS SELECT 1 AS a", "SELECT * FROM d",
     "CREATE OR REPLACE VIEW d AS SELECT 1 AS a, 2 AS b"},
    {"make_view_again", "CREATE VIEW d AS SELECT 1 AS a", "SELECT * FROM d",
     "DROP VIEW d; CREATE VIEW d AS SELECT 'x' AS a"},
    {"make_function_again", "CREATE FUNCTION d() RETURNS int LANGUAGE sql AS 'SELECT 1'", "SELECT d()",
     "DROP FUNCTION d(); CREATE FUNCTION d() RETURNS text LANGUAGE sql AS 'SELECT ''x'''"},
    {"overload_function", "CREATE FUNCTION d(text) RETURNS text LANGUAGE sql AS 'SELECT ''text'''", "SELECT d('1')",
     "CREATE FUNCTION d(int) RETURNS int LANGUAGE sql AS 'SELECT 2'; DROP FUNCTION d(text)"},
    {"drop_function", "CREATE FUNCTION d() RETURNS int LANGUAGE sql AS 'SELECT 1'", "SELECT d()", "DROP FUNCTION d()"},
    {"drop_type", "CREATE TYPE d AS ENUM ('a')", "SELECT 'a'::d", "DROP TYPE d"},
    {"make_type_again", "CREATE TYPE d AS ENUM ('a')", "SELECT 'a'::d",
     "DROP TYPE d; CREATE TYPE d AS ENUM ('b', 'a')"},
    {"make_type_of_a_parameter_again", "CREATE TYPE d AS ENUM ('a')", "SELECT $1::d",
     "DROP TYPE d; CREATE TYPE d AS ENUM ('2020-01-02')"},
    {"rename_enum_value", "CREATE TYPE d AS ENUM ('a')", "SELECT 'a'::d", "ALTER TYPE d RENAME VALUE 'a' TO 'z'"},
    {"make_domain_again", "CREATE DOMAIN d AS int", "SELECT '1'::d", "DROP DOMAIN d; CREATE DOMAIN d AS text"},
    {"shadow_by_an_earlier_schema", "CREATE TABLE d (a int)", "SELECT * FROM d",
     "CREATE SCHEMA app; CREATE TABLE app.d (shadow text)"},
    {"drop_what_shadows", "CREATE TABLE d (a int); CREATE SCHEMA app; CREATE TABLE app.d (shadow text)",
     "SELECT * FROM d", "DROP SCHEMA app CASCADE"},
    {"rename_schema", "CREATE SCHEMA d; CREATE TABLE d.t (a int)", "SELECT * FROM d.t",
     "ALTER SCHEMA d RENAME TO d2; CREATE SCHEMA d; CREATE TABLE d.t (b text)"},
    {"in_a_do_block", "CREATE TABLE d (a int)", "SELECT * FROM d", "DO $$ BEGIN ALTER TABLE d ADD b text; END $$"},
    {"made_by_a_parse_that_failed", "SELECT 1", "SELECT * FROM d", "CREATE TABLE d (a int)"},
    {"select_into", "SELECT 1", "SELECT * FROM d", "SELECT 5 AS a INTO d"},
};

class ReadingsAfterDdl : public ::testing::TestWithParam<Ddl> {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
    // Its own function would pin its client to the only server.
    proxy_ = new Holdfast(endpoint({.members = member_yaml(*server_),
                                    .pool = "size: 1, wait_timeout: 10s",
                                    .more = "reads: { functions: [ d ] }\n"}));
  }
  static void TearDownTestSuite() {
    delete proxy_;
    delete server_;
  }
  // Parse, Describe, Bind and Execute of the text: oids of what was just made are the server's, so they are the same.
  static std::string reading(MessageStream& client, const std::string& name) {
    client.send(prepare_and_run(name, GetParam().text));
    return printable(answer(client));
  }
  static void reset() {
    server_->exec("DROP SCHEMA IF EXISTS public, app, d, d2 CASCADE; CREATE SCHEMA public AUTHORIZATION app");
  }
  // Others have prepared the text; then `change` runs; then everybody prepares it again.
  static void check(const std::function<void(const char* sql)>& change) {
    reset();
    proxy_->connect().exec(GetParam().made);
    MessageStream before(proxy_->port());
    log_in(before, {});
    static_cast<void>(reading(before, "s1"));
    static_cast<void>(reading(before, ""));
    MessageStream other(proxy_->port());
    log_in(other, {});
    static_cast<void>(reading(other, "s1"));
    change(GetParam().changed);
    for (const std::string name : {"s2", ""}) {
      MessageStream direct(server_->port());
      log_in(direct, {});
      const auto right = reading(direct, name);
      EXPECT_EQ(reading(before, name), right) << "who had prepared it before, as '" << name << "'";
      EXPECT_EQ(reading(other, name), right) << "another, as '" << name << "'";
      MessageStream young(proxy_->port());
      log_in(young, {});
      EXPECT_EQ(reading(young, name), right) << "a new client, as '" << name << "'";
    }
  }

  static Server* server_;
  static Holdfast* proxy_;
};
Server* ReadingsAfterDdl::server_ = nullptr;
Holdfast* ReadingsAfterDdl::proxy_ = nullptr;

TEST_P(ReadingsAfterDdl, of_a_known_text_are_new) {
  check([](const char* sql) { proxy_->connect().exec(sql); });
}

TEST_P(ReadingsAfterDdl, of_a_known_text_are_new_when_it_was_changed_on_the_server_itself) {
  check([](const char* sql) { server_->connect().exec(sql); });
}

INSTANTIATE_TEST_SUITE_P(Ddl, ReadingsAfterDdl, ::testing::ValuesIn(ddls),
                         [](const auto& ddl) { return std::string(ddl.param.name); });

}  // namespace
}  // namespace holdfast::testing
