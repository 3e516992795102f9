// A server that lives ends one session: pg_terminate_backend(), a timeout of its own. Its client hears what it would hear
// without a proxy, byte by byte, and is disconnected as there. Only the loss of the server itself is hidden, or told in
// the proxy's words; FATAL 57P01 looks the same for both, until the postmaster is asked.
#include <gtest/gtest.h>

#include <ostream>

#include "tests/support/endpoint.hpp"
#include "tests/support/tcp_relay.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

class EndedSessionBase : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
    server_->exec("CREATE TABLE kept (a int); GRANT ALL ON kept TO app");
  }
  static void TearDownTestSuite() { delete server_; }

  void start(const std::string& pool, int port) {
    proxy_.emplace(
        endpoint({.members = "      - { name: pg1, host: 127.0.0.1, port: " + std::to_string(port) + " }\n",
                  .workers = 1,
                  .pool = pool}));
  }
  static std::string sessions(const std::string& more = "") {
    return server_->scalar("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'victim'" + more);
  }
  static void end_session() {
    ASSERT_EQ(server_->scalar("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                              " WHERE application_name = 'victim'"),
              "1");
  }

  static Server* server_;
  std::optional<Holdfast> proxy_;
};
Server* EndedSessionBase::server_ = nullptr;

struct Victim {
  friend void PrintTo(const Victim& victim, std::ostream* out) { *out << victim.name; }
  const char* name;
  std::string bytes;
  const char* state;          // of its session when it is ended; none: it ends by itself
  const char* pool = "size: 2";
  const char* options = "";   // at the start
  const char* sqlstate = "57P01";
};

class EndedSession : public EndedSessionBase, public ::testing::WithParamInterface<Victim> {
 protected:
  // All that a client hears behind its log-in.
  static std::string heard_at(int port) {
    auto peer = wire::log_in(port, {{"application_name", "victim"}, {"options", GetParam().options}});
    peer->send(GetParam().bytes);
    if (GetParam().state != nullptr) {
      EXPECT_TRUE(wait_until(10s, [] { return sessions(" AND "s + GetParam().state) == "1"; }));
      end_session();
    }
    return peer->read_until_end();
  }
};

TEST_P(EndedSession, ends_its_client_with_the_servers_words) {
  start(GetParam().pool, server_->port());
  const auto direct = heard_at(server_->port());
  ASSERT_NE(direct.find("C"s + GetParam().sqlstate), std::string::npos);
  ASSERT_TRUE(wait_until(10s, [] { return sessions() == "0"; }));
  EXPECT_EQ(heard_at(proxy_->port()), direct);
  EXPECT_EQ(proxy_->metric("holdfast_sessions_ended_total"), 1.0);
}

const std::string slow_batch = wire::parse("", "SELECT pg_sleep(60)") + wire::bind("") + wire::execute();
constexpr const char* running = "state = 'active' AND wait_event = 'PgSleep'";
constexpr const char* waiting = "state LIKE 'idle in transaction%'";

INSTANTIATE_TEST_SUITE_P(
    All, EndedSession,
    ::testing::Values(
        Victim{"in_a_read", wire::query("SELECT pg_sleep(60)"), running},
        Victim{"in_a_write", wire::query("INSERT INTO kept SELECT 1 FROM pg_sleep(60)"), running},
        Victim{"in_a_batch", slow_batch + wire::sync(), running},
        Victim{"in_a_batch_without_its_sync", slow_batch + wire::flush(), running},
        Victim{"in_a_pipeline", slow_batch + wire::sync() + wire::query("SELECT 2"), running},
        Victim{"in_a_statement_of_a_block", wire::query("BEGIN") + wire::query("SELECT pg_sleep(60)"), running},
        Victim{"idle_in_a_block", wire::query("BEGIN") + wire::query("SELECT 1"), waiting},
        Victim{"idle_in_a_failed_block", wire::query("BEGIN") + wire::query("SELECT 1/0"), waiting},
        Victim{"pinned_and_idle", wire::query("SET work_mem = '8MB'"), "query LIKE 'SET work_mem%' AND state = 'idle'"},
        Victim{"idle_in_session_mode", wire::query("SELECT 'here'"), "query LIKE '%here%' AND state = 'idle'",
               "mode: session, size: 2"},
        Victim{"by_itself", wire::query("SELECT pg_terminate_backend(pg_backend_pid())"), nullptr},
        Victim{"by_itself_in_a_block",
               wire::query("BEGIN") + wire::query("SELECT pg_terminate_backend(pg_backend_pid())"), nullptr},
        Victim{"by_idle_in_transaction", wire::query("BEGIN") + wire::query("SELECT 1"), nullptr, "size: 2",
               "-c idle_in_transaction_session_timeout=100", "25P03"},
        Victim{"by_idle_session_when_pinned", wire::query("SET work_mem = '8MB'"), nullptr, "size: 2",
               "-c idle_session_timeout=100", "57P05"}),
    [](const auto& victim) { return std::string(victim.param.name); });

