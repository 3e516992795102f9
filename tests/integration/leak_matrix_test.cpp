// Ways to leave something in a session × what the next client of the same database and user sees: nothing. With one
// server for everybody, the next client gets the one that was left, in transaction mode also while the one that left
// something is still connected and idle. What a fresh connection to PostgreSQL itself sees is right.
#include <gtest/gtest.h>

#include <map>
#include <ostream>
#include <sstream>

#include "tests/integration/leak_ways.hpp"
#include "tests/support/endpoint.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

// What a client can find out about its session: names of questions and their answers.
using Portrait = std::map<std::string, std::string>;

std::string answer_to(Connection& client, const std::string& sql) {
  std::string text;
  try {
    for (const auto& row : client.rows(sql)) {
      for (const auto& value : row) text += value.value_or("NULL") + "|";
      text += " ";
    }
  } catch (const SqlError& error) {
    return error.sqlstate().empty() ? error.what() : error.sqlstate();
  }
  return text;
}

std::string state_of(PGresult* result) {
  const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  std::string text = state == nullptr ? PQresStatus(PQresultStatus(result)) : state;
  PQclear(result);
  return text;
}

Portrait portrait_of(Connection& client) {
  Portrait seen;
  PGconn* raw = client.raw();
  // What the extended protocol finds, before the statements below replace it.
  seen["the unnamed portal"] = state_of(PQdescribePortal(raw, ""));
  seen["the unnamed statement"] = state_of(PQexecPrepared(raw, "", 0, nullptr, nullptr, nullptr, 0));
  seen["statement s1"] = state_of(PQdescribePrepared(raw, "s1"));
  const auto at_start = {"DateStyle",
                         "TimeZone",
                         "IntervalStyle",
                         "client_encoding",
                         "application_name",
                         "standard_conforming_strings",
                         "session_authorization",
                         "is_superuser",
                         "default_transaction_read_only",
                         "integer_datetimes",
                         "in_hot_standby"};
  for (const char* name : at_start) seen["told "s + name] = client.parameter(name);
  seen["lastval"] = answer_to(client, "SELECT lastval()");
  seen["currval"] = answer_to(client, "SELECT currval('ser_id_seq')");
  for (const char* name : {"app.x", "app.y", "app.z"})
    seen["setting "s + name] = answer_to(client, "SELECT current_setting('"s + name + "', true)");
  std::istringstream settings(
      answer_to(client,
                "SELECT name || '=' || coalesce(replace(setting, ' ', ''), 'NULL') FROM pg_settings"
                " WHERE name NOT LIKE 'plpgsql.%'"));  // there when somebody has used the language
  for (std::string word; settings >> word;) seen["setting " + word.substr(0, word.find('='))] = word;
  for (const char* sql :
       {"SELECT current_user, session_user", "SELECT current_schemas(false)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'", "SELECT * FROM pg_listening_channels()",
        "SELECT name FROM pg_cursors", "SELECT name FROM pg_prepared_statements WHERE name NOT LIKE 'hf\\_%'",
        "SELECT relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()",
        "SELECT proname FROM pg_proc WHERE pronamespace = pg_my_temp_schema()",
        "SELECT typname FROM pg_type WHERE typnamespace = pg_my_temp_schema()", "SELECT * FROM victim", "EXECUTE q1",
        "SELECT '01/02/2020'::date, '1 day 2 hours'::interval, '2020-01-01 00:00+00'::timestamptz",
        "SELECT 'a\\b', '\\x41'::bytea, 0.1::float8 + 0.2::float8", "SELECT pg_current_xact_id_if_assigned()",
        "SELECT random() = (SELECT value FROM seeded)",
        "CREATE TABLE made_by_next (x int); SELECT relpersistence FROM pg_class WHERE oid = 'made_by_next'::regclass",
        "DROP TABLE made_by_next", "NOTIFY leak_news"})
    seen[sql] = answer_to(client, sql);
  if (PGnotify* heard = PQnotifies(raw); heard != nullptr) {
    seen["heard"] = heard->relname;
    PQfreemem(heard);
  }
  seen["transaction"] = std::to_string(PQtransactionStatus(raw));
  for (const char* name : at_start) seen["told later "s + name] = client.parameter(name);
  return seen;
}

