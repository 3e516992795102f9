#include "protocol/sql/shape_memo.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "protocol/sql/classify.hpp"

namespace holdfast::protocol::sql {
namespace {

class ShapeMemoTest : public ::testing::Test {
 protected:
  // Scans it and keeps it; its hash.
  ShapeHash learn(std::string_view sql) {
    const Shape shape = shaper.shape(sql);
    EXPECT_EQ(shape.kind, ShapeKind::folded) << sql;
    memo.learn(sql, shaper.holes(), shape.hash);
    return shape.hash;
  }
  // Known by the memo: and then what a scan says of it.
  bool knows(std::string_view sql) {
    const ShapeHash* found = memo.find(sql);
    if (found == nullptr) return false;
    const Shape shape = shaper.shape(sql);
    EXPECT_TRUE(shape.kind == ShapeKind::folded && shape.hash == *found) << sql;
    return true;
  }

  Shaper shaper{32768, ShapeKey(0x123456789, 0x987654321)};
  ShapeMemo memo;
};

TEST_F(ShapeMemoTest, knows_a_text_with_other_literals) {
  learn("SELECT abalance FROM pgbench_accounts WHERE aid = 123456;");
  EXPECT_TRUE(knows("SELECT abalance FROM pgbench_accounts WHERE aid = 123456;"));
  EXPECT_TRUE(knows("SELECT abalance FROM pgbench_accounts WHERE aid = 7;"));
  learn("UPDATE users SET name = 'Anna', age = 33 WHERE id = 4711 AND note <> ''");
  EXPECT_TRUE(
      knows("UPDATE users SET name = '', age = 0 WHERE id = 1 AND note <> 'much longer than before; -- really'"));
}

TEST_F(ShapeMemoTest, knows_nothing_that_could_be_read_otherwise) {
  learn("SELECT abalance FROM pgbench_accounts WHERE aid = 123456;");
  learn("UPDATE users SET name = 'Anna', age = 33 WHERE id = 4711");
  for (std::string_view sql : {
           "SELECT abalance FROM pgbench_accounts WHERE aid = 1.5;",
           "SELECT abalance FROM pgbench_accounts WHERE aid = 1e5;",
           "SELECT abalance FROM pgbench_accounts WHERE aid = ;",
           "SELECT abalance FROM pgbench_accounts WHERE aid = 12a;",
           "SELECT abalance FROM pgbench_accounts WHERE aid = $1;",
           "SELECT abalance FROM pgbench_accounts WHERE aid = 1; DROP TABLE pgbench_accounts",
           "SELECT abalance FROM pgbench_accounts WHERE aid = 1",
           "SELECT abalance FROM pgbench_accounts WHERE aid = 1;;",
           "SELECT Abalance FROM pgbench_accounts WHERE aid = 1;",
           "UPDATE users SET name = 'it''s', age = 33 WHERE id = 4711",
           "UPDATE users SET name = 'a\\', age = 33 WHERE id = 4711",
           "UPDATE users SET name = 'a\\', age = 0 -- ' , age = 33 WHERE id = 4711",
           "UPDATE users SET name = E'Anna', age = 33 WHERE id = 4711",
           "UPDATE users SET name = 'Anna', age = '33' WHERE id = 4711",
       })
    EXPECT_FALSE(knows(sql)) << sql;
  EXPECT_FALSE(knows(std::string_view("UPDATE users SET name = 'An\0na', age = 33 WHERE id = 4711", 57)));
}

TEST_F(ShapeMemoTest, cuts_out_only_what_can_not_change_the_rest) {
  // Each holds something with digits or quotes that has to be the same byte by byte.
  const std::vector<std::pair<std::string, std::string>> pairs = {
      {"select * from users_1 where a = 1", "select * from users_2 where a = 1"},
      {"select * from \"users 1\" where a = 1", "select * from \"users 2\" where a = 1"},
      {"select /* 1 */ * from users where a = 1", "select /* 2 */ * from users where a = 1"},
      {"select * from users where a = $1", "select * from users where a = $2"},
      {"select * from users where a = $$x$$", "select * from users where a = $$y$$"},
      {"select * from users where a = E'x'", "select * from users where a = E'y'"},
      {"select * from users where a = 'x''y'", "select * from users where a = 'x''z'"},
      {"select * from users where a = 1.5", "select * from users where a = 1.6"},
      {"select * from users where a = .5", "select * from users where a = .6"},
      {"select * from users where a = 1e5", "select * from users where a = 1e6"},
  };
  for (const auto& [learnt, other] : pairs) {
    learn(learnt);
    EXPECT_TRUE(knows(learnt)) << learnt;
    EXPECT_FALSE(knows(other)) << other;
  }
}

TEST_F(ShapeMemoTest, leaves_out_what_is_too_short_too_long_or_full_of_literals) {
  for (const std::string& sql :
       {std::string("select 1"), "select '" + std::string(10, 'x') + "', a" + std::string(400, 'b'),
        std::string("select * from t where a in (1,2,3,4,5,6,7,8,9)")}) {
    learn(sql);
    EXPECT_FALSE(knows(sql)) << sql;
  }
  const std::string long_literals = "select * from users where a = '" + std::string(100'000, 'x') + "' and b = 1";
  learn(long_literals);
  EXPECT_TRUE(knows(long_literals));
}

// Whatever it says it knows, a scan says as well: texts glued together at random from pieces that make trouble.
TEST_F(ShapeMemoTest, agrees_with_the_scan_on_random_texts) {
  std::minstd_rand random(7);
  const std::vector<std::string> pieces = {"1", "23",   "'a'", "''",  "'it''s'", "\\", "'",  "E'x'", "e",  ".",     "-",
                                           " ", "\n",   "--",  "/*",  "*/",      "$1", "$$", "x",    "in", "(",     ")",
                                           ",", "null", "=",   "'b'", "U&'c'",   "\"", "4",  "\t",   "&",  "values"};
  int known = 0;
  for (int round = 0; round < 20000; ++round) {
    // A few beginnings, so that texts meet in one place; then two that differ in few pieces.
    std::vector<std::string> text;
    for (unsigned i = 0, size = 2 + random() % 8; i < size; ++i) text.push_back(pieces[random() % pieces.size()]);
    const auto join = [&] {
      std::string sql = "select aaaaaaaaaa " + std::to_string(random() % 2) + " ";
      for (const auto& piece : text) sql += piece;
      return sql;
    };
    const auto sql = join();
    if (const Shape shape = shaper.shape(sql); shape.kind == ShapeKind::folded) {
      const auto hash = shape.hash;
      memo.learn(sql, shaper.holes(), hash);
    }
    known += knows(sql);
    text[random() % text.size()] = pieces[random() % pieces.size()];
    known += knows(join());
  }
  EXPECT_GT(known, 5000);
}

TEST(ClassifierMemo, a_verdict_learnt_later_counts) {
  Classifier classifier({});
  const std::string read = "SELECT some_column FROM some_table WHERE id = ";
  for (int i = 0; i < 5; ++i) EXPECT_EQ(classifier.verdict(read + std::to_string(i)).access, Access::read);
  EXPECT_EQ(classifier.counts().misses, 1U);
  classifier.learn_needs_primary(read + "7");
  EXPECT_EQ(classifier.verdict(read + "8").access, Access::write);
  classifier.forget_learnt();
  EXPECT_EQ(classifier.verdict(read + "9").access, Access::read);
}

}  // namespace
}  // namespace holdfast::protocol::sql
