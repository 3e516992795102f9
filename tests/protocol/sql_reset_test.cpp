#include "protocol/sql/reset.hpp"

#include <gtest/gtest.h>

namespace holdfast::protocol::sql {
namespace {

TEST(ResetSetting, is_named) {
  EXPECT_EQ(reset_setting("RESET statement_timeout"), "statement_timeout");
  EXPECT_EQ(reset_setting("/* a /* b */ */ reset -- c\n Statement_Timeout ; "), "statement_timeout");
  EXPECT_EQ(reset_setting("SET work_mem TO DEFAULT"), "work_mem");
  EXPECT_EQ(reset_setting("SET SESSION work_mem=DEFAULT;"), "work_mem");
  EXPECT_EQ(reset_setting("RESET app.\"user\""), "app.user");
  EXPECT_EQ(reset_setting("RESET TIME ZONE"), "timezone");
  EXPECT_EQ(reset_setting("SET TIME ZONE DEFAULT"), "timezone");
  EXPECT_EQ(reset_setting("RESET ALL"), "all");
  EXPECT_EQ(reset_setting("DISCARD ALL"), "all");
}

TEST(ResetSetting, anything_else_is_none) {
  for (const char* sql : {"", "/* open", "RESET", "SET work_mem = 'default'", "SET LOCAL work_mem TO DEFAULT", "SET",
                          "SELECT 1", "RESET a; SET a = 1", "DISCARD PLANS", "SET TIME ZONE 'UTC'"}) {
    EXPECT_EQ(reset_setting(sql), "") << sql;
  }
}

TEST(Deallocated, reads_the_name) {
  EXPECT_EQ(deallocated_name("DEALLOCATE dbdpg_p1_2"), "dbdpg_p1_2");
  EXPECT_EQ(deallocated_name("deallocate /* x */ Prepare P1 ; -- y"), "p1");
  EXPECT_EQ(deallocated_name("DEALLOCATE \"Quoted \"\"Name\""), "Quoted \"Name");
  EXPECT_EQ(deallocated_name("DEALLOCATE prepare"), "prepare");
  for (std::string_view sql : {"DEALLOCATE ALL", "DEALLOCATE PREPARE ALL", "DEALLOCATE", "DEALLOCATE a b",
                               "DISCARD ALL", "DEALLOCATE a; SELECT 1", "EXECUTE a", ""})
    EXPECT_EQ(deallocated_name(sql), std::nullopt) << sql;
}

}  // namespace
}  // namespace holdfast::protocol::sql
