// A server that is released here goes to a client that has waited longer on another worker, or that client gets a
// connection of its own; without a server.
#include "proxy/pool/handover.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/proxy/pool_world.hpp"

namespace holdfast::proxy {
namespace {

using namespace std::chrono_literals;

// Two workers that share a limit of one connection. The test runs the other worker's loop by hand.
class HandoverTest : public PoolWorld {
 protected:
  HandoverTest() {
    auto one = std::make_shared<Runtime>(*runtime);
    one->config.settings.pool_size = 1;
    runtime = one;
    pools.reconfigure();
    other_pools.topology_changed(with_primary());
    handover.connect({&handover, &other_handover});
    other_handover.connect({&handover, &other_handover});
  }
  MemberPool& other_member() { return other_pools.get(pool().key()).member(0); }
  void run_other() {
    other_reactor.post([this] { other_reactor.stop(); });
    other_reactor.run();
  }

  Reactor other_reactor;
  Gate other_gate;
  Counters other_counters;
  protocol::PendingPool other_pending;
  protocol::ReportedTable other_reported;
  PoolContext other_context{.reactor = other_reactor,
                            .gate = other_gate,
                            .counters = other_counters,
                            .pending = other_pending,
                            .reported = other_reported,
                            .shared = shared,
                            .runtime = runtime,
                            .stopping = stopping,
                            .handover = other_handover};
  Pools other_pools{other_context, {}};
  Handover other_handover{other_context, other_pools};
};

// The other worker's want was crossed off when the server was given away. If the server can't be taken in there, its
// waiter would stand until something else happened. A kernel that has no room left in its epoll set refuses the socket;
// here /dev/null takes its place on the way, which epoll refuses as well (EPERM: epoll_ctl(2)).
TEST_F(HandoverTest, a_server_that_cannot_be_taken_in_is_replaced_by_a_new_connection) {
  auto& server = idle_server();
  const int fd = server.link.watch().fd();
  auto lease = member().lease_now();
  ASSERT_TRUE(lease);
  Waiter waiter(other_reactor, other_counters, other_pools.get(pool().key()), Waiter::Kind::write,
                Waiter::Limits{.wait = 10s, .hold = 10s});
  other_member().wait(waiter);
  ASSERT_TRUE(permits().wanted()) << "the one permit is in use";
  lease = ServerLease();
  ASSERT_EQ(counters.handovers.value(), 1U);

  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  ASSERT_EQ(::dup2(nothing, fd), fd);
  ::close(nothing);
  run_other();

  EXPECT_EQ(::fcntl(fd, F_GETFD), -1) << "the descriptor was kept";
  EXPECT_EQ(other_counters.servers_failed.value(), 1U) << "nobody tried to connect: there is no server at that address";
  EXPECT_EQ(permits().used(), 0U);
  EXPECT_EQ(waiter.state(), Waiter::State::in_line) << "it waits for the next attempt";
}

}  // namespace
}  // namespace holdfast::proxy
