#include "protocol/sql/classify.hpp"

#include <gtest/gtest.h>

#include <string>

using namespace holdfast::protocol::sql;

namespace {

// Both ways must agree: the parser on the text itself, and on its folded form by way of shape and cache.
Verdict of(std::string_view sql) {
  static Classifier classifier({});
  Verdict cached = classifier.verdict(sql);
  EXPECT_EQ(classifier.verdict(sql), cached) << sql;
  Verdict parsed = classify(sql);
  Verdict plain = cached;
  plain.hint = Hint::none;
  EXPECT_EQ(plain, parsed) << sql;
  return cached;
}
void expect_read(std::string_view sql, Effect effects = Effect::none) {
  Verdict verdict = of(sql);
  EXPECT_EQ(verdict.access, Access::read) << sql;
  EXPECT_EQ(verdict.effects, effects) << sql << " " << pin_reason(verdict.effects);
}
void expect_write(std::string_view sql, Effect effects = Effect::none) {
  Verdict verdict = of(sql);
  EXPECT_EQ(verdict.access, Access::write) << sql;
  EXPECT_EQ(verdict.effects, effects) << sql << " " << pin_reason(verdict.effects);
}
TransactionControl control(std::string_view sql) {
  return of(sql).control;
}

// The kind: one pool's list of functions, or what a standby refused it, decides for another pool.
TEST(ClassifierScope, each_pool_learns_for_itself) {
  ShapeStore store(1U << 20, 32768);
  Classifier::Options options;
  Classifier plain(options, store, 1);
  options.read_functions = {"f"};
  Classifier trusting(options, store, 2);
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(trusting.verdict("select f(1) from t").effects, Effect::none);
    EXPECT_EQ(plain.verdict("select f(1) from t").effects, Effect::unknown_function);
  }
  trusting.learn_needs_primary("select a from t where b = 1");
  EXPECT_EQ(trusting.verdict("select a from t where b = 2").access, Access::write);
  EXPECT_EQ(plain.verdict("select a from t where b = 2").access, Access::read);
  plain.forget_learnt();
  EXPECT_EQ(trusting.verdict("select a from t where b = 3").access, Access::write);
  trusting.forget_learnt();
  EXPECT_EQ(trusting.verdict("select a from t where b = 3").access, Access::read);
}

}  // namespace

// --- where statements go: ARCHITECTURE.md's first table of statements, row by row ---

TEST(Classify, sends_reads_to_replicas) {
  for (std::string_view sql :
       {"select 1", "SELECT * FROM t", "values (1),(2)", "table t", "(select 1)", "((select 1) union (select 2))",
        "select 1 union all select 2 except select 3", "with a as (select 1), b as (select 2) select * from a, b",
        "with recursive r as (select 1 union all select n+1 from r) select * from r", "/* x */ -- y\n select 1;",
        "select count(*), sum(a), lower(b), now(), random(), coalesce(a, b), extract(year from c), a::text, cast('1' "
        "as int4),"
        " 'pg_class'::regclass, int4('1'), current_user, array_agg(x order by y) filter (where z), row_number() over w"
        " from t left join u using (id) where a like '%x' and b = any($1) group by 1 having count(*) > 1 window w as "
        "(order by"
        " 1) order by 1 limit 5 offset 2",
        "select * from generate_series(1, 3) g, lateral (select 1) x, unnest(array[1]) with ordinality",
        "select pg_catalog.lower('x'), PG_CATALOG.Count(*) from pg_class", "select * from information_schema.tables",
        "select pg_sleep(1), gen_random_uuid(), pg_relation_size('t'), pg_get_viewdef('v')",
        "select a operator(pg_catalog.+) b from t", "select * from t tablesample system (1)",
        "select xmlelement(name a), json_build_object('a', 1)"}) {
    expect_read(sql);
    EXPECT_TRUE(of(sql).repeatable()) << sql;
  }
}

TEST(Classify, sends_row_locks_to_the_primary) {
  for (std::string_view lock : {"update", "no key update", "share", "key share", "update of t skip locked"}) {
    std::string locked = "select * from t for " + std::string(lock);
    expect_write(locked);
    expect_write("select * from (" + locked + ") x");
    expect_write("with a as (select 1), b as (" + locked + ") select * from a");
    expect_write("select 1 where exists (" + locked + ")");
    expect_write("(" + locked + ")");
    expect_write("declare c cursor for " + locked, Effect::cursor);
  }
}

TEST(Classify, sends_into_to_the_primary) {
  expect_write("select 1 into t", Effect::ddl);
  expect_write("select a, b into table t from u where c = 1", Effect::ddl);
  expect_write("create table t as select 1", Effect::ddl);
  expect_write("create table t as execute p(1)", Effect::ddl);
  expect_write("create materialized view v as select 1", Effect::ddl);
  expect_write("refresh materialized view v");
}

TEST(Classify, sends_dml_in_ctes_to_the_primary) {
  expect_write("with a as (insert into t values (1) returning *) select * from a");
  expect_write("with a as (select 1), b as (select 2), c as (delete from t returning *) select * from a");
  expect_write("with a as (update t set x = 1) select 1");
  expect_write("explain analyze with a as (select 1), b as (update t set x = 1) select 1");
  expect_write("with a as (select 1) merge into t using a on true when matched then delete");
}

TEST(Classify, sends_writes_to_the_primary) {
  for (std::string_view sql :
       {"insert into t values (1) returning *", "insert into t select * from u", "update t set a = 1 returning a",
        "delete from t returning *", "merge into t using u on t.a = u.a when matched then do nothing", "truncate t",
        "insert into t values (1) on conflict (a) do update set b = 2"}) {
    expect_write(sql);
    EXPECT_FALSE(of(sql).repeatable());
  }
  for (std::string_view sql :
       {"create table t (a int)", "create index concurrently i on t (lower(a))", "alter table t add b int",
        "drop table t", "create view v as select 1", "create function f() returns int language sql as 'select 1'",
        "grant select on t to u", "comment on table t is 'x'", "create extension x", "create type y as enum ('a')",
        "create schema s create table t (a int)", "import foreign schema s from server x into y",
        "security label on table t is 'x'", "create publication p for all tables"}) {
    expect_write(sql, Effect::ddl);
  }
}

