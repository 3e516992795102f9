// What a Parse makes of a text: PostgreSQL reads names and literals by the session's settings, its rights and today's
// catalogue, so that no earlier Parse of the same text may stand for it unless all of these are the same.
//
// The kind: something of one client's statement (a Parse, a verdict, what was learnt) is used for another client.
// Tried: literals (dates, moments, intervals, backslashes), names (search_path, role), settings from the start-up
// packet, from SET, SET LOCAL and a ROLLBACK of it; named and unnamed statements; DDL through the proxy, in a block,
// and behind its back; transaction and session mode; reads.functions of users; what is learnt from standbys.
#include <gtest/gtest.h>

#include <array>
#include <ostream>

#include "tests/support/endpoint.hpp"
#include "tests/support/wait.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

void prepare(Connection& client, const char* name, const std::string& sql) {
  checked_rows(PQprepare(client.raw(), name, sql.c_str(), 0, nullptr), client.raw());
}
Rows run(Connection& client, const char* name) {
  return checked_rows(PQexecPrepared(client.raw(), name, 0, nullptr, nullptr, nullptr, 0), client.raw());
}
std::string value(const Rows& rows) {
  return rows.empty() || rows[0].empty() ? "(no row)" : rows[0][0].value_or("(null)");
}

class ParseMeaning : public ::testing::TestWithParam<const char*> {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
    server_->exec(
        "CREATE ROLE other; GRANT other TO app; GRANT CREATE ON DATABASE postgres TO app; GRANT CREATE ON SCHEMA public TO app;"
        "CREATE SCHEMA a AUTHORIZATION app; CREATE SCHEMA b AUTHORIZATION app;"
        "CREATE TABLE a.items (id int); INSERT INTO a.items VALUES (1);"
        "CREATE TABLE b.items (id text, more int); INSERT INTO b.items VALUES ('two', 2);"
        "GRANT ALL ON a.items, b.items TO app");
  }
  static void TearDownTestSuite() { delete server_; }
  ParseMeaning() : proxy_(endpoint({.members = member_yaml(*server_), .workers = 1, .pool = GetParam()})) {}

  [[nodiscard]] Connection with(const std::string& options) const {
    return Connection(proxy_.conninfo("app") + " options='" + options + "'");
  }

  Holdfast proxy_;
  static Server* server_;
};
Server* ParseMeaning::server_ = nullptr;

constexpr const char* transaction_mode = "mode: transaction, size: 1, wait_timeout: 10s";
// A server of its own for each client; what they have parsed is compared all the same.
constexpr const char* session_mode = "mode: session, size: 8";
INSTANTIATE_TEST_SUITE_P(Modes, ParseMeaning, ::testing::Values(transaction_mode, session_mode),
                         [](const auto& mode) { return mode.param == transaction_mode ? "transaction" : "session"; });

// Literals that a setting decides about: the same text, each client's own reading, in any order.
struct Reading {
  const char* setting;
  const char* one;
  const char* other;
  const char* sql;
};
constexpr auto readings = std::to_array<Reading>({
    {"datestyle", "ISO,DMY", "ISO,MDY", "SELECT ('01/02/2020'::date - '2020-01-01'::date)::text"},
    {"timezone", "Asia/Tokyo", "UTC", "SELECT extract(epoch from '2020-01-01 00:00'::timestamptz)::text"},
    {"intervalstyle", "sql_standard", "postgres", "SELECT extract(epoch from '-1 10:00:00'::interval)::text"},
    {"standard_conforming_strings", "off", "on", "SELECT length('a\\\\b')::text"},
    {"transform_null_equals", "on", "off", "SELECT (1 = NULL)::text"},
    {"array_nulls", "off", "on", "SELECT (('{NULL}'::text[])[1] IS NULL)::text"},
    {"role", "other", "none", "SELECT current_user::text"},
    // What the planner makes of constants.
    {"extra_float_digits", "0", "1", "SELECT (0.1::float8 + 0.2::float8)::text"},
    {"bytea_output", "escape", "hex", "SELECT 'A'::bytea::text"},
    {"intervalstyle", "iso_8601", "postgres", "SELECT '1 day 2 hours'::interval::text"},
    {"datestyle", "German", "ISO", "SELECT '2020-01-02'::date::text"},
    {"timezone", "Asia/Tokyo", "UTC", "SELECT '2020-01-01 00:00+00'::timestamptz::text"},
    {"xmlbinary", "hex", "base64", "SELECT xmlelement(name a, 'A'::bytea)::text"},
    {"quote_all_identifiers", "on", "off", "SELECT quote_ident('a')"},
    {"default_text_search_config", "simple", "english", "SELECT to_tsvector('the cats')::text"},
    {"search_path", "a", "b", "SELECT 'items'::regclass::oid::text"},
});

