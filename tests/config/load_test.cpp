#include "config/load.hpp"

#include <chrono>
#include <iterator>

#include "tests/config/support.hpp"

namespace holdfast::config {
namespace {

using namespace std::chrono_literals;
using test::expect_problem;
using test::expect_problem_after_valid;
using test::Folder;
using test::must_fail;
using test::must_load;
using test::valid;
using testing::HasSubstr;
using testing::IsEmpty;

// The complete configuration for three members that the design promises, with files that exist here.
const std::string design = R"(listen:
  - address: 0.0.0.0:6432
    tls: { mode: allow, certificate: tls.crt, key: tls.key }
clusters:
  main:
    members:
      - { name: pg1, host: 10.0.0.11 }
      - { name: pg2, host: 10.0.0.12, zone: b }
      - { name: pg3, host: 10.0.0.13, priority: 0 }      # never promoted
    monitor: { user: holdfast, password_file: monitor.pw }
    failover: { mode: follow, authority: sql }           # follow | trigger | observe;  sql | patroni | kubernetes
databases:
  "*": { cluster: main }                                 # each database under its own name
pool: { mode: transaction, size: 20, hold_timeout: 30s }
auth: { users_file: userlist.txt }
http: { address: 127.0.0.1:9632 }
)";

TEST(Load, reads_the_example_of_the_design) {
  const Folder folder;
  folder.write("tls.crt", "certificate", 0644);
  folder.write("tls.key", "key");
  folder.write("monitor.pw", "watching\n");
  folder.write("userlist.txt", "\"app\" \"hunter2\"\n");
  const auto loaded = load(folder.write("holdfast.yaml", design, 0644));
  ASSERT_TRUE(loaded) << testing::PrintToString(loaded.error());
  EXPECT_THAT(loaded->warnings, IsEmpty());

  Config expected;
  expected.listeners = {
      {.address = "0.0.0.0", .port = 6432, .tls = {ListenTls::allow, folder.path("tls.crt"), folder.path("tls.key")}}};
  Cluster main{.name = "main",
               .members = {{.name = "pg1", .host = "10.0.0.11"},
                           {.name = "pg2", .host = "10.0.0.12", .zone = "b"},
                           {.name = "pg3", .host = "10.0.0.13", .priority = 0}}};
  main.monitor.password = Secret("watching");
  expected.clusters = {main};
  expected.databases = {{.name = "*", .cluster = "main"}};
  expected.settings.pool_mode = PoolMode::transaction;
  expected.settings.pool_size = 20;
  expected.settings.hold_timeout = 30s;
  expected.auth.users_file = folder.path("userlist.txt");
  expected.auth.credentials = {{"app", Secret("hunter2")}};
  expected.http.address = "127.0.0.1";
  EXPECT_EQ(loaded->config, expected);
}

TEST(Load, reads_the_example_that_is_installed) {
  const Folder folder;
  folder.write("tls.crt", "certificate", 0644);
  folder.write("tls.key", "key");
  folder.write("monitor.pw", "watching\n");
  folder.write("userlist.txt", "\"app\" \"hunter2\"\n");
  const auto example = std::filesystem::path(__FILE__).parent_path() / "../../deploy/holdfast.example.yaml";
  std::ifstream file(example);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  ASSERT_FALSE(text.empty()) << example;
  for (std::size_t at = 0; (at = text.find("/etc/holdfast", at)) != std::string::npos;) {
    text.replace(at, std::string_view("/etc/holdfast").size(), folder.path("."));
  }
  const auto loaded = load_text(text, "example");
  ASSERT_TRUE(loaded) << testing::PrintToString(loaded.error());
  EXPECT_THAT(loaded->warnings, IsEmpty());
  EXPECT_EQ(loaded->config.clusters.at(0).members.size(), 3U);
}

TEST(Load, tells_where_a_setting_came_from) {
  const auto loaded = load_text(valid + "pool:\n  size: 7\n", "test.yaml");
  ASSERT_TRUE(loaded);
  EXPECT_EQ(loaded->origins.find("pool.size"), (Place{7, 9}));
  EXPECT_EQ(loaded->origins.find("clusters.main.members[0].host"), (Place{3, 41}));
  EXPECT_EQ(loaded->origins.find("clusters.main.members[0].port"), (Place{3, 22}));
  EXPECT_EQ(loaded->origins.find("workers"), Place{});
}

TEST(Load, reads_every_kind_of_value) {
  const auto config = must_load(valid + R"(workers: 4
pool: { size: "30", wait_timeout: 500ms, hold_limit: off, mode: session }
reads: { max_lag: 512kB, balance: round_robin, fallback_to_primary: false, functions: [ f, s.g ] }
timeouts:
  query: 1h
log: { format: json, level: debug }
route: replica_or_primary
)");
  EXPECT_EQ(config.workers, 4U);
  EXPECT_EQ(config.settings.pool_size, 30U);
  EXPECT_EQ(config.settings.wait_timeout, 500ms);
  EXPECT_EQ(config.settings.hold_limit, 0U);
  EXPECT_EQ(config.settings.pool_mode, PoolMode::session);
  EXPECT_EQ(config.settings.max_lag, 512U << 10U);
  EXPECT_EQ(config.settings.balance, Balance::round_robin);
  EXPECT_EQ(config.settings.fallback_to_primary, false);
  EXPECT_EQ(config.settings.read_functions, (std::vector<std::string>{"f", "s.g"}));
  EXPECT_EQ(config.settings.query_timeout, 1h);
  EXPECT_EQ(config.log.format, LogFormat::json);
  EXPECT_EQ(config.log.level, "debug");
  EXPECT_EQ(config.settings.route, Route::replica_or_primary);
}

TEST(Load, reads_bounded_consistency_in_both_forms) {
  for (const auto* text : {"reads: { consistency: { bounded: 5s } }\n", "reads: { consistency: 'bounded: 5s' }\n"}) {
    const auto config = must_load(valid + text);
    EXPECT_EQ(config.settings.read_consistency, ReadConsistency::bounded) << text;
    EXPECT_EQ(config.settings.read_staleness, 5s) << text;
  }
}

TEST(Load, reads_session_settings_at_every_level) {
  const auto config = must_load(R"(listen: [ { address: "[::1]:6433", route: replica, pool: { wait_timeout: 2s } } ]
clusters: { main: { members: [ { name: pg1, host: /run/postgresql, port: 5433 } ] } }
databases: { app: { cluster: main, database: app_live, pool: { size: 3 }, max_clients: 9 } }
users: { joe: { pool: { size: 4 } }, jim: }
pool: { size: 1 }
auth: { method: trust }
)");
  EXPECT_EQ(config.settings.pool_size, 1U);
  EXPECT_EQ(config.listeners[0].address, "::1");
  EXPECT_EQ(config.listeners[0].port, 6433);
  EXPECT_EQ(config.listeners[0].settings.wait_timeout, 2s);
  EXPECT_EQ(config.listeners[0].settings.route, Route::replica);
  EXPECT_EQ(config.databases[0].settings.pool_size, 3U);
  EXPECT_EQ(config.databases[0].settings.max_clients, 9U);
  EXPECT_EQ(config.databases[0].database, "app_live");
  EXPECT_EQ(config.users[0].settings.pool_size, 4U);
  EXPECT_EQ(config.users[1].name, "jim");
}

TEST(Load, takes_aliases_of_whole_values) {
  const auto config = must_load(R"(listen: [ { address: 127.0.0.1:6432 } ]
clusters:
  a: { members: [ { name: pg1, host: 10.0.0.1 } ], monitor: &watch { user: eye, interval: 2s } }
  b: { members: [ { name: pg1, host: 10.0.0.2 } ], monitor: *watch }
databases: { a: { cluster: a }, b: { cluster: b } }
auth: { method: trust }
)");
  EXPECT_EQ(config.clusters[1].monitor, config.clusters[0].monitor);
  EXPECT_EQ(config.clusters[1].monitor.user, "eye");
}

TEST(Load, reports_all_errors_at_once_in_the_files_order) {
  const auto problems = must_fail(R"(listen: [ { address: nonsense } ]
clusters:
  main: { members: [ { name: pg1, hots: x } ], failover: { mode: trigger } }
databases: { app: { cluster: other } }
pool: { size: many }
pool: { size: 1 }
auth: { method: trust }
)");
  std::vector<std::string> shown;
  for (const auto& problem : problems) {
    shown.push_back(std::to_string(problem.line) + ":" + std::to_string(problem.column) + " " + problem.key);
  }
  EXPECT_THAT(shown, testing::ElementsAre("1:22 listen[0].address", "3:22 clusters.main.members[0].host",
                                          "3:35 clusters.main.members[0].hots", "3:66 clusters.main.failover.mode",
                                          "4:30 databases.app.cluster", "5:15 pool.size", "6:1 pool"));
}

// ---- shape ----

TEST(Load, refuses_an_unknown_key_and_suggests_a_neighbour) {
  expect_problem_after_valid("pol: { size: 3 }\n", 6, 1, "pol", "is not a setting; did you mean 'pool'?");
  expect_problem_after_valid("pool:\n  sise: 3\n", 7, 3, "pool.sise", "did you mean 'size'?");
  expect_problem_after_valid("pool: { hold-timeout: 3s }\n", 6, 9, "pool.hold-timeout", "did you mean 'hold_timeout'?");
}

TEST(Load, refuses_an_unknown_key_and_knows_where_it_belongs) {
  expect_problem_after_valid("hold_timeout: 3s\n", 6, 1, "hold_timeout", "did you mean 'pool.hold_timeout'?");
  expect_problem_after_valid("pool_size: 3\n", 6, 1, "pool_size", "did you mean 'pool.size'?");
  expect_problem_after_valid("users:\n  joe: { workers: 3 }\n", 7, 10, "users.joe.workers",
                             "did you mean 'workers' at the top level?");
}

// A pool serves the clients of all listeners: which of its values would be in force depended on who came first.
TEST(Load, refuses_settings_of_a_pool_in_a_listener) {
  for (const std::string setting : {"size: 5", "idle_timeout: 5m", "lifetime: 5h"}) {
    const auto key = setting.substr(0, setting.find(':'));
    expect_problem(
        "listen:\n  - address: 127.0.0.1:6432\n    pool: { mode: session, " + setting + " }\n" +
            valid.substr(valid.find('\n') + 1),
        3, 28, "listen[0].pool." + key,
        "can't be set in a listener: a pool serves the clients of all listeners; set it at the top level, in "
        "a database or in a user");
    for (const std::string level : {"", "databases.*", "users.joe"}) {
      const auto text = "pool: { " + setting + " }";
      const auto config = level.empty()          ? valid + text + "\n"
                          : level == "users.joe" ? valid + "users: { joe: { " + text + " } }\n"
                                                 : std::string(valid).replace(valid.find("{ cluster: main }"), 17,
                                                                              "{ cluster: main, " + text + " }");
      must_load(config);
    }
  }
}

TEST(Load, refuses_a_limit_of_the_process_elsewhere) {
  expect_problem_after_valid("users: { joe: { pool: { hold_limit: 5 } } }\n", 6, 25, "users.joe.pool.hold_limit",
                             "can't be set in a user: it is one limit for the whole process; set it at the top level");
  expect_problem_after_valid("max_clients: 3\n", 6, 1, "max_clients",
                             "can't be set at the top level: the limit of the whole process is limits.max_clients; set "
                             "it in a listener, in a database or in a user");
}

TEST(Load, refuses_an_unknown_key_and_lists_the_settings_there) {
  expect_problem_after_valid("http: { zzzzzz: 1 }\n", 6, 9, "http.zzzzzz", "the settings here are: address");
}

TEST(Load, refuses_a_key_given_twice) {
  expect_problem_after_valid("pool: { size: 1, size: 2 }\n", 6, 18, "size", "is given twice; the first is in line 6");
  expect_problem_after_valid("auth: { method: trust }\n", 6, 1, "auth", "is given twice; the first is in line 5");
}

TEST(Load, refuses_a_cluster_database_or_user_given_twice) {
  expect_problem_after_valid("users:\n  joe: {}\n  \"joe\": {}\n", 8, 3, "joe", "is given twice");
}

TEST(Load, refuses_a_key_written_with_dots) {
  expect_problem_after_valid("pool: { size: 1 }\npool.size: 2\n", 7, 1, "pool.size", "groups are nested");
}

TEST(Load, refuses_a_value_of_the_wrong_shape) {
  expect_problem_after_valid("pool: 5\n", 6, 7, "pool", "must be a mapping of settings: mode, size");
  expect_problem_after_valid("pool: [ 5 ]\n", 6, 7, "pool", "must be a mapping");
  expect_problem_after_valid("workers: { a: 1 }\n", 6, 10, "workers", "must be one value, not a mapping");
  expect_problem_after_valid("workers: [ 1 ]\n", 6, 10, "workers", "must be one value, not a list");
  expect_problem_after_valid("reads: { functions: f }\n", 6, 21, "reads.functions", "must be a list");
  expect_problem_after_valid("reads: { functions: [ f, [ g ] ] }\n", 6, 26, "reads.functions", "must be a word");
  expect_problem_after_valid("users: [ joe ]\n", 6, 8, "users", "must be a mapping: the name");
  expect_problem_after_valid("users: { joe: 5 }\n", 6, 15, "users.joe", "must be a mapping of settings");
}

TEST(Load, refuses_a_listen_that_is_no_list) {
  expect_problem("listen: { address: 127.0.0.1 }\n" + valid.substr(valid.find('\n') + 1), 1, 9, "listen",
                 "must be a list");
}

TEST(Load, refuses_a_key_without_a_value) {
  expect_problem_after_valid("workers:\n", 6, 1, "workers", "has no value");
  expect_problem_after_valid("workers: ~\n", 6, 1, "workers", "has no value");
}

TEST(Load, takes_an_empty_group) {
  EXPECT_EQ(must_load(valid + "pool:\nusers:\nhttp: {}\n"), must_load(valid));
}

TEST(Load, refuses_what_is_missing) {
  expect_problem(R"(listen: [ { address: 127.0.0.1:6432 } ]
clusters: { main: { members: [ { name: pg1 } ] } }
databases: { "*": { cluster: main } }
auth: { method: trust }
)",
                 2, 32, "clusters.main.members[0].host", "is missing: Host name");
}

