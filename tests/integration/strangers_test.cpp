// What one client leaves on a server that another one gets, while both live: sequence values and custom settings, by
// whatever way the other one looks.
//
// The kind: it is only asked in front of a transaction whether its client may look. Tried: later in a block, a batch, a
// pipeline, a pinned session; by text, a prepared statement, a function, a DO, a FunctionCall, a view, a policy; in a
// text that is too long to be looked through; through a view that was made a moment ago.
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/endpoint.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

// src/include/catalog/pg_proc.dat
constexpr int lastval_oid = 2559;
constexpr int current_setting_oid = 2077;

// What the messages of a pipeline came to: values and SQLSTATEs.
std::vector<std::string> piped(Connection& client, const std::vector<std::string>& texts, bool in_one_batch) {
  PGconn* raw = client.raw();
  EXPECT_EQ(PQenterPipelineMode(raw), 1);
  int syncs = 0;
  const auto sync = [&] {
    EXPECT_EQ(PQpipelineSync(raw), 1);
    ++syncs;
  };
  for (const auto& text : texts) {
    EXPECT_EQ(PQsendQueryParams(raw, text.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0), 1);
    if (!in_one_batch) sync();
  }
  if (in_one_batch) sync();
  std::vector<std::string> told;
  while (syncs > 0) {
    PGresult* result = PQgetResult(raw);
    if (result == nullptr) continue;  // between two statements
    const auto status = PQresultStatus(result);
    if (status == PGRES_PIPELINE_SYNC) {
      --syncs;
    } else if (status == PGRES_TUPLES_OK) {
      told.emplace_back(PQgetvalue(result, 0, 0));
    } else if (const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE); state != nullptr) {
      told.emplace_back(state);
    }
    PQclear(result);
  }
  EXPECT_EQ(PQexitPipelineMode(raw), 1);
  return told;
}

void prepare(Connection& client, const char* name, const std::string& sql) {
  checked_rows(PQprepare(client.raw(), name, sql.c_str(), 0, nullptr), client.raw());
}
Rows run(Connection& client, const char* name) {
  return checked_rows(PQexecPrepared(client.raw(), name, 0, nullptr, nullptr, nullptr, 0), client.raw());
}

// A server for each test: what one has in its catalogue is not another's.
class Strangers : public ::testing::Test {
 protected:
  Strangers() {
    server_.start();
    server_.exec(
        "CREATE TABLE plain (id int); CREATE TABLE ser (id serial, who text); GRANT ALL ON plain, ser, ser_id_seq TO "
        "app;"
        "GRANT CREATE ON SCHEMA public TO app");
  }
  void start(const std::string& pool = "size: 1, wait_timeout: 10s") {
    proxy_.emplace(endpoint({.members = member_yaml(server_), .workers = 1, .pool = pool}));
  }
  void leave_sequence() {
    auto other = proxy_->connect();
    other.exec("INSERT INTO ser (who) VALUES ('other')");
  }
  void leave_setting(const char* sql = "SET LOCAL app.tenant = 'other'") {
    auto other = proxy_->connect();
    other.exec("BEGIN");
    other.exec(sql);
    other.exec("COMMIT");
  }
  // Writers that ask for nothing: longer than it is taken for granted that one might.
  void lull() {
    auto one = proxy_->connect();
    auto other = proxy_->connect();
    for (int i = 0; i < 600; ++i) {
      for (auto* client : {&one, &other}) client->exec("INSERT INTO plain VALUES (1)");
    }
  }

  Server server_;
  std::optional<Holdfast> proxy_;
};

// ---- sequences ------------------------------------------------------------------------------------------------------

