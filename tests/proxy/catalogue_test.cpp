// When a database is asked for its hidden code, and what counts meanwhile.
#include "proxy/pool/catalogue.hpp"

#include <gtest/gtest.h>

#include <array>

namespace holdfast::proxy {
namespace {

using namespace std::chrono_literals;
using protocol::Hidden;

class CatalogueTest : public ::testing::Test {
 protected:
  // What a server says that was asked just now.
  void learn(Hidden hidden, TimePoint::duration took = 3ms) { catalogue.learn(hidden, catalogue.schema(), now, took); }

  Catalogue::Numbers numbers{0};
  Catalogue catalogue{numbers};
  TimePoint now{100s};
};

TEST_F(CatalogueTest, is_asked_before_anything_is_known) {
  EXPECT_FALSE(catalogue.known(now));
  EXPECT_FALSE(catalogue.known(now)) << "whoever comes before the answer asks as well";
  for (const auto bit : {Hidden::writes_leave, Hidden::reads_leave, Hidden::writes_look, Hidden::reads_look})
    EXPECT_TRUE(has(catalogue.hidden(), bit));
  EXPECT_FALSE(has(catalogue.hidden(), Hidden::reads_write));
  learn(Hidden::nothing);
  EXPECT_EQ(catalogue.known(now), Hidden::nothing);
}

TEST_F(CatalogueTest, is_asked_again_after_ddl) {
  learn(Hidden::nothing);
  const auto before = catalogue.schema();
  catalogue.changed();
  EXPECT_GT(catalogue.schema(), before);
  EXPECT_FALSE(catalogue.known(now));
  catalogue.learn(Hidden::writes_leave, before, now, 3ms);
  EXPECT_FALSE(catalogue.known(now)) << "that answer is from before it";
  learn(Hidden::writes_leave);
  EXPECT_EQ(catalogue.known(now), Hidden::writes_leave);
}

TEST_F(CatalogueTest, blocks_may_have_one_snapshot_unless_this_very_state_says_no) {
  EXPECT_TRUE(catalogue.may_default_to_one_snapshot()) << "nothing is known";
  learn(Hidden::nothing);
  EXPECT_FALSE(catalogue.may_default_to_one_snapshot());
  catalogue.changed();
  EXPECT_TRUE(catalogue.may_default_to_one_snapshot()) << "it may have been an ALTER ROLE";
  learn(Hidden::one_snapshot);
  EXPECT_TRUE(catalogue.may_default_to_one_snapshot());
}

TEST_F(CatalogueTest, an_answer_that_comes_late_replaces_no_newer_one) {
  const auto before = catalogue.schema();
  catalogue.changed();
  learn(Hidden::writes_leave);
  catalogue.learn(Hidden::nothing, before, now, 3ms);
  EXPECT_EQ(catalogue.known(now), Hidden::writes_leave);
  EXPECT_EQ(catalogue.hidden(), Hidden::writes_leave);
}

// The kind: what was known before DDL is believed behind it.
TEST_F(CatalogueTest, may_hide_anything_from_ddl_until_the_next_answer) {
  learn(Hidden::nothing);
  EXPECT_EQ(catalogue.hidden(), Hidden::nothing);
  catalogue.changed();
  EXPECT_EQ(catalogue.hidden(), Hidden::anything);
  learn(Hidden::sequences);
  EXPECT_EQ(catalogue.hidden(), Hidden::sequences);
}

TEST_F(CatalogueTest, may_have_changed_once_a_second) {
  learn(Hidden::nothing);
  catalogue.may_have_changed(now);
  EXPECT_EQ(catalogue.hidden(), Hidden::anything);
  learn(Hidden::nothing);
  now += 999ms;
  catalogue.may_have_changed(now);
  EXPECT_EQ(catalogue.hidden(), Hidden::nothing);
  now += 1ms;
  catalogue.may_have_changed(now);
  EXPECT_EQ(catalogue.hidden(), Hidden::anything);
}

// One that asks isn't paid for with a connection for each transaction, for ever.
TEST(AskedTest, is_taken_for_granted_for_a_while_and_behind_each_that_asked) {
  Asked rarely(100, 5000);
  const auto expected = [&] {
    int times = 0;
    for (int i = 0; i < 20'000; ++i) times += rarely.expected();
    return times;
  };
  EXPECT_EQ(expected(), 100);
  rarely.seen();
  EXPECT_EQ(expected(), 5000);
  EXPECT_EQ(expected(), 0);
  for (int i = 0; i < 3; ++i) rarely.seen();
  EXPECT_EQ(expected(), 5000);
}

TEST_F(CatalogueTest, is_asked_by_one_when_its_time_has_come) {
  learn(Hidden::nothing);
  now += 999ms;
  EXPECT_TRUE(catalogue.known(now));
  now += 1ms;
  EXPECT_FALSE(catalogue.known(now));
  EXPECT_EQ(catalogue.known(now), Hidden::nothing) << "the others go by the last answer";
  now += 1s;
  EXPECT_FALSE(catalogue.known(now)) << "the first one never came back";
}

TEST_F(CatalogueTest, is_asked_less_often_where_that_is_expensive) {
  learn(Hidden::nothing, 50ms);
  now += 4999ms;
  EXPECT_TRUE(catalogue.known(now));
  now += 1ms;
  EXPECT_FALSE(catalogue.known(now));
}

TEST_F(CatalogueTest, audits_that_fail_are_told_once_until_one_succeeds) {
  EXPECT_FALSE(catalogue.audited(false, now));
  EXPECT_EQ(catalogue.audited(true, now), AuditEvent::catalogue_audit_failed);
  for (int i = 0; i < 200; ++i) {
    now += 1s;
    EXPECT_FALSE(catalogue.audited(true, now));
  }
  EXPECT_EQ(catalogue.audited(false, now), AuditEvent::catalogue_audit_succeeded);
  EXPECT_FALSE(catalogue.audited(false, now));
  EXPECT_EQ(catalogue.audited(true, now), AuditEvent::catalogue_audit_failed);
}

// Two users, of whom one may not read the catalogue.
TEST_F(CatalogueTest, audits_that_fail_now_and_then_are_told_once_a_minute) {
  int failed = 0;
  int succeeded = 0;
  for (int i = 0; i < 600; ++i) {
    now += 1s;
    failed += catalogue.audited(true, now).has_value();
    succeeded += catalogue.audited(false, now).has_value();
  }
  EXPECT_EQ(failed, 10);
  EXPECT_EQ(succeeded, 10);
}

TEST(AuditEvents, have_names) {
  EXPECT_STREQ(name_of(AuditEvent::catalogue_audit_failed), "catalogue_audit_failed");
  EXPECT_STREQ(name_of(AuditEvent::catalogue_audit_succeeded), "catalogue_audit_succeeded");
}

TEST(CatalogueBookTest, has_one_for_all_users_of_a_database) {
  CatalogueBook book;
  const auto one = book.find("main", "app");
  EXPECT_EQ(book.find("main", "app"), one);
  EXPECT_NE(book.find("main", "other"), one);
  EXPECT_NE(book.find("second", "app"), one);
}

// The kind: DDL of one tenant makes what is known of another one old.
TEST(CatalogueBookTest, ddl_concerns_its_own_database) {
  CatalogueBook book;
  const auto changed = book.find("main", "app");
  const auto same_cluster = book.find("main", "other");
  const auto same_name = book.find("second", "app");
  const TimePoint now{100s};
  for (const auto& catalogue : {changed, same_cluster, same_name}) {
    catalogue->learn(Hidden::nothing, catalogue->schema(), now, 3ms);
  }
  const auto before = std::array{same_cluster->schema(), same_name->schema()};
  book.changed("main", "app");
  EXPECT_FALSE(changed->known(now));
  EXPECT_TRUE(same_cluster->known(now));
  EXPECT_TRUE(same_name->known(now));
  EXPECT_EQ(before, (std::array{same_cluster->schema(), same_name->schema()}));
  book.changed("main", "unknown");
  EXPECT_TRUE(same_cluster->known(now));
}

// Roles, databases and tablespaces belong to all databases of a cluster.
TEST(CatalogueBookTest, ddl_on_what_databases_share_concerns_all_of_the_cluster) {
  CatalogueBook book;
  const auto one = book.find("main", "app");
  const auto other = book.find("main", "other");
  const auto elsewhere = book.find("main2", "app");
  const TimePoint now{100s};
  for (const auto& catalogue : {one, other, elsewhere}) {
    catalogue->learn(Hidden::nothing, catalogue->schema(), now, 3ms);
  }
  book.changed("main");
  EXPECT_FALSE(one->known(now));
  EXPECT_FALSE(other->known(now));
  EXPECT_TRUE(elsewhere->known(now));
}

// A Parse may be trusted for a second: longer than a database without clients is remembered.
TEST(CatalogueBookTest, a_database_that_was_forgotten_does_not_begin_where_it_began_before) {
  CatalogueBook book;
  const auto before = book.find("main", "app")->schema();
  EXPECT_GT(book.find("main", "app")->schema(), before) << "DDL may have been seen in between";
}

}  // namespace
}  // namespace holdfast::proxy
