// A client's wait for a server: its line, its deadline, what it holds while it waits; without a socket.
#include "proxy/pool/waiter.hpp"

#include <gtest/gtest.h>

#include <string>
#include <variant>

#include "tests/proxy/pool_world.hpp"

namespace holdfast::proxy {
namespace {

using namespace std::chrono_literals;

class WaiterTest : public PoolWorld {
 protected:
  Waiter::Limits limits{.wait = 100ms, .hold = 300ms};
  std::unique_ptr<Waiter> waiter(Waiter::Kind kind = Waiter::Kind::write) {
    return std::make_unique<Waiter>(reactor, counters, pool(), kind, limits);
  }
};

TEST_F(WaiterTest, ends_in_the_lease_of_a_server_that_is_released) {
  auto& server = idle_server();
  auto first = member().lease_now();
  ASSERT_TRUE(first);
  auto waiting = waiter();
  member().wait(*waiting);
  EXPECT_EQ(waiting->state(), Waiter::State::in_line);
  EXPECT_EQ(counters.clients_waiting.value(), 1U);
  first = ServerLease();
  EXPECT_EQ(waiting->state(), Waiter::State::ended);
  EXPECT_EQ(counters.clients_waiting.value(), 0U);
  auto outcome = waiting->ended().await_resume();
  ASSERT_TRUE(std::holds_alternative<ServerLease>(outcome));
  EXPECT_EQ(&*std::get<ServerLease>(outcome), &server);
}

TEST_F(WaiterTest, the_oldest_is_served_first) {
  idle_server();
  auto first = member().lease_now();
  auto older = waiter();
  auto younger = waiter();
  member().wait(*older);
  member().wait(*younger);
  first = ServerLease();
  EXPECT_EQ(older->state(), Waiter::State::ended);
  EXPECT_EQ(younger->state(), Waiter::State::in_line);
  EXPECT_FALSE(member().lease_now()) << "who comes now must not overtake who waits";
}

TEST_F(WaiterTest, a_lease_that_nobody_took_goes_back) {
  idle_server();
  auto first = member().lease_now();
  auto waiting = waiter();
  member().wait(*waiting);
  first = ServerLease();
  ASSERT_EQ(waiting->state(), Waiter::State::ended);
  waiting.reset();  // the client went in the same turn
  EXPECT_TRUE(member().lease_now());
}

TEST_F(WaiterTest, wait_timeout_ends_it_in_53300) {
  auto waiting = waiter();
  member().wait(*waiting);
  advance(99ms);
  EXPECT_EQ(waiting->state(), Waiter::State::in_line);
  advance(20ms);
  ASSERT_EQ(waiting->state(), Waiter::State::ended);
  const auto outcome = waiting->ended().await_resume();
  ASSERT_TRUE(std::holds_alternative<Error>(outcome));
  EXPECT_EQ(std::get<Error>(outcome).state, sqlstate::too_many_connections);
  EXPECT_EQ(counters.waits_timed_out.value(), 1U);
  EXPECT_EQ(counters.clients_waiting.value(), 0U);
}

TEST_F(WaiterTest, without_a_primary_it_is_held_and_has_a_place) {
  publish(no_primary());
  shared.hold_places.set_limit(1);
  auto waiting = waiter();
  pool().wait_for_primary(*waiting);
  EXPECT_EQ(waiting->state(), Waiter::State::held);
  EXPECT_EQ(counters.clients_held.value(), 1U);
  EXPECT_EQ(shared.hold_places.used(), 1U);
  waiting.reset();
  EXPECT_EQ(counters.clients_held.value(), 0U);
  EXPECT_EQ(counters.clients_waiting.value(), 0U);
  EXPECT_EQ(shared.hold_places.used(), 0U);
}

TEST_F(WaiterTest, beyond_hold_limit_it_ends_at_once) {
  publish(no_primary());
  shared.hold_places.set_limit(1);
  auto waiting = waiter();
  pool().wait_for_primary(*waiting);
  auto refused = waiter();
  pool().wait_for_primary(*refused);
  ASSERT_EQ(refused->state(), Waiter::State::ended);
  const auto outcome = refused->ended().await_resume();
  EXPECT_EQ(std::get<Error>(outcome).state, sqlstate::cannot_connect_now);
  EXPECT_EQ(shared.hold_places.used(), 1U);
}

TEST_F(WaiterTest, hold_timeout_says_why_there_is_no_primary) {
  publish(no_primary());
  shared.hold_places.set_limit(9);
  auto waiting = waiter();
  pool().wait_for_primary(*waiting);
  advance(320ms);
  ASSERT_EQ(waiting->state(), Waiter::State::ended);
  const auto outcome = waiting->ended().await_resume();
  EXPECT_EQ(std::get<Error>(outcome).state, sqlstate::cannot_connect_now);
  EXPECT_NE(std::get<Error>(outcome).message.find("the old one is gone"), std::string::npos);
  EXPECT_EQ(counters.holds_timed_out.value(), 1U);
  EXPECT_EQ(shared.hold_places.used(), 0U);
}

// Held writers keep their place when the primary comes, and have the whole of wait_timeout from then on.
TEST_F(WaiterTest, moves_with_its_line_to_the_new_primary) {
  publish(no_primary());
  shared.hold_places.set_limit(9);
  auto older = waiter();
  auto younger = waiter();
  pool().wait_for_primary(*older);
  pool().wait_for_primary(*younger);
  advance(250ms);
  publish(with_primary());
  EXPECT_EQ(older->state(), Waiter::State::in_line);
  EXPECT_EQ(member().line().front(), older.get());
  EXPECT_EQ(shared.hold_places.used(), 0U);
  EXPECT_EQ(counters.clients_held.value(), 0U);
  advance(90ms);
  EXPECT_EQ(younger->state(), Waiter::State::in_line);
}

// A read that no replica was fresh enough for stands in the primary's line, or is held: a replica may be sooner.
TEST_F(WaiterTest, looks_elsewhere_while_it_waits_and_keeps_its_place_meanwhile) {
  publish(with_primary());
  bool fresh = false;
  auto waiting = waiter();
  member().wait(*waiting);
  waiting->look_elsewhere([](void* who) { return *static_cast<bool*>(who); }, &fresh);
  advance(30ms);
  EXPECT_EQ(waiting->state(), Waiter::State::in_line);
  publish(no_primary());
  shared.hold_places.set_limit(9);
  advance(30ms);
  EXPECT_EQ(waiting->state(), Waiter::State::held);
  fresh = true;
  advance(DeadlineWheel::slot_width * 2);
  ASSERT_EQ(waiting->state(), Waiter::State::ended);
  EXPECT_TRUE(std::holds_alternative<Waiter::AskAgain>(waiting->ended().await_resume()));
  EXPECT_EQ(counters.clients_held.value(), 0U);
}

// The other way: a writer in the line of a primary that is lost is held, beyond hold_limit if need be.
TEST_F(WaiterTest, a_writer_in_line_is_held_when_the_primary_is_lost_and_a_reader_is_routed_again) {
  publish(with_primary());
  auto writer = waiter();
  auto reader = waiter(Waiter::Kind::read);
  pool().wait_for_primary(*writer);
  member().wait(*reader);
  shared.hold_places.set_limit(0);
  publish(no_primary());
  EXPECT_EQ(writer->state(), Waiter::State::held);
  EXPECT_EQ(shared.hold_places.used(), 1U);
  ASSERT_EQ(reader->state(), Waiter::State::ended);
  EXPECT_TRUE(std::holds_alternative<Waiter::AskAgain>(reader->ended().await_resume()));
}

TEST_F(WaiterTest, is_settled_once) {
  auto waiting = waiter();
  member().wait(*waiting);
  waiting->settle(Error{sqlstate::query_canceled, "first"});
  waiting->settle(Error{sqlstate::internal_error, "second"});
  EXPECT_EQ(std::get<Error>(waiting->ended().await_resume()).message, "first");
}

TEST_F(WaiterTest, for_marks_it_ends_in_ask_again_within_a_slot) {
  auto waiting = waiter(Waiter::Kind::read);
  waiting->for_marks();
  EXPECT_EQ(counters.clients_waiting.value(), 0U) << "it waits for no server";
  advance(2 * DeadlineWheel::slot_width);
  ASSERT_EQ(waiting->state(), Waiter::State::ended);
  EXPECT_TRUE(std::holds_alternative<Waiter::AskAgain>(waiting->ended().await_resume()));
}

// The permits know since when this worker's oldest waiter waits; a younger one must not profit from an older one's age.
TEST_F(WaiterTest, what_the_permits_know_moves_on_when_the_oldest_was_served) {
  idle_server();
  auto first = member().lease_now();
  permits().set_limit(permits().used());  // the process has all it may have
  auto older = waiter();
  member().wait(*older);
  advance(10ms);
  auto younger = waiter();
  member().wait(*younger);
  first = ServerLease();
  ASSERT_EQ(older->state(), Waiter::State::ended);
  // Another worker whose waiter came between the two is older than who waits here now.
  EXPECT_EQ(permits().take_want(nullptr, younger->since() - 5ms), nullptr);
  EXPECT_NE(permits().take_want(nullptr, younger->since() + 5ms), nullptr);
}

}  // namespace
}  // namespace holdfast::proxy
