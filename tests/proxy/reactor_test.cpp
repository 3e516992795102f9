// The loop that stood still.
#include "proxy/io/reactor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>
#include <thread>
#include <vector>

#include "proxy/io/task.hpp"

namespace holdfast::proxy {
namespace {

using std::chrono::milliseconds;

class StalledLoop : public ::testing::Test {
 protected:
  void SetUp() override {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()), 0);
    ASSERT_TRUE(watch.attach(reactor, ends[0]));
    watch.drained();
    peer = ends[1];
    reactor.deadlines().arm(deadline, reactor.now() + milliseconds(20));
    reactor.on_stall([](void* self, Reactor::Stall, TimePoint) { static_cast<StalledLoop*>(self)->stalled(); }, this);
  }
  void TearDown() override { ::close(peer); }

  // As a process that is stopped, or a machine that is paused, while something comes for it.
  void stop_the_world() {
    ASSERT_EQ(::write(peer, "x", 1), 1);
    std::this_thread::sleep_for(Reactor::longest_stall + milliseconds(200));
  }
  virtual void stalled() {
    note("stall");
    reactor.post([this] { note("usual"); });
    reactor.post([this] { note("vital"); }, Reactor::Work::vital);
    reactor.post([this] { reactor.go_on(); }, Reactor::Work::vital);
  }
  void note(const std::string& what) {
    happened.push_back(what);
    if (happened.size() == 5) reactor.stop();
  }
  static Task<> read(StalledLoop& test) {
    co_await test.watch.readable();
    test.note("socket");
  }

  Reactor reactor;
  Gate gate;
  Watch watch;
  int peer = -1;
  std::vector<std::string> happened;
  Deadline deadline{[](void* self) { static_cast<StalledLoop*>(self)->note("deadline"); }, this};
};

TEST_F(StalledLoop, does_only_vital_work_until_it_may_go_on) {
  spawn(gate, read(*this));
  reactor.post([this] { stop_the_world(); });
  reactor.run();
  ASSERT_EQ(happened.size(), 5U);
  EXPECT_EQ(happened[0], "stall");
  EXPECT_EQ(happened[1], "vital");
  EXPECT_THAT(std::vector(happened.begin() + 2, happened.end()),
              ::testing::UnorderedElementsAre("usual", "socket", "deadline"));
}

// Closed by what the look brought: nobody hears of its bytes any more.
class StalledLoopThatCloses : public StalledLoop {
 protected:
  void stalled() override {
    note("stall");
    reactor.post(
        [this] {
          watch.close();
          reactor.go_on();
          reactor.stop();
        },
        Reactor::Work::vital);
  }
  static Task<> find(StalledLoopThatCloses& test) {
    co_await test.watch.readable();
    test.note(test.watch.open() ? "bytes" : "closed");
  }
};

TEST_F(StalledLoopThatCloses, drops_what_had_come_from_a_socket_that_is_closed_meanwhile) {
  spawn(gate, find(*this));
  reactor.post([this] { stop_the_world(); });
  reactor.run();
  EXPECT_THAT(happened, ::testing::AllOf(::testing::Contains("closed"), ::testing::Not(::testing::Contains("bytes"))));
}

TEST_F(StalledLoop, may_be_stopped_while_it_stands_still) {
  std::pair both{&reactor, &happened};
  reactor.on_stall(
      [](void* self, Reactor::Stall, TimePoint) {
        auto& [loop, seen] = *static_cast<std::pair<Reactor*, std::vector<std::string>*>*>(self);
        seen->emplace_back("stall");
        loop->stop();
      },
      &both);
  reactor.post([this] { stop_the_world(); });
  reactor.run();
  EXPECT_EQ(happened.front(), "stall");
}

// Nobody says that it may go on: it waits as long as it was told.
TEST_F(StalledLoop, goes_on_when_its_patience_ends) {
  std::pair both{&reactor, &happened};
  reactor.on_stall(
      [](void* self, Reactor::Stall stall, TimePoint) {
        auto& [loop, seen] = *static_cast<std::pair<Reactor*, std::vector<std::string>*>*>(self);
        seen->emplace_back(stall == Reactor::Stall::seen ? "stall" : "given up");
        if (stall == Reactor::Stall::seen) loop->post([loop] { loop->stop(); });
      },
      &both, milliseconds(50));
  reactor.post([this] { stop_the_world(); });
  reactor.run();
  ASSERT_GE(happened.size(), 2U);
  EXPECT_EQ(happened[0], "stall");
  EXPECT_EQ(happened[1], "given up");
}

TEST_F(StalledLoop, a_busy_moment_is_no_stall) {
  reactor.post([] { std::this_thread::sleep_for(milliseconds(300)); });
  reactor.post([this] { reactor.stop(); });
  reactor.run();
  EXPECT_THAT(happened, ::testing::Each("deadline"));
}

}  // namespace
}  // namespace holdfast::proxy