std::string differences(const Portrait& fresh, const Portrait& next) {
  std::string text;
  for (const auto& [name, value] : fresh) {
    const auto other = next.find(name);
    if (other == next.end())
      text += "  " + name + ": nothing, fresh " + value + "\n";
    else if (other->second != value)
      text += "  " + name + ": " + other->second + ", fresh " + value + "\n";
  }
  for (const auto& [name, value] : next)
    if (!fresh.contains(name)) text += "  " + name + ": " + value + ", fresh nothing\n";
  return text;
}

class LeakMatrix : public ::testing::TestWithParam<Way> {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
    prepare_ways(*server_);
    for (const char* mode : {"transaction", "session"})
      proxies_[mode] = new Holdfast(endpoint(
          {.members = member_yaml(*server_), .workers = 1, .pool = "mode: "s + mode + ", size: 1, wait_timeout: 20s"}));
  }
  static void TearDownTestSuite() {
    for (const auto& [mode, proxy] : proxies_) delete proxy;
    proxies_.clear();
    delete server_;
  }

  // A server that somebody's state is left in fails its own row only.
  void TearDown() override {
    if (!HasFailure()) return;
    const char* others =
        " FROM pg_stat_activity WHERE usename IN ('app', 'postgres') AND backend_type = 'client backend'"
        " AND pid <> pg_backend_pid()";
    static_cast<void>(server_->rows("SELECT pg_terminate_backend(pid)"s + others));
    EXPECT_TRUE(wait_until(10s, [&] { return server_->scalar("SELECT count(*)"s + others) == "0"; }));
    for (const auto& [mode, proxy] : proxies_)
      EXPECT_TRUE(wait_until(10s, [&, p = proxy] { return p->metric("holdfast_servers") == 0; }));
  }

  [[nodiscard]] static Portrait fresh(const Way& way) {
    auto client = server_->connect(way.user);
    return portrait_of(client);
  }

  static Server* server_;
  static std::map<std::string, Holdfast*> proxies_;
};
Server* LeakMatrix::server_ = nullptr;
std::map<std::string, Holdfast*> LeakMatrix::proxies_;

// The next client takes the server: at once, or when the one that keeps it has left.
void take_server(Holdfast& proxy, Connection& next, Leaver& leaver) {
  next.ask("SELECT 1");
  ASSERT_TRUE(wait_until(10s, [&] { return next.answered(0ms) || proxy.metric("holdfast_clients_waiting") == 1; }));
  if (!next.answered(0ms)) leaver.leave();
  EXPECT_EQ(next.answer(20s).at(0).at(0), "1");
}

TEST_P(LeakMatrix, nothing_is_seen_by_others_in_transaction_mode) {
  const auto& way = GetParam();
  auto& proxy = *proxies_["transaction"];
  const auto right = fresh(way);
  // It is there before the other has left anything, as clients of a busy pool are.
  auto early = proxy.connect(way.user);
  early.exec("SELECT 1");
  Leaver leaver(proxy.port(), *server_, way);
  ASSERT_EQ(leaver.fault(), "");
  take_server(proxy, early, leaver);
  // The two may have come in either order: what was half sent must not wait for the server behind this client's back.
  if (!way.rest.empty()) leaver.leave();
  EXPECT_EQ(differences(right, portrait_of(early)), "");
}

TEST_P(LeakMatrix, nothing_is_left_for_the_next_client_in_transaction_mode) {
  const auto& way = GetParam();
  auto& proxy = *proxies_["transaction"];
  const auto right = fresh(way);
  {
    Leaver leaver(proxy.port(), *server_, way);
    ASSERT_EQ(leaver.fault(), "");
    leaver.leave();
  }
  auto next = proxy.connect(way.user);
  EXPECT_EQ(differences(right, portrait_of(next)), "");
}

TEST_P(LeakMatrix, nothing_is_left_for_the_next_client_in_session_mode) {
  const auto& way = GetParam();
  auto& proxy = *proxies_["session"];
  const auto right = fresh(way);
  {
    Leaver leaver(proxy.port(), *server_, way);
    ASSERT_EQ(leaver.fault(), "");
    leaver.leave();
  }
  auto next = proxy.connect(way.user);
  EXPECT_EQ(differences(right, portrait_of(next)), "");
}

INSTANTIATE_TEST_SUITE_P(Ways, LeakMatrix, ::testing::ValuesIn(all_ways()),
                         [](const auto& way) { return way.param.name; });

}  // namespace
}  // namespace holdfast::testing
