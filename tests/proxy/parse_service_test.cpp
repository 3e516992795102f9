// Long statements are read on a thread of their own, within bounds, and awaited with a deadline.
#include "proxy/base/parse_service.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <latch>

#include "proxy/io/reading.hpp"
#include "tests/proxy/pool_world.hpp"
#include "tests/support/wait.hpp"

namespace holdfast::proxy {
namespace {

using holdfast::testing::wait_until;
using protocol::sql::LongText;
using protocol::sql::Verdict;

LongText text(std::string sql) {
  return {.stage = LongText::Stage::folded,
          .text = std::move(sql),
          .hash = protocol::sql::ShapeHash{.low = 1, .high = 2},
          .read_functions = std::make_shared<const protocol::sql::ReadFunctions>(),
          .longest_folded = 128U << 10};
}

TEST(ParseService, gives_the_verdict_of_the_text) {
  ParseService service;
  for (const auto& [sql, access] : {std::pair{"select a", protocol::sql::Access::read},
                                    std::pair{"delete from a", protocol::sql::Access::write}}) {
    std::promise<Verdict> promise;
    ASSERT_TRUE(service.judge(text(sql), [&promise](const Verdict& verdict) { promise.set_value(verdict); }));
    EXPECT_EQ(promise.get_future().get().access, access);
  }
}

// Nobody can make it keep more than its bytes, nor more than its number of texts.
TEST(ParseService, says_no_when_too_much_is_in_line_and_serves_what_it_took) {
  for (const std::size_t size : {std::size_t{10}, std::size_t{4U << 20}}) {
    ParseService service;
    std::latch held(1);
    std::latch begun(1);
    ASSERT_TRUE(service.judge(text("select a"), [&](const Verdict&) {
      begun.count_down();
      held.wait();
    }));
    begun.wait();
    std::atomic<int> done = 0;
    int taken = 0;
    while (service.judge(text(std::string(size, ';')), [&](const Verdict&) { ++done; })) ++taken;
    EXPECT_EQ(taken, size < 1000 ? static_cast<int>(ParseService::most_queued)
                                 : static_cast<int>(ParseService::most_bytes / size));
    held.count_down();
    ASSERT_TRUE(wait_until(std::chrono::seconds(20), [&] { return done == taken; })) << done << " of " << taken;
    EXPECT_TRUE(service.judge(text("select a"), [](const Verdict&) {})) << "there is room again";
  }
}

TEST(ParseService, takes_nothing_once_stopped) {
  ParseService service;
  service.stop();
  EXPECT_FALSE(service.judge(text("select a"), [](const Verdict&) { FAIL(); }));
}

class ReadingTest : public PoolWorld {
 protected:
  ParseService service;
};

// The service may be done already: what it posts is for a loop that does not run here.
TEST_F(ReadingTest, given_up_the_text_counts_as_unread_and_is_not_remembered) {
  Reading reading(reactor, service, text("select a"));
  EXPECT_FALSE(reading.done().await_ready());
  reading.give_up();
  ASSERT_TRUE(reading.done().await_ready());
  EXPECT_EQ(reading.verdict(), protocol::sql::unseen_verdict);
  EXPECT_FALSE(reading.hash());
}

TEST_F(ReadingTest, has_a_deadline) {
  Reading reading(reactor, service, text("select a"));
  reactor.deadlines().advance(reactor.now() + Reading::longest_wait + 2 * DeadlineWheel::slot_width);
  ASSERT_TRUE(reading.done().await_ready());
  EXPECT_EQ(reading.verdict(), protocol::sql::unseen_verdict);
}

TEST_F(ReadingTest, without_a_place_in_line_the_text_counts_as_unread) {
  service.stop();
  Reading reading(reactor, service, text("select a"));
  ASSERT_TRUE(reading.done().await_ready());
  EXPECT_EQ(reading.verdict(), protocol::sql::unseen_verdict);
}

}  // namespace
}  // namespace holdfast::proxy
