#include "protocol/sql/functions.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "protocol/sql/builtin_names.hpp"
#include "protocol/sql/classify.hpp"
#include "tests/support/postgres.hpp"

using namespace holdfast::protocol::sql;
using holdfast::testing::Connection;
using holdfast::testing::ReplicationSet;
using holdfast::testing::SqlError;

namespace {

// A primary and one standby for all tests here; they only read.
ReplicationSet& servers() {
  static ReplicationSet set({.replicas = 1});
  return set;
}

// Volatile by pg_proc, and yet the same on any server and without a trace. Everything else volatile must be in the
// table.
const std::set<std::string, std::less<>> volatile_but_safe = {
    "amvalidate", "bernoulli", "clock_timestamp", "current_query", "currtid2", "dsnowball_init", "dsnowball_lexize",
    "gen_random_uuid", "pg_get_wal_resource_managers", "pg_indexes_size", "pg_partition_ancestors", "pg_partition_tree",
    "pg_relation_size", "pg_sleep", "pg_sleep_for", "pg_sleep_until", "pg_table_size", "pg_total_relation_size",
    "random", "system", "timeofday",
    // called by the server alone: handlers, validators, triggers
    "brinhandler", "bthandler", "ginhandler", "gisthandler", "hashhandler", "heap_tableam_handler", "spghandler",
    "plpgsql_call_handler", "plpgsql_inline_handler", "plpgsql_validator", "suppress_redundant_updates_trigger",
    "tsvector_update_trigger", "tsvector_update_trigger_column", "unique_key_recheck"};

FunctionClass kind(std::string_view name) {
  return find_builtin_function(name).kind;
}

}  // namespace

TEST(Functions, are_classed_by_what_they_do) {
  EXPECT_EQ(kind("lower"), FunctionClass::safe);
  EXPECT_EQ(kind("random"), FunctionClass::safe);
  EXPECT_EQ(kind("nextval"), FunctionClass::write);
  EXPECT_EQ(kind("pg_current_xact_id"), FunctionClass::write);
  EXPECT_EQ(kind("pg_is_in_recovery"), FunctionClass::primary_only);
  EXPECT_EQ(kind("pg_stat_get_numscans"), FunctionClass::primary_only);
  EXPECT_EQ(kind("pg_stat_reset_slru"), FunctionClass::write);
  EXPECT_EQ(kind("pg_ls_dir"), FunctionClass::node_local);
  EXPECT_EQ(kind("query_to_xml"), FunctionClass::runs_text);
  EXPECT_EQ(kind("my_function"), FunctionClass::unknown);
  EXPECT_EQ(kind("LOWER"), FunctionClass::unknown);
  EXPECT_EQ(kind(""), FunctionClass::unknown);
  EXPECT_EQ(kind("pg_stat_my_own"), FunctionClass::unknown);
}

TEST(Functions, of_others_can_be_listed) {
  ReadFunctions listed({"f", "S.G", "\"S\".\"a\"\"b.c\"", "", ".", "x.", "a.b.c", "\"open"});
  EXPECT_TRUE(listed.contains("", "f"));
  EXPECT_TRUE(listed.contains("any", "f"));
  EXPECT_TRUE(listed.contains("s", "g"));
  EXPECT_FALSE(listed.contains("", "g"));
  EXPECT_FALSE(listed.contains("S", "G"));
  EXPECT_TRUE(listed.contains("S", "a\"b.c"));
  EXPECT_FALSE(listed.contains("", ""));
  EXPECT_FALSE(listed.contains("b", "c"));
  EXPECT_FALSE(listed.contains("", "open"));
  EXPECT_FALSE(ReadFunctions().contains("", "f"));
}

TEST(Functions, of_the_server_are_all_in_the_table) {
  std::set<std::string, std::less<>> there;
  for (const auto& row :
       servers().primary().rows("select distinct proname from pg_proc where pronamespace = 'pg_catalog'::regnamespace"))
    there.insert(*row[0]);
  EXPECT_GT(there.size(), 2000U);
  for (const std::string& name : there) EXPECT_NE(kind(name), FunctionClass::unknown) << name;
  // And none is in it by mistake. An older minor release may lack some: security fixes bring helpers of their own.
  constexpr int table_is_of = 150020;
  if (std::stoi(servers().primary().scalar("SHOW server_version_num")) < table_is_of) return;
  for (std::string_view name : builtin_functions) EXPECT_TRUE(there.contains(name)) << name;
}

TEST(Functions, that_are_volatile_were_looked_at_by_hand) {
  for (const auto& row :
       servers().primary().rows("select distinct proname from pg_proc where provolatile = 'v' and pronamespace "
                                "= 'pg_catalog'::regnamespace and proname not like 'RI\\_FKey%'")) {
    bool safe = kind(*row[0]) == FunctionClass::safe;
    EXPECT_EQ(safe, volatile_but_safe.contains(*row[0])) << *row[0];
  }
}