TEST_P(ParseMeaning, of_a_literal_is_by_the_settings_of_each_client) {
  for (const auto& reading : readings) {
    SCOPED_TRACE(reading.setting);
    const auto option = [&](const char* of) {
      std::string escaped;
      for (const char* at = of; *at != '\0'; ++at) escaped += *at;
      return "-c " + std::string(reading.setting) + "=" + escaped;
    };
    std::array<std::string, 2> right;
    std::array<const char*, 2> values{reading.one, reading.other};
    for (int i = 0; i < 2; ++i) {
      right[i] = value(Connection(server_->conninfo("app") + " options='" + option(values[i]) + "'").rows(reading.sql));
    }
    ASSERT_NE(right[0], right[1]);
    for (const bool named : {true, false}) {
      auto first = with(option(values[0]));
      auto second = with(option(values[1]));
      auto third = with(option(values[0]));
      const char* name = named ? "s" : "";
      for (int round = 0; round < 3; ++round) {
        if (named && round > 0) {
          EXPECT_EQ(value(run(first, name)), right[0]);
          EXPECT_EQ(value(run(second, name)), right[1]);
          continue;
        }
        prepare(first, name, reading.sql);
        prepare(second, name, reading.sql);
        prepare(third, name, reading.sql);
        EXPECT_EQ(value(run(third, name)), right[0]);
        EXPECT_EQ(value(run(second, name)), right[1]);
        EXPECT_EQ(value(run(first, name)), right[0]);
      }
    }
  }
}

// The plan of a statement is kept with it: one that a SET LOCAL had a say in is nobody else's.
TEST_P(ParseMeaning, of_a_constant_that_a_block_has_planned_is_the_blocks_own) {
  for (const auto& reading : readings) {
    if (reading.setting == std::string_view("search_path")) continue;  // elsewhere the name is unknown
    for (const bool by_function : {false, true}) {
      SCOPED_TRACE(std::string(reading.setting) + ": " + reading.sql + (by_function ? ", set_config" : ""));
      const std::string name = reading.setting;
      const std::string quoted = "'" + std::string(reading.one) + "'";
      const auto here = value(
          Connection(server_->conninfo("app") + " options='-c " + name + "=" + reading.one + "'").rows(reading.sql));
      const auto before = value(Connection(server_->conninfo("app")).rows(reading.sql));
      auto client = proxy_.connect();
      prepare(client, "s", reading.sql);
      client.exec("BEGIN");
      client.exec(by_function ? "SELECT set_config('" + name + "', " + quoted + ", true)"
                              : "SET LOCAL " + name + " = " + (name == "datestyle" ? reading.one : quoted));
      run(client, "s");
      prepare(client, "inside", reading.sql);
      EXPECT_EQ(value(run(client, "inside")), here);
      client.exec("COMMIT");
      if (GetParam() == transaction_mode) {
        auto other = proxy_.connect();
        prepare(other, "s", reading.sql);
        EXPECT_EQ(value(run(other, "s")), before);
      }
    }
  }
}

// The session's own SET between two Parses of one text, its RESET, and a SET LOCAL that a ROLLBACK takes back.
TEST_P(ParseMeaning, of_a_literal_follows_the_sessions_own_settings) {
  const std::string sql = "SELECT ('01/02/2020'::date - '2020-01-01'::date)::text";
  auto other = proxy_.connect();
  prepare(other, "s", sql);
  EXPECT_EQ(value(run(other, "s")), "1");
  auto client = proxy_.connect();
  prepare(client, "at_start", sql);
  EXPECT_EQ(value(run(client, "at_start")), "1");
  client.exec("BEGIN");
  client.exec("SET LOCAL datestyle = 'ISO,DMY'");
  prepare(client, "local", sql);
  EXPECT_EQ(value(run(client, "local")), "31");
  client.exec("ROLLBACK");
  prepare(client, "rolled_back", sql);
  EXPECT_EQ(value(run(client, "rolled_back")), "1");
  if (GetParam() == transaction_mode) {
    EXPECT_EQ(value(run(other, "s")), "1") << "on the server where it was parsed otherwise";
    prepare(other, "t", sql);
    EXPECT_EQ(value(run(other, "t")), "1");
  }
  client.exec("SET datestyle = 'ISO,DMY'");
  prepare(client, "set", sql);
  EXPECT_EQ(value(run(client, "set")), "31");
  EXPECT_EQ(client.rows(sql, {}).at(0).at(0), "31") << "unnamed";
  client.exec("RESET datestyle");
  prepare(client, "reset", sql);
  EXPECT_EQ(value(run(client, "reset")), "1");
}

