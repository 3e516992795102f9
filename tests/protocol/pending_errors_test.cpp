#include "protocol/pending_errors.hpp"

#include <gtest/gtest.h>

#include <string>

namespace holdfast::protocol {
namespace {

Error error(const std::string& message) {
  return {sqlstate::invalid_sql_statement_name, message};
}

TEST(PendingErrorsTest, an_error_waits_for_the_answer_to_its_message) {
  PendingErrors errors;
  EXPECT_TRUE(errors.empty());
  errors.add(7, error("seven"));
  EXPECT_FALSE(errors.empty());
  const auto taken = errors.take(7);
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->message, "seven");
  EXPECT_EQ(taken->state, sqlstate::invalid_sql_statement_name);
  EXPECT_TRUE(errors.empty());
}

TEST(PendingErrorsTest, an_error_is_told_once) {
  PendingErrors errors;
  errors.add(7, error("seven"));
  EXPECT_TRUE(errors.take(7));
  EXPECT_FALSE(errors.take(7));
}

TEST(PendingErrorsTest, a_message_without_one_gets_none) {
  PendingErrors errors;
  EXPECT_FALSE(errors.take(1));
  errors.add(7, error("seven"));
  EXPECT_FALSE(errors.take(8));
  EXPECT_FALSE(errors.empty());
}

TEST(PendingErrorsTest, each_message_gets_its_own_in_whatever_order_they_are_answered) {
  PendingErrors errors;
  for (const std::uint32_t cookie : {1U, 2U, 3U}) errors.add(cookie, error(std::to_string(cookie)));
  for (const std::uint32_t cookie : {2U, 1U, 3U}) {
    const auto taken = errors.take(cookie);
    ASSERT_TRUE(taken) << cookie;
    EXPECT_EQ(taken->message, std::to_string(cookie));
  }
  EXPECT_TRUE(errors.empty());
}

TEST(PendingErrorsTest, of_two_under_one_cookie_the_older_goes_first) {
  PendingErrors errors;
  errors.add(1, error("older"));
  errors.add(1, error("newer"));
  EXPECT_EQ(errors.take(1)->message, "older");
  EXPECT_EQ(errors.take(1)->message, "newer");
}

TEST(PendingErrorsTest, what_an_earlier_error_took_along_is_dropped_alone) {
  PendingErrors errors;
  errors.drop(1);
  errors.add(1, error("one"));
  errors.add(2, error("two"));
  errors.drop(3);
  errors.drop(1);
  EXPECT_FALSE(errors.take(1));
  EXPECT_EQ(errors.take(2)->message, "two");
}

TEST(PendingErrorsTest, is_full_with_as_many_as_may_wait_and_not_before) {
  PendingErrors errors;
  for (std::uint32_t cookie = 1; cookie <= PendingErrors::most; ++cookie) {
    EXPECT_FALSE(errors.full()) << cookie;
    errors.add(cookie, error("waits"));
  }
  EXPECT_TRUE(errors.full());
  errors.drop(1);
  EXPECT_FALSE(errors.full());
}

}  // namespace
}  // namespace holdfast::protocol
