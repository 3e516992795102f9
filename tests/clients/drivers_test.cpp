// Real drivers, each straight at PostgreSQL (is the check itself right?) and through the proxy (does it notice
// nothing?).
#include <gtest/gtest.h>

#include <ostream>

#include "tests/support/certificates.hpp"
#include "tests/support/endpoint.hpp"
#include "tests/support/holdfast.hpp"
#include "tests/support/postgres.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

struct Driver {
  const char* name;
  std::string program;
  std::vector<std::string> arguments;
  friend void PrintTo(const Driver& driver, std::ostream* out) { *out << driver.name; }
};

std::string source(const std::string& file) {
  return std::string(HOLDFAST_CLIENTS_SOURCE) + "/" + file;
}

class Drivers : public ::testing::TestWithParam<Driver> {
 protected:
  // Exit code 77: what the driver needs isn't installed.
  void run_against(int port, const std::string& tls) {
    const TempDir folder;
    const auto& driver = GetParam();
    const Command command{.program = driver.program,
                          .arguments = driver.arguments,
                          .environment = {{"PGHOST", "127.0.0.1"},
                                          {"PGPORT", std::to_string(port)},
                                          {"PGUSER", "app"},
                                          {"PGPASSWORD", app_password},
                                          {"PGDATABASE", "app"},
                                          {"PGSSLMODE", tls},
                                          {"NODE_PATH", HOLDFAST_NODE_MODULES},
                                          {"HOLDFAST_GO_CACHE", HOLDFAST_GO_CACHE}},
                          .output = folder.path() / "output"};
    int code = -1;
    try {
      code = run(command, 240s);
    } catch (const std::exception& error) {
      FAIL() << error.what() << "\n" << read_file(command.output);
    }
    const auto output = read_file(command.output);
    if (code == 77) GTEST_SKIP() << output;
    EXPECT_EQ(code, 0) << output;
  }

  Server server_{{.settings = {{"max_wal_size", "4GB"}}, .host_auth = "scram-sha-256"}};
};

TEST_P(Drivers, direct) {
  server_.start();
  run_against(server_.port(), "disable");
}

// Transaction pooling over fewer servers than there are clients, with TLS and SCRAM, while others keep taking the
// servers: sessions share and must not notice.
TEST_P(Drivers, through_holdfast) {
  server_.start();
  const auto certificates = shared_certificates();
  auto options = endpoint({.members = member_yaml(server_),
                           .listen_tls = "tls: { mode: allow, certificate: \"" + certificates.server.string() +
                                         "\", key: \"" + certificates.server_key.string() + "\" }",
                           .pool = "mode: transaction, size: 4",
                           .auth = "users_file: \"${folder}/userlist.txt\""});
  const Holdfast proxy(options);
  BackgroundLoad load(proxy.conninfo(), 4);
  run_against(proxy.port(), "require");
  load.finish();
}

INSTANTIATE_TEST_SUITE_P(
    All, Drivers,
    ::testing::Values(Driver{"psycopg_pipeline", "/usr/bin/python3", {source("psycopg_pipeline.py")}},
                      Driver{"node_postgres", "node", {source("node_postgres.cjs")}},
                      Driver{"jdbc", "java", {"-cp", "/usr/share/java/postgresql.jar", source("Jdbc.java")}},
                      Driver{"pgx", source("go_program"), {source("pgx.go")}},
                      Driver{"psql", source("psql_commands"), {}}),
    [](const auto& driver) { return std::string(driver.param.name); });

class OneServerDrivers : public Drivers {};

// Whoever comes next gets the server connection that was just left, or none.
TEST_P(OneServerDrivers, through_a_pool_of_one) {
  server_.start();
  const Holdfast proxy(endpoint({.members = member_yaml(server_),
                                 .workers = 1,
                                 .pool = "mode: transaction, size: 1, wait_timeout: 10s",
                                 .auth = "users_file: \"${folder}/userlist.txt\""}));
  run_against(proxy.port(), "disable");
}

INSTANTIATE_TEST_SUITE_P(All, OneServerDrivers,
                         ::testing::Values(Driver{"psycopg_failing_copy",
                                                  "/usr/bin/python3",
                                                  {source("psycopg_pipeline.py"),
                                                   "a_copy_that_fails_while_data_flows_hurts_nobody"}},
                                           Driver{"psql_failing_copy",
                                                  source("psql_commands"),
                                                  {"a_bad_copy_fails_while_data_flows_and_hurts_nobody"}}),
                         [](const auto& driver) { return std::string(driver.param.name); });

}  // namespace
}  // namespace holdfast::testing