TEST(Classify, sends_do_and_call_to_the_primary) {
  expect_write("do $$ begin perform 1; end $$", Effect::unknown_function | Effect::shared_object);
  expect_write("call p(1)", Effect::unknown_function);
  expect_write("call s.p()", Effect::unknown_function);
}

TEST(Classify, sends_explain_analyze_where_its_statement_goes) {
  expect_read("explain select * from t");
  expect_read("explain (verbose, costs off) insert into t values (1)");
  expect_read("explain update t set a = 1");
  expect_read("explain select * from t for update");
  expect_read("explain create table x as select 1");
  expect_read("explain (analyze false) delete from t");
  expect_read("explain (analyze off, verbose) delete from t");
  expect_read("explain analyze select 1");
  expect_read("explain (analyze, buffers) select 1");
  expect_write("explain analyze delete from t");
  expect_write("explain (analyze) delete from t");
  expect_write("explain (analyze true) delete from t");
  expect_write("explain (analyze on) delete from t");
  expect_write("explain (analyze 1) delete from t");
  expect_write("explain (analyze false, analyze true) delete from t");
  expect_write("explain (verbose, analyze) select * from t for share");
  expect_write("explain analyze create table x as select 1", Effect::ddl);
  expect_write("explain execute p(1)", Effect::sql_deallocate);
  expect_write("explain select my_function(1)", Effect::unknown_function);
}

TEST(Classify, takes_a_quoted_false_for_true_in_explain) {
  // Strings are no part of the shape, so one must not decide.
  Classifier classifier({});
  EXPECT_EQ(classifier.verdict("explain (analyze 'false') delete from t").access, Access::write);
  EXPECT_EQ(classifier.verdict("explain (analyze 'true') delete from t").access, Access::write);
  EXPECT_EQ(classifier.verdict("explain (analyze 0) delete from t").access, Access::write);
}

TEST(Classify, sends_copy_by_direction_and_target) {
  expect_read("copy t to stdout");
  expect_read("copy t (a, b) to stdout with (format csv)");
  expect_read("copy (select * from t) to stdout");
  expect_write("copy t to '/tmp/x'");
  expect_write("copy t to program 'cat'");
  expect_write("copy (select 1) to ''");
  expect_write("copy (delete from t returning *) to stdout");
  expect_write("copy (select * from t for update) to stdout");
  expect_write("copy (select nextval('s')) to stdout");
  expect_write("copy t from stdin");
  expect_write("copy t from '/tmp/x'");
  expect_write("copy t from program 'cat'");
  EXPECT_TRUE(of("copy t from stdin").copy_from_client);
  EXPECT_TRUE(of("select 1; copy t from stdin with (format binary)").copy_from_client);
  EXPECT_FALSE(of("copy t from '/tmp/x'").copy_from_client);
  EXPECT_FALSE(of("copy t from program 'cat'").copy_from_client);
  EXPECT_FALSE(of("copy t to stdout").copy_from_client);
}

TEST(Classify, sends_functions_that_write_to_the_primary) {
  for (std::string_view call : {"nextval('s')",
                                "setval('s', 1)",
                                "pg_advisory_xact_lock(1)",
                                "pg_try_advisory_xact_lock(1)",
                                "pg_notify('a', 'b')",
                                "lo_create(0)",
                                "lo_unlink(1)",
                                "lo_open(1, 2)",
                                "txid_current()",
                                "pg_current_xact_id()",
                                "pg_export_snapshot()",
                                "pg_switch_wal()",
                                "pg_terminate_backend(1)",
                                "pg_cancel_backend(1)",
                                "pg_promote()",
                                "pg_stat_reset()",
                                "pg_walfile_name('0/0')",
                                "pg_logical_emit_message(false, 'a', 'b')",
                                "pg_backend_pid()",
                                "version()",
                                "pg_read_file('x')",
                                "pg_ls_waldir()"}) {
    expect_write("select " + std::string(call));
    expect_write("select * from pg_catalog." + std::string(call));
    expect_write("select 1 from t where exists (select 1 order by " + std::string(call) + ")");
    EXPECT_FALSE(of("select " + std::string(call)).repeatable());
  }
  expect_write("SELECT PG_CATALOG.NextVal('s')");
  expect_write("select \"nextval\"('s')");
  expect_write("values (1, nextval('s'))");
}

TEST(Classify, sends_unknown_functions_to_the_primary) {
  for (std::string_view sql :
       {"select f(1)", "select s.f(1)", "select s.lower('x')", "select * from f(1)", "select dblink_exec('x', 'y')",
        "select pg_catalog.no_such(1)", "select \"NextVal\"('s')", "select uuid('x', 'y')", "select s.int4('1')",
        "select a operator(s.+) b", "select * from t where a operator(s.=) any (array[1])",
        "select * from t order by a using operator(s.<)", "select 1 in (select 2) , f(1)",
        "select a operator(s.=) all (select 1)", "select query_to_xml('delete from t', true, true, '')",
        "select ts_stat('select x()')", "select * from t limit f()", "insert into t values (f())"}) {
    expect_write(sql, Effect::unknown_function);
  }
}

TEST(Classify, lets_listed_functions_read) {
  Classifier classifier({.read_functions = {"f", "s.g", "\"S\".\"H\"", "I"}});
  auto access = [&](std::string_view sql) { return classifier.verdict(sql).access; };
  EXPECT_EQ(access("select f(1), F(2), x.f(3)"), Access::read);
  EXPECT_EQ(access("select s.g(1), S.G(2)"), Access::read);
  EXPECT_EQ(access("select g(1)"), Access::write);
  EXPECT_EQ(access("select t.g(1)"), Access::write);
  EXPECT_EQ(access("select \"S\".\"H\"(1)"), Access::read);
  EXPECT_EQ(access("select s.h(1)"), Access::write);
  EXPECT_EQ(access("select i(1)"), Access::read);
  EXPECT_EQ(access("select f(other(1))"), Access::write);
  EXPECT_EQ(classifier.verdict("select f(1)").effects, Effect::none);
}

