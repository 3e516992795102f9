// Idle deadlines: what counts as being active, and which of the two a client is under. Time passes in another client's
// pg_sleep(): a few times the deadline.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include "tests/support/endpoint.hpp"
#include "tests/support/tcp_relay.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

class Idle : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
  }
  static void TearDownTestSuite() { delete server_; }
  Idle() : relay_(server_->port()) {}

  void start(const std::string& timeouts) {
    proxy_.emplace(
        endpoint({.members = "      - { name: pg1, host: 127.0.0.1, port: " + std::to_string(relay_.port()) + " }\n",
                  .workers = 1,
                  .pool = "size: 2",
                  .more = "timeouts: { " + timeouts + " }\n"}));
  }
  [[nodiscard]] std::unique_ptr<PeerConnection> client() const { return wire::log_in(proxy_->port()); }
  // The server that runs `query` is lost to the proxy.
  void lose_server_of(const std::string& query) {
    const std::string those = "FROM pg_stat_activity WHERE usename = 'app' AND query LIKE '" + query + "%'";
    ASSERT_TRUE(wait_until(
        10s, [&] { return server_->scalar("SELECT count(*) " + those + " AND state = 'active'") == "1"; }));
    relay_.reset_all();
    // Its session would go on.
    ASSERT_EQ(server_->scalar("SELECT count(pg_terminate_backend(pid, 5000)) " + those), "1");
  }
  // A client whose server died in its transaction, and that was told so.
  [[nodiscard]] std::unique_ptr<PeerConnection> client_in_a_lost_block() {
    auto peer = client();
    peer->send(wire::query("BEGIN; SELECT 'begun'"));
    EXPECT_EQ(peer->read_until('Z'), "CTDCZ");
    peer->send(wire::query("SELECT pg_sleep(60)"));
    lose_server_of("SELECT pg_sleep(60)");
    EXPECT_EQ(wire::read_error(*peer), "40001");
    EXPECT_EQ(peer->read_until('Z'), "Z");
    return peer;
  }
  // Calls `act` again and again, at least while PostgreSQL itself sleeps for `duration`.
  template <typename Act>
  static void meanwhile(const std::string& duration, Act&& act) {
    auto clock = server_->connect("postgres");
    clock.ask("SELECT pg_sleep(" + duration + ")");
    do {
      ASSERT_NO_THROW(act());
    } while (!clock.answered(0ms));
    clock.answer();
  }

  static Server* server_;
  TcpRelay relay_;
  std::optional<Holdfast> proxy_;
};
Server* Idle::server_ = nullptr;

struct KeepAlive {
  friend void PrintTo(const KeepAlive& what, std::ostream* out) { *out << what.name; }
  const char* name;
  std::string bytes;
  const char* answers;
};

class Activity : public Idle, public ::testing::WithParamInterface<KeepAlive> {};

TEST_P(Activity, keeps_a_client_from_being_idle) {
  start("client_idle: 600ms");
  auto peer = client();
  peer->send(wire::parse("known", "SELECT 1") + wire::sync());
  ASSERT_EQ(peer->read_until('Z'), "1Z");
  meanwhile("1.5", [&] {
    peer->send(GetParam().bytes);
    EXPECT_EQ(peer->read_until('Z'), GetParam().answers);
  });
  EXPECT_EQ(wire::sqlstate(peer->read_message()), "57P05") << "it is idle now";
}

INSTANTIATE_TEST_SUITE_P(All, Activity,
                         ::testing::Values(KeepAlive{"by_syncs", wire::sync(), "Z"},
                                           KeepAlive{"by_flushes_and_syncs", wire::flush() + wire::sync(), "Z"},
                                           KeepAlive{"by_empty_queries", wire::query(""), "IZ"},
                                           KeepAlive{"by_known_parses", wire::parse("", "SELECT 1") + wire::sync(),
                                                     "1Z"}),
                         [](const auto& what) { return std::string(what.param.name); });

// The block's transaction is gone with its server, but for the client it is a failed one.
TEST_F(Idle, a_client_in_a_lost_block_is_idle_in_transaction) {
  start("idle_in_transaction: 300ms");
  auto peer = client_in_a_lost_block();
  EXPECT_EQ(wire::sqlstate(peer->read_message()), "25P03");
  peer->expect_end();
}

