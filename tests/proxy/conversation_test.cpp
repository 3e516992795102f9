// What a client and its server say to each other: forwarding, pins, blocks, COPY, and what a pass comes to.
#include "proxy/session/conversation.hpp"

#include <gtest/gtest.h>

#include <string>

#include "tests/proxy/talk.hpp"

namespace holdfast::proxy {
namespace {

using namespace std::string_literals;
using namespace wire;
using protocol::sql::Effect;
using Taken = Conversation::Taken;

class ConversationTest : public ConversationWorld {
 protected:
  // A SET that pins the client to its server.
  void pin() {
    talk.client(query("SET work_mem = 1"));
    talk.server(complete("SET") + ready());
    talk.said(talk.next);
    talk.heard();
  }
};

TEST_F(ConversationTest, passes_a_query_and_its_answer_and_ends) {
  EXPECT_EQ(talk.client(query("SELECT 1")), Taken::taken);
  EXPECT_EQ(talk.said(), "Q:SELECT 1");
  ASSERT_TRUE(talk.linked());
  EXPECT_FALSE(talk.conversation->unit_open());
  EXPECT_TRUE(talk.server(description + one_row() + ready()));
  EXPECT_EQ(talk.heard(), "T D:one C:SELECT 1 ZI");
  EXPECT_FALSE(talk.linked());
  EXPECT_EQ(talk.after.units, 1U);
  EXPECT_FALSE(talk.after.wrote);
  EXPECT_FALSE(talk.after.schema_changed);
}

TEST_F(ConversationTest, keeps_its_server_until_the_sync_of_a_batch_is_answered) {
  talk.client(parse("", "SELECT 1") + bind("") + execute() + flush());
  EXPECT_EQ(talk.said(), "P:SELECT 1 B E H");
  EXPECT_TRUE(talk.server(parsed + bound + one_row()));
  ASSERT_TRUE(talk.linked());
  EXPECT_TRUE(talk.conversation->unit_open());
  EXPECT_FALSE(talk.conversation->at_rest());
  talk.client(sync());
  EXPECT_FALSE(talk.conversation->unit_open());
  EXPECT_FALSE(talk.conversation->at_rest());
  EXPECT_TRUE(talk.server(ready()));
  EXPECT_FALSE(talk.linked());
  EXPECT_EQ(talk.heard(), "1 2 D:one C:SELECT 1 ZI");
}

TEST_F(ConversationTest, keeps_its_server_inside_a_transaction) {
  talk.answers_locally = false;
  talk.client(query("BEGIN"));
  EXPECT_TRUE(talk.server(complete("BEGIN") + ready('T')));
  ASSERT_TRUE(talk.linked());
  EXPECT_EQ(talk.block.status(), 'T');
  talk.client(query("SELECT 1/0"));
  EXPECT_TRUE(talk.server(error("22012") + ready('E')));
  ASSERT_TRUE(talk.linked());
  EXPECT_EQ(talk.block.status(), 'E');
  talk.client(query("ROLLBACK"));
  EXPECT_TRUE(talk.server(complete("ROLLBACK") + ready()));
  EXPECT_FALSE(talk.linked());
  EXPECT_EQ(talk.block.status(), 'I');
}

TEST_F(ConversationTest, takes_several_statements_in_flight_on_the_primary) {
  EXPECT_EQ(talk.client(query("INSERT INTO t VALUES (1)") + query("SELECT 1") + run("SELECT 2")), Taken::taken);
  EXPECT_EQ(talk.said(), "Q:INSERT INTO t VALUES (1) Q:SELECT 1 P:SELECT 2 B E S");
  talk.server(complete("INSERT 0 1") + ready());
  ASSERT_TRUE(talk.linked());
  talk.server(one_row() + ready() + parsed + bound + one_row("two") + ready());
  EXPECT_EQ(talk.heard(), "C:INSERT 0 1 ZI D:one C:SELECT 1 ZI 1 2 D:two C:SELECT 1 ZI");
  EXPECT_FALSE(talk.linked());
  EXPECT_EQ(talk.after.units, 3U);
}

TEST_F(ConversationTest, takes_one_statement_at_a_time_on_a_replica) {
  talk.next = 1;
  EXPECT_EQ(talk.client(query("SELECT 1") + query("SELECT 2")), Taken::wait);
  EXPECT_EQ(talk.said(1), "Q:SELECT 1");
  talk.next = 0;  // the second is routed for itself
  talk.server(one_row() + ready());
  EXPECT_EQ(talk.said(1), "");
  EXPECT_EQ(talk.said(0), "Q:SELECT 2");
}

TEST_F(ConversationTest, takes_several_in_flight_inside_a_block_on_a_replica) {
  talk.answers_locally = false;
  talk.next = 1;
  talk.client(query("BEGIN READ ONLY"));
  talk.server(complete("BEGIN") + ready('T'));
  EXPECT_EQ(talk.client(query("SELECT 1") + query("SELECT 2") + query("COMMIT")), Taken::taken);
  EXPECT_EQ(talk.said(1), "Q:BEGIN READ ONLY Q:SELECT 1 Q:SELECT 2 Q:COMMIT");
}

TEST_F(ConversationTest, takes_several_in_flight_on_a_replica_that_it_is_pinned_to) {
  talk.next = 1;
  pin();
  EXPECT_EQ(talk.client(query("SELECT 1") + query("SELECT 2")), Taken::taken);
  EXPECT_EQ(talk.said(1), "Q:SELECT 1 Q:SELECT 2");
}

TEST_F(ConversationTest, refuses_a_message_that_has_no_place_here) {
  talk.client(query("SELECT 1"));
  EXPECT_EQ(talk.client(message('p', "secret\0"s)), Taken::unknown);
  EXPECT_EQ(talk.said(), "Q:SELECT 1");
}

TEST_F(ConversationTest, refuses_messages_without_end) {
  talk.client(parse("", "SELECT 1") + flush());
  auto& exchange = talk.current().session.exchange;
  for (int i = 0; i <= 1'000'000; ++i) exchange.sent({.tag = 'B'});
  EXPECT_EQ(talk.client(execute()), Taken::too_many);
}

// ---- pins

TEST_F(ConversationTest, set_pins_the_client_and_soils_the_server) {
  talk.client(query("SET work_mem = 1"));
  talk.server(complete("SET") + ready());
  ASSERT_TRUE(talk.linked());
  EXPECT_TRUE(talk.conversation->pinned());
  EXPECT_TRUE(talk.conversation->at_rest());
  EXPECT_FALSE(talk.conversation->may_end());
  EXPECT_TRUE(has(talk.current().session.dirt(), Effect::set));
  EXPECT_FALSE(talk.conversation->pins().guessed());
  EXPECT_EQ(talk.counters.pins[0].value(), 1U);
}

TEST_F(ConversationTest, unknown_function_pins_by_a_guess_also_by_bind) {
  talk.client(run("SELECT my_function()"));
  talk.server(parsed + bound + one_row() + ready());
  ASSERT_TRUE(talk.linked());
  EXPECT_TRUE(talk.conversation->pins().guessed());
  EXPECT_TRUE(has(talk.current().session.dirt(), Effect::unknown_function));
}

TEST_F(ConversationTest, discard_all_ends_the_pin_and_the_server_stays_soiled) {
  pin();
  talk.client(query("DISCARD ALL"));
  auto& server = talk.current();
  talk.server(complete("DISCARD ALL") + ready());
  EXPECT_FALSE(talk.linked());
  EXPECT_FALSE(server.session.may_serve_others()) << "it is cleaned before anybody else gets it";
}

TEST_F(ConversationTest, discard_all_that_fails_ends_no_pin) {
  pin();
  talk.client(query("DISCARD ALL"));
  talk.server(error("25001") + ready());
  EXPECT_TRUE(talk.linked());
}

TEST_F(ConversationTest, discard_all_with_further_statements_in_flight_ends_no_pin) {
  pin();
  talk.client(query("DISCARD ALL") + query("SET work_mem = 2"));
  talk.server(complete("DISCARD ALL") + ready());
  talk.server(complete("SET") + ready());
  ASSERT_TRUE(talk.linked());
  EXPECT_TRUE(talk.conversation->pinned());
}

TEST_F(ConversationTest, in_session_mode_keeps_its_server_without_a_pin) {
  talk.configure({.pool_mode = config::PoolMode::session});
  talk.client(query("SELECT 1"));
  talk.server(one_row() + ready());
  ASSERT_TRUE(talk.linked());
  EXPECT_TRUE(talk.conversation->pinned());
  EXPECT_FALSE(talk.conversation->pins().any());
  EXPECT_TRUE(talk.conversation->at_rest());
}

TEST_F(ConversationTest, reset_ends_at_what_the_client_asked_for_at_its_start) {
  talk.wants("work_mem", "4MB");
  talk.client(query("RESET work_mem"));
  EXPECT_EQ(talk.said(), "Q:RESET work_mem Q:SELECT pg_catalog.set_config('work_mem','4MB',false) IS NULL");
  EXPECT_TRUE(talk.server(complete("RESET") + ready() + description + one_row() + ready()));
  EXPECT_EQ(talk.heard(), "C:RESET ZI");
  EXPECT_EQ(talk.after.units, 1U);
}

TEST_F(ConversationTest, reset_in_a_batch_is_followed_by_the_clients_own_behind_the_sync) {
  talk.wants("work_mem", "4MB");
  talk.client(run("RESET ALL"));
  EXPECT_EQ(talk.said(),
            "P:RESET ALL B E S P:" + protocol::restore_if_reset(talk.identity.wanted, protocol::Roles::keep) +
                " B:hf_restore E:hf_restore C:Phf_restore S");
  talk.server(parsed + bound + complete("RESET") + ready());
  EXPECT_FALSE(talk.conversation->at_rest());
  talk.server(parsed + bound + one_row() + closed + ready());
  EXPECT_EQ(talk.heard(), "1 2 C:RESET ZI");
}

// PostgreSQL reports what has changed, once, in front of the ReadyForQuery.
TEST_F(ConversationTest, reset_tells_what_holds_in_the_end_and_then_that_the_server_is_ready) {
  talk.wants("DateStyle", "SQL, DMY");
  talk.client(query("SELECT 1"));
  talk.server(parameter("DateStyle", "SQL, DMY") + one_row() + ready());
  talk.client(query("SET datestyle TO german"));
  talk.server(complete("SET") + parameter("DateStyle", "German, DMY") + ready());
  talk.heard();
  for (const auto& reset : {query("RESET ALL"), run("DISCARD ALL"), query("RESET datestyle")}) {
    talk.client(reset);
    talk.server((reset[0] == 'P' ? parsed + bound : std::string()) + complete("RESET"));
    talk.server(parameter("DateStyle", "ISO, MDY") + ready());
    EXPECT_TRUE(talk.heard().ends_with("C:RESET")) << "the ReadyForQuery waits";
    const bool batch = reset[0] == 'P';
    talk.server((batch ? parsed + bound : description) + one_row() + (batch ? closed : "") +
                parameter("DateStyle", "SQL, DMY") + ready());
    EXPECT_EQ(talk.heard(), reset == query("RESET ALL") ? "S:DateStyle=SQL, DMY ZI" : "ZI");
  }
}

TEST_F(ConversationTest, what_is_behind_a_reset_waits_until_the_settings_are_back) {
  talk.wants("DateStyle", "SQL, DMY");
  EXPECT_EQ(talk.client(query("RESET ALL") + query("SET datestyle TO german")), Taken::wait);
  talk.said();
  talk.server(complete("RESET") + parameter("DateStyle", "ISO, MDY") + ready());
  talk.server(description + one_row() + parameter("DateStyle", "SQL, DMY") + ready());
  EXPECT_EQ(talk.said(), "Q:SET datestyle TO german");
  talk.server(complete("SET") + parameter("DateStyle", "German, DMY") + ready());
  EXPECT_EQ(talk.heard(), "C:RESET S:DateStyle=SQL, DMY ZI C:SET S:DateStyle=German, DMY ZI");
}

// In a batch that failed the server skips both.
TEST_F(ConversationTest, reset_that_is_skipped_restores_nothing) {
  talk.wants("DateStyle", "SQL, DMY");
  talk.client(parse("", "SELECT x") + query("RESET ALL"));
  talk.server(error("42703"));
  EXPECT_EQ(talk.client(sync() + query("SELECT 1")), Taken::taken);
  talk.server(ready() + one_row() + ready());
  EXPECT_EQ(talk.heard(), "E42703 ZI D:one C:SELECT 1 ZI");
  talk.client(parse("", "SELECT x") + flush());
  talk.server(error("42703"));
  EXPECT_EQ(talk.client(query("RESET ALL") + sync() + query("SELECT 1")), Taken::taken);
  talk.server(ready() + one_row() + ready());
  EXPECT_EQ(talk.heard(), "E42703 ZI D:one C:SELECT 1 ZI");
}

TEST_F(ConversationTest, reset_that_was_answered_is_told_although_its_server_is_lost_then) {
  talk.wants("work_mem", "4MB");
  talk.client(query("RESET work_mem"));
  talk.server(complete("RESET") + ready());
  EXPECT_EQ(talk.heard(), "C:RESET");
  talk.desk.clear();
  static_cast<void>(talk.lose());
  EXPECT_EQ(wire::heard(protocol::as_text(talk.desk.to_client.bytes())), "ZI");
}

TEST_F(ConversationTest, reset_of_what_it_never_asked_for_is_left_alone) {
  talk.wants("work_mem", "4MB");
  talk.client(query("RESET statement_timeout"));
  EXPECT_EQ(talk.said(), "Q:RESET statement_timeout");
}

TEST_F(ConversationTest, discard_all_of_a_client_with_settings_ends_the_pin_when_they_are_back) {
  talk.wants("work_mem", "4MB");
  pin();
  talk.client(query("DISCARD ALL"));
  talk.server(complete("DISCARD ALL") + ready());
  EXPECT_TRUE(talk.linked());
  talk.server(description + one_row() + ready());
  EXPECT_FALSE(talk.linked());
}

// ---- a BEGIN that was deferred

TEST_F(ConversationTest, deferred_begin_goes_out_in_front_of_the_first_statement) {
  talk.client(query("BEGIN"));
  EXPECT_FALSE(talk.linked());
  EXPECT_EQ(talk.heard(), "C:BEGIN ZT");
  talk.client(query("SELECT 1"));
  EXPECT_EQ(talk.said(), "P:BEGIN B E C:P Q:SELECT 1");
  talk.server(parsed + bound + complete("BEGIN") + closed + description + one_row() + ready('T'));
  EXPECT_EQ(talk.heard(), "T D:one C:SELECT 1 ZT");
  EXPECT_TRUE(talk.linked());
  EXPECT_EQ(talk.block.state(), protocol::Block::State::open);
}

TEST_F(ConversationTest, nothing_further_is_taken_before_the_server_has_the_begin) {
  talk.client(query("BEGIN"));
  EXPECT_EQ(talk.client(query("SELECT 1") + query("SELECT 2")), Taken::wait);
  EXPECT_EQ(talk.said(), "P:BEGIN B E C:P Q:SELECT 1");
  talk.server(parsed + bound + complete("BEGIN") + closed + one_row() + ready('T'));
  EXPECT_EQ(talk.said(), "Q:SELECT 2");
}

TEST_F(ConversationTest, begin_that_the_server_refuses_closes_the_server_and_is_told_to_the_client) {
  talk.client(query("BEGIN"));
  talk.client(query("INSERT INTO t VALUES (1)"));
  talk.heard();
  EXPECT_FALSE(talk.server(error("57014")));
  EXPECT_EQ(talk.heard(), "");
  const auto refused = talk.block.take_begin_error();
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->state, sqlstate::query_canceled);
  EXPECT_FALSE(talk.block.take_begin_error());
}

TEST_F(ConversationTest, error_of_the_first_statement_is_no_refusal_of_the_begin) {
  talk.client(query("BEGIN"));
  talk.client(query("SELECT 1/0"));
  talk.heard();
  EXPECT_TRUE(talk.server(parsed + bound + complete("BEGIN") + closed + error("22012") + ready('E')));
  EXPECT_EQ(talk.heard(), "E22012 ZE");
  EXPECT_EQ(talk.block.state(), protocol::Block::State::failed);
}

// ---- COPY and FunctionCall

TEST_F(ConversationTest, copy_in_belongs_to_the_query_that_began_it) {
  talk.client(query("COPY t FROM STDIN"));
  talk.server(copy_in);
  EXPECT_EQ(talk.client(copy_data("one\n") + copy_data("two\n") + copy_done()), Taken::taken);
  EXPECT_EQ(talk.said(), "Q:COPY t FROM STDIN d:4 d:4 c");
  EXPECT_FALSE(talk.conversation->unit_open());
  EXPECT_FALSE(talk.conversation->at_rest());
  talk.server(complete("COPY 2") + ready());
  EXPECT_EQ(talk.heard(), "G C:COPY 2 ZI");
  EXPECT_FALSE(talk.linked());
  EXPECT_TRUE(talk.after.wrote);
}

TEST_F(ConversationTest, copy_in_by_execute_ends_with_its_own_sync) {
  talk.client(run("COPY t FROM STDIN"));
  talk.server(parsed + bound + copy_in);
  talk.client(copy_data("one\n") + copy_done() + sync());
  talk.server(complete("COPY 1"));
  EXPECT_TRUE(talk.linked());
  talk.server(ready());
  EXPECT_EQ(talk.heard(), "1 2 G C:COPY 1 ZI");
  EXPECT_FALSE(talk.linked());
}

TEST_F(ConversationTest, copy_data_that_comes_too_late_begins_no_unit) {
  talk.client(query("COPY t FROM STDIN"));
  talk.server(copy_in);
  talk.server(error("22P04"));
  talk.client(copy_data("late\n"));
  EXPECT_FALSE(talk.conversation->unit_open());
  talk.server(ready());
  EXPECT_FALSE(talk.linked());
}

TEST_F(ConversationTest, copy_out_streams_through) {
  talk.client(query("COPY t TO STDOUT"));
  talk.server(copy_out + message('d', "one\n") + message('d', "two\n") + message('c') + complete("COPY 2") + ready());
  EXPECT_EQ(talk.heard(), "H d d c C:COPY 2 ZI");
  EXPECT_FALSE(talk.linked());
}

TEST_F(ConversationTest, function_call_is_a_unit_that_may_write) {
  talk.client(call());
  EXPECT_EQ(talk.said(), "F");
  EXPECT_FALSE(talk.conversation->unit_open());
  talk.server(call_result + ready());
  EXPECT_EQ(talk.heard(), "V ZI");
  EXPECT_FALSE(talk.linked());
  EXPECT_TRUE(talk.after.wrote);
}

// By its number it may be set_config() as well as anything else; large objects leave nothing behind.
TEST_F(ConversationTest, function_call_of_any_other_function_pins) {
  talk.client(call(0, 1));
  talk.server(call_result + ready());
  EXPECT_TRUE(talk.linked());
  EXPECT_TRUE(talk.conversation->pins().guessed());
}

// ---- what a pass comes to

TEST_F(ConversationTest, write_counts_when_it_is_answered_and_a_read_behind_it_does_not) {
  talk.configure({.pool_mode = config::PoolMode::session, .query_timeout = std::chrono::seconds(1)});
  talk.client(query("INSERT INTO t VALUES (1)"));
  EXPECT_TRUE(talk.after.began) << "its time is limited";
  EXPECT_FALSE(talk.after.wrote);
  talk.server(complete("INSERT 0 1") + ready());
  EXPECT_TRUE(talk.after.wrote);
  talk.after = {};
  talk.client(query("SELECT 1"));
  talk.server(one_row() + ready());
  EXPECT_FALSE(talk.after.wrote);
}

TEST_F(ConversationTest, beginning_of_a_unit_whose_time_is_not_limited_is_nobodys_business) {
  talk.client(query("INSERT INTO t VALUES (1)"));
  EXPECT_FALSE(talk.after.began);
  talk.server(complete("INSERT 0 1") + ready());
  EXPECT_FALSE(talk.after.began);
  EXPECT_TRUE(talk.after.wrote);
}

TEST_F(ConversationTest, ddl_changes_the_schema_when_its_transaction_has_ended) {
  talk.answers_locally = false;
  talk.client(query("BEGIN"));
  talk.server(complete("BEGIN") + ready('T'));
  talk.client(query("ALTER TABLE t ADD COLUMN c int"));
  talk.server(complete("ALTER TABLE") + ready('T'));
  EXPECT_FALSE(talk.after.schema_changed);
  talk.client(query("COMMIT"));
  talk.server(complete("COMMIT") + ready());
  EXPECT_TRUE(talk.after.schema_changed);
  EXPECT_FALSE(talk.after.shared_schema_changed);
}

TEST_F(ConversationTest, ddl_on_what_databases_share_is_said_to_be) {
  talk.answers_locally = false;
  for (const char* sql : {"CREATE ROLE joe", "ALTER ROLE joe SET work_mem = '4MB'", "GRANT joe TO app",
                          "DROP DATABASE d", "ALTER DATABASE d SET search_path = a", "DROP TABLESPACE far"}) {
    talk.client(query(sql));
    talk.server(complete("DONE") + ready());
    EXPECT_TRUE(talk.after.schema_changed) << sql;
    EXPECT_TRUE(talk.after.shared_schema_changed) << sql;
    talk.after = {};
  }
  talk.client(query("BEGIN"));
  talk.server(complete("BEGIN") + ready('T'));
  talk.client(query("DROP ROLE joe"));
  talk.server(complete("DROP ROLE") + ready('T'));
  talk.client(query("COMMIT"));
  talk.server(complete("COMMIT") + ready());
  EXPECT_TRUE(talk.after.shared_schema_changed);
  talk.after = {};
  talk.client(query("CREATE TABLE t (a int)"));
  talk.server(complete("CREATE TABLE") + ready());
  EXPECT_TRUE(talk.after.schema_changed);
  EXPECT_FALSE(talk.after.shared_schema_changed) << "the next unit's is its own";
}

TEST_F(ConversationTest, plan_whose_result_type_changed_expires_plans_and_no_other_0a000_does) {
  talk.client(parse("a", "SELECT 1") + sync());
  talk.server(parsed + ready());
  talk.client(run_named("a"));
  talk.server(error("0A000", "transformUpdateStmt") + ready());
  EXPECT_FALSE(talk.after.plans_expired);
  talk.client(query("SELECT 1"));
  talk.server(error("0A000", "RevalidateCachedQuery") + ready());
  EXPECT_FALSE(talk.after.plans_expired) << "a Query has no plan that was kept";
  talk.client(run_named("a"));
  talk.server(error("0A000", "RevalidateCachedQuery") + ready());
  EXPECT_TRUE(talk.after.plans_expired);
  EXPECT_EQ(talk.heard(), "1 ZI E0A000 ZI E0A000 ZI E0A000 ZI");
}

TEST_F(ConversationTest, reported_parameter_is_told_once) {
  talk.client(query("SET timezone = 'UTC'"));
  talk.server(parameter("TimeZone", "UTC") + complete("SET") + ready());
  EXPECT_EQ(talk.heard(), "S:TimeZone=UTC C:SET ZI");
  talk.server(parameter("TimeZone", "UTC"));
  EXPECT_EQ(talk.heard(), "");
}

TEST_F(ConversationTest, what_another_server_reports_differently_is_told_before_anything_of_it) {
  for (auto& server : talk.servers) {
    const auto* zone = server.primary ? "UTC" : "PST8PDT";
    server.session.reported = *talk.tables.reported.with({}, "TimeZone", zone);
    server.session.reported =
        *talk.tables.reported.with(server.session.reported, "in_hot_standby", server.primary ? "off" : "on");
  }
  const auto ask = [this](std::size_t which) {
    talk.next = which;
    talk.client(query("SELECT 1"));
    talk.server(one_row() + ready());
    return talk.heard();
  };
  EXPECT_EQ(ask(0), "S:TimeZone=UTC D:one C:SELECT 1 ZI");
  EXPECT_EQ(ask(1), "S:TimeZone=PST8PDT D:one C:SELECT 1 ZI") << "its role is not told";
  EXPECT_EQ(ask(1), "D:one C:SELECT 1 ZI");
}

TEST_F(ConversationTest, notice_and_notification_pass_at_any_time) {
  pin();
  talk.server(notice() + message('A', "\0\0\0\1channel\0payload\0"s));
  EXPECT_EQ(talk.heard(), "N A");
}

TEST_F(ConversationTest, message_that_answers_nothing_closes_the_server) {
  talk.client(query("SELECT 1"));
  EXPECT_FALSE(talk.server(parsed));
  EXPECT_EQ(talk.heard(), "");
}

TEST_F(ConversationTest, answer_that_nobody_asked_for_closes_the_server) {
  pin();
  EXPECT_FALSE(talk.server(ready()));
  EXPECT_EQ(talk.heard(), "");
}

TEST_F(ConversationTest, malformed_error_closes_the_server) {
  talk.client(query("SELECT 1"));
  EXPECT_FALSE(talk.server(message('E', "S")));
  EXPECT_EQ(talk.heard(), "");
}

TEST_F(ConversationTest, fatal_error_closes_the_server_and_is_not_passed_on) {
  talk.client(query("SELECT 1"));
  EXPECT_FALSE(talk.server(fatal("57P01")));
  EXPECT_EQ(talk.heard(), "");
}

TEST_F(ConversationTest, row_that_streams_through_is_in_the_way_of_anything_else) {
  talk.client(query("SELECT 1"));
  const auto big = row(std::string(1000, 'x'));
  talk.server(description + big.substr(0, 100));
  EXPECT_TRUE(talk.conversation->in_answer());
  talk.server(big.substr(100));
  EXPECT_FALSE(talk.conversation->in_answer());
  talk.server(complete("SELECT 1") + ready());
  EXPECT_EQ(talk.heard(), "T D:" + std::string(1000, 'x') + " C:SELECT 1 ZI");
}

}  // namespace
}  // namespace holdfast::proxy
