// pgbench through the proxy, 64 clients over a pool of 8, while other clients keep taking the servers: its own books
// must balance.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "tests/support/endpoint.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

class Pgbench : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    set_ = new ReplicationSet({.replicas = 1});
    static_cast<void>(run_checked({.program = postgres_program("pgbench"),
                                   .arguments = {"-i", "-s", "4", "-q", "-h", "127.0.0.1", "-p",
                                                 std::to_string(set_->primary().port()), "-U", "app", "app"},
                                   .environment = {{"PGPASSWORD", app_password}}}));
    ReplicationSet::wait_caught_up(set_->primary(), set_->replica());
    proxy_ = new Holdfast(endpoint({.members = members_yaml(*set_), .auth = "users_file: \"${folder}/userlist.txt\""}));
  }
  static void TearDownTestSuite() {
    delete proxy_;
    delete set_;
  }

  // Runs it and returns the number of transactions that it says it did. A number, not a time: on a busy machine two
  // seconds may be over before 64 clients have logged in.
  static long pgbench(int each, const std::vector<std::string>& arguments, const std::string& mode) {
    Command command{.program = postgres_program("pgbench"),
                    .arguments = {"-n", "-c", "64", "-j", "2", "-t", std::to_string(each), "-M", mode, "-h",
                                  "127.0.0.1", "-p", std::to_string(proxy_->port()), "-U", "app"},
                    .environment = {{"PGPASSWORD", app_password}}};
    command.arguments.insert(command.arguments.end(), arguments.begin(), arguments.end());
    command.arguments.emplace_back("app");
    const auto output = run_checked(command, 60s);
    EXPECT_THAT(output, ::testing::Not(::testing::HasSubstr("rror:"))) << output;
    std::smatch found;
    const std::regex processed("transactions actually processed: ([0-9]+)");
    if (!std::regex_search(output, found, processed)) {
      ADD_FAILURE() << output;
      return 0;
    }
    return std::stol(found[1]);
  }

  static ReplicationSet* set_;
  static Holdfast* proxy_;
};
ReplicationSet* Pgbench::set_ = nullptr;
Holdfast* Pgbench::proxy_ = nullptr;

class PgbenchModes : public Pgbench, public ::testing::WithParamInterface<const char*> {};

TEST_P(PgbenchModes, selects_run_without_an_error) {
  BackgroundLoad load(proxy_->conninfo(), 4);
  EXPECT_EQ(pgbench(200, {"-S"}, GetParam()), 64 * 200);
  load.finish();
}

TEST_P(PgbenchModes, transactions_are_all_there_once) {
  auto& primary = set_->primary();
  const long before = std::stol(primary.scalar("SELECT count(*) FROM pgbench_history"));
  BackgroundLoad load(proxy_->conninfo(), 4);
  const long done = pgbench(30, {}, GetParam());
  load.finish();
  EXPECT_EQ(done, 64 * 30);
  EXPECT_EQ(std::stol(primary.scalar("SELECT count(*) FROM pgbench_history")), before + done);
  const auto sum = primary.scalar("SELECT sum(delta) FROM pgbench_history");
  EXPECT_EQ(primary.scalar("SELECT sum(abalance) FROM pgbench_accounts"), sum);
  EXPECT_EQ(primary.scalar("SELECT sum(tbalance) FROM pgbench_tellers"), sum);
  EXPECT_EQ(primary.scalar("SELECT sum(bbalance) FROM pgbench_branches"), sum);
}

INSTANTIATE_TEST_SUITE_P(All, PgbenchModes, ::testing::Values("simple", "extended", "prepared"),
                         [](const auto& mode) { return std::string(mode.param); });

// 64 clients and the load shared no more than the pool's size, and used the replica.
TEST_F(Pgbench, stays_within_the_pool) {
  BackgroundLoad load(proxy_->conninfo(), 4);
  std::atomic<bool> over = false;
  int most = 0;
  std::thread watcher([&] {
    auto watch = set_->primary().connect("postgres");
    while (!over) {
      most = std::max(most, std::stoi(watch.scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND "
                                                   "backend_type = 'client backend'")));
    }
  });
  pgbench(30, {}, "prepared");
  over = true;
  watcher.join();
  load.finish();
  // The process of a connection that was closed may still be ending while the next one begins.
  const bool closed = proxy_->metric("holdfast_servers_closed_total").value_or(0) > 0;
  EXPECT_LE(most, closed ? 9 : 8);
  EXPECT_GT(most, 4);
  EXPECT_GT(proxy_->metric("holdfast_units_routed_total{reason=\"read\"}").value_or(0), 0);
}

}  // namespace
}  // namespace holdfast::testing