TEST(Classify, keeps_questions_about_the_role_on_the_primary) {
  for (std::string_view sql :
       {"select pg_is_in_recovery()", "select pg_catalog.PG_Is_In_Recovery()", "select pg_last_wal_replay_lsn()",
        "select inet_server_addr()", "select * from pg_stat_activity", "select * from pg_catalog.pg_stat_replication",
        "select 1 from pg_locks", "select setting from pg_settings where name = 'x'", "show transaction_read_only",
        "show all", "select pg_current_wal_lsn()",
        "select * from pg_stat_statements", "with x as (select * from pg_replication_slots) select 1",
        "copy pg_stat_activity to stdout"}) {
    expect_write(sql, Effect::role_question);
  }
  for (std::string_view sql : {"select current_setting('in_hot_standby')", "show app.tenant"}) {
    expect_write(sql, Effect::role_question | Effect::asks_setting);
  }
  expect_read("select * from pg_stats");
}

TEST(Classify, reads_begin) {
  EXPECT_EQ(control("begin"), TransactionControl::begin);
  EXPECT_EQ(control("start transaction"), TransactionControl::begin);
  EXPECT_EQ(control("begin read write"), TransactionControl::begin);
  EXPECT_EQ(control("begin isolation level serializable, read only"), TransactionControl::begin);
  EXPECT_EQ(control("begin read only, isolation level serializable, deferrable"), TransactionControl::begin);
  EXPECT_EQ(control("begin read only read write"), TransactionControl::begin);
  EXPECT_EQ(control("begin read only"), TransactionControl::begin_read_only);
  EXPECT_EQ(control("START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"),
            TransactionControl::begin_read_only);
  expect_write("begin");
  expect_read("begin read only");
}

TEST(Classify, knows_which_begin_may_wait_for_its_first_statement) {
  for (std::string_view sql : {"begin", "BEGIN;", "begin work", "begin isolation level repeatable read",
                               "begin read only", "begin deferrable"})
    EXPECT_EQ(of(sql).deferrable, Deferrable::begin) << sql;
  EXPECT_EQ(of("start transaction").deferrable, Deferrable::start_transaction);
  EXPECT_EQ(of("start transaction read only").deferrable, Deferrable::start_transaction);
  // Refused by a standby: the block has to begin on the primary.
  for (std::string_view sql : {"begin read write", "begin isolation level serializable", "begin read only, read write",
                               "begin; select 1", "select 1; begin", "commit", "select 1", "savepoint a"})
    EXPECT_EQ(of(sql).deferrable, Deferrable::no) << sql;
}

TEST(Classify, reads_what_a_block_says_of_its_snapshots) {
  for (std::string_view sql :
       {"begin", "start transaction read only", "set transaction read only", "select 1", "commit"})
    EXPECT_EQ(of(sql).isolation, Isolation::unsaid) << sql;
  for (std::string_view sql :
       {"begin isolation level read committed", "BEGIN READ ONLY ISOLATION LEVEL READ UNCOMMITTED",
        "set transaction isolation level read committed, read only"})
    EXPECT_EQ(of(sql).isolation, Isolation::per_statement) << sql;
  for (std::string_view sql :
       {"begin isolation level repeatable read", "start transaction read only, isolation level serializable",
        "set transaction isolation level RePeaTaBLe READ", "begin isolation level serializable; select 1",
        "begin isolation level repeatable read isolation level read committed"})
    EXPECT_EQ(of(sql).isolation, Isolation::one_snapshot) << sql;
}

TEST(Classify, reads_which_strings_change_their_block) {
  for (std::string_view sql :
       {"set local work_mem = '1MB'; select 1", "select 1; select 2; set constraints all immediate",
        "select 1; set transaction read only", "set local a.b = 1; set local a.b = 2; select 1"})
    EXPECT_TRUE(of(sql).bends_block) << sql;
  for (std::string_view sql : {"select 1; select 2", "set work_mem = '1MB'; select 1", "set local work_mem = '1MB'"})
    EXPECT_FALSE(of(sql).bends_block) << sql;
}

TEST(Classify, reads_chains) {
  for (std::string_view sql : {"commit and chain", "rollback and chain", "end work and chain"})
    EXPECT_TRUE(of(sql).chains) << sql;
  for (std::string_view sql : {"commit", "rollback and no chain", "commit and no chain", "begin"})
    EXPECT_FALSE(of(sql).chains) << sql;
}

TEST(Classify, reads_which_strings_leave_a_block_open) {
  for (std::string_view sql :
       {"begin; insert into t values (1)", "select 1; begin read only", "commit; begin", "rollback; begin; savepoint a",
        "begin; savepoint a; rollback to a", "begin; commit and chain", "commit and chain; select 1"})
    EXPECT_TRUE(of(sql).chains) << sql;
  for (std::string_view sql : {"begin; select 1; commit", "select 1; commit; select 2", "commit and chain; rollback",
                               "begin; prepare transaction 'x'", "select 1; select 2"})
    EXPECT_FALSE(of(sql).chains) << sql;
}

// What such a string has done is rolled back with its server, whatever was open in front of it.
TEST(Classify, knows_the_strings_that_commit_nothing) {
  for (std::string_view sql :
       {"begin; insert into t values (1)", "insert into t values (1); begin", "begin; select unheard_of()",
        "begin; insert into t values (1); rollback", "rollback; begin; insert into t values (1)", "begin; call p()",
        "begin; do $$begin commit; end$$", "begin; vacuum",
        "insert into t values (1); rollback and chain; insert into t values (2)", "begin; create table x (a int)",
        "begin; savepoint a; insert into t values (1); rollback to a", "begin; select 1; begin; delete from t"})
    EXPECT_TRUE(of(sql).commits_nothing) << sql;
  for (std::string_view sql :
       {"begin; insert into t values (1); commit; begin", "begin; insert into t values (1); commit and chain",
        "commit; begin; insert into t values (1)", "begin; insert into t values (1); prepare transaction 'x'",
        "rollback; insert into t values (1)", "begin; rollback; insert into t values (1)", "call p(); begin",
        "do $$begin commit; end$$; begin", "create table x (a int); begin", "begin; commit", "end; select 1",
        "begin; insert into t values (1); rollback; select * from v", "select 1; rollback; select 2",
        // Without any of these it depends on what was open before.
        "insert into t values (1); insert into t values (2)", "savepoint a; insert into t values (1)", "begin",
        "rollback", "insert into t values (1)", "begin; selec 1"})
    EXPECT_FALSE(of(sql).commits_nothing) << sql;
  // Where the strings end decides whether there is a COMMIT.
  EXPECT_FALSE(of("begin; insert into t values ('\\'); commit --')").commits_nothing);
}

