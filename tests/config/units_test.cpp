#include "config/units.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace holdfast::config {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

TEST(Units, reads_durations) {
  EXPECT_EQ(parse_duration("500ms"), milliseconds(500));
  EXPECT_EQ(parse_duration("30s"), milliseconds(30000));
  EXPECT_EQ(parse_duration("5m"), milliseconds(300000));
  EXPECT_EQ(parse_duration("1h"), milliseconds(3600000));
  EXPECT_EQ(parse_duration("1d"), milliseconds(86400000));
  EXPECT_EQ(parse_duration("5 s"), milliseconds(5000));
}

TEST(Units, takes_a_zero_without_a_unit) {
  EXPECT_EQ(parse_duration("0"), milliseconds(0));
  EXPECT_EQ(parse_size("0"), 0U);
}

TEST(Units, says_what_to_write_for_a_bare_number) {
  EXPECT_THAT(parse_duration("30").error(), HasSubstr("write 30s if that is meant"));
  EXPECT_THAT(parse_size("16").error(), HasSubstr("write 16MB if that is meant"));
}

TEST(Units, refuses_what_is_no_duration) {
  for (const auto* text : {"", "s", "-5s", "5S", "5M", "1.5s", "5  s", "5s ", " 5s", "1h30m", "5sec", "0x5s", "١s"}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
}

TEST(Units, refuses_durations_that_would_overflow) {
  EXPECT_TRUE(parse_duration("36500d"));
  EXPECT_THAT(parse_duration("36501d").error(), HasSubstr("too large"));
  EXPECT_THAT(parse_duration("99999999999999999999s").error(), HasSubstr("too large"));
}

TEST(Units, reads_sizes_as_powers_of_1024) {
  EXPECT_EQ(parse_size("100B"), 100U);
  EXPECT_EQ(parse_size("512kB"), 512U << 10U);
  EXPECT_EQ(parse_size("16MB"), 16U << 20U);
  EXPECT_EQ(parse_size("16MiB"), 16U << 20U);
  EXPECT_EQ(parse_size("16 mb"), 16U << 20U);
  EXPECT_EQ(parse_size("1GiB"), 1U << 30U);
  EXPECT_EQ(parse_size("2TB"), 2ULL << 40U);
}

TEST(Units, refuses_what_is_no_size) {
  for (const auto* text : {"", "MB", "16M", "16Mbit", "-1MB", "1.5GB", "16 MB "})
    EXPECT_FALSE(parse_size(text)) << text;
  EXPECT_THAT(parse_size("16777217TB").error(), HasSubstr("too large"));
}

TEST(Units, reads_whole_numbers_to_the_last_digit) {
  EXPECT_EQ(parse_integer("18446744073709551615"), std::numeric_limits<std::uint64_t>::max());
  for (const auto* text : {"", "-1", "+1", "1.0", "1e3", " 1", "1 ", "0x10", "18446744073709551616"}) {
    EXPECT_FALSE(parse_integer(text)) << text;
  }
}

TEST(Units, prints_what_parses_back) {
  for (const std::int64_t ms : {0, 1, 500, 1000, 1500, 60000, 90000, 3600000, 86400000, 86400001}) {
    EXPECT_EQ(parse_duration(print_duration(milliseconds(ms))), milliseconds(ms));
  }
  for (const std::uint64_t bytes : {0ULL, 1ULL, 1023ULL, 1024ULL, 1536ULL, 1ULL << 20U, 5ULL << 40U, ~0ULL}) {
    EXPECT_EQ(parse_size(print_size(bytes)), bytes);
  }
  EXPECT_EQ(print_duration(milliseconds(90000)), "90s");
  EXPECT_EQ(print_size(16U << 20U), "16MB");
}

}  // namespace
}  // namespace holdfast::config
