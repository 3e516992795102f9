// change_settings() on a real PostgreSQL: what a start-up packet does, it does.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "protocol/parameters.hpp"
#include "tests/support/postgres.hpp"

namespace holdfast::protocol {
namespace {

using holdfast::testing::Connection;
using holdfast::testing::Server;
using holdfast::testing::SqlError;

class ChangeSettingsOnServer : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
  }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }

  static Connection connect(const std::string& more = {}) { return Connection(server_->conninfo() + more); }
  static std::string show(Connection& connection, const std::string& name) {
    return connection.scalar("SELECT current_setting($1, true)", {name});
  }

  SettingsTable table;
  static Server* server_;
};
Server* ChangeSettingsOnServer::server_ = nullptr;

// As libpq sends them in a start-up packet, and as they read then.
const std::vector<Parameter> asked = {
    {"search_path", "\"My Schema\", pg_catalog, public"},
    {"DateStyle", "German, DMY"},
    {"TimeZone", "Europe/Berlin"},
    {"client_encoding", "latin1"},
    {"extra_float_digits", "2"},
    {"application_name", "it's \\ an \xc3\xa4pp"},
    {"statement_timeout", "12345"},
    {"app.user", "O'Hara\\"},
    {"standard_conforming_strings", "off"},
    {"temp_tablespaces", ""},
};

TEST_F(ChangeSettingsOnServer, is_what_a_startup_packet_does) {
  std::string options = " options='";
  for (const auto& [name, value] : asked) {
    options += "-c " + name + "=";
    // Once for pg_split_opts, once more for libpq's own quoting.
    for (const char c : value) {
      const std::string once = c == ' ' || c == '\\' ? std::string("\\") + c : std::string(1, c);
      for (const char d : once) options += d == '\\' || d == '\'' ? std::string("\\") + d : std::string(1, d);
    }
    options += ' ';
  }
  Connection native = connect(options + "'");
  Connection pooled = connect();
  pooled.exec(change_settings({}, table.intern(asked)));
  for (const auto& [name, value] : asked) EXPECT_EQ(show(pooled, name), show(native, name)) << name;
  EXPECT_EQ(show(pooled, "search_path"), "\"My Schema\", pg_catalog, public") << "a list, not one name";
  EXPECT_EQ(show(pooled, "app.user"), "O'Hara\\");
  EXPECT_EQ(pooled.parameter("client_encoding"), native.parameter("client_encoding"));
  EXPECT_EQ(pooled.parameter("DateStyle"), native.parameter("DateStyle"));
  EXPECT_EQ(pooled.parameter("TimeZone"), "Europe/Berlin");
}

TEST_F(ChangeSettingsOnServer, goes_back_to_the_servers_defaults) {
  Connection fresh = connect();
  Connection pooled = connect();
  const auto settings = table.intern(asked);
  for (int round = 0; round < 2; ++round) {
    pooled.exec(change_settings({}, settings));
    pooled.exec(change_settings(settings, {}));
    for (const auto& [name, value] : asked) {
      if (name == "app.user") continue;
      EXPECT_EQ(show(pooled, name), show(fresh, name)) << name;
    }
    // A custom setting that was ever set stays known, with no value: RESET does the same.
    EXPECT_EQ(show(pooled, "app.user"), "");
  }
}

TEST_F(ChangeSettingsOnServer, role_defaults_are_what_reset_comes_back_to) {
  server_->exec("ALTER ROLE app SET app.tenant = 'of the role'");
  Connection pooled = connect();
  const auto settings = table.intern({{"app.tenant", "of the client"}});
  pooled.exec(change_settings({}, settings));
  EXPECT_EQ(show(pooled, "app.tenant"), "of the client");
  pooled.exec(change_settings(settings, {}));
  EXPECT_EQ(show(pooled, "app.tenant"), "of the role");
  server_->exec("ALTER ROLE app RESET app.tenant");
}

