#include "protocol/unreplicated.hpp"

#include <gtest/gtest.h>

namespace holdfast::protocol {
namespace {

ErrorFields notice(const char* state, const char* routine) {
  ErrorFields fields;
  fields.severity_nonlocal = "WARNING";
  fields.state = SqlState(state);
  fields.routine = routine;
  return fields;
}

TEST(UnreplicatedTest, knows_the_warning_by_its_routine_whatever_its_language) {
  EXPECT_TRUE(Unreplicated::says(notice("01000", "SyncRepWaitForLSN")));
  EXPECT_FALSE(Unreplicated::says(notice("57P01", "SyncRepWaitForLSN"))) << "the session is being terminated";
  EXPECT_FALSE(Unreplicated::says(notice("01000", "exec_stmt_raise"))) << "a function can raise any text";
  EXPECT_FALSE(Unreplicated::says(notice("01000", "")));
}

TEST(UnreplicatedTest, hides_everything_up_to_the_ready_for_query) {
  Unreplicated commit;
  for (const char tag : {server::command_complete, server::data_row, server::error_response, server::ready_for_query})
    EXPECT_FALSE(commit.hides(tag)) << tag;

  EXPECT_TRUE(commit.canceled());
  for (const char tag : {server::command_complete, server::row_description, server::data_row, server::error_response,
                         server::notice_response, server::parse_complete, server::bind_complete})
    EXPECT_TRUE(commit.hides(tag)) << tag;
  EXPECT_FALSE(commit.hides(server::ready_for_query));
  EXPECT_FALSE(commit.canceled()) << "a unit with several commits is told once";

  commit.ready();
  EXPECT_FALSE(commit.hides(server::command_complete));
  EXPECT_TRUE(commit.canceled()) << "the next unit is another one";
}

TEST(UnreplicatedTest, a_copy_that_its_client_must_not_see_is_stuck) {
  Unreplicated commit;
  EXPECT_FALSE(commit.stuck(server::copy_in_response));
  EXPECT_TRUE(commit.canceled());
  EXPECT_TRUE(commit.stuck(server::copy_in_response));
  EXPECT_TRUE(commit.stuck(server::copy_both_response));
  EXPECT_FALSE(commit.stuck(server::copy_out_response));
  EXPECT_FALSE(commit.stuck(server::command_complete));
}

}  // namespace
}  // namespace holdfast::protocol
