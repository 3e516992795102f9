// A proxy that was stopped while somebody else promoted: what its clients sent meanwhile must not reach the old
// primary.
#include <gtest/gtest.h>
#include <signal.h>

#include <thread>

#include "tests/support/endpoint.hpp"
#include "tests/support/holdfast.hpp"
#include "tests/support/postgres.hpp"
#include "tests/support/scripted_peer.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

std::string query(const std::string& sql) {
  return message_bytes('Q', sql + '\0');
}

class StalledProxy : public ::testing::Test {
 protected:
  // Stopped for longer than a worker may stand still unnoticed; pg2 becomes primary, pg1 goes on and knows nothing.
  template <typename Meanwhile>
  void freeze(Meanwhile&& meanwhile) {
    proxy.signal(SIGSTOP);
    const auto started = std::chrono::steady_clock::now();
    ReplicationSet::wait_caught_up(set.primary(), set.replica());
    set.replica().promote();
    meanwhile();
    std::this_thread::sleep_until(started + 3s);  // the length of the fault
    proxy.signal(SIGCONT);
  }
  [[nodiscard]] std::string log_in(PeerConnection& client) const {
    client.send(startup_bytes({{"user", "app"}, {"database", "app"}}));
    return client.read_until('Z');
  }

  ReplicationSet set{{.replicas = 1}};
  Holdfast proxy{endpoint({.members = members_yaml(set), .workers = 1})};
};

TEST_F(StalledProxy, passes_nothing_to_the_old_primary) {
  Connection(set.primary().conninfo()).exec("CREATE TABLE t (a int)");
  // Clients of all kinds, each with a write that comes while the proxy is stopped: outside of a transaction, with a
  // server of its own, in an open transaction, at its end, prepared, and one that logs in and writes in one breath.
  PeerConnection fresh(connect_to(proxy.port()));
  PeerConnection pinned(connect_to(proxy.port()));
  PeerConnection open(connect_to(proxy.port()));
  PeerConnection ending(connect_to(proxy.port()));
  PeerConnection prepared(connect_to(proxy.port()));
  for (auto* client : {&fresh, &pinned, &open, &ending, &prepared}) static_cast<void>(log_in(*client));
  const auto run = [](PeerConnection& client, const std::string& bytes) {
    client.send(bytes);
    return client.read_until('Z');
  };
  run(pinned, query("CREATE TEMP TABLE mine (a int)"));
  run(open, query("BEGIN") + query("INSERT INTO t VALUES (20)"));
  static_cast<void>(open.read_until('Z'));
  run(ending, query("BEGIN") + query("INSERT INTO t VALUES (30)"));
  static_cast<void>(ending.read_until('Z'));
  run(prepared, message_bytes('P', "p\0INSERT INTO t VALUES (40)\0\0\0"s) + message_bytes('S'));
  std::optional<PeerConnection> late;
  freeze([&] {
    fresh.send(query("INSERT INTO t VALUES (10)"));
    pinned.send(query("INSERT INTO t VALUES (15)"));
    open.send(query("INSERT INTO t VALUES (21)"));
    ending.send(query("COMMIT"));
    prepared.send(message_bytes('B', "\0p\0\0\0\0\0\0\0"s) + message_bytes('E', "\0\0\0\0\0"s) + message_bytes('S'));
    late.emplace(connect_to(proxy.port()));
    late->send(startup_bytes({{"user", "app"}, {"database", "app"}}) + query("INSERT INTO t VALUES (50)"));
  });
  EXPECT_EQ(fresh.read_until('Z'), "CZ");
  EXPECT_EQ(prepared.read_until('Z'), "2CZ");
  static_cast<void>(late->read_until('Z'));
  EXPECT_EQ(late->read_until('Z'), "CZ");
  EXPECT_EQ(open.read_until('Z'), "EZ") << "its transaction was lost with its server";
  EXPECT_EQ(ending.read_until('Z'), "EZ");
  EXPECT_EQ(set.primary().scalar("SELECT count(*) FROM t"), "0") << "the old primary";
  EXPECT_EQ(set.replica().scalar("SELECT string_agg(a::text, ',' ORDER BY a) FROM t"), "10,40,50");
  EXPECT_GE(proxy.metric("holdfast_stalls_total").value_or(0), 1.0);
  EXPECT_NE(proxy.log().find("stalled"), std::string::npos);
}

// Also with members that don't answer: the look ends with the probes' deadlines.
TEST_F(StalledProxy, goes_on_although_a_member_is_silent) {
  set.replica().sigstop_tree();
  PeerConnection client(connect_to(proxy.port()));
  static_cast<void>(log_in(client));
  proxy.signal(SIGSTOP);
  client.send(query("SELECT 1"));
  std::this_thread::sleep_for(3s);  // the length of the fault
  proxy.signal(SIGCONT);
  EXPECT_EQ(client.read_until('Z'), "TDCZ");
  set.replica().sigcont_tree();
}

}  // namespace
}  // namespace holdfast::testing
