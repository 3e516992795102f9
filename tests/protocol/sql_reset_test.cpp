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
  EXPECT_EQ(reset_setting("DISCARD ALL"), everything);
  EXPECT_EQ(reset_setting("SET TIME ZONE LOCAL;"), "timezone");
  EXPECT_EQ(reset_setting("SET NAMES"), "client_encoding");
  EXPECT_EQ(reset_setting("SET NAMES DEFAULT"), "client_encoding");
  EXPECT_EQ(reset_setting("RESET ROLE"), "role");
  EXPECT_EQ(reset_setting("RESET SESSION AUTHORIZATION"), "session_authorization");
  EXPECT_EQ(reset_setting("SET SESSION AUTHORIZATION DEFAULT"), "session_authorization");
}

TEST(ResetSetting, anything_else_is_none) {
  for (const char* sql :
       {"", "/* open", "RESET", "SET work_mem = 'default'", "SET LOCAL work_mem TO DEFAULT", "SET", "SELECT 1",
        "RESET a; SET a = 1", "DISCARD PLANS", "SET TIME ZONE 'UTC'", "SET NAMES 'latin1'",
        "SET SESSION AUTHORIZATION x", "SET work_mem TO local", "RESET SESSION x"}) {
    EXPECT_EQ(reset_setting(sql), "") << sql;
  }
}

TEST(ResetSetting, among_several_statements_is_told_by_its_words) {
  for (const char* sql : {"SET SESSION AUTHORIZATION DEFAULT;RESET ALL;CLOSE ALL", "select 1; reset datestyle",
                          "SET a = 1; SET b TO Default", "SET TIME ZONE LOCAL; SELECT 1", "SET NAMES; SELECT 1"})
    EXPECT_TRUE(may_reset(sql)) << sql;
  for (const char* sql : {"SET a = 1; SET LOCAL b = 2", "BEGIN; SET datestyle TO german"})
    EXPECT_FALSE(may_reset(sql)) << sql;
  EXPECT_TRUE(may_reset_role("SET SESSION AUTHORIZATION DEFAULT;RESET ALL"));
  EXPECT_TRUE(may_reset_role("select 1; RESET ROLE"));
  EXPECT_FALSE(may_reset_role("select 1; RESET ALL"));
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
