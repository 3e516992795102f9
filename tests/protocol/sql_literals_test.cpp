// Which texts may hold a literal that means the moment in which it is read.
#include "protocol/sql/literals.hpp"

#include <gtest/gtest.h>

#include <string>

namespace holdfast::protocol::sql {
namespace {

TEST(Literals, of_the_moment_are_seen_wherever_they_stand) {
  for (const char* sql :
       {"select 'now'", "select 'NOW'::timestamptz", "select timestamp 'today 10:00'", "select ' tomorrow '",
        "select '{now,yesterday}'::date[]", "select $$now$$::date", "select $x$today$x$", "select E'n\\157w'",
        "select 'no'\n'w'::timestamptz", "select 'no' \t\n 'w'", "select 'no' -- and\n'w'", "select '(1,now)'::pair",
        "insert into t values ($1, 'now')", "select U&'\\006eow'"}) {
    EXPECT_TRUE(reads_the_clock(sql)) << sql;
  }
}

TEST(Literals, of_other_kinds_are_not) {
  for (const char* sql :
       {"", "select 1", "select now()", "select now() + '1 day'", "select 'known', 'nowhere', 'snow'",
        "select * from today", "select $1, $2", "select 'yesterdays'", "select '01/02/2020'::date", "select ''"}) {
    EXPECT_FALSE(reads_the_clock(sql)) << sql;
  }
}

TEST(Literals, are_looked_at_in_linear_time) {
  const std::string quotes(4'000'000, '\'');
  static_cast<void>(reads_the_clock(quotes));
  static_cast<void>(reads_the_clock("'" + std::string(4'000'000, ' ') + "x"));
  static_cast<void>(reads_the_clock("'" + std::string(4'000'000, '$')));
  std::string spread;
  for (int i = 0; i < 200'000; ++i) spread += "'                  x";
  static_cast<void>(reads_the_clock(spread));
}

}  // namespace
}  // namespace holdfast::protocol::sql
