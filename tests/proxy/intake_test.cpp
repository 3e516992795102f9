// Whether a message that has begun makes progress.
#include "proxy/session/intake.hpp"

#include <gtest/gtest.h>

#include <string>

#include "tests/proxy/wire.hpp"

namespace holdfast::proxy {
namespace {

using protocol::as_bytes;
using protocol::Framer;

bool in_message(std::string_view received) {
  return Intake::in_message(Framer(protocol::Direction::from_client), as_bytes(received));
}

TEST(Intake, half_a_message_is_one_wherever_it_is_cut) {
  const std::string query = wire::query("select 1");
  const std::string all = query + query;
  for (std::size_t size = 0; size <= all.size(); ++size) {
    EXPECT_EQ(in_message(all.substr(0, size)), size % query.size() != 0) << size;
  }
}

// Whole messages whose Sync is to come are no half message: their client may think.
TEST(Intake, open_batch_is_no_half_message) {
  EXPECT_FALSE(in_message(wire::parse("", "select 1") + wire::bind("")));
}

TEST(Intake, rest_of_a_long_message_counts_but_not_of_a_copys_data) {
  for (const auto& [tag, counts] : {std::pair{'B', true}, std::pair{'d', false}}) {
    const std::string head{tag, 0, 16, 0, 0};
    const std::string piece = head + std::string(20'000, '\0');
    EXPECT_EQ(in_message(piece), counts) << tag;
    Framer framer(protocol::Direction::from_client);
    static_cast<void>(framer.next(as_bytes(piece)));
    EXPECT_EQ(Intake::in_message(framer, {}), counts) << tag;
  }
}

TEST(Intake, a_byte_now_and_then_is_no_progress) {
  Intake intake;
  const TimePoint start{};
  intake.mark();
  for (int i = 0; i < 100; ++i) intake.received(1, start + std::chrono::seconds(i));
  EXPECT_FALSE(intake.progressed());
  intake.received(20'000, start + std::chrono::seconds(100));
  EXPECT_TRUE(intake.progressed());
  intake.mark();
  EXPECT_FALSE(intake.progressed());
  intake.received(0, start + std::chrono::seconds(200));
  EXPECT_EQ(intake.last(), start + std::chrono::seconds(100));
}

}  // namespace
}  // namespace holdfast::proxy
