#include "config/diff.hpp"

#include <sstream>

#include "config/check.hpp"
#include "tests/config/support.hpp"

namespace holdfast::config {
namespace {

using test::must_load;
using test::valid;
using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> changes(const Config& before, const Config& after) {
  std::vector<std::string> result;
  for (const auto& change : diff(before, after)) result.push_back(to_string(change));
  return result;
}

TEST(Diff, finds_nothing_between_equals) {
  const auto config = must_load(valid);
  EXPECT_THAT(diff(config, config), IsEmpty());
}

TEST(Diff, takes_a_default_that_is_written_out_for_no_change) {
  EXPECT_THAT(changes(must_load(valid), must_load(valid + "pool: { size: 20 }\n")), IsEmpty());
}

TEST(Diff, names_what_changes_and_when_it_applies) {
  const auto before = must_load(valid + "workers: 2\npool: { size: 20 }\n");
  const auto after = must_load(valid + "workers: 4\npool: { size: 40 }\nreads: { consistency: { bounded: 5s } }\n");
  EXPECT_THAT(changes(before, after), ElementsAre("pool.size: 20 -> 40", "reads.consistency: global -> bounded: 5s",
                                                  "workers: 2 -> 4 (after a restart)"));
}

TEST(Diff, tells_a_default_from_a_level_that_says_nothing) {
  const auto before = must_load(valid + "users: { joe: {} }\n");
  const auto after = must_load(valid + "users: { joe: { pool: { size: 20 } } }\n");
  EXPECT_THAT(changes(before, after), ElementsAre("users.joe.pool.size: (not set) -> 20"));
  EXPECT_THAT(changes(after, before), ElementsAre("users.joe.pool.size: 20 -> (not set)"));
}

TEST(Diff, names_entries_that_come_and_go) {
  const auto before = must_load(valid + "users: { joe: { route: primary } }\n");
  const auto after = must_load(valid + "users: { jim: {} }\n");
  EXPECT_THAT(changes(before, after), ElementsAre("users.jim: added {}", "users.joe: removed { route=primary }"));
}

TEST(Diff, knows_members_by_name_and_listeners_by_address) {
  auto before = must_load(valid);
  before.clusters[0].members.push_back({.name = "pg2", .host = "b"});
  before.listeners.push_back({.address = "::1", .port = 6432});
  auto after = before;
  std::swap(after.clusters[0].members[0], after.clusters[0].members[1]);
  std::swap(after.listeners[0], after.listeners[1]);
  EXPECT_THAT(changes(before, after), IsEmpty());
  after.clusters[0].members[0].priority = 0;
  EXPECT_THAT(changes(before, after), ElementsAre("clusters.main.members.pg2.priority: 100 -> 0"));
}

TEST(Diff, never_shows_a_secret) {
  auto before = must_load(valid);
  before.clusters[0].monitor.password = Secret("hunter2");
  before.auth.credentials = {{"a", Secret("hunter2")}, {"b", Secret("hunter2")}};
  auto after = before;
  after.clusters[0].monitor.password = Secret("hunter3");
  after.auth.credentials = {{"b", Secret("hunter3")}, {"c", Secret("hunter3")}};
  const auto shown = changes(before, after);
  EXPECT_THAT(
      shown,
      ElementsAre("auth.users_file[\"a\"]: [secret] -> (not set)", "auth.users_file[\"b\"]: [secret] changed",
                  "auth.users_file[\"c\"]: (not set) -> [secret]", "clusters.main.monitor.password: [secret] changed"));
}

TEST(Diff, tells_a_user_with_a_password_once) {
  const auto before = must_load(valid);
  const auto after = must_load(valid + "users: { joe: { password: hunter2 } }\n");
  EXPECT_THAT(changes(before, after), ElementsAre("users.joe: added { password=[secret] }"));
}

TEST(Adopt, takes_what_applies_live_and_keeps_the_rest) {
  const auto running = must_load(valid + "workers: 2\n");
  auto loaded = must_load(valid + "workers: 4\npool: { size: 40 }\n");
  loaded.clusters[0].members.push_back({.name = "pg2", .host = "b"});
  loaded.clusters[0].connect_timeout = Milliseconds(7);
  loaded.clusters[0].system_identifier = 7;
  loaded.listeners.push_back({.address = "::1", .port = 6432});
  loaded.listeners[0].settings.route = Route::primary;
  const auto result = adopt(running, loaded);
  EXPECT_EQ(result.workers, 2U);
  EXPECT_EQ(result.settings.pool_size, 40U);
  EXPECT_EQ(result.clusters[0].members, loaded.clusters[0].members);
  EXPECT_EQ(result.clusters[0].system_identifier, 0U);
  EXPECT_EQ(result.clusters[0].connect_timeout, Milliseconds(7));
  ASSERT_EQ(result.listeners.size(), 1U);
  EXPECT_EQ(result.listeners[0].settings.route, Route::primary);
}

TEST(Adopt, leaves_only_changes_that_need_a_restart) {
  const auto running = must_load(valid + "workers: 2\npool: { size: 1 }\nhttp: { address: 127.0.0.1:1 }\n");
  const auto loaded = must_load(valid + "workers: 4\npool: { size: 2 }\nlog: { level: debug }\n");
  for (const auto& change : diff(adopt(running, loaded), loaded)) EXPECT_EQ(change.applies, Applies::restart) << change;
  for (const auto& change : diff(running, adopt(running, loaded))) EXPECT_EQ(change.applies, Applies::live) << change;
}

TEST(Adopt, never_leads_a_database_to_a_cluster_that_is_not_running) {
  const auto running = must_load(valid);
  auto loaded = running;
  loaded.clusters[0].name = "new";
  loaded.databases = {{.name = "*", .cluster = "new"}, {.name = "app", .cluster = "new"}};
  const auto result = adopt(running, loaded);
  EXPECT_EQ(result.databases, running.databases);
  EXPECT_NE(result.find_cluster(result.databases[0].cluster), nullptr);
}

TEST(Check, prints_all_problems_and_fails) {
  const test::Folder folder;
  const auto path = folder.write("holdfast.yaml", valid + "pol: 1\nworkers: x\n");
  std::ostringstream out;
  EXPECT_EQ(check(path, out), 1);
  EXPECT_EQ(out.str(), path + ":6:1: pol: is not a setting; did you mean 'pool'?\n" + path +
                           ":7:10: workers: 'x' is not a whole number of 0 or more\n2 errors\n");
}

TEST(Check, prints_warnings_and_that_all_is_well) {
  const test::Folder folder;
  const auto path = folder.write("holdfast.yaml", valid);
  std::ostringstream out;
  EXPECT_EQ(check(path, out), 0);
  EXPECT_EQ(out.str(), "warning: " + path +
                           ":5:17: auth.method: trust lets every client that can reach the listeners log in as any "
                           "user\n"
                           "configuration is valid\n");
}

}  // namespace
}  // namespace holdfast::config