// Every safe function that SQL can call, with NULL for each argument, on a standby. Strict ones answer NULL without
// running: for those this shows no more than that the call is allowed; that they are safe is the table's judgement.
TEST(Functions, that_are_safe_are_allowed_on_a_standby) {
  Connection standby = servers().replica().connect("postgres");
  standby.exec("set statement_timeout = '5s'");
  std::size_t called = 0;
  for (const auto& row : servers().primary().rows(
           "select proname, format('%s(%s)', quote_ident(proname), (select string_agg('null::' || format_type(t, "
           "null), ', ' "
           "order by n) from unnest(proargtypes::oid[]) with ordinality a(t, n))) from pg_proc p where pronamespace = "
           "'pg_catalog'::regnamespace and prokind = 'f' and prorettype not in (select oid from pg_type where typtype "
           "= 'p' and "
           "typname not in ('record', 'void')) and not exists (select 1 from unnest(proargtypes::oid[]) t join pg_type "
           "y on "
           "y.oid = t where typtype = 'p')")) {
    if (kind(*row[0]) != FunctionClass::safe) continue;
    try {
      standby.exec("select * from pg_catalog." + *row[1]);
    } catch (const SqlError& error) {
      EXPECT_TRUE(error.sqlstate() != "25006" && error.sqlstate() != "55000" && !error.sqlstate().empty() &&
                  std::string_view(error.what()).find("recovery") == std::string_view::npos)
          << *row[1] << ": " << error.what();
    }
    ++called;
  }
  EXPECT_GT(called, 1500U);
}

TEST(Types, of_the_server_are_in_the_table) {
  for (const auto& row : servers().primary().rows("select typname from pg_type where typnamespace = "
                                                  "'pg_catalog'::regnamespace and typtype in ('b', 'r', 'm') and "
                                                  "typcategory <> 'A'"))
    EXPECT_TRUE(is_builtin_type(*row[0])) << *row[0];
  EXPECT_FALSE(is_builtin_type("my_type"));
  EXPECT_FALSE(is_builtin_type("record"));
}

// A view of the catalogue that calls a function which isn't safe must be known by its name.
TEST(Relations, of_the_catalogue_that_ask_the_server_are_known) {
  std::size_t found = 0;
  for (const auto& row :
       servers().primary().rows("select distinct relname, call[1] from pg_class v, "
                                "regexp_matches(pg_get_viewdef(v.oid), '(\\w+)\\(', 'g') call "
                                "where relnamespace = 'pg_catalog'::regnamespace and relkind = 'v'")) {
    FunctionClass called = kind(*row[1]);
    if (called == FunctionClass::unknown || called == FunctionClass::safe)
      continue;  // unknown: a keyword before a bracket
    EXPECT_TRUE(is_server_relation(*row[0])) << *row[0] << " calls " << *row[1];
    ++found;
  }
  EXPECT_GT(found, 40U);
  EXPECT_TRUE(is_server_relation("pg_stat_activity"));
  EXPECT_FALSE(is_server_relation("pg_class"));
  EXPECT_FALSE(is_server_relation("pg_stats"));
}

// What the classifier lets pass must pass on a standby; what it holds back for a reason mostly wouldn't.
TEST(Verdicts, of_reads_hold_on_a_standby) {
  servers().primary().exec("create table if not exists sql_functions_test (a int, b text)");
  ReplicationSet::wait_caught_up(servers().primary(), servers().replica());
  Connection standby = servers().replica().connect("postgres");
  for (const char* sql : {"select a, lower(b), random(), now() from sql_functions_test where a in (1, 2) order by 1",
                          "with x as (select 1) select * from x union values (2)",
                          "table sql_functions_test",
                          "explain delete from sql_functions_test",
                          "explain analyze select * from sql_functions_test",
                          "explain select * from sql_functions_test for update",
                          "begin read only; select 1; commit",
                          "begin isolation level repeatable read, read only; commit",
                          "begin; set transaction read only; set local work_mem = '1MB'; commit",
                          "set work_mem = '2MB'",
                          "reset all",
                          "select set_config('a.b', 'c', true)",
                          "discard all",
                          "deallocate all",
                          "unlisten *",
                          "begin read only; declare c cursor for select 1; fetch c; move c; close c; commit",
                          "set session characteristics as transaction read only",
                          "set role postgres",
                          "reset role",
                          "set constraints all deferred"}) {
    // BEGIN itself is held back until its transaction is known.
    if (classify(sql).control == TransactionControl::none && std::string_view(sql).starts_with("begin;") == false) {
      EXPECT_EQ(classify(sql).access, Access::read) << sql;
    }
    EXPECT_NO_THROW(standby.exec(sql)) << sql;
  }
  for (const char* sql :
       {"select * from sql_functions_test for update", "select nextval('s')", "select pg_current_xact_id()",
        "select txid_current()", "select pg_walfile_name(pg_last_wal_replay_lsn())",
        "begin isolation level serializable", "listen a", "notify a", "lock table sql_functions_test in exclusive mode",
        "select 1 into t", "vacuum", "set transaction_read_only = off",
        "with x as (delete from sql_functions_test returning *) select 1", "create temp table t (a int)",
        "select pg_notify('a', 'b')", "explain analyze delete from sql_functions_test",
        "set transaction snapshot '1'"}) {
    EXPECT_EQ(classify(sql).access, Access::write) << sql;
    EXPECT_THROW(standby.exec(sql), SqlError) << sql;
    standby.exec("rollback");
  }
}
