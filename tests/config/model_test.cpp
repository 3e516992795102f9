#include "config/model.hpp"

#include <gtest/gtest.h>

#include <sstream>

namespace holdfast::config {
namespace {

using namespace std::chrono_literals;

Config three_databases() {
  Config config;
  config.databases = {{.name = "*", .cluster = "a"}, {.name = "app", .cluster = "b"}};
  config.clusters = {{.name = "a"}, {.name = "b"}};
  config.users = {{.name = "joe"}};
  return config;
}

TEST(Config, finds_the_named_database_before_the_star) {
  const auto config = three_databases();
  EXPECT_EQ(config.find_database("app")->cluster, "b");
  EXPECT_EQ(config.find_database("other")->cluster, "a");
  EXPECT_EQ(config.find_database("")->cluster, "a");
}

TEST(Config, finds_no_database_without_a_star) {
  auto config = three_databases();
  config.databases.erase(config.databases.begin());
  EXPECT_EQ(config.find_database("other"), nullptr);
  EXPECT_EQ(config.find_database("*"), nullptr);
}

TEST(Config, knows_which_clusters_are_one_under_several_names) {
  Config config;
  config.clusters = {{.name = "all", .members = {{.name = "a", .host = "pg1"}, {.name = "b", .host = "pg2"}}},
                     {.name = "second", .members = {{.name = "x", .host = "pg2"}}},
                     {.name = "port", .members = {{.name = "a", .host = "pg1", .port = 5433}}},
                     {.name = "first", .members = {{.name = "y", .host = "pg1"}}}};
  using Names = std::vector<std::string>;
  EXPECT_EQ(config.sharing_servers_with("all"), (Names{"all", "second", "first"}));
  EXPECT_EQ(config.sharing_servers_with("first"), (Names{"first", "all", "second"})) << "by way of another one";
  EXPECT_EQ(config.sharing_servers_with("port"), (Names{"port"}));
  EXPECT_EQ(config.sharing_servers_with("gone"), (Names{"gone"}));
}

TEST(Config, finds_users_and_clusters_by_their_exact_name) {
  const auto config = three_databases();
  EXPECT_EQ(config.find_user("joe"), &config.users[0]);
  EXPECT_EQ(config.find_user("Joe"), nullptr);
  EXPECT_EQ(config.find_cluster("b"), &config.clusters[1]);
  EXPECT_EQ(config.find_cluster("c"), nullptr);
}

TEST(Config, has_the_defaults_in_force_when_nothing_is_set) {
  EXPECT_EQ(Config{}.effective(Listener{}, nullptr, nullptr), EffectiveSettings{});
}

TEST(Config, lets_the_most_specific_level_win) {
  Config config;
  Listener listener;
  Database database;
  User user;
  config.settings.wait_timeout = 1s;
  const auto wait = [&] { return config.effective(listener, &database, &user).wait_timeout; };
  EXPECT_EQ(wait(), 1s);
  listener.settings.wait_timeout = 2s;
  EXPECT_EQ(wait(), 2s);
  database.settings.wait_timeout = 3s;
  EXPECT_EQ(wait(), 3s);
  user.settings.wait_timeout = 4s;
  EXPECT_EQ(wait(), 4s);
  EXPECT_EQ(config.effective(listener, nullptr, nullptr).wait_timeout, 2s);
  EXPECT_EQ(config.effective(listener, &database, nullptr).wait_timeout, 3s);
}

TEST(Config, takes_each_setting_from_its_own_level) {
  Config config;
  Listener listener;
  Database database;
  User user;
  config.settings.hold_timeout = 5s;
  listener.settings.route = Route::replica;
  database.settings.read_functions = {{"f"}};
  user.settings.query_timeout = 1s;
  const auto result = config.effective(listener, &database, &user);
  EffectiveSettings expected;
  expected.hold_timeout = 5s;
  expected.route = Route::replica;
  expected.read_functions = {"f"};
  expected.query_timeout = 1s;
  EXPECT_EQ(result, expected);
}

TEST(Config, never_inherits_half_of_a_consistency) {
  Config config;
  Database database;
  config.settings.read_consistency = ReadConsistency::bounded;
  config.settings.read_staleness = 5s;
  database.settings.read_consistency = ReadConsistency::session;
  const auto result = config.effective(Listener{}, &database, nullptr);
  EXPECT_EQ(result.read_consistency, ReadConsistency::session);
  EXPECT_EQ(result.read_staleness, 0ms);
}

TEST(Secret, prints_as_a_placeholder) {
  std::ostringstream out;
  out << Secret("hunter2") << ' ' << testing::PrintToString(Secret("hunter2"));
  EXPECT_EQ(out.str(), "[secret] [secret]");
}

}  // namespace
}  // namespace holdfast::config
