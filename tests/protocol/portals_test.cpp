#include "protocol/portals.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "protocol/sql/classify.hpp"

namespace holdfast::protocol {
namespace {

using Name = Portals::Name;

sql::Verdict verdict(std::string_view text) {
  return sql::classify(text, {});
}
Trait traits(std::string_view text) {
  return traits_of(verdict(text));
}

// Readable in a failure.
std::string text(Trait traits) {
  std::string all;
  const std::pair<Trait, const char*> names[] = {
      {Trait::repeatable, "repeatable "},    {Trait::begins, "begins "},
      {Trait::commits, "commits "},          {Trait::rolls_back, "rolls_back "},
      {Trait::commits_itself, "by_itself "}, {Trait::may_commit, "may_commit "},
  };
  for (const auto& [trait, name] : names)
    if (has(traits, trait)) all += name;
  return all;
}

TEST(TraitsTest, a_proven_read_may_be_repeated) {
  EXPECT_EQ(text(traits("select 1")), "repeatable ");
  EXPECT_EQ(text(traits("")), "repeatable ");
}

TEST(TraitsTest, a_write_has_nothing_that_excuses_it) {
  EXPECT_EQ(text(traits("insert into t values (1)")), "");
  EXPECT_EQ(text(traits("select * from t for update")), "");
}

TEST(TraitsTest, a_read_that_leaves_something_behind_is_not_repeated) {
  EXPECT_FALSE(has(traits("select pg_advisory_lock(1)"), Trait::repeatable));
  EXPECT_FALSE(has(traits("fetch c"), Trait::repeatable));
  EXPECT_FALSE(has(traits("set work_mem = '1MB'"), Trait::repeatable));
}

TEST(TraitsTest, the_ends_and_beginnings_of_blocks_are_told_apart) {
  const auto control = [](std::string_view sql) {
    std::string all = text(traits(sql));
    // Outside a block, where alone it is asked for, the end of one changes nothing.
    if (all.starts_with("repeatable ")) all.erase(0, 11);
    return all;
  };
  EXPECT_EQ(text(traits("begin")), "repeatable begins ");
  EXPECT_EQ(text(traits("start transaction read only")), "repeatable begins ");
  EXPECT_EQ(control("commit"), "commits ");
  EXPECT_EQ(control("commit and chain"), "begins commits ");
  EXPECT_EQ(control("rollback and chain"), "begins rolls_back ");
  EXPECT_EQ(control("begin; insert into t values (1)"), "begins ");
  EXPECT_EQ(control("begin; select unheard_of()"), "begins ");
  EXPECT_EQ(control("begin; insert into t values (1); rollback"), "rolls_back ");
  EXPECT_EQ(control("begin; insert into t values (1); commit; begin"), "begins may_commit ");
  EXPECT_EQ(control("begin; insert into t values (1); commit"), "may_commit ");
  EXPECT_EQ(control("prepare transaction 'x'"), "commits ");
  EXPECT_EQ(control("rollback"), "rolls_back ");
  EXPECT_EQ(control("savepoint a"), "");
  EXPECT_EQ(control("rollback to a"), "");
}

TEST(TraitsTest, what_may_commit_before_its_sync_is_marked) {
  for (const std::string_view sql :
       {"create database d", "drop database d", "call p()", "do $$begin end$$", "select unheard_of()",
        "create index concurrently i on t (a)", "create tablespace s location '/s'", "drop subscription s"}) {
    EXPECT_TRUE(has(traits(sql), Trait::commits_itself)) << sql;
    EXPECT_FALSE(has(traits(sql), Trait::repeatable)) << sql;
  }
}

TEST(TraitsTest, what_commits_before_its_sync_and_is_no_ddl_is_marked) {
  for (const std::string_view sql : {"commit prepared 'x'", "rollback prepared 'x'", "vacuum t", "analyze t", "cluster",
                                     "reindex database app", "alter system set work_mem = '1MB'"}) {
    EXPECT_TRUE(has(traits(sql), Trait::commits_itself)) << sql;
    EXPECT_FALSE(has(traits(sql), Trait::repeatable)) << sql;
    EXPECT_FALSE(has(traits(sql), Trait::may_commit)) << sql << ": it ends no block";
  }
  for (const std::string_view sql : {"insert into t values (1)", "truncate t", "lock table t", "notify a"}) {
    EXPECT_FALSE(has(traits(sql), Trait::commits_itself)) << sql;
  }
}

TEST(TraitsTest, a_commit_may_hide_in_several_statements_and_in_what_was_not_understood) {
  EXPECT_TRUE(has(traits("insert into t values (1); commit"), Trait::may_commit));
  EXPECT_TRUE(has(traits("this is no sql"), Trait::may_commit));
  EXPECT_TRUE(has(traits("this is no sql"), Trait::commits_itself));
  EXPECT_FALSE(has(traits("select 1; select 2"), Trait::may_commit));
}

TEST(EitherTest, of_one_statement_it_is_that) {
  for (const Trait trait : {Trait::none, Trait::repeatable, Trait::commits, Trait::begins | Trait::repeatable})
    EXPECT_EQ(either(trait, trait), trait);
}

TEST(EitherTest, is_repeatable_only_if_both_are) {
  EXPECT_TRUE(has(either(Trait::repeatable, Trait::repeatable | Trait::begins), Trait::repeatable));
  EXPECT_FALSE(has(either(Trait::repeatable, Trait::none), Trait::repeatable));
  EXPECT_FALSE(has(either(Trait::none, Trait::repeatable), Trait::repeatable));
}

TEST(EitherTest, one_that_may_end_or_begin_a_block_may_have_committed) {
  for (const Trait trait : {Trait::begins, Trait::commits, Trait::rolls_back, Trait::may_commit}) {
    for (const Trait both : {either(trait, Trait::repeatable), either(Trait::repeatable, trait)}) {
      EXPECT_TRUE(has(both, Trait::may_commit)) << text(trait);
      EXPECT_FALSE(has(both, Trait::begins | Trait::commits | Trait::rolls_back)) << text(trait) << ": not certain";
    }
  }
  EXPECT_FALSE(has(either(Trait::none, Trait::repeatable), Trait::may_commit));
}

TEST(EitherTest, what_commits_by_itself_stays_so) {
  EXPECT_TRUE(has(either(Trait::commits_itself, Trait::repeatable), Trait::commits_itself));
  EXPECT_TRUE(has(either(Trait::none, Trait::commits_itself), Trait::commits_itself));
}

// Of any two, nothing is promised that one of them doesn't keep, and no warning of either is lost.
TEST(EitherTest, never_promises_more_than_the_worse_of_two) {
  for (unsigned a = 0; a < 64; ++a) {
    for (unsigned b = 0; b < 64; ++b) {
      const auto first = static_cast<Trait>(a);
      const auto second = static_cast<Trait>(b);
      const Trait both = either(first, second);
      EXPECT_EQ(both, either(second, first));
      EXPECT_EQ(has(both, Trait::repeatable), has(first, Trait::repeatable) && has(second, Trait::repeatable));
      EXPECT_EQ(has(both, Trait::commits_itself), has(first | second, Trait::commits_itself));
      const auto commits = Trait::commits | Trait::may_commit;
      if (has(first | second, commits)) {
        EXPECT_TRUE(has(both, commits));
      }
    }
  }
}

TEST(PortalsTest, a_portal_that_was_never_bound_promises_nothing) {
  const Portals portals;
  EXPECT_EQ(portals.of(Name::unnamed), Trait::none);
  EXPECT_EQ(portals.of(Name::named), Trait::none);
}

TEST(PortalsTest, the_unnamed_portal_is_the_last_that_was_bound) {
  Portals portals;
  portals.bind(Name::unnamed, verdict("select 1"));
  portals.bind(Name::unnamed, verdict("commit"));
  EXPECT_EQ(portals.of(Name::unnamed), traits("commit"));
  EXPECT_EQ(portals.of(Name::named), Trait::none) << "they are apart";
}

TEST(PortalsTest, a_named_portal_may_be_any_of_those_that_were_bound) {
  Portals portals;
  portals.bind(Name::named, verdict("select 1"));
  EXPECT_EQ(portals.of(Name::named), Trait::repeatable);
  portals.bind(Name::named, verdict("select 2"));
  EXPECT_EQ(portals.of(Name::named), Trait::repeatable);
  portals.bind(Name::named, verdict("insert into t values (1)"));
  EXPECT_FALSE(has(portals.of(Name::named), Trait::repeatable));
  portals.bind(Name::named, verdict("select 3"));
  EXPECT_FALSE(has(portals.of(Name::named), Trait::repeatable)) << "the insert is still bound";
  portals.bind(Name::named, verdict("commit"));
  EXPECT_TRUE(has(portals.of(Name::named), Trait::may_commit));
  EXPECT_EQ(portals.of(Name::unnamed), Trait::none);
}

TEST(PortalsTest, the_first_named_portal_is_not_made_worse_by_there_having_been_none) {
  Portals portals;
  portals.bind(Name::named, verdict("commit"));
  EXPECT_EQ(portals.of(Name::named), traits("commit"));
}

TEST(PortalsTest, a_simple_query_destroys_the_unnamed_portal_alone) {
  Portals portals;
  portals.bind(Name::unnamed, verdict("select 1"));
  portals.bind(Name::named, verdict("select 1"));
  portals.queried();
  EXPECT_EQ(portals.of(Name::unnamed), Trait::none);
  EXPECT_EQ(portals.of(Name::named), Trait::repeatable);
}

TEST(PortalsTest, named_portals_end_with_their_transaction) {
  Portals portals;
  portals.bind(Name::named, verdict("insert into t values (1)"));
  portals.ended();
  EXPECT_EQ(portals.of(Name::named), Trait::none);
  portals.bind(Name::named, verdict("select 1"));
  EXPECT_EQ(portals.of(Name::named), Trait::repeatable) << "the insert is gone";
}

}  // namespace
}  // namespace holdfast::protocol
