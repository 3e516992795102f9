// Server connections that end in the very event that brings their last answer: whoever is next in line is given a
// server that is gone before it has been used, at a moment when nobody is there to be told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <memory>
#include <ostream>

#include "tests/support/endpoint.hpp"
#include "tests/support/tcp_relay.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

using Parameters = std::vector<std::pair<std::string, std::string>>;

// Who is next in line: with which settings, for what.
struct Next {
  friend void PrintTo(const Next& next, std::ostream* out) { *out << next.name; }
  const char* name;
  Parameters settings;
  std::string bytes;
  const char* answers;
};

class EndedServer : public ::testing::TestWithParam<Next> {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
    server_->exec("CREATE TABLE gate AS SELECT 'passed'::text AS v; GRANT ALL ON gate TO app");
  }
  static void TearDownTestSuite() { delete server_; }
  EndedServer() : relay_(server_->port()) {
    proxy_.emplace(
        endpoint({.members = "      - { name: pg1, host: 127.0.0.1, port: " + std::to_string(relay_.port()) + " }\n",
                  .workers = 1,
                  .pool = "size: 1, wait_timeout: 5s"}));
  }

  static Server* server_;
  TcpRelay relay_;
  std::optional<Holdfast> proxy_;
};
Server* EndedServer::server_ = nullptr;

TEST_P(EndedServer, is_replaced_for_who_is_next) {
  auto next = wire::log_in(proxy_->port(), GetParam().settings);
  auto first = wire::log_in(proxy_->port());
  // The first one's answer is held back by a lock until the proxy looks away.
  auto gatekeeper = server_->connect("postgres");
  gatekeeper.exec("BEGIN; LOCK TABLE gate");
  relay_.close_behind("passed");
  first->send(wire::query("SELECT v FROM gate"));
  ASSERT_TRUE(wait_until(10s, [&] {
    return server_->scalar(
               "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event_type = 'Lock'") == "1";
  }));
  next->send(GetParam().bytes);
  ASSERT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_clients_waiting") == 1; }));
  // The answer and the end of the connection are there together when it looks again.
  ASSERT_TRUE(halt(proxy_->pid()));
  gatekeeper.exec("COMMIT");
  const bool closed = wait_until(10s, [&] { return relay_.closed_behind(); });
  ASSERT_EQ(::kill(proxy_->pid(), SIGCONT), 0);
  ASSERT_TRUE(closed);
  EXPECT_EQ(wire::read_value(*first), "passed");
  std::string answers;
  EXPECT_NO_THROW(answers = next->read_until('Z'));
  EXPECT_EQ(answers, GetParam().answers);
  // Nothing holds on to the server that ended.
  EXPECT_EQ(proxy_->terminate(20s), 0);
}

INSTANTIATE_TEST_SUITE_P(
    All, EndedServer,
    ::testing::Values(Next{"with_equal_settings", {}, wire::query("SELECT 42"), "TDCZ"},
                      Next{"with_other_settings", {{"options", "-c work_mem=8MB"}}, wire::query("SELECT 42"), "TDCZ"},
                      // The proxy answers a Close of an unknown name itself; the Flush makes its answer due.
                      Next{"with_a_close_and_a_flush_in_front",
                           {},
                           message_bytes('C', "Sx\0"s) + wire::flush() + wire::parse("", "SELECT 42") + wire::bind("") +
                               wire::execute() + wire::sync(),
                           "312DCZ"}),
    [](const auto& next) { return std::string(next.param.name); });

}  // namespace
}  // namespace holdfast::testing
