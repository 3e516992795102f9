// Statement names: what a client asks for with names that are unknown, in use or endless costs no memory; and which
// errors make the proxy forget what servers have parsed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <functional>
#include <ostream>

#include "tests/support/endpoint.hpp"
#include "tests/support/process.hpp"
#include "tests/support/sanitized.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

class Statements : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
    server_->exec(
        "CREATE FUNCTION unsupported(text) RETURNS int LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '%', $1 USING ERRCODE = 'feature_not_supported'; END $$;"
        "CREATE TABLE changing (a int); INSERT INTO changing VALUES (1); GRANT ALL ON changing TO app;"
        "ALTER TABLE changing OWNER TO app; GRANT CREATE ON SCHEMA public TO app");
  }
  static void TearDownTestSuite() { delete server_; }

  // Functions that nobody knows would pin their clients.
  Holdfast proxy_{endpoint({.members = member_yaml(*server_),
                            .workers = 1,
                            .pool = "size: 1, wait_timeout: 10s",
                            .more = "reads: { functions: [ unsupported, unsupported_at_once ] }\n"})};
  static Server* server_;
};
Server* Statements::server_ = nullptr;

// The server knows them by other names, and quotes those in what it says.
TEST_F(Statements, are_called_by_their_clients_names) {
  const std::string prepare = wire::parse("mine", "SELECT $1::int") + wire::sync();
  const std::string use = wire::bind("mine") + wire::execute() + wire::sync();
  auto other = wire::log_in(proxy_.port());
  other->send(wire::parse("others", "SELECT $1::int") + wire::sync());
  static_cast<void>(other->read_until('Z'));
  const auto error = [&](int port) {
    auto peer = wire::log_in(port);
    peer->send(prepare + use);
    for (;;) {
      const auto message = peer->read_message();
      const auto at = message.body.find("\0M"s);
      if (message.type == 'E') return message.body.substr(at, message.body.find("\0F"s) - at);
    }
  };
  const auto wanted = error(server_->port());
  EXPECT_THAT(wanted, ::testing::HasSubstr("\"mine\""));
  EXPECT_EQ(error(proxy_.port()), wanted);
  // What it would write to its log goes to the client as well.
  auto peer = wire::log_in(proxy_.port(), {{"client_min_messages", "debug2"}});
  peer->send(prepare + use + wire::query("SELECT 1") + wire::parse("mine2", "SELECT 2") + wire::describe("mine2") +
             wire::bind("mine2") + wire::execute() + wire::sync() + message_bytes('X'));
  const auto all = peer->read_until_end();
  EXPECT_THAT(all, ::testing::HasSubstr("parse mine2: "));
  EXPECT_THAT(all, ::testing::HasSubstr("bind <unnamed> to mine2"));
  EXPECT_THAT(all, ::testing::Not(::testing::HasSubstr("hf_")));
}

// Messages that fail by the proxy's own judgement, without end and never a Sync: PostgreSQL forgets each as it comes.
struct Endless {
  friend void PrintTo(const Endless& endless, std::ostream* out) { *out << endless.name; }
  const char* name;
  std::string before;  // in the same batch, with its answers
  const char* answers;
  std::string message;
  int count;
  bool first_alone;  // the first has failed before the others are sent
};

class EndlessFailures : public Statements, public ::testing::WithParamInterface<Endless> {};

TEST_P(EndlessFailures, without_a_sync_cost_no_memory) {
  const auto& endless = GetParam();
  auto peer = wire::log_in(proxy_.port());
  auto other = wire::log_in(proxy_.port());
  peer->send(wire::query("SELECT 1 FOR UPDATE"));
  ASSERT_EQ(peer->read_until('Z'), "TDCZ");
  if (!endless.before.empty()) {
    peer->send(endless.before + wire::flush());
    ASSERT_EQ(peer->read_exactly(5).front(), endless.answers[0]);
  }
  if (endless.first_alone) {
    peer->send(endless.message + wire::flush());
    ASSERT_EQ(peer->read_until('E'), "E");
  }
  const long before = peak_memory(proxy_.pid());
  std::string block;
  int in_block = 0;
  for (; block.size() < 256 * 1024; ++in_block) block += endless.message;
  for (int i = 0; i < endless.count; i += in_block) peer->send(block);
  peer->send(wire::sync());
  EXPECT_EQ(peer->read_until('Z'), endless.first_alone ? "Z" : "EZ");
  if (!sanitized) {
    EXPECT_LT(peak_memory(proxy_.pid()) - before, 24 * 1024);
  }
  for (auto* client : {peer.get(), other.get()}) {
    client->send(wire::query("SELECT 42"));
    EXPECT_EQ(wire::read_value(*client), "42");
  }
}