TEST(Load, refuses_an_empty_file_with_what_is_needed) {
  const auto problems = must_fail("");
  std::vector<std::string> keys;
  for (const auto& problem : problems) keys.push_back(problem.key);
  EXPECT_THAT(keys, testing::ElementsAre("auth.users_file", "clusters", "databases", "listen"));
}

// ---- values ----

TEST(Load, refuses_a_number_without_the_unit_it_needs) {
  expect_problem_after_valid("pool: { hold_timeout: 30 }\n", 6, 23, "pool.hold_timeout", "write 30s if that is meant");
  expect_problem_after_valid("reads: { max_lag: 16 }\n", 6, 19, "reads.max_lag", "write 16MB if that is meant");
}

TEST(Load, refuses_a_number_outside_of_its_range) {
  expect_problem_after_valid("pool: { size: 0 }\n", 6, 15, "pool.size", "is below the minimum, 1");
  expect_problem_after_valid("workers: 5000\n", 6, 10, "workers", "is above the maximum, 1024, or 0 for: one per core");
  expect_problem_after_valid("pool: { wait_timeout: 2d }\n", 6, 23, "pool.wait_timeout", "is above the maximum, 1d");
  expect_problem_after_valid("workers: -1\n", 6, 10, "workers", "is not a whole number");
  expect_problem_after_valid("pool: { idle_timeout: 0 }\n", 6, 23, "pool.idle_timeout", "is below the minimum, 1s");
  expect_problem_after_valid("pool: { idle_timeout: off }\n", 6, 23, "pool.idle_timeout", "is not a duration");
}