TEST(Classify, reads_the_end_of_transactions) {
  for (std::string_view sql : {"commit", "end", "commit and chain", "end work"}) {
    EXPECT_EQ(control(sql), TransactionControl::commit);
    EXPECT_EQ(of(sql).access, Access::nothing);
  }
  for (std::string_view sql : {"rollback", "abort", "rollback and no chain"})
    EXPECT_EQ(control(sql), TransactionControl::rollback);
  for (std::string_view sql : {"savepoint a", "release a", "rollback to savepoint a"})
    EXPECT_EQ(control(sql), TransactionControl::savepoint);
}

TEST(Classify, sends_two_phase_commit_to_the_primary) {
  expect_write("prepare transaction 'x'");
  EXPECT_EQ(control("prepare transaction 'x'"), TransactionControl::prepare_transaction);
  expect_write("commit prepared 'x'", Effect::commits_itself);
  expect_write("rollback prepared 'x'", Effect::commits_itself);
  EXPECT_EQ(control("commit prepared 'x'"), TransactionControl::none);
}

TEST(Classify, reads_settings_of_the_transaction) {
  for (std::string_view sql :
       {"set transaction read only", "set local work_mem = '1MB'", "set constraints all deferred",
        "set transaction isolation level repeatable read"}) {
    expect_read(sql);
    EXPECT_EQ(control(sql), TransactionControl::other) << sql;
  }
  expect_read("set local app.\"user\" = 'x'", Effect::custom_setting);
  expect_write("set local seed = 0.5", Effect::load);
  // Behind these, names and literals may be read in another way.
  for (std::string_view sql : {"set local role x", "set local search_path = a", "set local DateStyle = 'German'",
                               "set local time zone 'UTC'", "set local foo = 1"}) {
    expect_read(sql, Effect::local_setting);
    EXPECT_EQ(control(sql), TransactionControl::other) << sql;
  }
  EXPECT_TRUE(of("set transaction read only").makes_read_only);
  EXPECT_TRUE(of("set transaction isolation level repeatable read, read only").makes_read_only);
  for (std::string_view sql : {"set transaction read write", "set transaction isolation level serializable",
                               "set transaction isolation level serializable read only", "set transaction snapshot 'x'",
                               "set local transaction_read_only = off"}) {
    expect_write(sql);
    EXPECT_EQ(control(sql), TransactionControl::other) << sql;
    EXPECT_FALSE(of(sql).makes_read_only) << sql;
  }
  EXPECT_FALSE(of("set local work_mem = '1MB'").makes_read_only);
}

TEST(Classify, counts_every_statement_of_a_string) {
  EXPECT_EQ(of("select 1; select 2;; select 3;").statements, 3);
  expect_read("select 1; select 2");
  expect_write("select 1; delete from t; select 2");
  expect_write("select 1; set a = 1; listen x", Effect::set | Effect::listen);
  EXPECT_FALSE(of("select 1; select 2").returns_after_commit);
  for (std::string_view sql : {"begin; select 1; commit", "select 1; commit; select 2",
                               "begin; insert into t values (1)", "rollback; begin"}) {
    EXPECT_TRUE(of(sql).returns_after_commit) << sql;
    EXPECT_EQ(control(sql), TransactionControl::none) << sql;
  }
  expect_write("begin; select 1; commit");
  expect_read("begin read only; select 1; commit");
  EXPECT_FALSE(of("begin;").returns_after_commit);
  EXPECT_FALSE(of("savepoint a; select 1; release a").returns_after_commit);
  EXPECT_EQ(control("begin;"), TransactionControl::begin);
  EXPECT_FALSE(of("set transaction read only; select 1").makes_read_only);
}

TEST(Classify, takes_empty_text_for_nothing) {
  for (std::string_view sql : {"", " ", ";", ";;", "-- x", "/* x */ ;"}) {
    EXPECT_EQ(of(sql).access, Access::nothing) << sql;
    EXPECT_EQ(of(sql).statements, 0) << sql;
    EXPECT_EQ(of(sql).effects, Effect::none) << sql;
  }
}

TEST(Classify, sends_maintenance_to_the_primary) {
  for (std::string_view sql :
       {"lock table t in share mode", "notify a, 'b'", "checkpoint", "truncate t", "refresh materialized view v"})
    expect_write(sql);
}

// Before their Sync, which then has nothing more to commit.
TEST(Classify, marks_what_ends_transactions_of_its_own) {
  for (std::string_view sql :
       {"vacuum", "vacuum t", "vacuum (full, analyze) t", "analyze", "analyze t", "analyze t (a, b)", "reindex table t",
        "reindex index concurrently i", "reindex database app", "reindex schema s", "cluster", "cluster t using i",
        "alter system set a = 1", "alter system reset all", "commit prepared 'x'", "rollback prepared 'x'"}) {
    expect_write(sql, Effect::commits_itself);
    EXPECT_EQ(control(sql), TransactionControl::none) << sql;
    EXPECT_FALSE(of(sql).repeatable()) << sql;
  }
  expect_write("select 1; vacuum", Effect::commits_itself);
  EXPECT_FALSE(has(pinning, Effect::commits_itself)) << "nothing of it stays in the session";
}

TEST(Classify, sends_what_does_not_parse_to_the_primary) {
  for (std::string_view sql :
       {"selec 1", "select * frm t", "select 1 where", "begin; selec 1", "select 'a", "select 1a"}) {
    Verdict verdict = of(sql);
    EXPECT_EQ(verdict, unseen_verdict) << sql;
    EXPECT_FALSE(verdict.repeatable());
  }
  EXPECT_EQ(classify(std::string_view("select 1\0; drop table t", 23)), unseen_verdict);
}

// --- what they leave behind: its second table ---

TEST(Effects, of_set_and_reset) {
  for (std::string_view sql :
       {"set work_mem = '1MB'", "set time zone 'UTC'", "set names 'utf8'",
        "reset work_mem", "set search_path = a, b", "set x to default",
        "set session characteristics as transaction read only", "set schema 'x'"})
    expect_read(sql, Effect::set);
  expect_read("set session app.tenant to 'x'", Effect::set | Effect::custom_setting);
  expect_write("set session characteristics as transaction isolation level serializable", Effect::set);
  expect_write("set transaction_read_only = off", Effect::set);
  expect_write("set \"Transaction_Isolation\" = 'serializable'", Effect::set);
  expect_write("set seed to 0.5", Effect::load);  // nothing undoes it
  expect_read("reset all", Effect::discard);
}

