// What was sent to a server that fell silent must not take effect when it is back, after its client was told that the
// outcome is unknown and has looked.
#include <gtest/gtest.h>

#include <string>

#include "tests/support/endpoint.hpp"
#include "tests/support/holdfast.hpp"
#include "tests/support/postgres.hpp"
#include "tests/support/tcp_relay.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

TEST(GivenUpServer, gets_nothing_of_a_statement_that_was_on_its_way) {
  Server server({.name = "pg1"});
  server.start();
  TcpRelay relay(server.port());
  Holdfast proxy(
      endpoint({.members = "      - { name: pg1, host: 127.0.0.1, port: " + std::to_string(relay.port()) + " }\n",
                .workers = 1,
                .pool = "size: 4, hold_timeout: 30s"}));
  auto client = proxy.connect();
  client.exec("CREATE TABLE t (a text)");
  const auto backend = server.scalar("SELECT pid FROM pg_stat_activity WHERE usename = 'app'");
  // More than the relay's socket takes while nobody reads from it, less than the proxy's: the rest waits in its kernel.
  const auto insert = "INSERT INTO t VALUES ('" + std::string(500'000, 'x') + "')";
  relay.hold_requests(true);
  EXPECT_EQ(sqlstate_of([&] { client.exec(insert); }), "08007");
  relay.hold_requests(false);
  // The old session has read whatever there was.
  ASSERT_TRUE(wait_until(
      60s, [&] { return server.scalar("SELECT count(*) FROM pg_stat_activity WHERE pid = " + backend) == "0"; }));
  EXPECT_EQ(server.scalar("SELECT count(*) FROM t"), "0") << "it was carried out behind the client's back";
  EXPECT_EQ(client.scalar("SELECT count(*) FROM t"), "0");
}

}  // namespace
}  // namespace holdfast::testing