TEST(Load, refuses_a_port_that_does_not_fit) {
  expect_problem(R"(listen: [ { address: 127.0.0.1:6432 } ]
clusters: { main: { members: [ { name: pg1, host: a, port: 70000 } ] } }
databases: { "*": { cluster: main } }
auth: { method: trust }
)",
                 2, 60, "clusters.main.members[0].port", "is above the maximum, 65535");
}

TEST(Load, refuses_a_word_that_is_not_in_the_list) {
  expect_problem_after_valid("pool: { mode: sesion }\n", 6, 15, "pool.mode",
                             "'sesion' is not one of transaction, session; did you mean 'session'?");
  expect_problem_after_valid("log: { level: loud }\n", 6, 15, "log.level", "is not one of trace, debug");
  expect_problem_after_valid("reads: { fallback_to_primary: maybe }\n", 6, 31, "reads.fallback_to_primary",
                             "is not true or false");
}

TEST(Load, refuses_what_is_not_available_yet) {
  expect_problem_after_valid("pool: { mode: statement }\n", 6, 15, "pool.mode",
                             "'statement' is not available in this version; available: transaction, session");
  for (const auto* word : {"reject", "ignore"}) {
    expect_problem_after_valid(std::string("pool: { on_session_state: ") + word + " }\n", 6, 27,
                               "pool.on_session_state", "is not available in this version; available: pin");
  }
  const auto cluster = [](const std::string& failover) {
    return "listen: [ { address: 127.0.0.1:6432 } ]\nclusters:\n  main:\n    members: [ { name: pg1, host: a } ]\n"
           "    failover: " +
           failover + "\ndatabases: { \"*\": { cluster: main } }\nauth: { method: trust }\n";
  };
  for (const auto* word : {"trigger", "observe"}) {
    expect_problem(cluster(std::string("{ mode: ") + word + " }"), 5, 23, "clusters.main.failover.mode",
                   "is not available in this version; available: follow");
  }
  for (const auto* word : {"patroni", "kubernetes"}) {
    expect_problem(cluster(std::string("{ authority: ") + word + " }"), 5, 28, "clusters.main.failover.authority",
                   "is not available in this version; available: sql");
  }
}

