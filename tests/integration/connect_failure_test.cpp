// Connections that fail at once, inside connect() or socket(): the worker tries again after its back-off and not in the
// same turn, so that it serves others meanwhile and hears of everything else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <filesystem>

#include "tests/support/endpoint.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

class FailedConnects : public ::testing::Test {
 protected:
  static constexpr int clients = 8;

  void SetUp() override {
    server_.start();
    elsewhere_.start();
  }
  [[nodiscard]] std::string member(const std::string& host) const {
    return "      - { name: pg1, host: \"" + host + "\", port: " + std::to_string(server_.port()) + " }\n";
  }
  // Two clusters: `app` at `host`, and a database `other` that is well.
  void start_proxy(const std::string& host) {
    EndpointConfig config{.members = member(host),
                          .workers = 1,
                          .databases = "  app: { cluster: main }\n  other: { cluster: elsewhere, database: app }\n",
                          .pool = "size: 8, hold_timeout: 30s"};
    config.cluster_more =
        "  elsewhere:\n    members:\n      - { name: pg2, host: 127.0.0.1, port: " + std::to_string(elsewhere_.port()) +
        " }\n    monitor: { user: holdfast, password_file: \"${folder}/monitor.pw\" }\n";
    proxy_.emplace(endpoint(config));
  }
  // Clients that all have a server; then the proxy finds their statements and the end of those servers in one turn,
  // before its monitor has looked at the member.
  std::vector<Connection> ask_while_the_member_dies() {
    std::vector<Connection> asking;
    for (int i = 0; i < clients; ++i) asking.push_back(proxy_->connect());
    for (auto& client : asking) client.ask("SELECT pg_sleep(0.2)");  // each on a server of its own
    for (auto& client : asking) client.answer();
    EXPECT_TRUE(halt(proxy_->pid()));
    for (std::size_t i = 0; i < asking.size(); ++i) asking[i].ask("SELECT " + std::to_string(i));
    server_.kill9_tree();
    EXPECT_EQ(::kill(proxy_->pid(), SIGCONT), 0);
    return asking;
  }

  Server server_;
  Server elsewhere_{{.name = "pg2", .identity = "b"}};
  std::optional<Holdfast> proxy_;
};

// A Unix socket whose server is gone says so within connect().
TEST_F(FailedConnects, of_a_dead_server_on_a_unix_socket_hold_up_nobody) {
  start_proxy(server_.socket_folder().string());
  auto other = proxy_->connect("app", "other");
  other.exec("SELECT 1");
  const auto asking = ask_while_the_member_dies();
  other.ask("SELECT 42");
  EXPECT_TRUE(other.answered(5s)) << "the worker is busy with " << asking.size() << " clients without a server";
  EXPECT_LT(proxy_->metric("holdfast_server_connects_failed_total").value_or(0), 500);
  server_.start();  // whatever happens, the proxy can end
  EXPECT_TRUE(other.answered(10s));
}

// The clients of the dead server are held and go on when it is back: nothing was lost that could run again.
TEST_F(FailedConnects, end_when_the_server_is_back) {
  start_proxy(server_.socket_folder().string());
  auto asking = ask_while_the_member_dies();
  EXPECT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_clients_held") == clients; }))
      << "the worker never heard that there is no primary";
  // A few attempts of each round of the back-off; a worker that spins makes thousands in no time.
  EXPECT_LT(proxy_->metric("holdfast_server_connects_failed_total").value_or(0), 500);
  server_.start();
  for (std::size_t i = 0; i < asking.size(); ++i) EXPECT_EQ(asking[i].answer(20s).at(0).at(0), std::to_string(i));
}

// The same over TCP, where loopback says so as fast.
TEST_F(FailedConnects, of_a_dead_server_on_tcp_hold_up_nobody) {
  start_proxy("127.0.0.1");
  auto other = proxy_->connect("app", "other");
  other.exec("SELECT 1");
  const auto asking = ask_while_the_member_dies();
  other.ask("SELECT 42");
  EXPECT_TRUE(other.answered(5s)) << "the worker is busy with " << asking.size() << " clients without a server";
  EXPECT_LT(proxy_->metric("holdfast_server_connects_failed_total").value_or(0), 500);
  server_.start();
  EXPECT_TRUE(other.answered(10s));
}

// socket() fails while the process has no descriptor left: the next client waits for one of the servers that there are.
TEST_F(FailedConnects, for_want_of_descriptors_hold_up_nobody) {
  start_proxy("127.0.0.1");
  auto busy = proxy_->connect();
  auto waiting = proxy_->connect();
  busy.exec("BEGIN");
  busy.exec("SELECT 1");  // takes the only server
  const auto used = static_cast<rlim_t>(
      std::distance(std::filesystem::directory_iterator("/proc/" + std::to_string(proxy_->pid()) + "/fd"),
                    std::filesystem::directory_iterator{}));
  rlimit before{};
  const rlimit none{.rlim_cur = 3, .rlim_max = used + 500};
  ASSERT_EQ(::prlimit(proxy_->pid(), RLIMIT_NOFILE, &none, &before), 0);
  waiting.ask("SELECT 42");
  EXPECT_TRUE(proxy_->wait_log("server_connect_failed"));
  for (int i = 0; i < 20; ++i) {
    busy.ask("SELECT " + std::to_string(i));
    ASSERT_TRUE(busy.answered(5s)) << "the worker is busy with a client without a server";
    EXPECT_EQ(busy.answer().at(0).at(0), std::to_string(i));
  }
  busy.exec("COMMIT");
  EXPECT_EQ(waiting.answer().at(0).at(0), "42");
  const rlimit enough{.rlim_cur = used + 500, .rlim_max = used + 500};
  EXPECT_EQ(::prlimit(proxy_->pid(), RLIMIT_NOFILE, &enough, nullptr), 0);
}

}  // namespace
}  // namespace holdfast::testing