TEST(Effects, of_set_role) {
  for (std::string_view sql :
       {"set role x", "set role none", "set role 'x'", "reset role", "set \"ROLE\" = 'x'",
        "set session authorization x", "set session authorization default", "reset session authorization"})
    expect_read(sql, Effect::role);
}

TEST(Effects, of_set_config) {
  expect_write("select set_config('a', 'b', false)", Effect::set | Effect::custom_setting);
  expect_write("select pg_catalog.Set_Config($1, $2, $3)", Effect::set | Effect::custom_setting);
  expect_write("select set_config('a', 'b', x) from t", Effect::set | Effect::custom_setting);
  expect_write("select set_config('a', 'b', not true)", Effect::set | Effect::custom_setting);
  expect_write("select set_config('a', is_local => true, new_value => 'b')", Effect::set | Effect::custom_setting);
  expect_write("select set_config('a', 'b', 'true')", Effect::set | Effect::custom_setting);
  expect_write("select set_config('a', 'b', true), set_config('a', 'b', false)", Effect::set | Effect::local_setting | Effect::custom_setting);
  expect_read("select set_config('a', 'b', true)", Effect::local_setting | Effect::custom_setting);  // which one is not part of the shape
  EXPECT_TRUE(of("select set_config('a', 'b', true)").repeatable());
  expect_write("select s.set_config('a', 'b', true)", Effect::unknown_function);
  expect_write("select setseed(0.5)", Effect::load);
}

TEST(Effects, of_discard) {
  for (std::string_view sql : {"discard temp", "discard plans", "unlisten *", "unlisten a"})
    expect_read(sql, Effect::discard);
  for (std::string_view sql : {"discard all", "deallocate all", "deallocate prepare all"})
    expect_read(sql, Effect::discard | Effect::drops_names);
  expect_write("select pg_advisory_unlock_all()", Effect::discard);
  expect_write("select pg_advisory_unlock(1)", Effect::discard);
}

TEST(Effects, of_sql_prepare) {
  expect_write("prepare p as select 1", Effect::sql_prepare);
  expect_write("prepare p (int) as insert into t values ($1)", Effect::sql_prepare);
  expect_write("prepare p as select set_config('a', 'b', false)",
               Effect::sql_prepare | Effect::set | Effect::custom_setting);
  expect_write("execute p", Effect::sql_deallocate);
  expect_write("execute p(f(1))", Effect::sql_deallocate | Effect::unknown_function);
  expect_read("deallocate p", Effect::sql_deallocate | Effect::drops_names);
  expect_read("deallocate prepare p", Effect::sql_deallocate | Effect::drops_names);
}

TEST(Effects, of_changing_rows_of_pg_settings) {
  for (std::string_view sql :
       {"update pg_settings set setting = '1' where name = 'work_mem'", "update pg_catalog.pg_settings set setting = '1'",
        "with x as (update pg_settings s set setting = 'x' returning 1) select * from x",
        "merge into pg_settings using t on true when matched then update set setting = 'x'"}) {
    EXPECT_EQ(of(sql).access, Access::write) << sql;
    EXPECT_TRUE(has(of(sql).effects, Effect::set)) << sql;
  }
  EXPECT_FALSE(has(of("insert into t select * from other").effects, Effect::set));
}

TEST(Effects, of_temporary_objects) {
  for (std::string_view sql :
       {"create temp view v as select 1", "create temp sequence s", "drop table pg_temp.t",
        "create function pg_temp.f() returns int language sql as 'select 1'", "create type pg_temp.t as (a int)",
        "select 1 into temp t", "alter table pg_temp.t add a int", "create recursive view pg_temp.v (a) as select 1"})
    expect_write(sql, Effect::temp_object | Effect::ddl);
  // Nobody else's catalogue changes, but a name means something else to the session.
  for (std::string_view sql :
       {"create temp table t (a int)", "create temporary table if not exists t (a int) on commit delete rows",
        "create local temp table t as select 1", "create table pg_temp.t (a int)"})
    expect_write(sql, Effect::temp_object | Effect::local_setting);
  expect_write("select * from pg_temp.t", Effect::temp_object);
  expect_write("insert into pg_temp_3.t values (1)", Effect::temp_object);
  expect_write("select pg_temp.f()", Effect::unknown_function);
}

TEST(Effects, of_temporary_tables_dropped_on_commit_are_none) {
  expect_write("create temp table t (a int) on commit drop", Effect::local_setting);
  expect_write("create temp table t on commit drop as select 1", Effect::local_setting);
  expect_write("create temp table t (a int) on commit drop; create temp table u (a int)",
               Effect::local_setting | Effect::temp_object);
}

TEST(Effects, of_advisory_locks) {
  for (std::string_view call : {"pg_advisory_lock(1)", "pg_advisory_lock_shared(1, 2)", "pg_try_advisory_lock(1)",
                                "pg_try_advisory_lock_shared(1)"})
    expect_write("select " + std::string(call) + " from t", Effect::advisory_lock);
}

TEST(Effects, of_cursors) {
  expect_read("declare c cursor for select 1", Effect::cursor);
  expect_read("declare c scroll cursor without hold for select 1", Effect::cursor);
  expect_write("declare c cursor with hold for select 1", Effect::cursor | Effect::hold_cursor);
  expect_write("declare c binary insensitive scroll cursor with hold for select 1",
               Effect::cursor | Effect::hold_cursor);
  expect_read("fetch 10 from c", Effect::cursor);
  expect_read("move all in c", Effect::cursor);
  expect_read("close c", Effect::cursor | Effect::discard);
  expect_read("close all", Effect::cursor | Effect::discard);
  EXPECT_FALSE(of("fetch c").repeatable());
}

TEST(Effects, of_listen_load_and_sequences) {
  expect_write("listen a", Effect::listen);
  expect_write("load 'x'", Effect::load);
  expect_write("select currval('s')", Effect::sequence);
  expect_write("select lastval()", Effect::sequence);
  expect_write("insert into t values (currval('s'))", Effect::sequence);
  expect_write("select pg_replication_origin_session_setup('x')", Effect::load);
}

