// Why a client keeps its server, and what ends that.
#include "proxy/session/pins.hpp"

#include <gtest/gtest.h>

#include <string>

namespace holdfast::proxy {
namespace {

using Effect = Pins::Effect;

TEST(Pins, only_what_pins_is_noted) {
  Pins pins;
  EXPECT_EQ(pins.note(Effect::none), Effect::none);
  EXPECT_EQ(pins.note(Effect::ddl | Effect::cursor | Effect::role_question), Effect::none);
  EXPECT_FALSE(pins.any());
  EXPECT_EQ(pins.note(Effect::set | Effect::ddl), Effect::set);
  EXPECT_TRUE(pins.any());
  EXPECT_EQ(pins.reasons(), Effect::set);
}

TEST(Pins, guess_is_one_as_long_as_nothing_is_known) {
  Pins pins;
  EXPECT_FALSE(pins.guessed());
  pins.note(Effect::unknown_function);
  EXPECT_TRUE(pins.guessed());
  pins.note(Effect::listen);
  EXPECT_FALSE(pins.guessed());
}

TEST(Pins, discard_all_takes_them) {
  Pins pins;
  pins.note(Effect::set);
  pins.note(Effect::discard);
  pins.discarded();
  pins.ready('I', false);
  EXPECT_FALSE(pins.any());
}

TEST(Pins, what_failed_takes_nothing) {
  Pins pins;
  pins.note(Effect::set);
  pins.note(Effect::discard);
  pins.ready('I', false);
  EXPECT_TRUE(pins.any());
}

TEST(Pins, with_more_in_flight_they_stay_for_good) {
  Pins pins;
  pins.note(Effect::set);
  pins.discarded();
  pins.ready('I', true);
  EXPECT_TRUE(pins.any());
  pins.ready('I', false);
  EXPECT_TRUE(pins.any()) << "a later ReadyForQuery does not make up for it";
}

TEST(Pins, inside_a_transaction_no_pin_ends) {
  Pins pins;
  pins.note(Effect::set);
  pins.discarded();
  pins.ready('T', false);
  EXPECT_TRUE(pins.any());
}

}  // namespace
}  // namespace holdfast::proxy