TEST_F(Idle, a_client_in_a_lost_block_is_not_under_the_clients_deadline) {
  start("client_idle: 300ms");
  auto peer = client_in_a_lost_block();
  server_->exec("SELECT pg_sleep(1)");
  peer->send(wire::query("ROLLBACK"));
  EXPECT_EQ(peer->read_until('Z'), "CZ");
  EXPECT_EQ(wire::sqlstate(peer->read_message()), "57P05") << "it is outside a transaction again";
}

TEST_F(Idle, activity_in_a_lost_block_counts) {
  start("client_idle: 600ms, idle_in_transaction: 600ms");
  auto peer = client_in_a_lost_block();
  meanwhile("1.5", [&] {
    peer->send(wire::query("SELECT 1"));
    EXPECT_EQ(peer->read_until('Z'), "EZ");
  });
  EXPECT_EQ(wire::sqlstate(peer->read_message()), "25P03");
}

// A statement's deadline was running when its server died: nothing is left to cancel, the idle one takes its place.
TEST_F(Idle, a_lost_statements_deadline_gives_way_to_the_idle_one) {
  start("query: 60s, idle_in_transaction: 300ms");
  auto peer = client_in_a_lost_block();
  EXPECT_EQ(wire::sqlstate(peer->read_message()), "25P03");
}

// A read would run again elsewhere.
constexpr const char* not_repeatable = "SELECT pg_sleep(60), pg_current_xact_id()";

// … and outside a transaction.
TEST_F(Idle, a_lost_statements_deadline_gives_way_to_the_clients_idle_one) {
  start("query: 60s, client_idle: 300ms");
  auto peer = client();
  peer->send(wire::query(not_repeatable));
  lose_server_of("SELECT pg_sleep(60)");
  EXPECT_NE(wire::read_error(*peer), "");
  EXPECT_EQ(peer->read_until('Z'), "Z");
  EXPECT_EQ(wire::sqlstate(peer->read_message()), "57P05");
}

// A statement's deadline that outlives the server would strike the next statement, which has time left.
TEST_F(Idle, a_lost_statements_deadline_is_not_the_next_statements) {
  start("query: 3s");
  auto peer = client();
  peer->send(wire::query(not_repeatable));
  server_->exec("SELECT pg_sleep(1.8)");
  lose_server_of("SELECT pg_sleep(60)");
  EXPECT_NE(wire::read_error(*peer), "");
  EXPECT_EQ(peer->read_until('Z'), "Z");
  peer->send(wire::query("SELECT 'slept', pg_sleep(1.8)"));
  EXPECT_EQ(peer->read_until('Z'), "TDCZ");
}

// A batch without its Sync is a transaction as well: its rows stay locked. All that the client has sent of it is
// answered, and it is silent.
struct OpenBatch {
  friend void PrintTo(const OpenBatch& what, std::ostream* out) { *out << what.name; }
  const char* name;
  std::string before;   // a unit of its own
  std::string batch;    // up to its Flush
  const char* answers;  // to the batch
};

class IdleInBatch : public Idle, public ::testing::WithParamInterface<OpenBatch> {
 protected:
  [[nodiscard]] std::unique_ptr<PeerConnection> client_in_its_batch() const {
    auto peer = client();
    if (!GetParam().before.empty()) {
      peer->send(GetParam().before);
      EXPECT_EQ(peer->read_until('Z'), "CZ");
    }
    peer->send(GetParam().batch);
    const std::string answers = GetParam().answers;
    EXPECT_EQ(peer->read_until(answers.back()), answers);
    return peer;
  }
};

const std::string lock_row = wire::parse("", "SELECT a FROM guarded FOR UPDATE") + wire::bind("") + wire::execute();

TEST_P(IdleInBatch, is_idle_in_transaction) {
  start("idle_in_transaction: 300ms");
  server_->exec("DROP TABLE IF EXISTS guarded; CREATE TABLE guarded AS SELECT 1 AS a; GRANT ALL ON guarded TO app");
  auto peer = client_in_its_batch();
  EXPECT_EQ(wire::sqlstate(peer->read_message()), "25P03");
  peer->expect_end();
  auto other = client();
  other->send(wire::query("UPDATE guarded SET a = 2"));
  EXPECT_EQ(other->read_until('Z'), "CZ") << "the row is free";
}