TEST(Effects, of_database_ddl) {
  for (std::string_view sql :
       {"create database d", "drop database d", "alter database d set a = 1", "alter database d rename to e",
        "alter database d owner to x", "alter database d connection limit 1"})
    expect_write(sql, Effect::ddl | Effect::database_ddl | Effect::shared_object);
}

// What the databases of a cluster share: reads of all of them must see it.
TEST(Effects, of_ddl_on_shared_objects) {
  for (std::string_view sql : {"create role r",
                               "alter role r login",
                               "alter role r in database d set a = 1",
                               "drop role r",
                               "grant r to s",
                               "create user u",
                               "alter group g add user u",
                               "reassign owned by r to s",
                               "drop owned by r",
                               "create tablespace s location '/x'",
                               "alter tablespace s set (seq_page_cost = 1)",
                               "drop tablespace s",
                               "create subscription s connection '' publication p",
                               "alter subscription s disable",
                               "drop subscription s",
                               "grant connect on database d to r",
                               "grant create on tablespace s to r",
                               "comment on database d is 'x'",
                               "comment on role r is 'x'",
                               "alter role r rename to s",
                               "alter tablespace s owner to r",
                               "security label on role r is 'x'",
                               "grant set on parameter a to r"}) {
    expect_write(sql, Effect::ddl | Effect::shared_object);
    EXPECT_TRUE(classify(sql).may_change_shared()) << sql;
  }
  for (std::string_view sql : {"create table t (a int)", "grant select on t to r", "alter table t owner to r",
                               "alter table t rename to u", "comment on table t is 'x'", "create schema s"}) {
    expect_write(sql, Effect::ddl);
    EXPECT_FALSE(classify(sql).may_change_shared()) << sql;
  }
  EXPECT_TRUE(classify("do $$ begin end $$").may_change_shared());
  EXPECT_TRUE(classify("cannot be parsed").may_change_shared());
}

// They go to the primary, but nothing that another session could see comes of them.
TEST(Classify, knows_what_only_asks) {
  for (std::string_view sql :
       {"begin", "start transaction isolation level serializable", "show work_mem", "select pg_is_in_recovery()",
        "select * from pg_stat_activity", "select pg_backend_pid()", "listen a", "prepare p as select 1",
        "show a; select pg_is_in_recovery(); select 1", "declare c cursor with hold for select 1"}) {
    EXPECT_EQ(classify(sql).access, Access::write) << sql;
    EXPECT_FALSE(classify(sql).may_change()) << sql;
  }
  for (std::string_view sql :
       {"insert into t select pg_is_in_recovery()", "select pg_is_in_recovery() from t for update",
        "select nextval('s')", "select f()", "call p()", "execute p", "prepare p as insert into t values (1)",
        "begin; insert into t values (1)", "show a; insert into t values (1)", "truncate t", "copy t from stdin",
        "commit prepared 'x'", "not sql", "select pg_notify('a', '')"}) {
    EXPECT_TRUE(classify(sql).may_change()) << sql;
  }
  EXPECT_FALSE(classify("select 1").only_asks);
}

TEST(Effects, of_definitions_leave_out_what_runs_later) {
  expect_write("create view v as select f(1), set_config('a', 'b', false)", Effect::ddl);
  expect_write("create rule r as on insert to t do also notify x", Effect::ddl);
  expect_write("create table t as select f(1)", Effect::ddl | Effect::unknown_function);
  expect_write("create index i on t (f(a))", Effect::ddl | Effect::unknown_function);
}

TEST(Effects, name_the_lowest_pin) {
  EXPECT_EQ(pin_reason(Effect::none), "");
  EXPECT_EQ(pin_reason(Effect::ddl | Effect::discard), "");
  EXPECT_EQ(pin_reason(Effect::unparsed | Effect::set), "set");
  EXPECT_EQ(pin_reason(Effect::unparsed), "unparsed");
  for (unsigned bit = 0; bit < 32; ++bit) {
    auto effect = static_cast<Effect>(1U << bit);
    EXPECT_EQ(pin_reason(effect).empty(), !has(pinning, effect)) << bit;
  }
}

// --- the classifier ---

TEST(Classifier, parses_once_per_shape) {
  Classifier classifier({});
  for (int i = 0; i < 100; ++i) {
    (void)classifier.verdict("select * from t where id = " + std::to_string(i) + " and n in (" +
                             std::string(i + 3, '1') + ",2,3)");
  }
  EXPECT_EQ(classifier.counts().misses, 1U);
  EXPECT_EQ(classifier.counts().hits, 99U);
}

TEST(Classifier, keeps_hints_apart) {
  Classifier classifier({});
  EXPECT_EQ(classifier.verdict("select 1").hint, Hint::none);
  EXPECT_EQ(classifier.verdict("/* holdfast: primary */ select 1").hint, Hint::primary);
  EXPECT_EQ(classifier.verdict("/* holdfast: replica */ delete from t").hint, Hint::replica);
  // A hint changes what the router does, not what is true.
  EXPECT_EQ(classifier.verdict("/* holdfast: replica */ delete from t").access, Access::write);
  EXPECT_EQ(classifier.verdict("/* holdfast: primary */ select 1").access, Access::read);
}

TEST(Classifier, takes_the_more_cautious_of_two_readings) {
  Classifier classifier({});
  // standard_conforming_strings on: two strings. Off: a string, a call of set_config, a comment.
  const Verdict on = classifier.verdict("select 'a\\', ', set_config($$a$$, $$b$$, false) --'");
  EXPECT_EQ(on.access, Access::write);
  EXPECT_TRUE(has(on.effects, Effect::set));
  // On: a string, a call of set_config, a comment. Off: one string.
  const Verdict off = classifier.verdict("select 'a\\', set_config('x', $$y$$, false) --'");
  EXPECT_EQ(off.access, Access::write);
  EXPECT_TRUE(has(off.effects, Effect::set));
  // Only one reading has an end.
  EXPECT_EQ(classifier.verdict("select 'C:\\'").access, Access::read);
  EXPECT_EQ(classifier.verdict("select 'it\\'s'").access, Access::read);
  EXPECT_EQ(classifier.verdict("select 'it\\'s'").effects, Effect::none);
  EXPECT_EQ(classifier.verdict("insert into t values ('C:\\'), ('D:\\')").effects, Effect::none);
  // Cached like any other.
  auto misses = classifier.counts().misses;
  (void)classifier.verdict("select 'C:\\'");
  EXPECT_EQ(classifier.counts().misses, misses);
}