TEST_F(ChangeSettingsOnServer, works_under_any_session_state) {
  Connection pooled = connect();
  server_->exec("CREATE SCHEMA shadow AUTHORIZATION app");
  pooled.exec("CREATE FUNCTION shadow.set_config(text, text, bool) RETURNS text LANGUAGE sql AS $$SELECT 'shadowed'$$");
  pooled.exec(
      "SET search_path = shadow, pg_catalog; SET standard_conforming_strings = off; SET client_encoding = 'BIG5'");
  pooled.exec("SET escape_string_warning = on; SET backslash_quote = off");
  pooled.exec(change_settings({}, table.intern({{"app.user", "\\'; DROP TABLE x; --"}, {"app.name", "\xc3\xa4"}})));
  EXPECT_EQ(show(pooled, "app.user"), "\\'; DROP TABLE x; --");
  pooled.exec("SET client_encoding = 'UTF8'");
  EXPECT_EQ(show(pooled, "app.name"), "\xc3\xa4");
  EXPECT_TRUE(pooled.notices().empty());
  pooled.exec("DROP SCHEMA shadow CASCADE");
}

TEST_F(ChangeSettingsOnServer, error_is_the_servers_and_changes_nothing) {
  Connection pooled = connect();
  const std::string before = show(pooled, "application_name");
  const auto state_of = [&](const std::vector<Parameter>& parameters) -> std::string {
    try {
      pooled.exec(change_settings({}, table.intern(parameters)));
    } catch (const SqlError& error) {
      return error.sqlstate();
    }
    return "none";
  };
  EXPECT_EQ(state_of({{"application_name", "new"}, {"work_mem", "1x"}}), "22023");
  EXPECT_EQ(state_of({{"application_name", "new"}, {"no_such_setting", "1"}}), "42704");
  EXPECT_EQ(state_of({{"application_name", "new"}, {"shared_buffers", "1MB"}}), "55P02");
  EXPECT_EQ(state_of({{"application_name", "new"}, {"zero_damaged_pages", "on"}}), "42501");
  EXPECT_EQ(show(pooled, "application_name"), before);
}

TEST_F(ChangeSettingsOnServer, restored_after_reset_also_when_the_reset_is_rolled_back) {
  Connection pooled = connect();
  const auto settings = table.intern({{"work_mem", "7MB"}, {"search_path", "a, b"}});
  pooled.exec(change_settings({}, settings));
  pooled.exec("RESET work_mem");
  pooled.exec(restore_settings(settings, "work_mem"));
  EXPECT_EQ(show(pooled, "work_mem"), "7MB");
  pooled.exec("BEGIN; SET LOCAL work_mem = '9MB'; SAVEPOINT s; RESET ALL");
  pooled.exec(restore_settings(settings, "all"));
  EXPECT_EQ(show(pooled, "work_mem"), "7MB");
  EXPECT_EQ(show(pooled, "search_path"), "a, b");
  pooled.exec("ROLLBACK TO s");
  EXPECT_EQ(show(pooled, "work_mem"), "9MB");
  pooled.exec("ROLLBACK");
  EXPECT_EQ(show(pooled, "work_mem"), "7MB");
}

// Only what the session has not set itself, whatever it has set.
TEST_F(ChangeSettingsOnServer, puts_back_what_was_reset_and_no_more) {
  const auto settings = table.intern({{"app.x", "it's \\ start"},
                                      {"datestyle", "German, DMY"},
                                      {"intervalstyle", "iso_8601"},
                                      {"search_path", "a, b"},
                                      {"standard_conforming_strings", "off"},
                                      {"work_mem", "7MB"}});
  Connection pooled = connect();
  const auto restore = restore_if_reset(settings, Roles::keep);
  pooled.exec(restore);
  for (const auto& [name, value] : settings.parameters()) EXPECT_EQ(show(pooled, name), value);
  pooled.exec("RESET ALL");
  server_->exec("CREATE SCHEMA shadow AUTHORIZATION app");
  pooled.exec(
      "CREATE FUNCTION shadow.never(text, text) RETURNS bool LANGUAGE sql AS 'SELECT false';"
      "CREATE OPERATOR shadow.= (leftarg = text, rightarg = text, function = shadow.never)");
  pooled.exec(
      "SET intervalstyle TO postgres; SET app.x TO mine; SET search_path TO shadow, pg_catalog; SET LOCAL work_mem TO "
      "'9MB'");
  pooled.exec(restore);
  EXPECT_EQ(show(pooled, "datestyle"), "German, DMY");
  EXPECT_EQ(show(pooled, "intervalstyle"), "postgres");
  EXPECT_EQ(show(pooled, "app.x"), "mine");
  EXPECT_EQ(show(pooled, "work_mem"), "7MB");
  EXPECT_EQ(show(pooled, "search_path"), "shadow, pg_catalog");
  pooled.exec("DROP SCHEMA shadow CASCADE");
}

}  // namespace
}  // namespace holdfast::protocol
