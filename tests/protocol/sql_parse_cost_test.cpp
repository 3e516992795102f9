// What a parse may cost is known before it begins.
#include "protocol/sql/parse_cost.hpp"

#include <gtest/gtest.h>

#include <string>

namespace holdfast::protocol::sql {
namespace {

using namespace std::chrono_literals;

std::string repeated(std::string_view piece, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += piece;
  return text;
}

TEST(ParseCost, is_small_for_what_applications_send) {
  EXPECT_LT(parse_cost("select a, b from t join u on t.x = u.y where t.id = 1 and u.k in ('', '') order by 1"), 100us);
  EXPECT_LT(parse_cost("select " + repeated("t.some_column as t_some_column, ", 400) + "1 from t"), 2ms);
  EXPECT_LT(parse_cost("comment on table t is U&'" + std::string(60'000, 'x') + "'"), 2ms);
  // The banner of a comment, and an operator with a name of its own.
  EXPECT_LT(parse_cost("/" + std::string(200, '*') + "/ select a <<->> b"), 1ms);
}

TEST(ParseCost, grows_with_the_number_of_tokens) {
  const auto once = parse_cost(repeated("a,", 1000));
  EXPECT_EQ(parse_cost(repeated("a,", 10'000)), 10 * once);
  EXPECT_GT(once, 500us);
  // A long word is one token, a blank none.
  EXPECT_LT(parse_cost(std::string(1000, 'a')), once / 10);
  EXPECT_LT(parse_cost(std::string(1000, ' ')), once / 10);
}

TEST(ParseCost, grows_with_the_square_of_a_run_of_operators) {
  EXPECT_GT(parse_cost(std::string(100'000, '+')), 10s);
  EXPECT_GT(parse_cost(repeated("/*", 50'000)), 10s);
  EXPECT_GT(parse_cost(repeated("/**/", 25'000)), 10s);
  EXPECT_GT(parse_cost(std::string(20'000, '~')), 3 * parse_cost(std::string(10'000, '~')));
  // What ends a run ends its cost.
  EXPECT_LT(parse_cost(repeated("++++++++++++ a ", 1000)), 10ms);
}

}  // namespace
}  // namespace holdfast::protocol::sql