struct Look {
  const char* name;
  std::function<std::string(Connection&)> at;  // the value or the SQLSTATE
};
std::string in_block(Connection& client, const std::function<std::string()>& look) {
  client.exec("BEGIN");
  EXPECT_EQ(client.scalar("SELECT 1"), "1");
  auto told = look();
  client.exec("ROLLBACK");
  return told;
}
std::string asked(Connection& client, const std::string& sql) {
  std::string told;
  const auto state = sqlstate_of([&] { told = client.scalar(sql); });
  return state.empty() ? told : state;
}
const std::vector<Look>& looks() {
  static const std::vector<Look> all{
      {"later in a block",
       [](Connection& client) { return in_block(client, [&] { return asked(client, "SELECT lastval()"); }); }},
      {"currval later in a block",
       [](Connection& client) {
         return in_block(client, [&] { return asked(client, "SELECT currval('ser_id_seq')"); });
       }},
      {"extended, later in a block",
       [](Connection& client) {
         return in_block(client, [&] { return sqlstate_of([&] { client.rows("SELECT lastval()", {}); }); });
       }},
      {"prepared before the block",
       [](Connection& client) {
         prepare(client, "look", "SELECT lastval()");
         return in_block(client, [&] { return sqlstate_of([&] { run(client, "look"); }); });
       }},
      {"in a string, later in a block",
       [](Connection& client) {
         return in_block(client, [&] { return asked(client, "SELECT 2; SELECT lastval()"); });
       }},
      {"in a pipeline",
       [](Connection& client) {
         return piped(client, {"INSERT INTO plain VALUES (1)", "SELECT lastval()"}, false).back();
       }},
      {"in a batch",
       [](Connection& client) {
         return piped(client, {"INSERT INTO plain VALUES (1)", "SELECT lastval()"}, true).back();
       }},
      {"twice in a batch",
       [](Connection& client) {
         return piped(client, {"INSERT INTO plain VALUES (1)", "SELECT 5", "SELECT lastval() + lastval()"}, true)
             .back();
       }},
      {"in a batch in a block",
       [](Connection& client) {
         return in_block(client, [&] { return piped(client, {"SELECT 3", "SELECT lastval()"}, true).back(); });
       }},
      {"in a pipelined block",
       [](Connection& client) {
         auto told = piped(client, {"BEGIN", "SELECT 3", "SELECT lastval()", "ROLLBACK"}, false);
         return told.back();
       }},
      {"in a text that is too long to be looked through",
       [](Connection& client) { return asked(client, "/*" + std::string(70'000, 'x') + "*/ SELECT lastval()"); }},
      {"by a FunctionCall",
       [](Connection& client) {
         return in_block(client, [&] {
           int value = 0;
           int size = 0;
           PGresult* result = PQfn(client.raw(), lastval_oid, &value, &size, 0, nullptr, 0);
           const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
           std::string told = state != nullptr ? state : "a value";
           PQclear(result);
           return told;
         });
       }},
      {"by a DO in a block",
       [](Connection& client) {
         return in_block(client,
                         [&] { return sqlstate_of([&] { client.exec("DO $$ BEGIN PERFORM lastval(); END $$"); }); });
       }},
      {"by a function in a block",
       [](Connection& client) { return in_block(client, [&] { return asked(client, "SELECT looks()"); }); }},
      {"in a session that was pinned in a block",
       [](Connection& client) {
         client.exec("BEGIN");
         client.exec("SELECT 1");
         client.exec("SET work_mem = '5MB'");
         client.exec("COMMIT");
         return asked(client, "SELECT lastval()");
       }},
      {"behind a failed block in one string",
       [](Connection& client) {
         client.exec("BEGIN");
         client.exec("SELECT 1");
         EXPECT_EQ(sqlstate_of([&] { client.exec("SELECT 1/0"); }), "22012");
         const auto told = asked(client, "ROLLBACK; SELECT lastval()");
         client.exec("ROLLBACK");
         return told == "25P02" ? "55000" : told;  // the proxy can't let it run
       }},
  };
  return all;
}

TEST_F(Strangers, sequence_values_are_seen_by_no_way) {
  server_.exec("CREATE FUNCTION looks() RETURNS bigint LANGUAGE sql AS 'SELECT lastval()'");
  for (const bool at_first : {true, false}) {
    start();
    for (const auto& look : looks()) {
      SCOPED_TRACE(look.name + (at_first ? ""s : ", when nobody has asked for long"));
      // One that has asked makes the next ones be expected: each is the first.
      if (!at_first) {
        start();
        lull();
      }
      leave_sequence();
      auto client = proxy_->connect();
      EXPECT_EQ(look.at(client), "55000");
    }
  }
}

// The own ones are there from the first block on, in spite of what others have left.
TEST_F(Strangers, sequence_values_of_a_block_are_its_own) {
  start();
  for (int i = 0; i < 3; ++i) {
    leave_sequence();
    {
      auto client = proxy_->connect();
      client.exec("BEGIN");
      const auto id = client.scalar("INSERT INTO ser (who) VALUES ('me') RETURNING id");
      EXPECT_EQ(client.scalar("SELECT lastval()"), id);
      EXPECT_EQ(client.rows("SELECT currval('ser_id_seq')", {}).at(0).at(0), id);
      client.exec("COMMIT");
    }
    leave_sequence();
    auto client = proxy_->connect();
    const auto told = piped(
        client, {"BEGIN", "INSERT INTO ser (who) VALUES ('me') RETURNING id", "SELECT lastval()", "COMMIT"}, true);
    ASSERT_EQ(told.size(), 2U);
    EXPECT_EQ(told[0], told[1]);
  }
}

// What is known of the catalogue is old behind DDL, until a server was asked: here none can be, for its client keeps
// the server where it made the view.
TEST_F(Strangers, sequence_values_are_not_seen_through_what_was_made_a_moment_ago) {
  for (const std::string how : {"", "DO $$ BEGIN EXECUTE '"}) {
    SCOPED_TRACE(how);
    start("size: 2, wait_timeout: 10s");
    server_.exec("DROP VIEW IF EXISTS last");
    auto maker = proxy_->connect();
    maker.exec("SET work_mem = '5MB'");
    auto client = proxy_->connect();
    for (int i = 0; i < 2; ++i) client.exec("INSERT INTO plain VALUES (1)");
    leave_sequence();
    maker.exec(how + "CREATE VIEW last AS SELECT lastval() AS id" + (how.empty() ? "" : "'; END $$"));
    EXPECT_EQ(asked(client, "SELECT id FROM last"), "55000");
  }
}

// ---- custom settings ------------------------------------------------------------------------------------------------

TEST_F(Strangers, settings_are_seen_by_no_hidden_code) {
  server_.exec(
      "CREATE TABLE guarded (id int); INSERT INTO guarded VALUES (1); GRANT ALL ON guarded TO app;"
      "ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;"
      "CREATE POLICY p ON guarded USING (current_setting('app.tenant', true) IS NULL);"
      "CREATE VIEW tenant AS SELECT current_setting('app.tenant', true) IS NULL AS none; GRANT SELECT ON tenant TO app;"
      "CREATE FUNCTION tenant_of() RETURNS bool LANGUAGE plpgsql AS"
      " $$ BEGIN RETURN current_setting('app.tenant', true) IS NULL; END $$;"
      "CREATE TABLE kept (id int, mine bool DEFAULT (current_setting('app.tenant', true) IS NULL)); GRANT ALL ON kept "
      "TO app");
  start();
  const std::vector<std::pair<const char*, const char*>> all{
      {"SELECT count(*) = 1 FROM guarded", "policy"},
      {"SELECT none FROM tenant", "view"},
      {"SELECT tenant_of()", "function"},
      {"INSERT INTO kept VALUES (1) RETURNING mine", "default"},
  };
  for (const auto* set : {"SET LOCAL app.tenant = 'other'", "SELECT set_config('app.tenant', 'other', true)",
                          "SET app.tenant = 'other'"}) {
    for (const auto& [sql, name] : all) {
      SCOPED_TRACE(set + " and a "s + name);
      for (const bool block : {false, true}) {
        for (const bool extended : {false, true}) {
          leave_setting(set);
          auto client = proxy_->connect();
          if (block) {
            client.exec("BEGIN");
            client.exec("SELECT count(*) FROM plain");
          }
          EXPECT_EQ(extended ? client.rows(sql, {}).at(0).at(0).value_or("") : client.scalar(sql), "t") << extended;
        }
      }
    }
  }
}

TEST_F(Strangers, settings_are_seen_by_no_text) {
  start();
  const auto null = [](Connection& client) {
    return asked(client, "SELECT current_setting('app.tenant', true) IS NULL");
  };
  for (int i = 0; i < 3; ++i) {
    leave_setting();
    auto client = proxy_->connect();
    EXPECT_EQ(null(client), "t") << "alone";
    leave_setting();
    client = proxy_->connect();
    EXPECT_EQ(asked(client, "SELECT current_setting('app.ten'::text || 'ant', true) IS NULL"), "t") << "put together";
    leave_setting();
    client = proxy_->connect();
    EXPECT_EQ(in_block(client, [&] { return null(client); }), "t");
    leave_setting();
    client = proxy_->connect();
    EXPECT_EQ(in_block(client, [&] { return asked(client, "SHOW app.tenant"); }), "42704");
  }
}

TEST_F(Strangers, settings_are_seen_by_no_function_call) {
  start();
  const auto call = [](Connection& client) {
    std::string name = "app.tenant";
    PQArgBlock argument{.len = static_cast<int>(name.size()), .isint = 0, .u = {.ptr = nullptr}};
    argument.u.ptr = reinterpret_cast<int*>(name.data());
    std::array<char, 100> value{};
    int size = 0;
    PGresult* result =
        PQfn(client.raw(), current_setting_oid, reinterpret_cast<int*>(value.data()), &size, 0, &argument, 1);
    const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    std::string told = state != nullptr ? state : "a value";
    PQclear(result);
    return told;
  };
  leave_setting();
  {
    auto client = proxy_->connect();
    EXPECT_EQ(call(client), "42704");
  }
  leave_setting();
  auto client = proxy_->connect();
  EXPECT_EQ(in_block(client, [&] { return call(client); }), "42704");
}

// When nobody has asked in a block for long, the first one comes too late for another server: it is told, and then it
// is known.
TEST_F(Strangers, settings_that_are_asked_for_too_late_are_refused_once) {
  start();
  auto one = proxy_->connect();
  auto other = proxy_->connect();
  for (int i = 0; i < 150; ++i) {
    for (auto* client : {&one, &other}) {
      client->exec("BEGIN");
      client->exec(client == &one ? "SET LOCAL app.one = '1'" : "SELECT 1");
      client->exec("COMMIT");
    }
  }
  const std::string sql = "SELECT current_setting('app.one', true) IS NULL";
  leave_setting("SET LOCAL app.one = '1'");
  EXPECT_EQ(in_block(other, [&] { return asked(other, sql); }), "40001");
  EXPECT_EQ(in_block(other, [&] { return asked(other, "SELECT current_setting('app.two', true) IS NULL"); }), "t");
  leave_setting("SET LOCAL app.one = '1'");
  EXPECT_EQ(in_block(other, [&] { return asked(other, sql); }), "t");
}

// Whose own settings are on the server is told them as often as it asks, whatever it has called.
TEST_F(Strangers, settings_that_a_client_has_made_are_told_to_it) {
  server_.exec("CREATE FUNCTION nothing() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$");
  start();
  const auto connect = [&] { return Connection(proxy_->conninfo() + " options='-c app.own=init'"); };
  for (int i = 0; i < 2; ++i) {
    connect().exec("INSERT INTO plain VALUES (1)");
    auto client = connect();
    for (int again = 0; again < 3; ++again) {
      EXPECT_EQ(client.scalar("SELECT nothing()"), "1");
      EXPECT_EQ(asked(client, "SELECT current_setting('app.own', true)"), "init");
      client.exec("BEGIN");
      client.exec("SET LOCAL app.mine = 'a'");
      EXPECT_EQ(client.scalar("SELECT nothing()"), "1");
      EXPECT_EQ(asked(client, "SELECT current_setting('app.mine', true)"), "a");
      EXPECT_EQ(asked(client, "SHOW app.own"), "init");
      EXPECT_EQ(asked(client, "SELECT current_setting('app.none', true) IS NULL"), "t") << "nobody has made it";
      client.exec("COMMIT");
    }
  }
}

// One that comes behind others of its pipeline is told what it would be told alone, by one answer to each.
TEST_F(Strangers, settings_that_are_asked_for_in_a_pipeline_are_answered_as_alone) {
  start();
  const std::string look = "SELECT current_setting('app.tenant', true) IS NULL";
  leave_setting();
  auto client = proxy_->connect();
  EXPECT_EQ(piped(client, {"SELECT 1", look, "SELECT 2"}, false), (std::vector<std::string>{"1", "t", "2"}));
  leave_setting();
  client = proxy_->connect();
  EXPECT_EQ(piped(client, {"SELECT 1", "BEGIN", "SELECT 1/0", look, "ROLLBACK", "SELECT 2"}, false),
            (std::vector<std::string>{"1", "22012", "25P02", "2"}));
}

// A tenant that sets its own first needs no other connection, whatever reads it.
TEST_F(Strangers, settings_that_everybody_makes_first_cost_no_connection) {
  server_.exec(
      "CREATE TABLE guarded (id int, tenant text); INSERT INTO guarded VALUES (1, 'a'), (2, 'b'), (3, '');"
      "GRANT ALL ON guarded TO app; ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;"
      "CREATE POLICY p ON guarded USING (tenant = current_setting('app.tenant', true))");
  start();
  auto a = proxy_->connect();
  auto b = proxy_->connect();
  const auto opened = [&] { return proxy_->metric("holdfast_servers_opened_total").value_or(-1); };
  double before = 0;
  for (int i = 0; i < 20; ++i) {
    for (auto* client : {&a, &b}) {
      const std::string tenant = client == &a ? "a" : "b";
      client->exec("BEGIN");
      client->exec(i % 2 == 0 ? "SET LOCAL app.tenant = '" + tenant + "'"
                              : "SELECT set_config('app.tenant', '" + tenant + "', true)");
      EXPECT_EQ(client->scalar("SELECT string_agg(tenant, ',') FROM guarded"), tenant);
      EXPECT_EQ(client->scalar("SELECT current_setting('app.tenant')"), tenant);
      client->exec("COMMIT");
      if (i == 9) before = opened();
    }
  }
  EXPECT_EQ(opened(), before);
}

}  // namespace
}  // namespace holdfast::testing
