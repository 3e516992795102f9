// How a conversation ends other than by its answers: refused by a standby, its server lost, taken back; and half
// messages that stand in the way of any end.
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "protocol/loss.hpp"
#include "tests/proxy/talk.hpp"

namespace holdfast::proxy {
namespace {

using namespace std::string_literals;
using namespace wire;
using protocol::ClientStatements;
using protocol::Loss;
using protocol::Replay;
using Again = Replay::Again;
using Taken = Conversation::Taken;

class ConversationEnd : public ConversationWorld {
 protected:
  ConversationEnd() { talk.answers_locally = false; }
  // A unit on the standby.
  void ask_standby(std::string_view bytes) {
    talk.next = 1;
    talk.client(bytes);
    talk.next = 0;
  }
  // The next unit's first send reaches nobody; then it is given to the other server.
  void first_send_fails() {
    talk.send_fails = true;
    talk.choose = [tries = std::size_t{0}](const Unit&) mutable { return tries++; };
  }
  [[nodiscard]] Again again() const { return talk.conversation->replay().again(); }
};

// ---- a Terminate, of a client that listens

// PostgreSQL's own words for a message that doesn't belong into a COPY, and nothing behind them; the server stays.
TEST_F(ConversationEnd, terminate_in_a_copy_is_told_as_its_error) {
  talk.unlinks = false;
  for (const auto& [begins, answers, ends] : std::vector<std::array<std::string, 3>>{
           {query("COPY t FROM STDIN"), copy_in, ready()},
           {parse("", "COPY t FROM STDIN") + bind("") + execute(), parsed + bound + copy_in, ""},
           {parse("", "COPY t FROM STDIN") + bind("") + execute() + sync(), parsed + bound + copy_in, ""}}) {
    Talk copying(pool());
    copying.unlinks = false;
    copying.client(begins + copy_data("1"));
    copying.terminate();
    copying.server(answers);
    copying.heard();
    copying.said();
    copying.terminate();
    EXPECT_EQ(copying.said(), "f");
    copying.terminate();
    EXPECT_EQ(copying.said(), "");
    EXPECT_TRUE(copying.conversation->answers_come());
    copying.server(error("57014", "CopyGetData") + ends);
    EXPECT_TRUE(copying.conversation->copy_was_terminated());
    EXPECT_FALSE(copying.conversation->may_end()) << "the session says goodbye first";
    EXPECT_EQ(copying.heard(), "E08P01");
    EXPECT_EQ(copying.last_message(), "unexpected message type 0x58 during COPY from stdin");
  }
}

// The COPY may have failed before the server came to its end.
TEST_F(ConversationEnd, terminate_behind_a_copy_that_fails_by_itself_changes_nothing) {
  talk.unlinks = false;
  talk.client(query("COPY t FROM STDIN") + copy_data("x"));
  talk.server(copy_in);
  talk.terminate();
  talk.server(error("22P02", "pg_strtoint32") + ready());
  EXPECT_FALSE(talk.conversation->copy_was_terminated());
  EXPECT_FALSE(talk.conversation->answers_come());
  EXPECT_EQ(talk.heard(), "G E22P02 ZI");
}

TEST_F(ConversationEnd, terminate_behind_a_batch_without_a_sync_asks_for_its_error) {
  talk.unlinks = false;
  talk.client(query("INSERT INTO t VALUES (1)") + parse("", "INSERT INTO t VALUES (2)") + bind("") + execute());
  talk.said();
  talk.terminate();
  EXPECT_EQ(talk.said(), "") << "the Query is answered anyway";
  EXPECT_TRUE(talk.conversation->answers_come());
  talk.server(complete("INSERT 0 1") + ready());
  talk.terminate();
  EXPECT_EQ(talk.said(), "H");
  EXPECT_TRUE(talk.conversation->keeps_answers());
  talk.server(parsed);
  EXPECT_EQ(talk.flushed, 0U) << "PostgreSQL sends it with an error only";
  EXPECT_TRUE(talk.conversation->answers_come());
  const auto failed = bound + error("23505");
  talk.server(failed);
  EXPECT_EQ(talk.flushed, failed.size());
  EXPECT_FALSE(talk.conversation->answers_come());
  EXPECT_FALSE(talk.conversation->takes_effect());
}

// ---- half a message

TEST_F(ConversationEnd, failed_copy_waits_for_the_rest_of_the_copy_data_that_is_half_sent) {
  talk.unlinks = false;
  talk.client(query("COPY t FROM STDIN"));
  talk.server(copy_in);
  const auto data = copy_data(std::string(100'000, 'x'));
  talk.client(data.substr(0, 40'000));
  EXPECT_EQ(talk.current().session.owed(), data.size() - 40'000);
  talk.server(error("22P04") + ready());
  EXPECT_FALSE(talk.conversation->at_rest());
  EXPECT_FALSE(talk.conversation->may_end());
  talk.client(data.substr(40'000, 50'000));
  EXPECT_FALSE(talk.conversation->may_end());
  talk.client(data.substr(90'000));
  EXPECT_TRUE(talk.conversation->at_rest());
  EXPECT_TRUE(talk.conversation->may_end());
  EXPECT_EQ(talk.said(), "Q:COPY t FROM STDIN d:100000");
}

// PostgreSQL answers before it has read everything when it ends a transaction or a session; a half sent Query is its.
TEST_F(ConversationEnd, query_that_is_half_sent_when_something_is_answered_keeps_the_server) {
  Talk streaming(pool(), 1000);
  streaming.unlinks = false;
  const auto text = query("SELECT '" + std::string(100'000, 'x') + "'");
  streaming.client(text.substr(0, 50'000));
  ASSERT_TRUE(streaming.linked());
  EXPECT_FALSE(streaming.conversation->unit_open());
  EXPECT_TRUE(streaming.server(error("57014") + ready()));
  EXPECT_FALSE(streaming.conversation->at_rest());
  EXPECT_FALSE(streaming.conversation->may_end());
  streaming.client(text.substr(50'000));
  EXPECT_TRUE(streaming.conversation->at_rest());
  EXPECT_FALSE(streaming.conversation->may_end()) << "nobody saw what it did: it pins";
  EXPECT_EQ(streaming.heard(), "E57014 ZI");
}

TEST_F(ConversationEnd, answer_that_has_half_come_keeps_the_server) {
  talk.client(query("SELECT 1"));
  const auto end = ready();
  talk.server(one_row() + end.substr(0, 3));
  ASSERT_TRUE(talk.linked());
  EXPECT_FALSE(talk.conversation->may_end());
  talk.server(end.substr(3));
  EXPECT_FALSE(talk.linked());
}

// ---- refused by a standby

TEST_F(ConversationEnd, read_that_a_standby_refuses_runs_on_the_primary_and_nothing_of_the_refusal_is_told) {
  ask_standby(query("SELECT 1"));
  EXPECT_TRUE(talk.server(description + error("25006") + ready()));
  EXPECT_EQ(talk.heard(), "");
  EXPECT_EQ(talk.said(1), "Q:SELECT 1");
  EXPECT_EQ(talk.said(0), "Q:SELECT 1");
  talk.server(description + one_row() + ready());
  EXPECT_EQ(talk.heard(), "T D:one C:SELECT 1 ZI");
}

TEST_F(ConversationEnd, rest_of_what_a_standby_refused_is_swallowed_wherever_it_is_cut) {
  ask_standby(run("SELECT 1"));
  const auto answer = error("25006") + notice() + ready();
  for (const char byte : answer) {
    ASSERT_TRUE(talk.linked());
    EXPECT_TRUE(talk.server(std::string_view(&byte, 1)));
  }
  EXPECT_EQ(talk.heard(), "");
  EXPECT_EQ(talk.said(0), "P:SELECT 1 B E S");
}

TEST_F(ConversationEnd, text_that_a_standby_refused_goes_to_the_primary_from_now_on) {
  ask_standby(run("SELECT 1 FROM t"));
  EXPECT_EQ(talk.identity.classifier->verdict("SELECT 1 FROM t").access, protocol::sql::Access::read);
  talk.server(parsed + bound + error("25006") + ready());
  EXPECT_EQ(talk.identity.classifier->verdict("SELECT 1 FROM t").access, protocol::sql::Access::write);
  EXPECT_EQ(talk.identity.classifier->verdict("SELECT 1 FROM u").access, protocol::sql::Access::read);
}

TEST_F(ConversationEnd, statement_that_a_standby_refused_at_its_bind_is_judged_anew) {
  talk.client(parse("mine", "SELECT 1 FROM t") + sync());
  talk.server(parsed + ready());
  ask_standby(run_named("mine"));
  talk.server(parsed + bound + error("25006") + ready());
  auto& statement = *talk.statements.find("mine").statement;
  EXPECT_EQ(verdict_of(statement, *talk.identity.classifier).access, protocol::sql::Access::write);
}

TEST_F(ConversationEnd, conflict_with_replay_teaches_nothing) {
  ask_standby(query("SELECT 1 FROM t"));
  talk.server(error("40001") + ready());
  EXPECT_EQ(talk.said(0), "Q:SELECT 1 FROM t");
  EXPECT_EQ(talk.identity.classifier->verdict("SELECT 1 FROM t").access, protocol::sql::Access::read);
}

// A standby that has not replayed some DDL: it will run the same statement in a moment.
TEST_F(ConversationEnd, what_a_standby_does_not_have_yet_is_asked_of_the_primary_and_teaches_nothing) {
  for (const char* state : {"42P01", "42703", "3F000", "22P02", "XX000"}) {
    ask_standby(query("SELECT 1 FROM t"));
    talk.server(error(state) + ready());
    EXPECT_EQ(talk.said(0), "Q:SELECT 1 FROM t") << state;
    EXPECT_EQ(talk.identity.classifier->verdict("SELECT 1 FROM t").access, protocol::sql::Access::read) << state;
    talk.server(error(state) + ready());
    EXPECT_EQ(talk.heard(), "E"s + state + " ZI") << "the primary's own answer";
  }
}

TEST_F(ConversationEnd, error_that_is_no_refusal_is_told) {
  ask_standby(query("SELECT 1/0"));
  talk.server(error("22012") + ready());
  EXPECT_EQ(talk.heard(), "E22012 ZI");
  EXPECT_EQ(talk.said(0), "");
}

TEST_F(ConversationEnd, refusal_by_the_primary_is_told) {
  talk.client(query("SELECT 1"));
  talk.server(error("25006") + ready());
  EXPECT_EQ(talk.heard(), "E25006 ZI");
  EXPECT_FALSE(talk.linked());
}

TEST_F(ConversationEnd, refusal_is_told_where_the_client_wants_no_primary) {
  talk.configure({.route = config::Route::replica});
  ask_standby(query("SELECT 1"));
  talk.server(error("25006") + ready());
  EXPECT_EQ(talk.heard(), "E25006 ZI");
}

TEST_F(ConversationEnd, refusal_is_told_when_something_of_the_answer_was_passed_on) {
  ask_standby(run("SELECT 1"));
  talk.server(parsed);
  talk.server(bound + error("25006") + ready());
  EXPECT_EQ(talk.heard(), "1 2 E25006 ZI");
  EXPECT_EQ(talk.said(0), "");
}

// ParseComplete of the proxy's own goes out with the pass: until then it can be taken back, and so can the name.
TEST_F(ConversationEnd, refusal_takes_back_the_names_of_its_unit) {
  ask_standby(parse("mine", "SELECT 1") + sync());
  talk.server(parsed + ready());
  talk.heard();
  ask_standby(parse("yours", "SELECT 1") + bind("yours") + execute() + parse("mine", "SELECT 2") + sync());
  talk.server(bound + error("42P01") + ready());
  EXPECT_EQ(talk.heard(), "");
  EXPECT_EQ(talk.said(0), "P:hf_1:SELECT 1 B:hf_1 E P:hf_2:SELECT 2 D:Shf_0 S") << "the name that was there before is still in use";
  talk.server(parsed + bound + one_row() + parsed + error("26000") + ready());
  EXPECT_EQ(talk.heard(), "1 2 D:one C:SELECT 1 E42P05 ZI");
  EXPECT_EQ(talk.statements.find("yours").answer, ClientStatements::Answer::ok);
  EXPECT_EQ(talk.statements.find("mine").answer, ClientStatements::Answer::ok);
}

TEST_F(ConversationEnd, refusal_takes_back_names_that_the_standby_has_taken) {
  ask_standby(parse("mine", "SELECT 1") + bind("mine") + execute() + sync());
  talk.server(parsed + bound + error("22P02") + ready());
  EXPECT_EQ(talk.heard(), "");
  EXPECT_EQ(talk.said(0), "P:hf_1:SELECT 1 B:hf_1 E S");
  talk.server(parsed + bound + one_row() + ready());
  EXPECT_EQ(talk.heard(), "1 2 D:one C:SELECT 1 ZI");
  EXPECT_EQ(talk.statements.find("mine").answer, ClientStatements::Answer::ok);
}

TEST_F(ConversationEnd, names_of_a_refused_unit_are_taken_back_too_when_the_standby_dies_behind_its_refusal) {
  ask_standby(parse("mine", "SELECT 1") + bind("mine") + execute() + sync());
  talk.server(parsed + bound + error("22P02"));
  talk.lose();
  talk.give_up_server();
  talk.client({});
  talk.server(parsed + bound + one_row() + ready());
  EXPECT_EQ(talk.heard(), "1 2 D:one C:SELECT 1 ZI");
}

TEST_F(ConversationEnd, refusal_is_told_when_something_was_closed) {
  ask_standby(parse("mine", "SELECT 1") + sync());
  talk.server(parsed + ready());
  talk.heard();
  ask_standby(close("mine") + parse("", "SELECT 1 FROM t") + sync());
  talk.server(error("42P01") + ready());
  EXPECT_EQ(talk.heard(), "3 E42P01 ZI");
}

TEST_F(ConversationEnd, refusal_of_the_parse_itself_changes_no_name) {
  ask_standby(parse("mine", "SELECT 1") + bind("mine") + execute() + sync());
  talk.server(error("25006") + ready());
  EXPECT_EQ(talk.heard(), "");
  EXPECT_EQ(talk.said(0), "P:hf_1:SELECT 1 B:hf_1 E S");
  talk.server(parsed + bound + one_row() + ready());
  EXPECT_EQ(talk.heard(), "1 2 D:one C:SELECT 1 ZI");
  EXPECT_EQ(talk.statements.find("mine").answer, ClientStatements::Answer::ok);
}

TEST_F(ConversationEnd, refusal_is_told_when_a_parameter_was_told_in_the_same_pass) {
  ask_standby(query("SELECT 1"));
  talk.server(parameter("TimeZone", "UTC") + error("25006") + ready());
  EXPECT_EQ(talk.heard(), "S:TimeZone=UTC E25006 ZI");
}

TEST_F(ConversationEnd, refusal_is_told_inside_a_block) {
  ask_standby(query("BEGIN READ ONLY"));
  talk.server(complete("BEGIN") + ready('T'));
  talk.client(query("SELECT 1"));
  talk.server(error("25006") + ready('E'));
  EXPECT_EQ(talk.heard(), "C:BEGIN ZT E25006 ZE");
}

// The BEGIN was deferred: no more than that has been told of the block.
TEST_F(ConversationEnd, block_whose_first_statement_a_standby_refuses_begins_again_on_the_primary) {
  talk.answers_locally = true;
  talk.on_unlink = [](Talk::Server& server) { server.session.exchange.reset('I'); };  // as its cleaning does
  const std::vector<std::pair<std::string, std::string>> firsts{
      {query("SELECT 1"), one_row()}, {run("SELECT 1"), parsed + bound + one_row()}};
  for (const auto& [first, answer] : firsts) {
    talk.client(query("BEGIN READ ONLY"));
    ask_standby(first);
    talk.server(parsed + bound + complete("BEGIN") + closed + error("42P01") + ready('E'));
    EXPECT_EQ(talk.heard(), "C:BEGIN ZT");
    EXPECT_EQ(talk.block.state(), protocol::Block::State::opening);
    EXPECT_TRUE(talk.said(0).starts_with("P:BEGIN READ ONLY B E C:P "));
    talk.server(parsed + bound + complete("BEGIN") + closed + answer + ready('T'));
    EXPECT_EQ(talk.block.state(), protocol::Block::State::open);
    talk.client(query("COMMIT"));
    talk.server(complete("COMMIT") + ready());
    talk.heard();
    talk.said(0);
  }
}

TEST_F(ConversationEnd, refusal_of_a_blocks_second_statement_is_told) {
  talk.answers_locally = true;
  talk.client(query("BEGIN READ ONLY"));
  ask_standby(query("SELECT 1"));
  talk.server(parsed + bound + complete("BEGIN") + closed + one_row() + ready('T'));
  talk.client(query("SELECT 1"));
  talk.server(error("42P01") + ready('E'));
  EXPECT_EQ(talk.heard(), "C:BEGIN ZT D:one C:SELECT 1 ZT E42P01 ZE");
  EXPECT_EQ(talk.said(0), "");
}

TEST_F(ConversationEnd, refusal_of_a_later_statement_begins_the_block_on_the_primary) {
  talk.answers_locally = true;
  talk.on_unlink = [](Talk::Server& server) { server.session.exchange.reset('I'); };  // as its cleaning does
  talk.client(query("BEGIN READ ONLY"));
  ask_standby(query("SELECT 1"));
  talk.server(parsed + bound + complete("BEGIN") + closed + one_row() + ready('T'));
  talk.conversation->expect_next({.verdict = {.access = protocol::sql::Access::read}});
  talk.client(query("SELECT 2"));
  talk.server(error("25006") + ready('E'));
  EXPECT_EQ(talk.heard(), "C:BEGIN ZT D:one C:SELECT 1 ZT");
  EXPECT_EQ(talk.said(0), "P:BEGIN READ ONLY B E C:P P:SELECT Q:SELECT 2");
  talk.server(parsed + bound + complete("BEGIN") + closed + parsed + one_row() + ready('T'));
  EXPECT_EQ(talk.heard(), "D:one C:SELECT 1 ZT");
  EXPECT_EQ(talk.block.state(), protocol::Block::State::open);
}

TEST_F(ConversationEnd, refusal_in_a_failed_block_is_told) {
  talk.answers_locally = true;
  talk.client(query("BEGIN READ ONLY"));
  ask_standby(query("SELECT 1/0"));
  talk.server(parsed + bound + complete("BEGIN") + closed + error("22012") + ready('E'));
  talk.conversation->expect_next({.verdict = {.access = protocol::sql::Access::read}});
  talk.client(query("SELECT 2"));
  talk.server(error("42601") + ready('E'));
  EXPECT_EQ(talk.heard(), "C:BEGIN ZT E22012 ZE E42601 ZE");
}

TEST_F(ConversationEnd, refusal_is_told_while_its_sync_is_to_come) {
  ask_standby(parse("", "SELECT 1") + bind("") + execute() + flush());
  talk.server(parsed + bound + error("25006"));
  EXPECT_EQ(talk.heard(), "1 2 E25006");
  talk.client(sync());
  talk.server(ready());
  EXPECT_EQ(talk.heard(), "ZI");
  EXPECT_EQ(talk.said(0), "");
}

TEST_F(ConversationEnd, refusal_of_what_may_write_is_told) {
  ask_standby(query("INSERT INTO t VALUES (1)"));
  talk.server(error("25006") + ready());
  EXPECT_EQ(talk.heard(), "E25006 ZI");
}

TEST_F(ConversationEnd, refusal_of_a_second_unit_is_told) {
  talk.configure({.pool_mode = config::PoolMode::session});
  ask_standby(query("SELECT 1"));
  talk.server(one_row() + ready());
  talk.client(query("SELECT 2"));
  talk.server(error("25006") + ready());
  EXPECT_EQ(talk.heard(), "D:one C:SELECT 1 ZI E25006 ZI");
}

TEST_F(ConversationEnd, standby_that_dies_behind_its_refusal_changes_nothing) {
  ask_standby(query("SELECT 1"));
  talk.server(error("25006"));
  talk.lose();
  EXPECT_EQ(again(), Again::on_primary);
  talk.give_up_server();
  talk.client({});
  EXPECT_EQ(talk.said(0), "Q:SELECT 1");
  EXPECT_EQ(talk.heard(), "");
}

// ---- the server is lost

TEST_F(ConversationEnd, read_whose_server_dies_unheard_runs_elsewhere) {
  talk.client(run("SELECT 1"));
  EXPECT_EQ(talk.lose().outcome, Loss::Outcome::repeatable);
  EXPECT_EQ(again(), Again::elsewhere);
  EXPECT_FALSE(talk.after.wrote);
  talk.give_up_server();
  talk.next = 1;
  talk.client({});
  EXPECT_EQ(talk.said(1), "P:SELECT 1 B E S");
  talk.server(parsed + bound + one_row() + ready());
  EXPECT_EQ(talk.heard(), "1 2 D:one C:SELECT 1 ZI");
}

TEST_F(ConversationEnd, read_of_which_something_was_told_never_runs_again) {
  talk.client(run("SELECT 1"));
  talk.server(parsed);
  EXPECT_EQ(talk.lose().outcome, Loss::Outcome::rolled_back);
  EXPECT_EQ(again(), Again::no);
}

TEST_F(ConversationEnd, write_in_flight_is_unknown_and_counts_as_written) {
  talk.client(query("INSERT INTO t VALUES (1)"));
  EXPECT_EQ(talk.lose().outcome, Loss::Outcome::unknown);
  EXPECT_EQ(again(), Again::no);
  EXPECT_TRUE(talk.after.wrote);
}

TEST_F(ConversationEnd, write_in_a_block_is_rolled_back) {
  talk.client(query("BEGIN"));
  talk.server(complete("BEGIN") + ready('T'));
  talk.client(query("INSERT INTO t VALUES (1)"));
  const auto loss = talk.lose();
  EXPECT_EQ(loss.outcome, Loss::Outcome::rolled_back);
  EXPECT_EQ(loss.status_after, 'E');
  EXPECT_EQ(again(), Again::no);
}

TEST_F(ConversationEnd, commit_in_flight_is_unknown) {
  talk.client(query("BEGIN"));
  talk.server(complete("BEGIN") + ready('T'));
  talk.client(query("INSERT INTO t VALUES (1)"));
  talk.server(complete("INSERT 0 1") + ready('T'));
  talk.client(query("COMMIT"));
  EXPECT_EQ(talk.lose().outcome, Loss::Outcome::unknown);
  EXPECT_TRUE(talk.after.wrote);
}

TEST_F(ConversationEnd, two_reads_in_flight_do_not_run_again) {
  talk.client(query("SELECT 1") + query("SELECT 2"));
  talk.lose();
  EXPECT_EQ(again(), Again::no);
}

TEST_F(ConversationEnd, blocks_first_read_runs_elsewhere_with_its_begin) {
  talk.answers_locally = true;
  talk.client(query("BEGIN"));
  talk.client(query("SELECT 1"));
  talk.server(parsed + bound + complete("BEGIN") + closed);
  talk.lose();
  EXPECT_EQ(again(), Again::elsewhere);
  talk.give_up_server();
  EXPECT_EQ(talk.block.state(), protocol::Block::State::deferred);
  talk.next = 1;
  talk.client({});
  EXPECT_EQ(talk.said(1), "P:BEGIN B E C:P Q:SELECT 1");
}

TEST_F(ConversationEnd, read_longer_than_is_kept_does_not_run_again) {
  talk.client(query("SELECT '" + std::string(Replay::longest, 'x') + "'"));
  EXPECT_EQ(talk.lose().outcome, Loss::Outcome::repeatable);
  EXPECT_EQ(again(), Again::no);
}

TEST_F(ConversationEnd, half_a_message_with_the_lost_server_does_not_run_again) {
  talk.client(parse("", "SELECT 1") + flush());
  talk.client(bind("") + execute() + sync());
  EXPECT_EQ(talk.conversation->server_lost(true).outcome, Loss::Outcome::repeatable);
  EXPECT_EQ(again(), Again::no);
}

TEST_F(ConversationEnd, names_in_flight_with_the_lost_server_are_as_before) {
  talk.client(parse("old", "SELECT 1") + sync());
  talk.server(parsed + ready());
  talk.client(parse("told", "SELECT 2") + parse("new", "SELECT 3") + close("old") + parse("", "SELECT 4") + sync());
  talk.server(parsed);
  talk.lose();
  EXPECT_TRUE(talk.statements.settled());
  EXPECT_EQ(talk.statements.find("told").answer, ClientStatements::Answer::ok);
  EXPECT_EQ(talk.statements.find("new").answer, ClientStatements::Answer::unknown);
  EXPECT_EQ(talk.statements.find("old").answer, ClientStatements::Answer::ok);
  EXPECT_EQ(talk.statements.find("").answer, ClientStatements::Answer::unknown);
}

// ---- the send failed

TEST_F(ConversationEnd, what_never_left_is_taken_back_and_goes_elsewhere) {
  first_send_fails();
  talk.client(parse("mine", "INSERT INTO t VALUES (1)") + bind("mine") + execute() + sync());
  EXPECT_EQ(talk.said(0), "");
  EXPECT_EQ(talk.said(1), "P:hf_1:INSERT INTO t VALUES (1) B:hf_1 E S");
}

TEST_F(ConversationEnd, names_that_were_taken_back_never_were) {
  talk.client(parse("old", "SELECT 1") + sync());
  talk.server(parsed + ready());
  talk.conversation.emplace(talk.facts(), talk.servers[1].session);
  auto& conversation = *talk.conversation;
  const auto text = close("old") + parse("new", "SELECT 2");
  protocol::Framer framer(protocol::Direction::from_client);
  for (auto rest = protocol::as_bytes(text); !rest.empty();) {
    const auto frame = framer.next(rest);
    ASSERT_EQ(conversation.from_client(frame, framer), Taken::taken);
    rest = rest.subspan(frame.bytes.size());
  }
  ASSERT_TRUE(conversation.may_take_back());
  conversation.take_back();
  EXPECT_TRUE(talk.statements.settled());
  EXPECT_EQ(talk.statements.find("old").answer, ClientStatements::Answer::ok);
  EXPECT_EQ(talk.statements.find("new").answer, ClientStatements::Answer::unknown);
}

TEST_F(ConversationEnd, begin_that_was_taken_back_is_deferred_again) {
  talk.answers_locally = true;
  talk.client(query("BEGIN"));
  first_send_fails();
  talk.client(query("INSERT INTO t VALUES (1)"));
  EXPECT_EQ(talk.said(0), "");
  EXPECT_EQ(talk.said(1), "P:BEGIN B E C:P Q:INSERT INTO t VALUES (1)");
  EXPECT_EQ(talk.block.state(), protocol::Block::State::opening);
}

TEST_F(ConversationEnd, what_the_proxy_has_answered_is_not_taken_back) {
  talk.client(parse("mine", "SELECT 1") + sync());
  talk.server(parsed + ready());
  talk.client(parse("yours", "SELECT 1") + flush());
  EXPECT_FALSE(talk.conversation->may_take_back());
}

TEST_F(ConversationEnd, two_units_in_the_same_send_come_back_both_in_order) {
  first_send_fails();
  talk.servers.emplace_back(talk.tables.pending, true);
  talk.client(query("SELECT 1") + query("INSERT INTO t VALUES (2)"));
  EXPECT_EQ(talk.said(0), "");
  EXPECT_EQ(talk.said(1), "Q:SELECT 1") << "on a standby the second waits";
  talk.server(one_row() + ready());
  EXPECT_EQ(talk.said(2), "Q:INSERT INTO t VALUES (2)");
  talk.server(complete("INSERT 0 1") + ready());
  EXPECT_EQ(talk.heard(), "D:one C:SELECT 1 ZI C:INSERT 0 1 ZI");
}

TEST_F(ConversationEnd, two_units_that_came_back_leave_together_again) {
  first_send_fails();
  talk.servers[1].primary = true;
  talk.client(query("INSERT INTO t VALUES (1)") + parse("mine", "SELECT 2") + bind("mine") + execute() + sync());
  EXPECT_EQ(talk.said(0), "");
  EXPECT_EQ(talk.said(1), "Q:INSERT INTO t VALUES (1) P:hf_1:SELECT 2 B:hf_1 E S");
  talk.server(complete("INSERT 0 1") + ready() + parsed + bound + one_row() + ready());
  EXPECT_EQ(talk.heard(), "C:INSERT 0 1 ZI 1 2 D:one C:SELECT 1 ZI");
  EXPECT_EQ(talk.statements.find("mine").answer, ClientStatements::Answer::ok);
}

TEST_F(ConversationEnd, two_units_that_left_together_do_not_come_back) {
  talk.client(query("SELECT 1") + query("SELECT 2"));
  EXPECT_EQ(talk.said(), "Q:SELECT 1 Q:SELECT 2");
  EXPECT_FALSE(talk.conversation->may_take_back());
  talk.lose();
  EXPECT_EQ(again(), Again::no);
}

TEST_F(ConversationEnd, unit_longer_than_is_kept_is_taken_back_in_its_pass) {
  const std::string sql = "INSERT INTO t VALUES ('" + std::string(Replay::longest, 'x') + "')";
  first_send_fails();
  talk.client(query(sql));
  EXPECT_EQ(talk.said(0), "");
  EXPECT_EQ(talk.said(1), "Q:" + sql);
}

// Nothing of the first pass left: its only message is answered here, behind the others.
TEST_F(ConversationEnd, what_came_over_several_passes_and_never_left_may_be_shown_again) {
  talk.client(parse("mine", "SELECT 1") + sync());
  talk.server(parsed + ready());
  talk.said();
  talk.conversation.emplace(talk.facts(), talk.servers[0].session);
  auto& conversation = *talk.conversation;
  protocol::Framer framer(protocol::Direction::from_client);
  const auto take = [&](const std::string& text) {
    for (auto rest = protocol::as_bytes(text); !rest.empty();) {
      const auto frame = framer.next(rest);
      ASSERT_EQ(conversation.from_client(frame, framer), Taken::taken);
      rest = rest.subspan(frame.bytes.size());
    }
  };
  auto first = parse("yours", "SELECT 1");
  take(first);
  ASSERT_TRUE(talk.desk.to_server.empty());
  conversation.pass_ended();
  first.assign(first.size(), '?');
  const auto second = bind("yours") + execute() + sync();
  take(second);
  ASSERT_FALSE(talk.desk.to_server.empty());
  ASSERT_TRUE(conversation.may_take_back());
  EXPECT_EQ(protocol::as_text(conversation.replay().bytes()), parse("yours", "SELECT 1"));
  EXPECT_EQ(protocol::as_text(conversation.replay().passing()), second);
  conversation.take_back();
  EXPECT_EQ(talk.statements.find("yours").answer, ClientStatements::Answer::unknown);
  talk.desk.clear();
}

// Its server dies before anything is sent to it: a write is as good as a read.
TEST_F(ConversationEnd, write_of_which_nothing_left_runs_elsewhere_when_its_server_dies) {
  talk.conversation.emplace(talk.facts(), talk.servers[0].session);
  auto& conversation = *talk.conversation;
  const auto text = query("INSERT INTO t VALUES (1)");
  protocol::Framer framer(protocol::Direction::from_client);
  ASSERT_EQ(conversation.from_client(framer.next(protocol::as_bytes(text)), framer), Taken::taken);
  talk.desk.clear();
  conversation.pass_ended();
  static_cast<void>(conversation.server_lost(false));
  EXPECT_EQ(again(), Again::elsewhere);
  EXPECT_EQ(protocol::as_text(conversation.replay().bytes()), text);
}

}  // namespace
}  // namespace holdfast::proxy
