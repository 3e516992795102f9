#include "config/userlist.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace holdfast::config {
namespace {

using testing::HasSubstr;

// Of the password "pencil", made by PostgreSQL.
const std::string verifier =
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

void expect_problem(const std::string& text, unsigned line, unsigned column, const std::string& message) {
  const auto users = parse_userlist(text, "userlist.txt");
  ASSERT_FALSE(users) << text;
  ASSERT_EQ(users.error().size(), 1U) << testing::PrintToString(users.error());
  const auto& problem = users.error()[0];
  EXPECT_EQ(problem.file, "userlist.txt");
  EXPECT_EQ(problem.line, line) << problem;
  EXPECT_EQ(problem.column, column) << problem;
  EXPECT_THAT(problem.message, HasSubstr(message));
}

TEST(Userlist, reads_names_and_secrets) {
  const auto users = parse_userlist("; a comment\n# another\n\n  \"app\" \"" + verifier +
                                        "\"\r\n\"joe \"\"the\"\" doe\"\t\"a \"\" b\" ; ok\n\"x\"\"\" \"y\"\"\" # end",
                                    "userlist.txt");
  ASSERT_TRUE(users) << testing::PrintToString(users.error());
  const std::vector<Credential> expected = {
      {"app", Secret(verifier)}, {"joe \"the\" doe", Secret("a \" b")}, {"x\"", Secret("y\"")}};
  EXPECT_EQ(*users, expected);
}

TEST(Userlist, may_be_empty) {
  EXPECT_TRUE(parse_userlist("", "f")->empty());
}

TEST(Userlist, refuses_lines_of_another_shape) {
  expect_problem("app \"x\"\n", 1, 1, "the name in double quotes is missing here");
  expect_problem("\n \"app\"\n", 2, 7, "the secret in double quotes is missing here");
  expect_problem("\"app\" x\n", 1, 7, "the secret in double quotes is missing here");
  expect_problem("\"app\" \"x\n", 1, 7, "the secret's closing quote is missing");
  expect_problem("\"app\"\"x\"\n", 1, 9, "the secret in double quotes is missing here");
  expect_problem("\"app\" \"x\"y\"\n", 1, 10, "nothing but a comment may follow");
}

TEST(Userlist, refuses_names_that_can_not_be) {
  expect_problem("\"\" \"x\"\n", 1, 1, "the name is empty");
  expect_problem("\"a\tb\" \"x\"\n", 1, 1, "control characters");
  expect_problem("\"a\" \"x\"\n\"b\" \"x\"\n\"a\" \"y\"\n", 3, 1, "user 'a' is given twice; the first is in line 1");
}

TEST(Userlist, refuses_secrets_that_can_not_work) {
  expect_problem("\"a\" \"\"\n", 1, 5, "the secret is empty");
  expect_problem("\"a\" \"md5aee7a0bb0bbd6b5c76f4fdb1d75f0e8a\"\n", 1, 5, "this is an md5 hash");
}

TEST(Userlist, refuses_damaged_verifiers) {
  for (const auto& text : {
           std::string("SCRAM-SHA-256$"),
           verifier.substr(0, verifier.size() - 1),
           verifier.substr(0, verifier.size() - 4),
           "SCRAM-SHA-256$0" + verifier.substr(18),
           "SCRAM-SHA-256$x" + verifier.substr(18),
           verifier + "=",
       }) {
    expect_problem("\"a\" \"" + text + "\"\n", 1, 5, "this SCRAM verifier is damaged");
  }
}

TEST(Userlist, takes_a_password_that_only_looks_like_a_hash) {
  EXPECT_TRUE(parse_userlist("\"a\" \"md5 of something\"\n\"b\" \"scram-sha-256$x\"\n", "f"));
}

TEST(Userlist, reports_all_errors_at_once) {
  const auto users = parse_userlist("x\n\"a\" \"\"\n\"b\" \"fine\"\n\"b\" \"\"\n", "f");
  ASSERT_FALSE(users);
  EXPECT_EQ(users.error().size(), 4U) << testing::PrintToString(users.error());
}

TEST(Userlist, never_shows_a_secret) {
  const auto users =
      parse_userlist("\"a\" \"hunter2\"x\n\"b\" hunter2\n\"c\" \"hunter2\n\"d\" \"SCRAM-SHA-256$hunter2\"\n", "f");
  ASSERT_FALSE(users);
  EXPECT_EQ(users.error().size(), 4U);
  for (const auto& problem : users.error()) EXPECT_EQ(to_string(problem).find("hunter2"), std::string::npos) << problem;
}

}  // namespace
}  // namespace holdfast::config