class SessionEnds : public EndedSessionBase {};

// Nobody is told: it was nobody's.
TEST_F(SessionEnds, in_the_pool_unnoticed) {
  start("size: 2", server_->port());
  auto peer = wire::log_in(proxy_->port(), {{"application_name", "victim"}});
  peer->send(wire::query("SELECT 1"));
  EXPECT_EQ(peer->read_until('Z'), "TDCZ");
  end_session();
  ASSERT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_servers") == 0; }));
  peer->send(wire::query("SELECT 1"));
  EXPECT_EQ(peer->read_until('Z'), "TDCZ");
}

// The same last word, but all sessions have it.
TEST_F(SessionEnds, with_the_server_hidden) {
  start("size: 2", server_->port());
  auto idle = proxy_->connect();
  auto in_block = proxy_->connect();
  auto reader = proxy_->connect();
  in_block.exec("BEGIN; INSERT INTO kept VALUES (1)");
  reader.ask("SELECT 'read' FROM pg_sleep(0.5)");
  ASSERT_TRUE(wait_until(10s, [] {
    return server_->scalar("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1";
  }));
  server_->restart(StopMode::fast);
  EXPECT_EQ(sqlstate_of([&] { in_block.exec("SELECT 1"); }), "40001");
  in_block.exec("ROLLBACK");
  EXPECT_EQ(in_block.scalar("SELECT count(*) FROM kept"), "0");
  // Its row description came with the last word.
  EXPECT_EQ(sqlstate_of([&] { reader.answer(); }), "40001");
  EXPECT_TRUE(reader.alive());
  EXPECT_EQ(idle.scalar("SELECT 1"), "1");
  EXPECT_EQ(proxy_->metric("holdfast_sessions_ended_total"), 0.0);
}

// No answer in time is taken for the loss of the server.
TEST_F(SessionEnds, with_a_postmaster_that_can_not_be_asked_as_with_the_server) {
  TcpRelay relay(server_->port());
  start("size: 2", relay.port());
  auto peer = wire::log_in(proxy_->port(), {{"application_name", "victim"}});
  peer->send(wire::query("BEGIN") + wire::query("SELECT 1"));
  EXPECT_EQ(peer->read_until('Z'), "CZ");
  EXPECT_EQ(peer->read_until('Z'), "TDCZ");
  relay.hold_requests(true);
  end_session();
  ASSERT_TRUE(
      wait_until(10s, [&] { return proxy_->metric("holdfast_answers_lost_total{sqlstate=\"40001\"}") == 1; }));
  relay.hold_requests(false);
  peer->send(wire::query("SELECT 1"));
  EXPECT_EQ(wire::read_error(*peer), "40001");
  EXPECT_EQ(peer->read_until('Z'), "Z");
}

// Whoever leaves while the postmaster is asked takes nothing along.
TEST_F(SessionEnds, while_its_client_leaves) {
  TcpRelay relay(server_->port());
  start("size: 2", relay.port());
  auto peer = wire::log_in(proxy_->port(), {{"application_name", "victim"}});
  peer->send(wire::query("BEGIN") + wire::query("SELECT 1"));
  EXPECT_EQ(peer->read_until('Z'), "CZ");
  EXPECT_EQ(peer->read_until('Z'), "TDCZ");
  relay.hold_requests(true);
  end_session();
  peer->close();
  EXPECT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_clients") == 0; }));
  relay.hold_requests(false);
  EXPECT_EQ(proxy_->connect().scalar("SELECT 1"), "1");
  EXPECT_EQ(proxy_->terminate(20s), 0);
}

// A read on a standby that somebody ends: not a failover either.
TEST(SessionEndsOnStandby, as_on_the_primary) {
  ReplicationSet set({.replicas = 1});
  const Holdfast proxy(endpoint({.members = members_yaml(set), .workers = 1, .more = "reads: { consistency: eventual }\n"}));
  auto client = proxy.connect();
  client.ask("SELECT pg_sleep(60)");
  ASSERT_TRUE(wait_until(10s, [&] {
    return set.replica().scalar("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1";
  }));
  set.replica().exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
  EXPECT_EQ(sqlstate_of([&] { client.answer(); }), "57P01");
  EXPECT_FALSE(client.alive());
}

}  // namespace
}  // namespace holdfast::testing
