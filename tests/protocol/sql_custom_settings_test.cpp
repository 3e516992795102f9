// Which custom settings a text makes before it can ask for any, and which it asks for.
#include "protocol/sql/custom_settings.hpp"

#include <gtest/gtest.h>

#include <initializer_list>

namespace holdfast::protocol::sql {
namespace {

CustomNames names(std::initializer_list<const char*> list) {
  CustomNames all;
  for (const char* name : list) all.add(name);
  return all;
}
// The text makes these and no others; nothing is known of what it does behind them unless it is read as a whole.
void expect_made(const char* sql, std::initializer_list<const char*> list, bool whole) {
  const auto made = custom_settings_made(sql);
  EXPECT_TRUE(made.names.cover(names(list))) << sql;
  EXPECT_TRUE(names(list).cover(made.names)) << sql;
  EXPECT_EQ(made.whole, whole) << sql;
}

TEST(CustomSettings, are_made_by_set) {
  expect_made("SET LOCAL app.user = 'x'", {"app.user"}, true);
  expect_made("set session App.User to x, y;", {"app.user"}, true);
  expect_made("SET app.\"user\" = DEFAULT", {"app.user"}, true);
  expect_made("BEGIN READ ONLY; SET LOCAL app.a = ';'; SET LOCAL work_mem = '1MB'; SET LOCAL app.b = 2",
              {"app.a", "app.b"}, true);
  expect_made("/* c */ SET LOCAL app.user -- c\n = 'it''s'", {"app.user"}, true);
  expect_made("", {}, true);
}

TEST(CustomSettings, are_made_by_set_config) {
  expect_made("SELECT set_config('app.user', $1, true)", {"app.user"}, true);
  expect_made("SELECT pg_catalog.set_config('App.A', 'x'::text, true) AS a, set_config('app.b', $2, false) AS b",
              {"app.a", "app.b"}, true);
  EXPECT_TRUE(custom_settings_made("SELECT set_config('search_path', $1, true)").others);
  EXPECT_TRUE(custom_settings_made("SET LOCAL work_mem = '1MB'; SET LOCAL app.a = 1").others);
  EXPECT_FALSE(custom_settings_made("SET LOCAL app.a = 1").others);
}

TEST(CustomSettings, are_not_for_certain_made_by_what_is_not_understood) {
  expect_made("SELECT set_config('app.user', tenant, true) FROM tenants", {}, false);
  expect_made("SELECT set_config('app.user', 'x', true) FROM tenants", {}, false);
  expect_made("SELECT set_config('app.user', (SELECT 'x'), true)", {}, false);
  expect_made("SELECT set_config('app.user', current_setting('app.b'), true)", {}, false);
  expect_made("SELECT set_config($1, 'x', true)", {}, false);
  expect_made("SELECT set_config('app.' || 'user', 'x', true)", {}, false);
  expect_made("SELECT set_config('app\\056user', 'x', true)", {}, false);
  expect_made("SELECT set_config(E'app.user', 'x', true)", {}, false);
  expect_made("SELECT 1, set_config('app.user', 'x', true)", {}, false);
  expect_made("SET LOCAL app.a = 'x\\'; SET LOCAL app.b = 'y'", {}, false);
}

TEST(CustomSettings, are_those_in_front_of_whatever_may_ask) {
  expect_made("SET LOCAL app.a = 1; SELECT * FROM t; SET LOCAL app.b = 2", {"app.a"}, false);
  expect_made("SELECT * FROM t; SET LOCAL app.b = 2", {}, false);
}

TEST(CustomSettings, are_asked_for_by_name) {
  const auto asks = [](const char* sql, std::initializer_list<const char*> list) {
    const auto asked = custom_settings_asked(sql);
    EXPECT_TRUE(asked.cover(names(list)) && names(list).cover(asked)) << sql;
  };
  asks("SELECT current_setting('App.User', true)", {"app.user"});
  asks("SELECT pg_catalog.current_setting('app.a'), current_setting('app.b')", {"app.a", "app.b"});
  asks("SHOW app.user", {"app.user"});
  asks("SELECT current_setting('server_version')", {});
  for (const char* sql :
       {"SELECT current_setting($1)", "SELECT current_setting('a' || '.b')", "SELECT current_setting(E'a.b')",
        "SELECT \"current_setting\" ('a\\056b')", "SELECT U&\"current\\005fsetting\"('a.b')"}) {
    EXPECT_TRUE(custom_settings_asked(sql).meet(names({"anything"}))) << sql;
  }
}

TEST(CustomNames, are_too_many_at_some_point) {
  CustomNames many;
  for (const char* name : {"a.1", "a.2", "a.3", "a.4", "a.5", "a.6"}) many.add(name);
  EXPECT_FALSE(many.meet(names({"b"})));
  many.add("a.7");
  EXPECT_TRUE(many.meet(names({"b"})));
  EXPECT_FALSE(names({"a.1"}).cover(many));
  EXPECT_FALSE(many.cover(many)) << "nobody knows which";
  EXPECT_TRUE(many.cover(names({"a.1", "a.6"})));
}

}  // namespace
}  // namespace holdfast::protocol::sql