TEST(Load, refuses_a_consistency_that_says_too_much_or_too_little) {
  expect_problem_after_valid("reads: { consistency: bounded }\n", 6, 23, "reads.consistency", "write { bounded: 5s }");
  expect_problem_after_valid("reads: { consistency: { bounded: 5 } }\n", 6, 34, "reads.consistency", "has no unit");
  expect_problem_after_valid("reads: { consistency: { global: 5s } }\n", 6, 23, "reads.consistency", "takes no age");
  expect_problem_after_valid("reads: { consistency: { bounded: 0 } }\n", 6, 34, "reads.consistency", "more than 0");
  expect_problem_after_valid("reads: { consistency: { bounded: 1s, global: 1s } }\n", 6, 23, "reads.consistency",
                             "write { bounded: 5s }");
  expect_problem_after_valid("reads: { consistency: strong }\n", 6, 23, "reads.consistency",
                             "is not one of session, global, bounded, eventual");
}

// ---- YAML ----

TEST(Load, gives_the_place_of_broken_yaml) {
  expect_problem("listen:\n  - a: b: c\n", 2, 9, "", "this is not valid YAML");
  expect_problem("listen: [ {\n", 2, 1, "", "this is not valid YAML");
  expect_problem("a: *nothing\n", 1, 4, "", "this is not valid YAML");
}

