#include "config/secrets.hpp"

#include <sys/stat.h>

#include "tests/config/support.hpp"

namespace holdfast::config {
namespace {

using test::expect_problem;
using test::Folder;
using test::must_load;
using testing::HasSubstr;

// A configuration whose monitor has these settings; they begin in line 5, column 16.
std::string with_monitor(const std::string& settings) {
  return "listen: [ { address: 127.0.0.1:6432 } ]\nclusters:\n  main:\n    members: [ { name: pg1, host: a } ]\n"
         "    monitor: { " +
         settings + " }\ndatabases: { \"*\": { cluster: main } }\nauth: { method: trust }\n";
}

TEST(Secrets, come_from_the_file_itself_a_file_or_the_environment) {
  const Folder folder;
  ASSERT_EQ(::setenv("HOLDFAST_TEST_SECRET", "from outside", 1), 0);
  const auto password = [](const std::string& settings) {
    return must_load(with_monitor(settings)).clusters.at(0).monitor.password.reveal();
  };
  EXPECT_EQ(password("password: literal"), "literal");
  EXPECT_EQ(password("password_env: HOLDFAST_TEST_SECRET"), "from outside");
  EXPECT_EQ(password("password_file: " + folder.write("a", "from a file")), "from a file");
  ::unsetenv("HOLDFAST_TEST_SECRET");
}

TEST(Secrets, lose_one_trailing_newline_and_nothing_else) {
  const Folder folder;
  EXPECT_EQ(read_secret_file(folder.write("a", " x \n"))->secret.reveal(), " x ");
  EXPECT_EQ(read_secret_file(folder.write("a", "x\r\n"))->secret.reveal(), "x");
  EXPECT_THAT(read_secret_file(folder.write("a", "x\n\n")).error(), HasSubstr("more than one line"));
  EXPECT_THAT(read_secret_file(folder.write("a", "\n")).error(), HasSubstr("is empty"));
  EXPECT_THAT(read_secret_file(folder.write("a", std::string("x\0y", 3))).error(), HasSubstr("NUL"));
}

TEST(Secrets, may_be_given_only_once) {
  expect_problem(with_monitor("password: a, password_env: B"), 5, 29, "clusters.main.monitor.password_env",
                 "only one of monitor.password, monitor.password_file and monitor.password_env may be given");
}

TEST(Secrets, must_be_there) {
  expect_problem(with_monitor("password_file: /nonexistent/pw"), 5, 31, "clusters.main.monitor.password_file",
                 "file '/nonexistent/pw' can't be opened: No such file");
  expect_problem(with_monitor("password_env: HOLDFAST_NOT_SET"), 5, 30, "clusters.main.monitor.password_env",
                 "variable 'HOLDFAST_NOT_SET' is not in the environment");
  expect_problem(with_monitor("password: ''"), 5, 26, "clusters.main.monitor.password", "must not be empty");
}

TEST(Secrets, that_everybody_may_write_are_refused) {
  const Folder folder;
  const auto path = folder.write("a", "x", 0602);
  EXPECT_THAT(read_secret_file(path).error(), HasSubstr("can be written by everybody (mode 0602): chmod o-w"));
  EXPECT_THAT(inspect_file(path, false).error(), HasSubstr("can be written by everybody"));
}

TEST(Secrets, that_everybody_may_read_are_warned_about) {
  const Folder folder;
  const auto path = folder.write("a", "x", 0644);
  EXPECT_THAT(read_secret_file(path)->warning, HasSubstr("can be read by everybody (mode 0644): chmod o-r"));
  EXPECT_EQ(inspect_file(path, false), "");
  EXPECT_THAT(*inspect_file(path, true), HasSubstr("can be read by everybody"));
  const auto loaded = load_text(with_monitor("password_file: " + path), "test.yaml");
  ASSERT_TRUE(loaded);
  EXPECT_TRUE(std::ranges::any_of(loaded->warnings, [](const Problem& warning) {
    return warning.line == 5 && warning.key == "clusters.main.monitor.password_file";
  }));
}

TEST(Secrets, in_a_configuration_that_everybody_may_read_are_warned_about) {
  const Folder folder;
  const auto warnings = [&](const std::string& text, mode_t mode) {
    const auto loaded = load(folder.write("holdfast.yaml", text, mode));
    EXPECT_TRUE(loaded);
    return std::ranges::count_if(
        loaded->warnings, [](const Problem& warning) { return warning.message.starts_with("contains passwords"); });
  };
  EXPECT_EQ(warnings(with_monitor("password: x"), 0644), 1);
  EXPECT_EQ(warnings(with_monitor("password: x"), 0640), 0);
  EXPECT_EQ(warnings(with_monitor("user: x"), 0644), 0);
}

TEST(Secrets, are_read_from_regular_files_only_and_never_block) {
  const Folder folder;
  ASSERT_EQ(::mkfifo(folder.path("fifo").c_str(), 0600), 0);
  EXPECT_THAT(read_secret_file(folder.path("fifo")).error(), HasSubstr("is not a regular file"));
  EXPECT_THAT(read_secret_file("/dev/zero").error(), HasSubstr("is not a regular file"));
  EXPECT_THAT(read_secret_file(folder.path("")).error(), HasSubstr("is not a regular file"));
  EXPECT_THAT(read_secret_file(folder.write("a", std::string(70000, 'x'))).error(), HasSubstr("larger than 64 KiB"));
}

TEST(Secrets, in_users_are_verifiers_or_passwords) {
  const auto config = must_load(test::valid + "users: { joe: { password: x, server_password: y } }\n");
  EXPECT_EQ(config.auth.credentials, (std::vector<Credential>{{"joe", Secret("x")}}));
  EXPECT_EQ(config.users.at(0).server_password.reveal(), "y");
  test::expect_problem_after_valid("users: { joe: { password: md5aee7a0bb0bbd6b5c76f4fdb1d75f0e8a } }\n", 6, 27,
                                   "users.joe.password", "this is an md5 hash");
}

TEST(Secrets, paths_are_seen_from_the_configurations_folder) {
  EXPECT_EQ(resolve_path("/etc/holdfast/holdfast.yaml", "monitor.pw"), "/etc/holdfast/monitor.pw");
  EXPECT_EQ(resolve_path("/etc/holdfast/holdfast.yaml", "/run/pw"), "/run/pw");
  EXPECT_EQ(resolve_path("holdfast.yaml", "pw"), "pw");
  EXPECT_EQ(resolve_path("x/holdfast.yaml", ""), "");
}

}  // namespace
}  // namespace holdfast::config