TEST(Classifier, does_not_trust_the_parser_with_odd_texts_that_read_two_ways) {
  Classifier classifier({});
  EXPECT_EQ(classifier.verdict("select U&\"\\0061\" from t").access, Access::read);
  EXPECT_EQ(classifier.verdict("select U&\"\\0061\", 'a\\', f(1) --'"), unseen_verdict);
}

TEST(Classifier, sees_through_unicode_escapes_in_names) {
  Classifier classifier({});
  EXPECT_EQ(classifier.verdict("select U&\"\\006Eextval\"('s')").access, Access::write);
  EXPECT_EQ(classifier.verdict("select U&\"d!0061te\" uescape '!' from t").access, Access::read);
}

// What a worker and the other thread make of a text together.
Verdict read_with_patience(Classifier& classifier, std::string_view sql) {
  const auto answer = classifier.ask(sql, Classifier::Patience::any);
  if (answer.when != Classifier::Answer::When::elsewhere) return answer.verdict ? *answer.verdict : unseen_verdict;
  const LongText text = classifier.take_long_text();
  const Verdict verdict = judge(text);
  if (text.hash) classifier.learn(*text.hash, verdict);
  return verdict;
}

TEST(Classifier, judges_a_huge_insert_by_its_shape) {
  Classifier classifier({});
  for (const std::size_t size : {200U << 10, 10U << 20}) {
    std::string sql = "insert into t(a,b,c) values (1, 'x', null)";
    while (sql.size() < size) sql += ", (12345, 'some text that goes on', NULL)";
    const Verdict verdict = read_with_patience(classifier, sql);
    EXPECT_EQ(verdict.access, Access::write);
    EXPECT_EQ(verdict.effects, Effect::none);
    EXPECT_EQ(classifier.verdict("insert into t(a,b,c) values (1, 'x', null)"), verdict);
    EXPECT_EQ(classifier.counts().misses, 1U);
  }
}

// As a driver sends it with as many parameters as the protocol allows: by Parse, whose verdict is needed at every Bind.
TEST(Classifier, finds_the_shape_of_an_insert_with_65535_parameters_without_another_thread) {
  Classifier classifier({});
  std::string sql = "insert into t(a,b,c) values ($1, $2, $3)";
  for (int i = 4; i < 65535; i += 3) {
    sql += ", ($" + std::to_string(i) + ", $" + std::to_string(i + 1) + ", $" + std::to_string(i + 2) + ")";
  }
  EXPECT_EQ(classifier.verdict(sql).effects, Effect::none);
  EXPECT_EQ(classifier.ask(sql, Classifier::Patience::by_shape).when, Classifier::Answer::When::now);
}

TEST(Classifier, judges_a_huge_text_of_two_readings_without_caching_it) {
  Classifier classifier({});
  std::string sql = "insert into t values ('C:\\')";
  while (sql.size() < 1U << 20) sql += ", ('some text that goes on')";
  EXPECT_EQ(read_with_patience(classifier, sql).effects, Effect::none);
  EXPECT_EQ(read_with_patience(classifier, sql).access, Access::write);
  EXPECT_EQ(classifier.cached(), 0U);
}

TEST(Classifier, gives_up_on_texts_over_its_limits) {
  Classifier classifier({.longest_text = 1000, .longest_folded = 100});
  EXPECT_EQ(classifier.verdict("select '" + std::string(2000, 'x') + "'"), unseen_verdict);
  EXPECT_EQ(classifier.verdict("select '" + std::string(500, 'x') + "'").access, Access::read);
  EXPECT_EQ(classifier.verdict("select " + std::string(500, 'x')), unseen_verdict);
  EXPECT_EQ(classifier.cached(), 1U);
  EXPECT_EQ(classifier.counts().unparsed, 2U);
}

TEST(Classifier, survives_texts_as_deep_as_its_limit) {
  Classifier classifier({});
  std::string sums = "select a";
  while (sums.size() < (128U << 10) - 2) sums += "+a";
  EXPECT_EQ(read_with_patience(classifier, sums).access, Access::read);
  std::string casts = "select a";
  while (casts.size() < (128U << 10) - 5) casts += "::b";
  EXPECT_EQ(read_with_patience(classifier, casts).access, Access::read);
  std::string unions = "select f()";
  while (unions.size() < (128U << 10) - 20) unions += " union select a";
  EXPECT_EQ(read_with_patience(classifier, unions).effects, Effect::unknown_function);
  // Beyond what its grammar stacks: an error, as PostgreSQL answers.
  EXPECT_EQ(read_with_patience(classifier, "select " + std::string(60000, '(') + "1" + std::string(60000, ')')),
            unseen_verdict);
}

std::string repeated(std::string_view piece, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += piece;
  return text;
}

