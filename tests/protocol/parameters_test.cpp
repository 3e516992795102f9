// Settings of clients as SQL, reported parameters of servers as differences.
#include "protocol/parameters.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "protocol/reported.hpp"
#include "tests/protocol/set_config_reader.hpp"

#include "protocol/sql/reset.hpp"

namespace holdfast::protocol {
namespace {

using Told = std::vector<Parameter>;

StartupMessage startup(std::string options, std::vector<Parameter> parameters) {
  StartupMessage message;
  message.user = "u";
  message.options = std::move(options);
  message.parameters = std::move(parameters);
  return message;
}

TEST(Settings, equal_sets_are_one_whatever_their_order_and_case) {
  SettingsTable table;
  const auto a = table.intern({{"work_mem", "1MB"}, {"DateStyle", "German"}});
  const auto b = table.intern({{"datestyle", "German"}, {"Work_Mem", "1MB"}});
  EXPECT_EQ(a, b);
  EXPECT_EQ(table.size(), 1U);
  EXPECT_NE(a, table.intern({{"work_mem", "1mb"}, {"DateStyle", "German"}})) << "values keep their case";
  ASSERT_NE(a.find("WORK_MEM"), nullptr);
  EXPECT_EQ(*a.find("WORK_MEM"), "1MB");
}

TEST(Settings, last_of_a_name_counts) {
  SettingsTable table;
  EXPECT_EQ(table.intern({{"a", "1"}, {"A", "2"}, {"a", "3"}}), table.intern({{"a", "3"}}));
}

TEST(Settings, booleans_are_read_as_postgresql_does) {
  for (std::string_view yes : {"on", "ON", "true", "T", "tr", "yes", "y", "1"}) EXPECT_TRUE(is_true(yes)) << yes;
  for (std::string_view no : {"off", "of", "o", "false", "no", "0", "", "01", "truely", "on "})
    EXPECT_FALSE(is_true(no)) << no;
}

TEST(Settings, parameters_win_over_options) {
  SettingsTable table;
  const auto settings = table.from_startup(startup("-c work_mem=1MB --geqo=off", {{"work_mem", "2MB"}}));
  ASSERT_TRUE(settings);
  EXPECT_EQ(*settings, table.intern({{"geqo", "off"}, {"work_mem", "2MB"}}));
}

TEST(Settings, bad_options_are_refused) {
  SettingsTable table;
  const auto settings = table.from_startup(startup("-c work_mem", {}));
  ASSERT_FALSE(settings);
  EXPECT_EQ(settings.error().state, std::string_view("42601"));
}

TEST(Settings, nothing_asked_for_is_the_default) {
  SettingsTable table;
  EXPECT_EQ(table.from_startup(startup("", {})), SettingsRef());
  EXPECT_TRUE(SettingsRef().empty());
}

TEST(Settings, memory_goes_with_the_last_client) {
  SettingsTable table;
  for (int i = 0; i < 1000; ++i) static_cast<void>(table.intern({{"application_name", std::to_string(i)}}));
  EXPECT_EQ(table.size(), 0U);
}

TEST(ChangeSettings, same_set_needs_nothing) {
  SettingsTable table;
  const auto a = table.intern({{"a.b", "1"}});
  EXPECT_EQ(change_settings(a, a), "");
  EXPECT_EQ(change_settings({}, {}), "");
}

TEST(ChangeSettings, sets_what_differs_and_resets_what_is_not_wanted) {
  SettingsTable table;
  const auto from = table.intern({{"geqo", "off"}, {"search_path", "a"}, {"work_mem", "1MB"}});
  const auto to = table.intern({{"search_path", "a, b"}, {"timezone", "UTC"}, {"work_mem", "1MB"}});
  EXPECT_EQ(change_settings(from, to),
            "SELECT pg_catalog.set_config('geqo',NULL,false) IS NULL,pg_catalog.set_config('search_path','a, b',false) "
            "IS NULL,"
            "pg_catalog.set_config('timezone','UTC',false) IS NULL");
}

TEST(ChangeSettings, role_is_reset_first_and_set_last) {
  SettingsTable table;
  const auto from = table.intern({{"a.a", "1"}, {"role", "x"}});
  const auto to = table.intern({{"role", "y"}, {"work_mem", "1MB"}, {"zero_damaged_pages", "on"}});
  EXPECT_EQ(
      change_settings({}, to),
      "SELECT pg_catalog.set_config('work_mem','1MB',false) IS NULL,"
      "pg_catalog.set_config('zero_damaged_pages','on',false) IS NULL,pg_catalog.set_config('role','y',false) IS NULL");
  EXPECT_EQ(change_settings(from, {}),
            "SELECT pg_catalog.set_config('role',NULL,false) IS NULL,pg_catalog.set_config('a.a',NULL,false) IS NULL");
}

TEST(ChangeSettings, there_and_back_by_a_reader_of_sql) {
  SettingsTable table;
  std::minstd_rand random(1);
  const auto any_text = [&random] {
    std::string text(random() % 6, ' ');
    for (char& c : text) c = static_cast<char>(random() % 255 + 1);
    return text;
  };
  std::map<std::string, std::string> server;
  SettingsRef now;
  for (int round = 0; round < 3000; ++round) {
    std::vector<Parameter> wanted;
    for (auto i = random() % 5; i > 0; --i)
      wanted.push_back({std::string(1, static_cast<char>('a' + random() % 6)) + any_text(), any_text()});
    const auto next = table.intern(wanted);
    ASSERT_TRUE(testing::run_set_config(change_settings(now, next), server));
    now = next;
    std::map<std::string, std::string> expected;
    for (const auto& [name, value] : now.parameters()) expected[name] = value;
    ASSERT_EQ(server, expected);
  }
}

TEST(ChangeSettings, restores_after_reset) {
  SettingsTable table;
  const auto settings = table.intern({{"search_path", "a"}, {"work_mem", "1MB"}});
  EXPECT_EQ(restore_settings(settings, "Work_Mem"), "SELECT pg_catalog.set_config('work_mem','1MB',false) IS NULL");
  EXPECT_EQ(restore_settings(settings, "geqo"), "");
  EXPECT_EQ(restore_settings(settings, "ALL"), change_settings({}, settings));
  EXPECT_EQ(restore_settings({}, "all"), "");
}

TEST(RestoreSettings, bring_the_role_back_only_where_it_was_reset) {
  SettingsTable table;
  const auto settings = table.intern({{"role", "r"}, {"work_mem", "1MB"}});
  const std::string work_mem = "pg_catalog.set_config('work_mem','1MB',false) IS NULL";
  const std::string role = "pg_catalog.set_config('role','r',false) IS NULL";
  EXPECT_EQ(restore_settings(settings, "all"), "SELECT " + work_mem);
  EXPECT_EQ(restore_settings(settings, "session_authorization"), "SELECT " + role);
  EXPECT_EQ(restore_settings(settings, "role"), "SELECT " + role);
  EXPECT_EQ(restore_settings(settings, sql::everything), "SELECT " + work_mem + "," + role);
  EXPECT_EQ(restore_if_reset(settings, Roles::keep).find("'role'"), std::string::npos);
  EXPECT_NE(restore_if_reset(settings, Roles::restore).find("('role','r','none')"), std::string::npos);
  EXPECT_EQ(restore_if_reset(table.intern({{"role", "r"}}), Roles::keep), "");
  EXPECT_EQ(restore_if_reset({}, Roles::restore), "");
}

TEST(QuoteLiteral, is_the_same_under_any_session) {
  EXPECT_EQ(quote_literal("plain"), "'plain'");
  EXPECT_EQ(quote_literal("it's"), "'it''s'");
  EXPECT_EQ(quote_literal("a\\b'"), " E'a\\\\b'''");
  EXPECT_EQ(quote_literal("\xc3\xa4"), " E'\\xc3\\xa4'");
  EXPECT_EQ(quote_literal("\x95'"), " E'\\x95'''") << "never half a character that swallows the quote";
}

Told difference_of(const ReportedRef& from, const ReportedRef& to, RoleReports role = RoleReports::pass) {
  Told told;
  difference(from, to, role, [&told](std::string_view name, std::string_view value) {
    told.push_back({std::string(name), std::string(value)});
  });
  return told;
}

ReportedRef reported(ReportedTable& table, const std::vector<Parameter>& parameters) {
  ReportedRef set;
  for (const auto& [name, value] : parameters) set = table.with(set, name, value).value();
  return set;
}

TEST(Reported, order_of_reports_does_not_matter) {
  ReportedTable table;
  const auto a = reported(table, {{"DateStyle", "ISO"}, {"TimeZone", "UTC"}});
  const auto b = reported(table, {{"TimeZone", "Europe/Berlin"}, {"DateStyle", "ISO"}, {"TimeZone", "UTC"}});
  EXPECT_EQ(a, b);
  EXPECT_EQ(*a.find("TimeZone"), "UTC");
  EXPECT_EQ(a.find("timezone"), nullptr);
}

TEST(Reported, client_is_told_what_differs_once) {
  ReportedTable table;
  const auto a = reported(table, {{"A", "1"}, {"B", "1"}, {"D", "1"}});
  const auto b = reported(table, {{"A", "1"}, {"B", "2"}, {"C", "1"}});
  EXPECT_EQ(difference_of(a, b), (Told{{"B", "2"}, {"C", "1"}}));
  EXPECT_EQ(difference_of(b, b), Told{});
  EXPECT_EQ(difference_of({}, a), (Told{{"A", "1"}, {"B", "1"}, {"D", "1"}}));
}

TEST(Reported, role_can_be_kept_from_the_client) {
  ReportedTable table;
  const auto primary = reported(table, {{"in_hot_standby", "off"}, {"TimeZone", "UTC"}});
  const auto replica = reported(table, {{"in_hot_standby", "on"}, {"TimeZone", "UTC"}});
  EXPECT_EQ(difference_of(primary, replica), (Told{{"in_hot_standby", "on"}}));
  EXPECT_EQ(difference_of(primary, replica, RoleReports::keep), Told{});
}

TEST(Reported, flips_make_no_new_sets) {
  ReportedTable table;
  auto set = reported(table, {{"DateStyle", "ISO"}, {"TimeZone", "UTC"}});
  set = table.with(set, "TimeZone", "CET").value();
  set = table.with(set, "TimeZone", "UTC").value();
  const auto size = table.size();
  const auto before = set;
  for (int i = 0; i < 1000; ++i) {
    set = table.with(set, "TimeZone", "CET").value();
    set = table.with(set, "TimeZone", "UTC").value();
  }
  EXPECT_EQ(set, before);
  EXPECT_EQ(table.size(), size);
}

TEST(Reported, values_that_never_repeat_are_forgotten) {
  ReportedTable table;
  const auto base = reported(table, {{"TimeZone", "UTC"}});
  auto set = base;
  for (int i = 0; i < 5000; ++i) {
    set = table.with(set, "application_name", std::to_string(i)).value();
    ASSERT_EQ(*set.find("application_name"), std::to_string(i));
    ASSERT_EQ(*table.with(base, "application_name", std::to_string(i % 7)).value().find("application_name"),
              std::to_string(i % 7));
  }
  EXPECT_LE(table.size(), ReportedTable::idle_kept + 2);
}

TEST(Reported, hostile_server_is_bounded) {
  ReportedTable table;
  ReportedRef set;
  for (std::size_t i = 0; i < ReportedTable::max_parameters; ++i) {
    set = table.with(set, "p" + std::to_string(i), "v").value();
  }
  const auto one_more = table.with(set, "one_more", "v");
  ASSERT_FALSE(one_more);
  EXPECT_EQ(one_more.error().state, sqlstate::program_limit_exceeded);
  EXPECT_TRUE(table.with(set, "p0", "other")) << "a change of a known one is none too many";
  EXPECT_FALSE(table.with({}, "big", std::string(ReportedTable::max_bytes, 'x')));
  EXPECT_TRUE(table.with(table.with({}, "big", std::string(ReportedTable::max_bytes - 3, 'x')).value(), "big",
                         std::string(ReportedTable::max_bytes - 3, 'y')));
}

}  // namespace
}  // namespace holdfast::protocol