TEST(Load, refuses_merge_keys_tags_and_keys_that_are_no_words) {
  expect_problem_after_valid("pool: { <<: { size: 3 } }\n", 6, 9, "<<", "merge keys are not supported");
  expect_problem_after_valid("workers: !!int 3\n", 6, 10, "", "tags");
  expect_problem_after_valid("[ a ]: 3\n", 6, 1, "", "a key must be a word");
  expect_problem_after_valid("~: 3\n", 6, 1, "", "a key must be a word");
}

TEST(Load, refuses_a_second_document) {
  expect_problem(valid + "---\nworkers: 3\n", 6, 1, "", "a second document begins here");
}

TEST(Load, refuses_a_root_that_is_no_mapping) {
  expect_problem("[ 1, 2 ]\n", 1, 1, "", "must be a mapping of settings");
  expect_problem("word\n", 1, 1, "", "must be a mapping of settings");
}

TEST(Load, refuses_control_characters_and_broken_utf8) {
  // yaml-cpp takes byte 4 for the end of the text: what follows would be dropped without a word.
  expect_problem(valid + "workers: 1\n\x04pool: { size: 1 }\n", 7, 1, "", "control characters");
  expect_problem("a: \"\xff\"\n", 1, 5, "", "is not UTF-8");
  expect_problem("a: \xed\xa0\x80\n", 1, 4, "", "is not UTF-8");
  expect_problem(std::string("a: b\n\0", 6), 2, 1, "", "control characters");
}

