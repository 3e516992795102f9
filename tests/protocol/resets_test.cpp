#include "protocol/resets.hpp"

#include <gtest/gtest.h>

#include "protocol/sql/classify.hpp"

namespace holdfast::protocol {
namespace {

class ResetsTest : public ::testing::Test {
 protected:
  // As the conversation does with every statement.
  void runs(std::string_view sql, Resets::As as = Resets::As::in_batch) {
    const auto verdict = sql::classify(sql, {});
    if (!resets.none()) resets.followed(verdict, wanted);
    resets.runs(sql, verdict, as, wanted);
  }
  void query(std::string_view sql) { runs(sql, Resets::As::query); }
  [[nodiscard]] std::string all(Roles roles = Roles::keep) const { return restore_if_reset(wanted, roles); }

  SettingsTable table;
  SettingsRef wanted = table.intern({{"work_mem", "4MB"}, {"datestyle", "german"}, {"role", "r"}});
  Resets resets;
};

TEST_F(ResetsTest, are_followed_by_what_the_client_asked_for) {
  query("RESET work_mem");
  EXPECT_EQ(resets.take(), "SELECT pg_catalog.set_config('work_mem','4MB',false) IS NULL");
  resets.ended('I');
  EXPECT_TRUE(resets.none());
  query("DISCARD ALL");
  EXPECT_EQ(resets.take(), change_settings({}, wanted));
}

TEST_F(ResetsTest, mean_nothing_to_who_asked_for_nothing) {
  wanted = {};
  query("RESET work_mem");
  query("select 1; reset all");
  EXPECT_TRUE(resets.none());
}

TEST_F(ResetsTest, leave_others_alone) {
  for (const char* sql :
       {"RESET statement_timeout", "SET work_mem TO '1MB'", "SELECT 1", "BEGIN; SET work_mem TO '1MB'"}) {
    query(sql);
    EXPECT_TRUE(resets.none()) << sql;
  }
}

// It may be skipped, and what it resets may be set again.
TEST_F(ResetsTest, in_a_batch_are_followed_by_what_is_reset_then) {
  runs("RESET work_mem");
  EXPECT_EQ(resets.take(), all());
  runs("RESET ROLE");
  EXPECT_EQ(resets.take(), all(Roles::restore));
  resets.ended('I');
  query("select 1; reset datestyle");
  EXPECT_EQ(resets.take(), all());
}

TEST_F(ResetsTest, within_a_block_share_its_fate) {
  runs("BEGIN");
  runs("RESET work_mem");
  EXPECT_TRUE(resets.due());
  static_cast<void>(resets.take());
  resets.ended('T');
  EXPECT_TRUE(resets.none());
}

TEST_F(ResetsTest, in_front_of_a_block_are_owed_until_that_has_ended) {
  runs("DISCARD ALL");
  runs("BEGIN");
  EXPECT_EQ(resets.take(), all(Roles::restore));
  resets.ended('T');
  EXPECT_TRUE(resets.owed());
  runs("SELECT 1");
  EXPECT_FALSE(resets.due());
  runs("ROLLBACK");
  EXPECT_EQ(resets.take(), all(Roles::restore));
  resets.ended('I');
  EXPECT_TRUE(resets.none());
}

TEST_F(ResetsTest, in_a_block_that_failed_are_owed_whatever_revives_it) {
  runs("RESET work_mem");
  static_cast<void>(resets.take());
  resets.ended('E');
  for (const char* sql : {"ROLLBACK TO a", "this is no sql", "COMMIT"}) {
    runs(sql);
    EXPECT_EQ(resets.take(), all()) << sql;
    resets.ended('T');
    EXPECT_TRUE(resets.owed());
  }
}

TEST_F(ResetsTest, are_owed_behind_a_string_that_may_have_ended_their_block) {
  query("reset all; commit; begin");
  EXPECT_TRUE(resets.due());
  static_cast<void>(resets.take());
  resets.ended('T');
  EXPECT_TRUE(resets.owed());
}

}  // namespace
}  // namespace holdfast::protocol
