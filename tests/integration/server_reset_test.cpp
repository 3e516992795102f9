// Server connections that end by an RST: a send fails hard while the client's bytes are at hand, in the same turn of
// the worker, before its reader has heard of it. Plain and over TLS, which is what a proxy speaks to servers by
// default.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <memory>

#include "tests/support/endpoint.hpp"
#include "tests/support/tcp_relay.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

class ResetServer : public ::testing::TestWithParam<bool> {
 protected:
  static void SetUpTestSuite() {
    for (const bool tls : {false, true}) {
      auto& server = servers_[tls ? 1 : 0];
      server = std::make_unique<Server>(ServerOptions{.tls = tls});
      server->start();
      server->exec("CREATE TABLE written (v int); GRANT ALL ON written TO app");
    }
  }
  static void TearDownTestSuite() {
    for (auto& server : servers_) server.reset();
  }
  ResetServer() : server_(*servers_[GetParam() ? 1 : 0]) {
    server_.exec("TRUNCATE written");
    relay_.emplace(server_.port());
    proxy_.emplace(
        endpoint({.members = "      - { name: pg1, host: 127.0.0.1, port: " + std::to_string(relay_->port()) + " }\n",
                  .workers = 1,
                  .pool = "size: 2"}));
  }
  // A client that has used a server connection of the wanted kind.
  [[nodiscard]] std::unique_ptr<PeerConnection> client() const {
    auto peer = wire::log_in(proxy_->port());
    peer->send(wire::query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"));
    EXPECT_EQ(wire::read_value(*peer), GetParam() ? "t" : "f");
    return peer;
  }
  // The proxy hears of the client's bytes first and of the reset right behind them.
  void send_and_reset(PeerConnection& peer, const std::string& bytes) {
    ASSERT_TRUE(halt(proxy_->pid()));
    peer.send_in_pieces(bytes, bytes.size());  // at once, also if the proxy has not acknowledged what came before
    relay_->reset_all();
    ASSERT_EQ(::kill(proxy_->pid(), SIGCONT), 0);
  }
  // … of the client's end.
  void leave_and_reset(PeerConnection& peer) {
    ASSERT_TRUE(halt(proxy_->pid()));
    peer.close();
    relay_->reset_all();
    ASSERT_EQ(::kill(proxy_->pid(), SIGCONT), 0);
  }
  // Its worker serves others, turn after turn: by then it has taken what was there before them.
  void let_the_proxy_take_it() const {
    for (int i = 0; i < 5; ++i) expect_others_served();
  }
  // Another client of the same worker.
  void expect_others_served() const {
    EXPECT_NO_THROW({
      auto other = wire::log_in(proxy_->port());
      other->send(wire::query("SELECT 'served'"));
      EXPECT_EQ(wire::read_value(*other), "served");
    });
  }

  static std::array<std::unique_ptr<Server>, 2> servers_;  // plain, TLS
  Server& server_;
  std::optional<TcpRelay> relay_;
  std::optional<Holdfast> proxy_;
};

std::array<std::unique_ptr<Server>, 2> ResetServer::servers_;

// Nothing of the statement has left: it runs on another connection, once.
TEST_P(ResetServer, between_two_statements_is_not_noticed) {
  auto peer = client();
  send_and_reset(*peer, wire::query("INSERT INTO written VALUES (1) RETURNING 'written'"));
  EXPECT_EQ(wire::read_value(*peer), "written");
  EXPECT_EQ(server_.scalar("SELECT count(*) FROM written"), "1");
  expect_others_served();
}

TEST_P(ResetServer, between_two_batches_is_not_noticed) {
  auto peer = client();
  send_and_reset(*peer, wire::parse("", "SELECT 43") + wire::bind("") + wire::execute() + wire::sync());
  EXPECT_EQ(peer->read_until('Z'), "12DCZ");
  expect_others_served();
}

TEST_P(ResetServer, in_a_block_is_told_and_hurts_nobody_else) {
  auto peer = client();
  peer->send(wire::query("BEGIN; SELECT 1"));
  ASSERT_EQ(peer->read_until('Z'), "CTDCZ");
  send_and_reset(*peer, wire::query("SELECT 2"));
  EXPECT_EQ(wire::read_error(*peer), "40001");
  EXPECT_EQ(peer->read_until('Z'), "Z");
  expect_others_served();
  peer->send(wire::query("ROLLBACK"));
  EXPECT_EQ(peer->read_until('Z'), "CZ");
}

TEST_P(ResetServer, of_a_pinned_client_ends_it_and_hurts_nobody_else) {
  auto peer = client();
  peer->send(wire::query("SET work_mem = '99kB'"));
  ASSERT_THAT(peer->read_until('Z'), ::testing::EndsWith("CZ"));
  send_and_reset(*peer, wire::query("SELECT 2"));
  EXPECT_EQ(wire::sqlstate(peer->read_message()), "57P01");
  peer->expect_end();
  expect_others_served();
}

// Bytes wait for the socket, which takes no more: they go with the connection.
TEST_P(ResetServer, with_bytes_unsent_hurts_nobody_else) {
  auto peer = client();
  peer->send(wire::query("BEGIN; SELECT 1"));
  ASSERT_EQ(peer->read_until('Z'), "CTDCZ");
  relay_->hold_requests(true);
  const auto large = wire::query("SELECT length('" + std::string(15'000'000, 'x') + "')");
  peer->send(large);
  relay_->reset_all();
  relay_->hold_requests(false);
  EXPECT_EQ(wire::sqlstate(peer->read_message()), "40001");
  EXPECT_EQ(peer->read_until('Z'), "Z");
  expect_others_served();
}

// The client has left meanwhile: nobody is told, and its worker goes on.
TEST_P(ResetServer, of_a_client_that_leaves_hurts_nobody_else) {
  auto peer = client();
  peer->send(wire::query("BEGIN; SELECT 1"));
  ASSERT_EQ(peer->read_until('Z'), "CTDCZ");
  ASSERT_TRUE(halt(proxy_->pid()));
  peer->send(wire::query("SELECT 2"));
  peer->close();
  relay_->reset_all();
  ASSERT_EQ(::kill(proxy_->pid(), SIGCONT), 0);
  expect_others_served();
  EXPECT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_clients") == 0; }));
}

// … and has left the server waiting for more: a COPY, or a batch without its Sync. Cleaning the server is the worker's
// job then, and it must not try for ever on a connection that is dead.
TEST_P(ResetServer, of_a_client_that_leaves_its_copy_hurts_nobody_else) {
  auto peer = client();
  peer->send(wire::query("COPY written FROM STDIN"));
  ASSERT_EQ(peer->read_until('G'), "G");
  leave_and_reset(*peer);
  expect_others_served();
  EXPECT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_clients") == 0; }));
  EXPECT_EQ(server_.scalar("SELECT count(*) FROM written"), "0");
}

TEST_P(ResetServer, of_a_client_that_leaves_its_open_batch_hurts_nobody_else) {
  auto peer = client();
  peer->send(wire::parse("", "INSERT INTO written VALUES (1)") + wire::bind("") + wire::execute() + wire::flush());
  ASSERT_EQ(peer->read_until('C'), "12C");
  leave_and_reset(*peer);
  expect_others_served();
  EXPECT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_clients") == 0; }));
  EXPECT_EQ(server_.scalar("SELECT count(*) FROM written"), "0");
}

// A unit that has got its server, and whose first messages the proxy has answered itself: nothing was sent yet. When
// the rest comes the server is gone, and the bytes of the earlier pass are no longer where they were received.
TEST_P(ResetServer, between_the_parts_of_a_unit_is_not_noticed) {
  auto peer = client();
  const std::string insert = "INSERT INTO written VALUES (1)";
  peer->send(wire::parse("first", insert) + wire::describe("first") + wire::sync());
  ASSERT_EQ(peer->read_until('Z'), "1tnZ");
  // The Close is of an unknown name, and the server has the statement.
  peer->send(message_bytes('C', "Sunknown\0"s) + wire::parse("second", insert));
  let_the_proxy_take_it();
  send_and_reset(*peer, wire::bind("second") + wire::execute() + wire::sync());
  EXPECT_EQ(peer->read_until('Z'), "312CZ");
  EXPECT_EQ(server_.scalar("SELECT count(*) FROM written"), "1");
  EXPECT_GE(proxy_->metric("holdfast_retries_total{reason=\"unsent\"}"), 1)
      << "the server was not dead when the rest was sent";
  expect_others_served();
}

// The unit is too long to be seen whole when it gets its server, and to be kept for another one.
TEST_P(ResetServer, between_the_parts_of_a_long_unit_is_answered) {
  auto peer = client();
  const auto close = message_bytes('C', "S" + std::string(70'000, 'n') + '\0');
  const auto rest = wire::parse("", "SELECT 42") + wire::bind("") + wire::execute() + wire::sync();
  peer->send(close + rest.substr(0, 3));
  let_the_proxy_take_it();
  send_and_reset(*peer, rest.substr(3));
  EXPECT_THAT(peer->read_until('Z'), ::testing::AnyOf("312DCZ", "EZ"));
  peer->send(wire::query("SELECT 43"));
  EXPECT_EQ(wire::read_value(*peer), "43");
  expect_others_served();
}

INSTANTIATE_TEST_SUITE_P(All, ResetServer, ::testing::Values(false, true),
                         [](const auto& tls) { return std::string(tls.param ? "tls" : "plain"); });

}  // namespace
}  // namespace holdfast::testing