const std::string long_name(8000, 'n');
const std::string known = wire::parse(long_name, "SELECT 1");
INSTANTIATE_TEST_SUITE_P(
    All, EndlessFailures,
    ::testing::Values(Endless{"binds_of_unknown_names", "", "", wire::bind("unknown"), 600'000, true},
                      Endless{"binds_of_long_unknown_names", "", "", wire::bind(long_name), 12'000, true},
                      Endless{"describes_of_long_unknown_names", "", "", wire::describe(long_name), 12'000, true},
                      Endless{"parses_of_long_names_in_use", known, "1", wire::parse(long_name, "SELECT 2"), 12'000,
                              true},
                      // The first error is on its way meanwhile.
                      Endless{"binds_at_once", "", "", wire::bind(long_name), 12'000, false},
                      Endless{"parses_at_once", known, "1", wire::parse(long_name, "SELECT 2"), 12'000, false}),
    [](const auto& endless) { return std::string(endless.param.name); });

// The kind: one tenant's DDL makes what is known of other databases old. Seen from outside: a Parse alone is answered
// without a server as long as nothing has changed since that text was parsed, and waits for the only server otherwise.
class OtherDatabases : public Statements {
 protected:
  static void SetUpTestSuite() {
    Statements::SetUpTestSuite();
    server_->exec("CREATE DATABASE neighbour OWNER app");
  }

  static std::vector<std::pair<std::string, std::string>> of_neighbour() { return {{"database", "neighbour"}}; }
  static bool has_input(const PeerConnection& client) {
    pollfd watched{.fd = client.fd(), .events = POLLIN, .revents = 0};
    return ::poll(&watched, 1, 0) == 1;
  }
  // Whether the text, which was parsed just now, still counts as known after `change`, in the neighbour's database.
  bool known_after(const std::function<void()>& change) {
    auto client = wire::log_in(proxy_.port(), of_neighbour());
    auto holder = wire::log_in(proxy_.port(), of_neighbour());
    client->send(wire::parse("a", "SELECT 4711") + wire::sync());
    EXPECT_EQ(client->read_until('Z'), "1Z");
    holder->send(wire::query("BEGIN; SELECT 1 FOR UPDATE"));
    EXPECT_EQ(holder->read_until('Z'), "CTDCZ");
    change();
    client->send(wire::parse("b", "SELECT 4711") + wire::sync());
    bool waits = false;
    EXPECT_TRUE(wait_until(10s, [&] {
      waits = proxy_.metric("holdfast_clients_waiting") == 1;
      return waits || has_input(*client);
    }));
    holder->send(wire::query("ROLLBACK"));
    EXPECT_EQ(holder->read_until('Z'), "CZ");
    EXPECT_EQ(client->read_until('Z'), "1Z");
    return !waits;
  }
  // A Parse counts for a second: on a slow machine that may be over.
  bool ever_known_after(const std::function<void()>& change) {
    for (int i = 0; i < 50; ++i) {
      if (known_after(change)) return true;
    }
    return false;
  }
};

TEST_F(OtherDatabases, are_not_parsed_again_for_ddl_that_is_not_theirs) {
  auto here = proxy_.connect();
  EXPECT_TRUE(ever_known_after([] {})) << "nothing has happened";
  EXPECT_TRUE(ever_known_after([&] { here.exec("CREATE TABLE passing (a int); DROP TABLE passing"); }));
}

TEST_F(OtherDatabases, are_parsed_again_for_ddl_on_what_all_share) {
  server_->exec("ALTER ROLE app CREATEROLE");
  auto here = proxy_.connect();
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(known_after([&] { here.exec("CREATE ROLE passing"); }));
    EXPECT_FALSE(known_after([&] { here.exec("DROP ROLE passing"); }));
  }
  server_->exec("ALTER ROLE app NOCREATEROLE");
}

TEST_F(OtherDatabases, are_not_asked_for_hidden_code_for_ddl_that_is_not_theirs) {
  auto here = proxy_.connect();
  auto there = wire::log_in(proxy_.port(), of_neighbour());
  const auto ask = [&] {
    there->send(wire::query("SELECT 1"));
    EXPECT_EQ(wire::read_value(*there), "1");
  };
  const auto audits = [&] { return proxy_.metric("holdfast_catalogue_audits_total").value_or(0); };
  // They are asked once a second as well, so that some rounds say nothing. Its own DDL has its database asked, always.
  bool once = false;
  for (int i = 0; i < 50 && !once; ++i) {
    ask();
    ask();  // its server has come back from the first
    const auto before = audits();
    here.exec("CREATE TABLE passing (a int); DROP TABLE passing");
    ASSERT_TRUE(wait_until(10s, [&] { return audits() > before; }));
    ask();
    ask();
    once = audits() == before + 1;
  }
  EXPECT_TRUE(once);
}

class PlanErrors : public Statements {
 protected:
  // What the shared server has parsed of this text, and when.
  static Row parsed(Connection& client, const std::string& text) {
    const auto rows =
        client.rows("SELECT name, prepare_time::text FROM pg_prepared_statements WHERE statement = '" + text + "'");
    EXPECT_EQ(rows.size(), 1U);
    return rows.empty() ? Row{} : rows.back();
  }
  static std::string run_prepared(Connection& client, const char* name) {
    const auto rows = checked_rows(PQexecPrepared(client.raw(), name, 0, nullptr, nullptr, nullptr, 0), client.raw());
    return rows.at(0).at(0).value_or("");
  }
  static void prepare(Connection& client, const char* name, const char* sql) {
    checked_rows(PQprepare(client.raw(), name, sql, 0, nullptr), client.raw());
  }
};

// 0A000 has many causes. Only a plan that may not change its result type is one to parse statements again for; by any
// other a client could make everybody else parse without end.
TEST_F(PlanErrors, of_another_cause_expire_nobodys_statements) {
  auto bystander = proxy_.connect();
  prepare(bystander, "mine", "SELECT 4711");
  EXPECT_EQ(run_prepared(bystander, "mine"), "4711");
  const auto before = parsed(bystander, "SELECT 4711");
  auto failing = proxy_.connect();
  // The second only says so: it comes from a function, not from the plan cache.
  for (const char* text : {"no such feature", "cached plan must not change result type"}) {
    EXPECT_EQ(sqlstate_of([&] { failing.rows("SELECT unsupported($1)", {text}); }), "0A000");
    EXPECT_EQ(run_prepared(bystander, "mine"), "4711");
    EXPECT_EQ(parsed(bystander, "SELECT 4711"), before) << text;
  }
}

// The same at Bind, where the planner folds the call.
TEST_F(PlanErrors, of_another_cause_at_bind_expire_nobodys_statements) {
  server_->exec(
      "CREATE OR REPLACE FUNCTION unsupported_at_once() RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
      "$$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'feature_not_supported'; END $$");
  auto bystander = proxy_.connect();
  prepare(bystander, "mine", "SELECT 4712");
  EXPECT_EQ(run_prepared(bystander, "mine"), "4712");
  const auto before = parsed(bystander, "SELECT 4712");
  auto failing = wire::log_in(proxy_.port());
  failing->send(wire::parse("", "SELECT unsupported_at_once()") + wire::bind("") + wire::execute() + wire::sync());
  EXPECT_EQ(failing->read_until('Z'), "1EZ");
  EXPECT_EQ(run_prepared(bystander, "mine"), "4712");
  EXPECT_EQ(parsed(bystander, "SELECT 4712"), before);
}

// The plan's own error is told once, as PostgreSQL tells it; then the same text is parsed again and fits.
TEST_F(PlanErrors, of_the_plan_itself_are_told_once) {
  auto client = proxy_.connect();
  prepare(client, "all", "SELECT * FROM changing");
  EXPECT_EQ(run_prepared(client, "all"), "1");
  server_->exec("ALTER TABLE changing ADD COLUMN b int DEFAULT 2");  // not through the proxy
  EXPECT_EQ(sqlstate_of([&] { run_prepared(client, "all"); }), "0A000");
  EXPECT_EQ(run_prepared(client, "all"), "1");
  prepare(client, "again", "SELECT * FROM changing");
  EXPECT_EQ(run_prepared(client, "again"), "1");
  server_->exec("ALTER TABLE changing DROP COLUMN b");
}

}  // namespace
}  // namespace holdfast::testing
