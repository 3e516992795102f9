#include "config/validate.hpp"

#include "config/value.hpp"
#include "tests/config/support.hpp"

namespace holdfast::config {
namespace {

using test::expect_problem;
using test::expect_problem_after_valid;
using test::Folder;
using test::must_fail;
using test::valid;
using testing::HasSubstr;

// The parts of a good configuration, each in a line of its own, to be replaced one at a time.
struct Parts {
  std::string listen = "[ { address: 127.0.0.1:6432 } ]";
  std::string members = "[ { name: pg1, host: 10.0.0.11 } ]";
  std::string cluster = "connect_timeout: 5s";
  std::string databases = "{ \"*\": { cluster: main } }";
  std::string auth = "{ method: trust }";
  std::string more = {};
};

std::string text_of(const Parts& parts) {
  return "listen: " + parts.listen + "\nclusters:\n  main:\n    members: " + parts.members + "\n    " + parts.cluster +
         "\ndatabases: " + parts.databases + "\nauth: " + parts.auth + "\n" + parts.more;
}

Problems warnings_of(const std::string& text) {
  const auto loaded = load_text(text, "test.yaml");
  EXPECT_TRUE(loaded) << text;
  return loaded ? loaded->warnings : Problems{};
}

void expect_warning(const std::string& text, unsigned line, unsigned column, const std::string& key,
                    const std::string& message) {
  for (const auto& warning : warnings_of(text)) {
    if (warning.key != key) continue;
    EXPECT_EQ(warning.line, line) << warning;
    EXPECT_EQ(warning.column, column) << warning;
    EXPECT_THAT(warning.message, HasSubstr(message));
    return;
  }
  ADD_FAILURE() << "no warning about " << key;
}

TEST(Validate, accepts_what_is_right) {
  EXPECT_TRUE(load_text(text_of({}), "test.yaml"));
}

TEST(Validate, wants_a_listener_a_cluster_a_member_and_a_database) {
  expect_problem(text_of({.listen = "[]"}), 1, 1, "listen", "give at least one");
  expect_problem(text_of({.members = "[]"}), 4, 5, "clusters.main.members", "give at least one");
  expect_problem(text_of({.databases = "{}"}), 6, 1, "databases", "is missing or empty");
  const auto problems = must_fail("listen: [ { address: 127.0.0.1 } ]\nclusters: {}\n");
  EXPECT_TRUE(std::ranges::any_of(problems, [](const Problem& p) { return p.key == "clusters" && p.line == 2; }));
}

TEST(Validate, refuses_listeners_that_clash) {
  expect_problem(text_of({.listen = "[ { address: 127.0.0.1:1 }, { address: 127.0.0.1:1 } ]"}), 1, 48,
                 "listen[1].address", "is the same as listen[0].address");
  expect_problem(text_of({.listen = "[ { address: 0.0.0.0:1 }, { address: 127.0.0.1:1 } ]"}), 1, 46,
                 "listen[1].address", "is already covered by listen[0].address");
  expect_problem(text_of({.listen = "[ { address: 127.0.0.1:1 }, { address: 0.0.0.0:1 } ]"}), 1, 48,
                 "listen[1].address", "also covers listen[0].address");
  expect_problem(text_of({.listen = "[ { address: /run/a }, { address: /run/a } ]"}), 1, 43, "listen[1].address",
                 "is the same as listen[0].address");
  expect_problem(text_of({.more = "http: { address: 127.0.0.1:6432 }\n"}), 8, 18, "http.address",
                 "uses the same port as listen[0].address");
}

TEST(Validate, lets_different_families_ports_and_folders_stand_side_by_side) {
  EXPECT_TRUE(load_text(text_of({.listen = "[ { address: 0.0.0.0:1 }, { address: \"[::]:1\" }, { address: 0.0.0.0:2 }, "
                                           "{ address: /run/a }, { address: /run/b:1 }, { address: 127.0.0.1:0 }, "
                                           "{ address: 127.0.0.1:0 } ]"}),
                        "test.yaml"));
}

TEST(Validate, refuses_addresses_that_are_none) {
  for (const auto* text : {"localhost:6432", "\"*:6432\"", "\"::1\"", "\"[::1\"", "\"[::1]x\"", "\"[127.0.0.1]:1\"",
                           "\":6432\"", "127.0.0.1:x", "127.0.0.1:65536", "\"127.0.0.1:\"", "''"}) {
    const auto problems = must_fail(text_of({.listen = std::string("[ { address: ") + text + " } ]"}));
    ASSERT_EQ(problems.size(), 1U) << text;
    EXPECT_EQ(problems[0].line, 1U);
    EXPECT_EQ(problems[0].column, 22U) << problems[0];
    EXPECT_EQ(problems[0].key, "listen[0].address");
  }
}

TEST(Validate, reads_addresses_of_every_kind) {
  EXPECT_EQ(parse_address("127.0.0.1", 6432), (Address{"127.0.0.1", 6432}));
  EXPECT_EQ(parse_address("127.0.0.1:1", 6432), (Address{"127.0.0.1", 1}));
  EXPECT_EQ(parse_address("[::1]", 6432), (Address{"::1", 6432}));
  EXPECT_EQ(parse_address("[::1]:1", 6432), (Address{"::1", 1}));
  EXPECT_EQ(parse_address("/run/holdfast", 6432), (Address{"/run/holdfast", 6432}));
  EXPECT_EQ(parse_address("/run/holdfast:1", 6432), (Address{"/run/holdfast", 1}));
}

TEST(Validate, refuses_a_socket_path_that_does_not_fit) {
  expect_problem(text_of({.listen = "[ { address: /" + std::string(95, 'x') + " } ]"}), 1, 22, "listen[0].address",
                 "limited to 107 bytes");
}

TEST(Validate, wants_a_listeners_certificate_and_key) {
  expect_problem(text_of({.listen = "[ { address: 127.0.0.1:1, tls: { mode: allow, key: /etc/passwd } } ]"}), 1, 35,
                 "listen[0].tls.certificate", "is missing: tls.mode is not disable");
  expect_problem(text_of({.listen = "[ { address: 127.0.0.1:1, tls: { mode: require, certificate: /etc/passwd } } ]"}),
                 1, 35, "listen[0].tls.key", "is missing: tls.mode is not disable");
}

TEST(Validate, wants_tls_files_to_exist_and_be_safe) {
  const Folder folder;
  const auto good = folder.write("good.crt", "x");
  const auto listen = [&](const std::string& key) {
    return text_of(
        {.listen = "[ { address: 127.0.0.1:1, tls: { mode: allow, key: " + key + ", certificate: " + good + " } } ]"});
  };
  expect_problem(listen("/nonexistent/key"), 1, 60, "listen[0].tls.key", "can't be opened: No such file");
  expect_problem(listen("/etc"), 1, 60, "listen[0].tls.key", "is not a regular file");
  expect_problem(listen(folder.write("open.key", "x", 0622)), 1, 60, "listen[0].tls.key", "written by everybody");
  expect_warning(listen(folder.write("seen.key", "x", 0644)), 1, 60, "listen[0].tls.key", "read by everybody");
}

TEST(Validate, warns_of_tls_files_that_are_not_used) {
  expect_warning(text_of({.listen = "[ { address: 127.0.0.1:1, tls: { key: /x } } ]"}), 1, 35, "listen[0].tls",
                 "tls.mode is disable");
  expect_warning(text_of({.cluster = "tls: { mode: disable, ca: /x }"}), 5, 5, "clusters.main.tls",
                 "tls.mode is disable");
  expect_warning(text_of({.cluster = "tls: { ca: /etc/passwd }"}), 5, 16, "clusters.main.tls.ca", "is not used");
}

TEST(Validate, wants_what_server_tls_needs) {
  expect_problem(text_of({.cluster = "tls: { mode: verify-full }"}), 5, 5, "clusters.main.tls.ca", "is missing");
  expect_problem(text_of({.cluster = "tls: { mode: verify-ca, ca: /nonexistent }"}), 5, 33, "clusters.main.tls.ca",
                 "can't be opened");
  expect_problem(text_of({.cluster = "tls: { key: /etc/passwd }"}), 5, 5, "clusters.main.tls.certificate",
                 "certificate and key go together");
}

TEST(Validate, refuses_members_that_are_the_same) {
  expect_problem(text_of({.members = "[ { name: pg1, host: a }, { name: pg1, host: b } ]"}), 4, 48,
                 "clusters.main.members[1].name", "'pg1' is also the name of clusters.main.members[0]");
  expect_problem(text_of({.members = "[ { name: pg1, host: a }, { name: pg2, host: a } ]"}), 4, 59,
                 "clusters.main.members[1].host", "is the same server as clusters.main.members[0]");
}

TEST(Validate, refuses_a_host_that_is_more_than_one) {
  expect_problem(text_of({.members = "[ { name: pg1, host: 'a,b' } ]"}), 4, 35, "clusters.main.members[0].host",
                 "must be one host name");
  expect_problem(text_of({.members = "[ { name: pg1, host: 'a:5432' } ]"}), 4, 35, "clusters.main.members[0].host",
                 "set `port:`");
  expect_problem(text_of({.members = "[ { name: pg1, host: '' } ]"}), 4, 35, "clusters.main.members[0].host",
                 "must not be empty");
  EXPECT_TRUE(load_text(text_of({.members = "[ { name: pg1, host: 'fe80::1' } ]"}), "test.yaml"));
}

TEST(Validate, wants_a_monitor_that_can_work) {
  expect_problem(text_of({.cluster = "monitor: { user: '' }"}), 5, 22, "clusters.main.monitor.user",
                 "must not be empty");
  expect_problem(text_of({.cluster = "monitor: { database: '' }"}), 5, 26, "clusters.main.monitor.database",
                 "must not be empty");
  expect_problem(text_of({.cluster = "monitor: { fast_interval: 1m }"}), 5, 31, "clusters.main.monitor.fast_interval",
                 "must not be longer");
}

TEST(Validate, wants_databases_to_lead_to_clusters) {
  expect_problem(text_of({.databases = "{ a: { cluster: mian } , b: { cluster: main } }"}), 6, 28,
                 "databases.a.cluster", "there is no cluster 'mian'; there is 'main'");
  expect_problem(text_of({.databases = "{ a: {} , b: { cluster: main } }"}), 6, 17, "databases.a.cluster",
                 "is missing: The cluster that the database is in");
  expect_problem(text_of({.databases = "{ pgbouncer: { cluster: main } }"}), 6, 14, "databases.pgbouncer",
                 "is reserved for the admin console");
  expect_problem(text_of({.databases = "{ \"*\": { cluster: main }, '*': { cluster: main } }"}), 6, 38, "*",
                 "is given twice");
}

TEST(Validate, refuses_two_stars_in_a_config_made_by_hand) {
  Config config;
  config.databases = {{.name = "*", .cluster = "a"}, {.name = "*", .cluster = "a"}};
  const auto findings = validate(config);
  EXPECT_TRUE(std::ranges::any_of(findings.errors, [](const Problem& problem) {
    return problem.key == "databases.*" && problem.message == "is given twice" && problem.line == 0;
  }));
}

TEST(Validate, warns_of_a_cluster_that_nobody_uses) {
  const auto text =
      "listen: [ { address: 127.0.0.1 } ]\nclusters:\n  a: { members: [ { name: x, host: x } ] }\n"
      "  b: { members: [ { name: x, host: x } ] }\ndatabases: { x: { cluster: a } }\nauth: { method: trust }\n";
  expect_warning(text, 4, 3, "clusters.b", "no database refers to this cluster");
}

TEST(Validate, wants_somebody_to_be_able_to_log_in) {
  expect_problem(text_of({.auth = "{ login_timeout: 5s }"}), 7, 1, "auth.users_file", "no client can log in");
  EXPECT_TRUE(load_text(text_of({.auth = "", .more = "users: { joe: { password: x } }\n"}), "test.yaml"));
  expect_warning(text_of({}), 7, 17, "auth.method", "trust lets every client that can reach the listeners log in");
}

TEST(Validate, reports_the_users_file_by_its_own_lines) {
  const Folder folder;
  const auto users = folder.write("userlist.txt", "\"a\" \"x\"\n\"a\" \"x\"\n");
  const auto problems = must_fail(text_of({.auth = "{ users_file: " + users + " }"}));
  ASSERT_EQ(problems.size(), 1U) << testing::PrintToString(problems);
  EXPECT_EQ(problems[0].file, users);
  EXPECT_EQ(problems[0].line, 2U);
  expect_problem(text_of({.auth = "{ users_file: /nonexistent }"}), 7, 21, "auth.users_file", "can't be opened");
}

TEST(Validate, warns_of_a_users_file_that_is_empty_or_seen_by_everybody) {
  const Folder folder;
  expect_warning(text_of({.auth = "{ users_file: " + folder.write("a", "; nobody\n") + " }"}), 7, 21, "auth.users_file",
                 "contains no user");
  expect_warning(text_of({.auth = "{ users_file: " + folder.write("b", "\"a\" \"x\"\n", 0644) + " }"}), 7, 21,
                 "auth.users_file", "can be read by everybody");
}

TEST(Validate, refuses_a_user_with_two_passwords) {
  const Folder folder;
  const auto users = folder.write("userlist.txt", "\"joe\" \"x\"\n");
  expect_problem(text_of({.auth = "{ users_file: " + users + " }", .more = "users: { joe: { password: y } }\n"}), 8, 27,
                 "users.joe.password", "is set in auth.users_file as well");
}

TEST(Validate, wants_http_on_an_ip_address) {
  expect_problem(text_of({.more = "http: { address: /run/http }\n"}), 8, 18, "http.address", "not a directory");
  EXPECT_TRUE(load_text(text_of({.more = "http: { address: off }\n"}), "test.yaml")->config.http.address.empty());
}

// Two names for one database of the servers share its pools.
TEST(Validate, warns_of_aliases_whose_pools_differ) {
  const auto databases = [](const std::string& entries) { return text_of({.databases = "{ " + entries + " }"}); };
  expect_warning(databases("app: { cluster: main }, reports: { cluster: main, database: app, pool: { size: 5 } }"), 6,
                 93, "databases.reports.pool.size", "differs from that of databases.app");
  expect_warning(databases("reports: { cluster: main, database: app, pool: { lifetime: 5h } }, '*': { cluster: main }"),
                 6, 73, "databases.reports.pool.lifetime", "differs from that of databases.*");
  for (const auto* entries :
       {"app: { cluster: main }, reports: { cluster: main, database: app, pool: { mode: session } }",
        "app: { cluster: main, pool: { size: 5 } }, other: { cluster: main }",
        "app: { cluster: main }, '*': { cluster: main }, a: { cluster: main, database: b, pool: { size: 20 } }"}) {
    const auto loaded = load_text(databases(entries), "test.yaml");
    ASSERT_TRUE(loaded) << entries;
    EXPECT_EQ(loaded->warnings.size(), 1U) << entries << testing::PrintToString(loaded->warnings);  // trust
  }
}

}  // namespace
}  // namespace holdfast::config
