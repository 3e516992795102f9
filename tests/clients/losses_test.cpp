// Real drivers whose server is lost under them: what each of them raises, in every state that a script brings it into. An
// error that comes while a driver isn't listening is lost on it, and so is a ReadyForQuery without one.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <thread>

#include "tests/support/endpoint.hpp"
#include "tests/support/holdfast.hpp"
#include "tests/support/postgres.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

struct LostDriver {
  const char* name;
  std::string program;
  std::vector<std::string> arguments;
  friend void PrintTo(const LostDriver& driver, std::ostream* out) { *out << driver.name; }
};

std::string source_of(const std::string& file) {
  return std::string(HOLDFAST_CLIENTS_SOURCE) + "/" + file;
}

LostDriver pgx(const char* name, const std::string& mode) {
  return {name, source_of("go_program"), {source_of("pgx_losses.go"), mode}};
}

class Losses : public ::testing::TestWithParam<LostDriver> {};

// A script asks for the loss by a file `lose` in its folder HOLDFAST_LOSE, and goes on when it is gone.
TEST_P(Losses, are_raised_by_the_driver) {
  Server server;
  server.start();
  server.exec("CREATE TABLE kept (a int); GRANT ALL ON kept TO app");
  const Holdfast proxy(endpoint({.members = member_yaml(server), .workers = 1, .pool = "size: 4"}));
  const TempDir folder;
  const auto& driver = GetParam();
  const Command command{.program = driver.program,
                        .arguments = driver.arguments,
                        .environment = {{"PGHOST", "127.0.0.1"},
                                        {"PGPORT", std::to_string(proxy.port())},
                                        {"PGUSER", "app"},
                                        {"PGPASSWORD", app_password},
                                        {"PGDATABASE", "app"},
                                        {"PGSSLMODE", "disable"},
                                        {"HOLDFAST_LOSE", folder.path().string()},
                                        {"NODE_PATH", HOLDFAST_NODE_MODULES},
                                        {"HOLDFAST_GO_CACHE", HOLDFAST_GO_CACHE}},
                        .output = folder.path() / "output"};
  std::atomic<bool> ended{false};
  int losses = 0;
  std::thread faults([&] {
    while (!ended) {
      if (!wait_until(100ms, [&] { return std::filesystem::exists(folder.path() / "lose"); })) continue;
      server.kill9_tree();
      server.start();
      ++losses;
      std::filesystem::remove(folder.path() / "lose");
    }
  });
  int code = -1;
  std::string problem;
  try {
    code = run(command, 120s);
  } catch (const std::exception& error) {
    problem = error.what();
  }
  ended = true;
  faults.join();
  const auto output = read_file(command.output);
  if (code == 77) GTEST_SKIP() << output;
  EXPECT_EQ(code, 0) << problem << "\n" << output << proxy.log();
  EXPECT_GT(losses, 2) << output;
}

INSTANTIATE_TEST_SUITE_P(All, Losses,
                         ::testing::Values(LostDriver{"psycopg", "/usr/bin/python3", {source_of("psycopg_losses.py")}},
                                           LostDriver{"asyncpg", "/usr/bin/python3", {source_of("asyncpg_losses.py")}},
                                           LostDriver{"node_postgres", "node", {source_of("node_losses.cjs")}},
                                           LostDriver{"jdbc",
                                                      "java",
                                                      {"-cp", "/usr/share/java/postgresql.jar",
                                                       source_of("JdbcLosses.java")}},
                                           pgx("pgx_simple", "simple"),
                                           pgx("pgx_prepare", "prepare"),
                                           pgx("pgx_describe", "describe"),
                                           pgx("pgx_uncached", "uncached")),
                         [](const auto& driver) { return std::string(driver.param.name); });

}  // namespace
}  // namespace holdfast::testing
