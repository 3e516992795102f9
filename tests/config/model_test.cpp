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

TEST(Config, finds_users_and_clusters_by_their_exact_name) {
  const auto config = three_databases();
  EXPECT_EQ(config.find_user("joe"), &config.users[0]);
  EXPECT_EQ(config.find_user("Joe"), nullptr);
  EXPECT_EQ(config.find_cluster("b"), &config.clusters[1]);
  EXPECT_EQ(config.find_cluster("c"), nullptr);
}

TEST(Config, goes_by_the_defaults_when_nobody_says_anything) {
  EXPECT_EQ(Config{}.effective(Listener{}, nullptr, nullptr), EffectiveSettings{});
}

TEST(Config, lets_the_most_specific_level_win) {
  Config config;
  Listener listener;
  Database database;
  User user;
  config.settings.pool_size = 1;
  const auto size = [&] { return config.effective(listener, &database, &user).pool_size; };
  EXPECT_EQ(size(), 1U);
  listener.settings.pool_size = 2;
  EXPECT_EQ(size(), 2U);
  database.settings.pool_size = 3;
  EXPECT_EQ(size(), 3U);
  user.settings.pool_size = 4;
  EXPECT_EQ(size(), 4U);
  EXPECT_EQ(config.effective(listener, nullptr, nullptr).pool_size, 2U);
  EXPECT_EQ(config.effective(listener, &database, nullptr).pool_size, 3U);
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