TEST(Load, bounds_depth) {
  std::string blocks;
  for (unsigned i = 0; i < 5000; ++i) blocks += "- ";
  for (const auto& text : {"a: " + std::string(100000, '['), std::string(50000, '{'), blocks + "x\n"}) {
    const auto problems = must_fail(text);
    ASSERT_EQ(problems.size(), 1U);
    EXPECT_EQ(problems[0].line, 1U);
    EXPECT_THAT(problems[0].message, HasSubstr("nested too deeply"));
  }
}

TEST(Load, bounds_what_aliases_unfold_to) {
  std::string bomb = "a0: &a0 [ x, x, x, x, x, x, x, x, x, x ]\n";
  for (int i = 1; i < 10; ++i) {
    const auto before = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [ " + before;
    for (int j = 0; j < 9; ++j) bomb += ", " + before;
    bomb += " ]\n";
  }
  const auto problems = must_fail(bomb);
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_EQ(problems[0].line, 6U);
  EXPECT_THAT(problems[0].message, HasSubstr("grows too large"));
}

TEST(Load, reports_each_of_very_many_mistakes_and_bounds_the_work_for_hints) {
  std::string text = valid;
  for (int i = 0; i < 80000; ++i) text += "k" + std::to_string(i) + ": 1\n";
  const auto problems = must_fail(text);
  ASSERT_EQ(problems.size(), 80000U);
  EXPECT_EQ(problems.back().line, 80005U);
  EXPECT_EQ(problems.back().message, "is not a setting");
}

TEST(Load, refuses_an_alias_of_a_value_that_contains_it) {
  expect_problem("a: &a [ *a ]\n", 1, 9, "", "this alias refers to a value that contains it");
}

TEST(Load, refuses_a_huge_file) {
  expect_problem(std::string((1U << 20U) + 1, '#'), 0, 0, "", "larger than 1 MiB");
  const Folder folder;
  const auto path = folder.write("big.yaml", std::string((1U << 20U) + 1, '#'));
  const auto loaded = load(path);
  ASSERT_FALSE(loaded);
  EXPECT_THAT(loaded.error()[0].message, HasSubstr("larger than 1024 KiB"));
}

TEST(Load, refuses_files_that_are_none) {
  const Folder folder;
  for (const auto& path : {folder.path("missing.yaml"), folder.path(""), std::string("/dev/zero")}) {
    const auto loaded = load(path);
    ASSERT_FALSE(loaded) << path;
    EXPECT_EQ(loaded.error().size(), 1U);
    EXPECT_EQ(loaded.error()[0].file, path);
  }
}

TEST(Load, keeps_a_hostile_files_control_characters_off_the_terminal) {
  const auto problems = must_fail(valid + "\"\\e[2J\": 1\n");
  EXPECT_EQ(to_string(problems[0]).find('\x1b'), std::string::npos);
  EXPECT_THAT(to_string(problems[0]), HasSubstr("\\x1b[2J"));
}

}  // namespace
}  // namespace holdfast::config