// The lexer's time grows with the square of a run of operator characters, wherever it stands.
TEST(Classifier, does_not_let_the_parser_see_runs_of_operators) {
  for (const std::string& sql :
       {"select " + std::string(100'000, '+') + "a", "select U&\"a\" " + repeated("/*", 40'000) + repeated("*/", 40'000),
        "select U&\"a\" " + repeated("/**/", 30'000), "select '\\' + U&\"a\" " + std::string(60'000, '-') + "+a",
        "select a" + repeated("<", 9'000) + "a"}) {
    Classifier classifier({});
    const auto answer = classifier.ask(sql, Classifier::Patience::any);
    ASSERT_EQ(answer.when, Classifier::Answer::When::now) << sql.substr(0, 20);
    EXPECT_EQ(*answer.verdict, unseen_verdict);
  }
  // A comment is no run of operators for those who fold it away, whatever stands in it.
  Classifier classifier({});
  EXPECT_EQ(classifier.verdict("select 1 " + repeated("/*", 10'000) + repeated("*/", 10'000)).access, Access::read);
  EXPECT_EQ(classifier.verdict("select 1 --" + std::string(100'000, '-')).access, Access::read);
}

TEST(Classifier, has_what_takes_long_read_elsewhere_and_remembers_it) {
  const std::string sql = "select a" + repeated(", a", 20'000);
  Classifier classifier({});
  EXPECT_EQ(classifier.verdict(sql), unseen_verdict) << "who can't wait gets the safe answer";
  EXPECT_EQ(classifier.cached(), 0U);
  auto answer = classifier.ask(sql, Classifier::Patience::by_shape);
  ASSERT_EQ(answer.when, Classifier::Answer::When::elsewhere);
  const LongText text = classifier.take_long_text();
  ASSERT_TRUE(text.hash);
  classifier.learn(*text.hash, judge(text));
  answer = classifier.ask(sql, Classifier::Patience::by_shape);
  ASSERT_EQ(answer.when, Classifier::Answer::When::now);
  EXPECT_EQ(answer.verdict->access, Access::read);
  EXPECT_EQ(classifier.verdict(sql).access, Access::read);
}

// Hints, odd texts and those with two readings keep their meaning on the other thread.
TEST(Classifier, judges_long_texts_as_it_judges_short_ones) {
  const std::string names = repeated(", a", 20'000);
  Classifier classifier({.read_functions = {"f"}});
  EXPECT_EQ(read_with_patience(classifier, "/* holdfast: replica */ select a" + names).hint, Hint::replica);
  EXPECT_EQ(read_with_patience(classifier, "select f(a)" + names).effects, Effect::none);
  EXPECT_EQ(read_with_patience(classifier, "select g(a)" + names).effects, Effect::unknown_function);
  EXPECT_EQ(read_with_patience(classifier, "select U&\"\\006Eextval\"('s')" + names).access, Access::write);
  EXPECT_EQ(read_with_patience(classifier, "select U&\"\\0061\", 'a\\', f(1) --'" + names), unseen_verdict);
  EXPECT_TRUE(has(read_with_patience(classifier, "select 'a\\', ', set_config($$a$$, $$b$$, false) --'" + names).effects,
                  Effect::set | Effect::unparsed));
}

TEST(Classifier, has_a_limit_for_what_it_parses_in_a_turn) {
  using When = Classifier::Answer::When;
  Classifier classifier({});
  classifier.turn(1);
  int parsed = 0;
  const auto text = [](int i) { return "select c" + std::to_string(i) + repeated(", c", 1000); };
  while (classifier.ask(text(parsed), Classifier::Patience::by_shape).when == When::now) ASSERT_LT(++parsed, 100);
  EXPECT_GT(parsed, 0);
  // What is known costs nothing, and who can't wait is served.
  EXPECT_EQ(classifier.ask(text(0), Classifier::Patience::by_shape).when, When::now);
  EXPECT_EQ(classifier.verdict(text(100)).access, Access::read);
  EXPECT_EQ(classifier.ask(text(101), Classifier::Patience::any).when, When::later);
  classifier.turn(1);
  EXPECT_EQ(classifier.ask(text(101), Classifier::Patience::any).when, When::later) << "it is the same turn";
  classifier.turn(2);
  EXPECT_EQ(classifier.ask(text(101), Classifier::Patience::any).when, When::now);
}

// A text that is nearly too long to be scanned, in a turn of its own, makes progress: or it would be put off for ever.
TEST(Classifier, parses_one_text_in_a_turn_whatever_its_length) {
  Classifier classifier({});
  classifier.turn(1);
  const std::string sql = "select 1 /*" + std::string(Classifier::longest_scanned_here - 100, 'x') + "*/";
  EXPECT_EQ(classifier.ask(sql, Classifier::Patience::by_shape).when, Classifier::Answer::When::now);
}

TEST(Classifier, believes_what_it_was_told_of_a_text_in_its_place_only) {
  Classifier classifier({});
  const std::string sql = "select f()" + repeated(" ", 2 << 20);
  const std::string other = sql;
  const Verdict told{.access = Access::read};
  {
    const Classifier::Known known(classifier, sql, told);
    EXPECT_EQ(classifier.verdict(sql), told);
    EXPECT_EQ(classifier.verdict(other), unseen_verdict);
    EXPECT_EQ(classifier.verdict(std::string_view(sql).substr(0, sql.size() - 1)), unseen_verdict);
  }
  EXPECT_EQ(classifier.verdict(sql), unseen_verdict);
}

TEST(Classifier, stays_within_its_bytes) {
  constexpr std::size_t limit = 64U << 10;
  Classifier classifier({.cache_bytes = limit});
  for (int i = 0; i < 3000; ++i) (void)classifier.verdict("select c" + std::to_string(i));
  EXPECT_LE(classifier.cache_bytes(), limit);
  EXPECT_EQ(classifier.counts().misses, 3000U);
}

// Who keeps a verdict compares two numbers to know whether it still holds.
TEST(ClassifierEpoch, ends_when_something_is_learnt_or_forgotten) {
  ShapeStore store(1U << 20, 32768);
  Classifier one({}, store, 1);
  Classifier other({}, store, 2);
  EXPECT_NE(one.epoch(), 0U);
  EXPECT_NE(one.epoch(), other.epoch()) << "no verdict of one classifier counts for another";
  const auto others = other.epoch();
  auto before = one.epoch();
  (void)one.verdict("select a from t where b = 1");
  EXPECT_EQ(one.epoch(), before);
  one.learn_needs_primary("select a from t where b = 1");
  EXPECT_NE(one.epoch(), before) << "all statements of this shape go to the primary from now on";
  before = one.epoch();
  one.learn_needs_primary("select a from t where b = 2");
  EXPECT_EQ(one.epoch(), before) << "that was known";
  one.forget_learnt();
  EXPECT_NE(one.epoch(), before);
  EXPECT_EQ(other.epoch(), others);
  before = one.epoch();
  EXPECT_NE(Classifier({}, store, 1).epoch(), before) << "nor does one of a classifier that came before";
}

TEST(Classifier, learns_and_forgets) {
  Classifier classifier({});
  EXPECT_EQ(classifier.verdict("select * from locking_view where a = 1").access, Access::read);
  classifier.learn_needs_primary("select * from locking_view where a = 2");
  EXPECT_EQ(classifier.verdict("select * from locking_view where a = 3").access, Access::write);
  EXPECT_EQ(classifier.verdict("select * from other where a = 3").access, Access::read);
  classifier.forget_learnt();
  EXPECT_EQ(classifier.verdict("select * from locking_view where a = 4").access, Access::read);
}
