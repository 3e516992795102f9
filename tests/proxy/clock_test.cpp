// A client's one deadline.
#include "proxy/session/clock.hpp"

#include <gtest/gtest.h>

#include "tests/proxy/pool_world.hpp"

namespace holdfast::proxy {
namespace {

using namespace std::chrono_literals;
using Kind = ClientClock::Kind;

class ClientClockTest : public PoolWorld {
 protected:
  int expired = 0;
  ClientClock clock{reactor, [](void* self) { ++static_cast<ClientClockTest*>(self)->expired; }, this};
};

TEST_F(ClientClockTest, expires_once_and_never_early) {
  EXPECT_FALSE(clock.runs());
  clock.arm(Kind::query, 100ms);
  EXPECT_TRUE(clock.runs());
  EXPECT_TRUE(clock.runs(Kind::query));
  EXPECT_FALSE(clock.runs(Kind::idle));
  advance(99ms);
  EXPECT_EQ(expired, 0);
  advance(10ms);
  EXPECT_EQ(expired, 1);
  EXPECT_FALSE(clock.runs());
  EXPECT_EQ(clock.kind(), Kind::query) << "which one it was";
  advance(1s);
  EXPECT_EQ(expired, 1);
}

TEST_F(ClientClockTest, one_deadline_takes_the_place_of_another) {
  clock.arm(Kind::idle, 100ms);
  clock.arm(Kind::query, 300ms);
  advance(200ms);
  EXPECT_EQ(expired, 0);
  EXPECT_TRUE(clock.runs(Kind::query));
}

TEST_F(ClientClockTest, who_does_something_is_not_idle) {
  for (const auto kind : {Kind::idle, Kind::in_transaction}) {
    clock.arm(kind, 100ms);
    clock.active();
    EXPECT_FALSE(clock.runs());
  }
  for (const auto kind : {Kind::query, Kind::log_in}) {
    clock.arm(kind, 100ms);
    clock.active();
    EXPECT_TRUE(clock.runs(kind)) << "its query is no shorter for that";
  }
}

TEST_F(ClientClockTest, disarmed_it_never_expires) {
  clock.arm(Kind::query, 100ms);
  clock.disarm();
  advance(1s);
  EXPECT_EQ(expired, 0);
}

}  // namespace
}  // namespace holdfast::proxy