TEST_P(IdleInBatch, is_not_under_the_clients_deadline_and_may_go_on) {
  start("client_idle: 300ms, query: 1s");
  server_->exec("DROP TABLE IF EXISTS guarded; CREATE TABLE guarded AS SELECT 1 AS a; GRANT ALL ON guarded TO app");
  auto peer = client_in_its_batch();
  server_->exec("SELECT pg_sleep(1.2)");  // neither is the silence the statement's time
  peer->send(wire::sync() + wire::query("ROLLBACK"));
  EXPECT_EQ(peer->read_until('Z'), "Z");
  EXPECT_EQ(peer->read_until('Z').back(), 'Z');
  peer->send(wire::query("SELECT 1"));
  EXPECT_EQ(peer->read_until('Z'), "TDCZ");
}

INSTANTIATE_TEST_SUITE_P(
    All, IdleInBatch,
    ::testing::Values(OpenBatch{"in_a_block", wire::query("BEGIN"), lock_row + wire::flush(), "12DC"},
                      OpenBatch{"in_autocommit", "", lock_row + wire::flush(), "12DC"},
                      OpenBatch{"in_a_failed_batch", "",
                                lock_row + wire::parse("", "SELECT 1/0") + wire::bind("") + wire::execute() +
                                    wire::flush(),
                                "12DC1E"}),
    [](const auto& what) { return std::string(what.param.name); });

// The time of a statement behind a Flush is limited as that of the first.
TEST_F(Idle, a_batch_that_goes_on_behind_a_flush_has_its_deadline_again) {
  start("query: 500ms");
  auto peer = client();
  peer->send(wire::parse("", "SELECT 1") + wire::bind("") + wire::execute() + wire::flush());
  EXPECT_EQ(peer->read_until('C'), "12DC");
  peer->send(wire::parse("", "SELECT pg_sleep(60)") + wire::bind("") + wire::execute() + wire::sync());
  EXPECT_EQ(wire::read_error(*peer), "57014");
}

// A client that doesn't end the batch that it lost.
TEST_F(Idle, a_lost_batch_without_its_sync_is_idle_in_transaction) {
  start("idle_in_transaction: 300ms");
  auto peer = client();
  peer->send(wire::parse("", not_repeatable) + wire::bind("") + wire::execute() + wire::flush());
  lose_server_of("SELECT pg_sleep(60)");
  EXPECT_EQ(wire::read_error(*peer), "40001");
  EXPECT_EQ(wire::read_error(*peer), "25P03");
  peer->expect_end();
}

// A DEALLOCATE in SQL of a name that a Parse has made is answered by the proxy, on the spot: it has no end that could
// stop the deadline of a statement.
class Deallocating : public Idle {
 protected:
  [[nodiscard]] std::unique_ptr<PeerConnection> client_behind_a_deallocate_in_a_block() const {
    auto peer = client();
    peer->send(wire::parse("known", "SELECT 1") + wire::sync());
    EXPECT_EQ(peer->read_until('Z'), "1Z");
    peer->send(wire::query("BEGIN"));
    EXPECT_EQ(peer->read_until('Z'), "CZ");
    peer->send(wire::query("SELECT 1"));  // takes the server
    EXPECT_EQ(peer->read_until('Z'), "TDCZ");
    peer->send(wire::query("DEALLOCATE known"));
    EXPECT_EQ(peer->read_until('Z'), "CZ");
    return peer;
  }
};

TEST_F(Deallocating, in_a_block_takes_no_time_from_the_next_statement) {
  start("query: 2s");
  auto peer = client_behind_a_deallocate_in_a_block();
  server_->exec("SELECT pg_sleep(1.5)");
  peer->send(wire::query("SELECT 'slept', pg_sleep(1)"));
  EXPECT_EQ(peer->read_until('Z'), "TDCZ");
  peer->send(wire::query("ROLLBACK"));
  EXPECT_EQ(peer->read_until('Z'), "CZ");
}

TEST_F(Deallocating, in_a_block_leaves_it_idle_in_transaction) {
  start("query: 60s, idle_in_transaction: 300ms");
  auto peer = client_behind_a_deallocate_in_a_block();
  EXPECT_EQ(wire::sqlstate(peer->read_message()), "25P03");
  peer->expect_end();
}

}  // namespace
}  // namespace holdfast::testing