TEST_P(ParseMeaning, of_now_is_each_clients_own_moment) {
  const std::string sql = "SELECT extract(epoch from 'now'::timestamptz)::text";
  auto first = proxy_.connect();
  prepare(first, "s", sql);
  const auto then = value(run(first, "s"));
  auto second = proxy_.connect();
  prepare(second, "s", sql);
  EXPECT_NE(value(run(second, "s")), then);
  EXPECT_EQ(value(run(first, "s")), then) << "it is a constant since its Parse";
}

// A schema per tenant, statements with plain names: each its own rows and columns, and no 0A000.
TEST_P(ParseMeaning, of_a_name_is_by_the_search_path_of_each_tenant) {
  auto first = with("-c search_path=a");
  auto second = with("-c search_path=b");
  for (int i = 0; i < 3; ++i) {
    const std::string name = "s" + std::to_string(i);
    for (auto* client : {&first, &second}) {
      prepare(*client, name.c_str(), "SELECT * FROM items");
      const auto rows = run(*client, name.c_str());
      ASSERT_EQ(rows.size(), 1U);
      EXPECT_EQ(rows[0].size(), client == &first ? 1U : 2U);
      EXPECT_EQ(value(rows), client == &first ? "1" : "two");
    }
  }
}

// DDL that commits through the proxy is known at once, wherever it hides in its unit.
TEST_P(ParseMeaning, of_a_name_is_todays) {
  for (const auto* how : {"autocommit", "block", "string"}) {
    SCOPED_TRACE(how);
    const auto change = [&](Connection& client, const std::string& ddl) {
      if (std::string_view(how) == "block") {
        client.exec("BEGIN");
        client.exec(ddl);
        client.exec("COMMIT");
      } else {
        client.exec(std::string_view(how) == "string" ? "SELECT 1; " + ddl : ddl);
      }
    };
    auto owner = proxy_.connect();
    auto other = proxy_.connect();
    change(owner, "CREATE TABLE public.moving (k int)");
    owner.exec("INSERT INTO public.moving VALUES (7)");
    const std::string sql = "SELECT k FROM moving WHERE k = $1";
    prepare(other, "first", sql);
    change(owner, "ALTER TABLE public.moving ALTER k TYPE text");
    auto newcomer = proxy_.connect();
    prepare(newcomer, "s", sql);
    PGresult* described = PQdescribePrepared(newcomer.raw(), "s");
    EXPECT_EQ(PQparamtype(described, 0), 25U) << "the parameter is text now";
    PQclear(described);
    change(owner, "DROP TABLE public.moving");
    EXPECT_EQ(sqlstate_of([&] { prepare(newcomer, "gone", sql); }), "42P01");
    EXPECT_EQ(sqlstate_of([&] { prepare(other, "", sql); }), "42P01");
  }
}

// In the block of the DDL itself, and when that is rolled back.
TEST_P(ParseMeaning, of_a_name_within_a_block_is_the_blocks_own) {
  auto client = proxy_.connect();
  auto other = proxy_.connect();
  client.exec("CREATE TABLE public.shifting (k int)");
  const std::string sql = "SELECT k FROM shifting WHERE k = $1";
  prepare(client, "before", sql);
  client.exec("BEGIN");
  client.exec("ALTER TABLE public.shifting ALTER k TYPE text");
  prepare(client, "inside", sql);
  PGresult* described = PQdescribePrepared(client.raw(), "inside");
  EXPECT_EQ(PQparamtype(described, 0), 25U);
  PQclear(described);
  client.exec("ROLLBACK");
  prepare(other, "s", sql);
  described = PQdescribePrepared(other.raw(), "s");
  EXPECT_EQ(PQparamtype(described, 0), 23U);
  PQclear(described);
  client.exec("DROP TABLE public.shifting");
}

TEST_P(ParseMeaning, of_a_table_that_goes_behind_the_proxys_back_is_noticed_in_time) {
  server_->exec("CREATE TABLE public.fleeting (k int); GRANT ALL ON public.fleeting TO app");
  const std::string sql = "SELECT k FROM fleeting";
  auto client = proxy_.connect();
  prepare(client, "s", sql);
  server_->exec("DROP TABLE public.fleeting");
  EXPECT_TRUE(wait_until(10s, [&] {
    auto next = proxy_.connect();
    return sqlstate_of([&] { prepare(next, "s", sql); }) == "42P01";
  }));
}

}  // namespace
}  // namespace holdfast::testing
