#include "protocol/cleaning.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/protocol/cleaning_driver.hpp"

namespace holdfast::protocol {
namespace {

using sql::Effect;
using State = Cleaning::State;
using Step = Cleaning::Step;
using testing::answers;
using testing::CleaningDriver;

class CleaningTest : public ::testing::Test, protected CleaningDriver {
 protected:
  StatementRef statement(std::string_view text) {
    std::vector<std::byte> tail;
    Writer(tail).text(text).u16(0);
    return statements.intern(tail, text.size());
  }
  // A statement that the server has under a name and as the unnamed one.
  StatementRef known(std::string_view text) {
    auto select = statement(text);
    session.statements.add(select, 1);
    session.statements.settle(1, Outcome::completed);
    session.statements.load_unnamed(select, 2);
    session.statements.settle(2, Outcome::completed);
    session.statements.end_batch();
    return select;
  }
};

// ---- nothing to do

TEST_F(CleaningTest, a_server_that_is_idle_and_clean_is_released_at_once) {
  EXPECT_EQ(cleaning.state(), State::draining);
  EXPECT_EQ(ask(), "release");
  EXPECT_EQ(cleaning.state(), State::clean);
  EXPECT_FALSE(cleaning.discarded());
}

// ---- draining

TEST_F(CleaningTest, a_query_in_flight_is_cancelled_once_and_then_waited_for) {
  sent("Q");
  EXPECT_EQ(ask(), "cancel, wait");
  EXPECT_EQ(cancel_ended(), "wait");
  EXPECT_EQ(ask(), "wait");
  EXPECT_EQ(cleaning.state(), State::draining);
  receive("E57014");
  EXPECT_EQ(ask(), "wait");
  receive("ZI");
  EXPECT_EQ(ask(), "release");
}

TEST_F(CleaningTest, a_query_that_ends_in_spite_of_the_cancel_is_as_good) {
  sent("Q");
  EXPECT_EQ(ask(), "cancel, wait");
  receive("T D");
  EXPECT_EQ(cancel_ended(), "wait");
  receive("C ZI");
  EXPECT_EQ(ask(), "release");
}

TEST_F(CleaningTest, what_the_client_had_sent_behind_is_cancelled_when_its_turn_comes) {
  sent("QQ");
  EXPECT_EQ(ask(), "cancel, wait");
  EXPECT_EQ(cancel_ended(), "wait");
  receive("E57014 ZI");
  EXPECT_EQ(ask(), "cancel, wait");
  EXPECT_EQ(cancel_ended(), "wait");
  receive("E57014 ZI");
  EXPECT_EQ(ask(), "release");
}

TEST_F(CleaningTest, while_a_cancel_is_under_way_no_second_one_is_asked_for) {
  sent("QQ");
  cancels = {.under_way = true, .possible = true};
  EXPECT_EQ(ask(), "wait");
  receive("E57014 ZI");
  EXPECT_EQ(ask(), "wait");
  EXPECT_EQ(cancel_ended(), "cancel, wait");
}

TEST_F(CleaningTest, a_cancel_under_way_holds_back_whatever_it_could_hit) {
  for (const auto& [status, dirt, next] :
       {std::tuple("ZI", Effect::none, "release"), std::tuple("ZI", Effect::set, "send Q:DISCARD ALL"),
        std::tuple("ZT", Effect::none, "send Q:ROLLBACK"), std::tuple("ZE", Effect::set, "send Q:ROLLBACK")}) {
    CleaningDriver it;
    it.session.soil(dirt);
    it.sent("Q");
    EXPECT_EQ(it.ask(), "cancel, wait");
    it.receive(std::string("C ") + status);
    EXPECT_EQ(it.ask(), "wait") << status;
    EXPECT_EQ(it.cleaning.state(), State::draining);
    EXPECT_EQ(it.cancel_ended(), next) << status;
  }
}

TEST_F(CleaningTest, a_cancel_of_the_clients_own_that_is_under_way_holds_back_a_clean_server) {
  cancels.under_way = true;
  EXPECT_EQ(ask(), "wait");
  EXPECT_EQ(cancel_ended(), "release");
}

TEST_F(CleaningTest, what_comes_beside_the_answers_changes_nothing) {
  sent("Q");
  EXPECT_EQ(ask(), "cancel, wait");
  EXPECT_EQ(cancel_ended(), "wait");
  receive("S N A");
  EXPECT_EQ(ask(), "wait");
  receive("E57014 S ZI N");
  EXPECT_EQ(ask(), "release");
}

// ---- COPY

TEST_F(CleaningTest, a_copy_from_the_client_is_failed_once) {
  sent("Q");
  receive("G");
  EXPECT_EQ(ask(), "send f");
  EXPECT_EQ(session.exchange.copy(), Copy::in);
  EXPECT_EQ(ask(), "wait") << "it ends by itself: no cancel";
  receive("E57014 ZI");
  EXPECT_EQ(ask(), "release");
}

// All that is to come is its ReadyForQuery: there is nothing that a cancel could end.
TEST_F(CleaningTest, what_has_failed_is_not_cancelled) {
  for (const bool copy : {false, true}) {
    CleaningDriver it;
    it.sent("Q");
    if (copy) {
      it.receive("G");
      EXPECT_EQ(it.ask(), "send f");
    }
    it.receive("E");
    EXPECT_EQ(it.ask(), "wait") << copy;
    it.receive("ZI");
    EXPECT_EQ(it.ask(), "release") << copy;
  }
  CleaningDriver batch;
  batch.sent("PBES");
  batch.receive("1 E");
  EXPECT_EQ(batch.ask(), "wait");
}

TEST_F(CleaningTest, a_copy_that_the_client_had_ended_ends_well) {
  sent("Q");
  receive("G");
  sent("dc");
  EXPECT_EQ(ask(), "cancel, send f") << "it may run for an hour";
  receive("C ZI");
  EXPECT_EQ(cancel_ended(), "release");
}

// Behind its CopyDone a COPY waits for nobody, and its triggers and deferred constraints may run for an hour.
TEST_F(CleaningTest, a_copy_that_the_client_had_ended_and_that_runs_on_is_cancelled) {
  sent("Q");
  receive("G");
  sent("dc");
  EXPECT_TRUE(ask().starts_with("cancel"));
}

TEST_F(CleaningTest, a_copy_that_begins_while_it_drains_is_failed_too) {
  sent("Q");
  EXPECT_EQ(ask(), "cancel, wait");
  receive("G");
  EXPECT_EQ(ask(), "send f");
  receive("E57014 ZI");
  EXPECT_EQ(cancel_ended(), "release");
}

TEST_F(CleaningTest, a_copy_of_a_batch_is_failed_and_its_batch_ended) {
  sent("PBEH");
  receive("1 2 G");
  EXPECT_EQ(ask(), "send f B S");
  EXPECT_EQ(ask(), "wait") << "it ends by itself: no cancel";
  receive("E57014 ZI");
  EXPECT_EQ(ask(), "release");
}

TEST_F(CleaningTest, what_was_sent_behind_a_copy_is_cancelled_when_the_copy_has_ended) {
  sent("Q");
  receive("G");
  sent("cQ");
  EXPECT_EQ(ask(), "cancel, send f");
  receive("C ZI");
  EXPECT_EQ(cancel_ended(), "cancel, wait");
  receive("E57014 ZI");
  EXPECT_EQ(cancel_ended(), "release");
}

TEST_F(CleaningTest, a_copy_inside_a_block_is_rolled_back_with_it) {
  sent("Q");
  receive("C ZT");
  sent("Q");
  receive("G");
  EXPECT_EQ(ask(), "send f");
  receive("E57014 ZE");
  EXPECT_EQ(ask(), "send Q:ROLLBACK");
  receive("C ZI");
  EXPECT_EQ(ask(), "release");
}

TEST_F(CleaningTest, a_copy_whose_sync_may_have_been_swallowed_closes) {
  sent("PBES");
  receive("1 2 G");
  EXPECT_EQ(ask(), "send f");
  receive("E57014");
  for (int asked = 0; asked < 3 && last != Step::close; ++asked) {
    ask();
    EXPECT_NE(last, Step::release);
  }
  EXPECT_EQ(last, Step::close);
}

TEST_F(CleaningTest, rows_that_still_come_are_waited_for) {
  sent("Q");
  receive("H d");
  EXPECT_EQ(ask(), "cancel, wait");
  EXPECT_EQ(cancel_ended(), "wait");
  receive("d d E57014 ZI");
  EXPECT_EQ(ask(), "release");
}

// ---- an open batch

TEST_F(CleaningTest, an_open_batch_is_made_to_fail_before_its_sync) {
  sent("PBEH");
  receive("1 2 C");
  EXPECT_EQ(ask(), "send B S") << "a Sync alone would commit";
  receive("E08P01 ZI");
  EXPECT_EQ(ask(), "release");
}

TEST_F(CleaningTest, a_batch_that_had_failed_is_ended) {
  sent("PBE");
  receive("E");
  EXPECT_EQ(ask(), "send B S");
  receive("ZI");
  EXPECT_EQ(ask(), "release");
}

TEST_F(CleaningTest, an_open_batch_inside_a_block_is_rolled_back_with_it) {
  sent("Q");
  receive("C ZT");
  sent("PBEH");
  receive("1 2 C");
  EXPECT_EQ(ask(), "send B S");
  receive("E08P01 ZE");
  EXPECT_EQ(ask(), "send Q:ROLLBACK");
  receive("C ZI");
  EXPECT_EQ(ask(), "release");
}

TEST_F(CleaningTest, an_open_batch_is_ended_once) {
  sent("PBEH");
  receive("1 2 C");
  EXPECT_EQ(ask(), "send B S");
  EXPECT_FALSE(ask().contains("send"));
  receive("E08P01");
  EXPECT_FALSE(ask().contains("send"));
}

TEST_F(CleaningTest, answers_of_our_own_that_wait_in_an_open_batch_go_with_it) {
  session.exchange.answered_locally(client::parse, 0);
  EXPECT_EQ(ask(), "send B S");
  receive("E08P01 ZI");
  EXPECT_EQ(ask(), "release");
}

// Whoever drives it asks after every pass over the answers and when a cancel request has ended: here neither comes.
TEST_F(CleaningTest, a_statement_that_runs_in_an_open_batch_is_cancelled_though_it_says_nothing) {
  sent("PBEH");
  EXPECT_EQ(ask(), "cancel, send B S");
  EXPECT_EQ(cancel_ended(), "wait");
  receive("1 2 E57014");
  EXPECT_EQ(ask(), "wait") << "all that is in flight is ours";
  receive("ZI");
  EXPECT_EQ(ask(), "release");
}

TEST_F(CleaningTest, a_statement_of_an_open_batch_that_the_cancel_missed_fails_the_batch_all_the_same) {
  sent("PBEH");
  EXPECT_EQ(ask(), "cancel, send B S");
  receive("1 2 C");
  EXPECT_EQ(ask(), "wait");
  receive("E08P01 ZI");
  EXPECT_EQ(ask(), "wait") << "the cancel would hit what comes next";
  EXPECT_EQ(cancel_ended(), "release");
}

TEST_F(CleaningTest, an_open_batch_is_ended_though_a_cancel_of_the_clients_own_is_under_way) {
  sent("PBEH");
  cancels.under_way = true;
  EXPECT_EQ(ask(), "send B S");
  EXPECT_EQ(ask(), "wait");
}

TEST_F(CleaningTest, what_was_sent_for_the_client_or_in_its_place_is_not_cancelled) {
  for (const Origin origin : {Origin::proxy, Origin::failing}) {
    CleaningDriver it;
    it.sent("Q", origin);
    EXPECT_EQ(it.ask(), "wait");
    it.sent("PD", origin);
    EXPECT_EQ(it.ask(), "send B S");
    EXPECT_EQ(it.ask(), "wait");
  }
}

TEST_F(CleaningTest, answers_of_our_own_that_wait_behind_a_statement_are_no_reason_to_cancel_it_again) {
  sent("PBES");
  EXPECT_EQ(ask(), "cancel, wait");
  session.exchange.answered_locally(client::parse, 0);
  receive("E57014 ZI");
  EXPECT_EQ(cancel_ended(), "send B S");
  EXPECT_EQ(ask(), "wait");
  receive("E08P01 ZI");
  EXPECT_EQ(ask(), "release");
}

TEST_F(CleaningTest, a_batch_in_which_nothing_runs_is_ended_without_a_cancel) {
  sent("PBEH");
  receive("1 2 C");
  EXPECT_EQ(ask(), "send B S");
  receive("E08P01");
  EXPECT_EQ(ask(), "wait") << "all that is in flight is ours";
}

TEST_F(CleaningTest, a_copy_that_was_ended_is_not_cancelled_for_our_own_sync) {
  sent("PBEH");
  receive("1 2 G");
  EXPECT_EQ(ask(), "send f B S");
  receive("E57014");
  EXPECT_EQ(ask(), "wait") << "all that is in flight is ours";
}

// ---- a doubt

// A COPY FROM that failed has read the Sync that came in the midst of it, or will answer it.
void leave_doubt(CleaningDriver& it, std::string_view ready = "ZI") {
  it.sent("Q");
  it.receive("G");
  it.sent("S");
  it.receive("E " + std::string(ready));
  ASSERT_TRUE(it.session.exchange.idle());
  ASSERT_TRUE(it.session.exchange.doubtful());
}

TEST_F(CleaningTest, a_doubt_about_how_many_answers_are_to_come_is_settled_by_a_message_that_says_so) {
  for (const char* answer : {"3 ZI", "ZI 3 ZI"}) {
    SCOPED_TRACE(answer);
    CleaningDriver it;
    leave_doubt(it);
    EXPECT_EQ(it.ask(), "send C S");
    EXPECT_EQ(it.cleaning.state(), State::proving);
    EXPECT_EQ(it.ask(), "wait") << "our own is never cancelled";
    const Out bytes = answers(answer);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      EXPECT_FALSE(it.session.may_serve_others()) << i;
      it.receive(Bytes(bytes).subspan(i, 1));
      if (i + 1 < bytes.size()) {
        EXPECT_EQ(it.ask(), "wait") << i;
      }
    }
    EXPECT_EQ(it.ask(), "release");
    EXPECT_FALSE(it.cleaning.discarded());
  }
}

TEST_F(CleaningTest, what_settles_a_doubt_closes_a_statement_that_no_client_of_ours_has) {
  leave_doubt(*this);
  EXPECT_EQ(ask(), "send C S");
  Framer framer(Direction::from_client);
  const auto target = parse_close(framer.next(out).body());
  ASSERT_TRUE(target);
  EXPECT_EQ(target->kind, 'S');
  ASSERT_TRUE(target->name.starts_with("hf_")) << "the proxy's own names";
  EXPECT_NE(target->name.find_first_not_of("0123456789", 3), std::string_view::npos) << "which end with a number";
}

TEST_F(CleaningTest, a_doubt_that_comes_again_closes) {
  leave_doubt(*this);
  EXPECT_EQ(ask(), "send C S");
  receive("3 ZI");
  leave_doubt(*this);
  EXPECT_EQ(ask(), "close");
}

TEST_F(CleaningTest, an_error_in_answer_to_what_settles_a_doubt_closes) {
  leave_doubt(*this);
  EXPECT_EQ(ask(), "send C S");
  receive("E53200");
  EXPECT_EQ(ask(), "close");
  receive("ZI");
  EXPECT_EQ(ask(), "close") << "for good";
}

TEST_F(CleaningTest, a_block_that_is_open_behind_what_settles_a_doubt_closes) {
  leave_doubt(*this);
  EXPECT_EQ(ask(), "send C S");
  receive("3 ZT");
  EXPECT_EQ(ask(), "close");
}

TEST_F(CleaningTest, a_doubt_is_settled_before_the_rest_is_discarded) {
  session.soil(Effect::set);
  leave_doubt(*this);
  EXPECT_EQ(ask(), "send C S");
  receive("3 ZI");
  EXPECT_EQ(ask(), "send Q:DISCARD ALL");
  EXPECT_EQ(cleaning.state(), State::discarding);
  receive("C ZI");
  EXPECT_EQ(ask(), "release");
}

TEST_F(CleaningTest, a_rollback_settles_a_doubt_as_well) {
  for (const char* answer : {"C ZI", "ZE C ZI"}) {
    CleaningDriver it;
    it.sent("Q");
    it.receive("C ZT");
    leave_doubt(it, "ZE");
    EXPECT_EQ(it.ask(), "send Q:ROLLBACK") << answer;
    it.receive(answer);
    EXPECT_EQ(it.ask(), "release") << answer;
  }
}

TEST_F(CleaningTest, a_cancel_under_way_holds_back_what_settles_a_doubt) {
  leave_doubt(*this);
  cancels.under_way = true;
  EXPECT_EQ(ask(), "wait");
  EXPECT_EQ(cleaning.state(), State::draining);
  EXPECT_EQ(cancel_ended(), "send C S");
}

TEST_F(CleaningTest, what_settles_a_doubt_leaves_every_statement_that_the_server_has) {
  const auto select = known("select 1");
  leave_doubt(*this);
  EXPECT_EQ(ask(), "send C S");
  receive("3 ZI");
  EXPECT_EQ(ask(), "release");
  EXPECT_EQ(session.statements.use(*select), ServerStatements::Presence::known);
}

// ---- rolling back

TEST_F(CleaningTest, an_open_block_is_rolled_back) {
  for (const char* status : {"ZT", "ZE"}) {
    CleaningDriver it;
    it.sent("Q");
    it.receive(std::string("C ") + status);
    EXPECT_EQ(it.ask(), "send Q:ROLLBACK");
    EXPECT_EQ(it.cleaning.state(), State::rolling_back);
    EXPECT_EQ(it.ask(), "wait") << "our own is never cancelled";
    it.receive("C");
    EXPECT_EQ(it.ask(), "wait");
    it.receive("ZI");
    EXPECT_EQ(it.ask(), "release");
    EXPECT_FALSE(it.cleaning.discarded());
  }
}

TEST_F(CleaningTest, a_block_that_is_open_behind_a_rollback_closes) {
  for (const char* status : {"ZT", "ZE"}) {
    CleaningDriver it;
    it.sent("Q");
    it.receive("C ZT");
    it.ask();
    it.receive(std::string("C ") + status);
    EXPECT_EQ(it.ask(), "close");
  }
}

TEST_F(CleaningTest, a_rollback_destroys_the_unnamed_statement_and_no_other) {
  const auto select = known("select 1");
  sent("Q");
  receive("C ZT");
  EXPECT_EQ(ask(), "send Q:ROLLBACK");
  receive("C ZI");
  EXPECT_EQ(ask(), "release");
  EXPECT_FALSE(session.statements.has_unnamed(*select));
  EXPECT_EQ(session.statements.use(*select), ServerStatements::Presence::known);
}

TEST_F(CleaningTest, a_rollback_leaves_the_settings_that_are_known) {
  const auto wanted = settings.intern({{"work_mem", "1MB"}});
  session.settings = wanted;
  sent("Q");
  receive("C ZT");
  ask();
  receive("C ZI");
  EXPECT_EQ(ask(), "release");
  EXPECT_EQ(session.settings, wanted);
}

// ---- discarding

TEST_F(CleaningTest, what_was_left_behind_is_discarded) {
  const auto select = known("select 1");
  session.settings = settings.intern({{"work_mem", "1MB"}});
  session.soil(Effect::temp_object);
  EXPECT_EQ(ask(), "send Q:DISCARD ALL");
  EXPECT_EQ(cleaning.state(), State::discarding);
  EXPECT_FALSE(cleaning.discarded());
  EXPECT_EQ(session.statements.use(*select), ServerStatements::Presence::stale) << "nobody knows yet";
  receive("C");
  EXPECT_EQ(ask(), "wait");
  EXPECT_NE(session.dirt(), Effect::none) << "it has not said that it is done";
  receive("ZI");
  EXPECT_EQ(ask(), "release");
  EXPECT_EQ(cleaning.state(), State::clean);
  EXPECT_TRUE(cleaning.discarded());
  EXPECT_EQ(session.dirt(), Effect::none);
  EXPECT_TRUE(session.settings.empty());
  EXPECT_EQ(session.statements.use(*select), ServerStatements::Presence::absent);
}

TEST_F(CleaningTest, every_kind_of_dirt_is_discarded_but_a_loaded_library_which_closes) {
  for (std::uint32_t bit = 0; bit < 18; ++bit) {
    const auto effect = static_cast<Effect>(1U << bit);
    CleaningDriver it;
    it.session.soil(effect);
    EXPECT_EQ(it.ask(), effect == Effect::load ? "close" : "send Q:DISCARD ALL") << bit;
  }
}

TEST_F(CleaningTest, an_open_block_is_rolled_back_before_the_rest_is_discarded) {
  session.soil(Effect::set);
  sent("Q");
  receive("C ZT");
  EXPECT_EQ(ask(), "send Q:ROLLBACK");
  receive("C ZI");
  EXPECT_EQ(ask(), "send Q:DISCARD ALL");
  receive("C ZI");
  EXPECT_EQ(ask(), "release");
}

TEST_F(CleaningTest, a_block_that_is_open_behind_discard_all_closes) {
  session.soil(Effect::set);
  EXPECT_EQ(ask(), "send Q:DISCARD ALL");
  receive("C ZT");
  EXPECT_EQ(ask(), "close");
  EXPECT_FALSE(cleaning.discarded());
}

TEST_F(CleaningTest, from_a_query_in_flight_to_clean_step_by_step) {
  session.soil(Effect::advisory_lock);
  sent("Q");
  receive("C ZT");
  sent("Q");
  EXPECT_EQ(ask(), "cancel, wait");
  receive("T D");
  EXPECT_EQ(cancel_ended(), "wait");
  receive("E57014 ZE");
  EXPECT_EQ(ask(), "send Q:ROLLBACK");
  receive("C ZI");
  EXPECT_EQ(ask(), "send Q:DISCARD ALL");
  receive("C ZI");
  EXPECT_EQ(ask(), "release");
}

// ---- closing

TEST_F(CleaningTest, an_error_in_answer_to_our_own_closes) {
  for (const bool discards : {false, true}) {
    CleaningDriver it;
    it.sent("Q");
    it.receive(discards ? "C ZI" : "C ZT");
    if (discards) it.session.soil(Effect::set);
    EXPECT_EQ(it.ask(), discards ? "send Q:DISCARD ALL" : "send Q:ROLLBACK");
    it.receive("E");
    EXPECT_EQ(it.ask(), "close");
    it.receive("ZI");
    EXPECT_EQ(it.ask(), "close") << "for good";
    EXPECT_FALSE(it.cleaning.discarded());
    EXPECT_EQ(it.session.dirt() != Effect::none, discards);
  }
}

TEST_F(CleaningTest, an_error_of_the_clients_does_not_close) {
  sent("Q");
  ask();
  receive("E22012 ZI");
  EXPECT_EQ(cancel_ended(), "release");
}

TEST_F(CleaningTest, half_a_message_of_the_clients_closes_whatever_else_is_to_be_done) {
  for (const char* sent_before : {"", "Q", "PBEH"}) {
    CleaningDriver it;
    it.sent(sent_before);
    it.session.owes(1);
    EXPECT_EQ(it.ask(), "close") << sent_before;
  }
}

TEST_F(CleaningTest, a_loaded_library_closes_though_a_query_is_in_flight) {
  session.soil(Effect::load | Effect::set);
  sent("Q");
  EXPECT_EQ(ask(), "close");
}

TEST_F(CleaningTest, a_broken_exchange_closes) {
  EXPECT_FALSE(receive("D"));
  EXPECT_EQ(ask(), "close");
}

TEST_F(CleaningTest, half_a_message_of_the_servers_is_never_released) {
  const Out notice = answers("N");
  sent("Q");
  ask();
  receive("C ZI");
  receive(Bytes(notice).first(notice.size() - 1));
  EXPECT_NE(cancel_ended(), "release");
}

// ---- what is said to the server

TEST_F(CleaningTest, is_appended_to_what_is_there) {
  sent("PBEH");
  receive("1 2 G");
  write_terminate(out);
  const Out before = out;
  EXPECT_EQ(cleaning.next(session, cancels, out), Step::send);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), out.begin()));
  EXPECT_EQ(testing::requests_of(Bytes(out).subspan(before.size())), "f B S");
}

// Two formats for no parameter: PostgreSQL refuses that whatever the statement is (exec_bind_message).
TEST_F(CleaningTest, what_fails_a_batch_is_wrong_in_itself_and_names_nothing_that_a_client_can_choose) {
  sent("P");
  receive("1");
  EXPECT_EQ(ask(), "send B S");
  Framer framer(Direction::from_client);
  const Frame frame = framer.next(out);
  const auto head = parse_bind_head(frame.body(), Extent::whole);
  ASSERT_TRUE(head && *head);
  EXPECT_EQ((*head)->portal, "");
  EXPECT_EQ((*head)->statement, "");
  Reader fields(frame.body());
  EXPECT_EQ(fields.text(), "");
  EXPECT_EQ(fields.text(), "");
  const auto formats = fields.u16();
  EXPECT_GT(formats, 1) << "one would be for all parameters";
  for (int i = 0; i < formats; ++i) EXPECT_LE(fields.u16(), 1) << "every one is a format that there is";
  EXPECT_EQ(fields.u16(), 0) << "no parameter";
  EXPECT_EQ(fields.u16(), 0) << "no format of a result";
  EXPECT_TRUE(fields.complete()) << "and nothing is behind it, or missing";
}

// ---- whole, in pieces, and broken at every message

// A server in some disorder, and what it says to each thing that Cleaning sends.
struct Scenario {
  const char* name;
  std::function<void(CleaningDriver&)> before;
  const char* in_flight;              // what it says to the client's messages
  std::vector<const char*> answered;  // what it says to each send
  std::string sends;                  // what Cleaning sends, in order
};

std::vector<Scenario> scenarios() {
  const auto dirty = [](CleaningDriver& it) { it.session.soil(Effect::temp_object); };
  const auto in_block = [](CleaningDriver& it) {
    it.sent("Q");
    it.receive("C ZT");
  };
  return {
      {"clean", [](CleaningDriver&) {}, "", {}, ""},
      {"dirty", dirty, "", {"N C S ZI"}, "send Q:DISCARD ALL; "},
      {"in a block", in_block, "", {"C ZI"}, "send Q:ROLLBACK; "},
      {"in a failed block, dirty",
       [=](CleaningDriver& it) {
         dirty(it);
         in_block(it);
         it.sent("Q");
         it.receive("E ZE");
       },
       "",
       {"C ZI", "C ZI"},
       "send Q:ROLLBACK; send Q:DISCARD ALL; "},
      {"two queries in flight, in a block, dirty",
       [=](CleaningDriver& it) {
         dirty(it);
         in_block(it);
         it.sent("QQ");
       },
       "T D D E57014 ZE E25P02 ZE",
       {"C ZI", "S S C ZI"},
       "send Q:ROLLBACK; send Q:DISCARD ALL; "},
      {"an open batch",
       [](CleaningDriver& it) {
         it.sent("PBEH");
         it.receive("1 2 C");
       },
       "",
       {"E08P01 ZI"},
       "send B S; "},
      {"a batch in which something runs",
       [](CleaningDriver& it) { it.sent("PBEH"); },
       "1 2 D E57014",
       {"ZI"},
       "send B S; "},
      {"a batch in which something ran",
       [=](CleaningDriver& it) {
         dirty(it);
         in_block(it);
         it.sent("PBEH");
       },
       "1 2 D C",
       {"E08P01 ZE", "C ZI", "C ZI"},
       "send B S; send Q:ROLLBACK; send Q:DISCARD ALL; "},
      {"a failed batch in a block",
       [=](CleaningDriver& it) {
         in_block(it);
         it.sent("PBE");
         it.receive("1 E");
       },
       "",
       {"ZE", "C ZI"},
       "send B S; send Q:ROLLBACK; "},
      {"a copy in",
       [](CleaningDriver& it) {
         it.sent("Q");
         it.receive("G");
         it.sent("d");
       },
       "",
       {"E57014 ZI"},
       "send f; "},
      {"a copy in of a batch in a block, dirty",
       [=](CleaningDriver& it) {
         dirty(it);
         in_block(it);
         it.sent("PBEH");
         it.receive("1 2 G");
         it.sent("d");
       },
       "",
       {"E57014 ZE", "C ZI", "N C ZI"},
       "send f B S; send Q:ROLLBACK; send Q:DISCARD ALL; "},
      {"a copy out",
       [](CleaningDriver& it) {
         it.sent("Q");
         it.receive("H d");
       },
       "d d E57014 ZI",
       {},
       ""},
      {"a doubt about a Sync that was read", [](CleaningDriver& it) { leave_doubt(it); }, "", {"3 ZI"}, "send C S; "},
      {"a doubt about a Sync that is answered, dirty",
       [=](CleaningDriver& it) {
         dirty(it);
         leave_doubt(it);
       },
       "",
       {"ZI N 3 ZI", "C ZI"},
       "send C S; send Q:DISCARD ALL; "},
      {"a doubt in a block",
       [=](CleaningDriver& it) {
         in_block(it);
         leave_doubt(it, "ZE");
       },
       "",
       {"ZE C ZI"},
       "send Q:ROLLBACK; "},
      {"batches in flight",
       [=](CleaningDriver& it) {
         dirty(it);
         it.sent("PBDESPBES");
       },
       "1 2 T D E57014 ZI 1 2 D C ZI",
       {"C ZI"},
       "send Q:DISCARD ALL; "},
  };
}

// Everything that a server says in a scenario comes in pieces; a cancel request ends as soon as it was sent, or when
// nothing else is left to come.
class Play {
 public:
  enum class Cancel : std::uint8_t { ends_at_once, ends_late };

  Play(const Scenario& scenario, Cancel cancel) : scenario_(scenario), cancel_(cancel) {
    scenario.before(it);
    queue(scenario.in_flight);
    ask();
  }

  // The next `size` bytes come; false if there are none.
  bool step(std::size_t size) {
    if (from_ == coming_.size()) {
      if (!it.cancels.under_way) return false;
      it.cancels.under_way = false;
      ask();
      return true;
    }
    size = std::min(size, coming_.size() - from_);
    const Bytes piece = Bytes(coming_).subspan(from_, size);
    from_ += size;
    it.receive(piece);
    ask();
    return true;
  }
  void say(std::string_view words) {
    it.receive(words);
    ask();
  }
  [[nodiscard]] std::size_t left() const { return coming_.size() - from_; }

  CleaningDriver it;
  std::string sends;
  std::size_t cancels = 0;
  bool released = false;
  bool closed = false;

 private:
  void queue(std::string_view words) {
    const Out out = answers(words);
    coming_.insert(coming_.end(), out.begin(), out.end());
  }
  void ask() {
    // A caller lets go of it for good.
    if (released || closed) return;
    const std::string text = it.ask();
    if (text.starts_with("cancel")) ++cancels;
    if (it.cancels.under_way && cancel_ == Cancel::ends_at_once && it.last == Step::wait) {
      it.cancels.under_way = false;
      ask();
      return;
    }
    released = it.last == Step::release;
    closed = it.last == Step::close;
    if (it.last != Step::send) return;
    sends += text.substr(text.find("send")) + "; ";
    if (answered_ < scenario_.answered.size()) queue(scenario_.answered[answered_++]);
  }

  const Scenario& scenario_;
  Cancel cancel_;
  Out coming_;
  std::size_t from_ = 0;
  std::size_t answered_ = 0;
};

constexpr Play::Cancel both_cancels[] = {Play::Cancel::ends_at_once, Play::Cancel::ends_late};

TEST(CleaningScenarios, in_pieces_of_any_size_it_does_the_same_and_releases_at_the_end) {
  for (const Scenario& scenario : scenarios()) {
    for (const auto cancel : both_cancels) {
      for (std::size_t size = 1; size <= 64; ++size) {
        SCOPED_TRACE(scenario.name + std::string(", pieces of ") + std::to_string(size));
        Play play(scenario, cancel);
        while (!play.released && !play.closed && play.step(size)) {
        }
        ASSERT_TRUE(play.released);
        ASSERT_EQ(play.sends, scenario.sends);
        ASSERT_EQ(play.left(), 0U) << "it was released before the server had said all";
        ASSERT_TRUE(play.it.session.may_serve_others());
      }
    }
  }
}

TEST(CleaningScenarios, cut_once_at_every_byte_it_does_the_same) {
  for (const Scenario& scenario : scenarios()) {
    for (std::size_t cut = 0;; ++cut) {
      SCOPED_TRACE(scenario.name + std::string(", cut at ") + std::to_string(cut));
      Play play(scenario, Play::Cancel::ends_at_once);
      std::size_t seen = 0;
      bool more = true;
      while (!play.released && more) {
        const std::size_t size = seen < cut ? cut - seen : 1000;
        const std::size_t coming = play.left();
        more = play.step(size);
        seen += std::min(size, coming);
      }
      ASSERT_TRUE(play.released);
      ASSERT_EQ(play.sends, scenario.sends);
      if (seen <= cut) break;
    }
  }
}

// The connection ends, or what comes makes no sense, at every byte; a reader that goes on reading all the same never
// hears that the server may be released.
TEST(CleaningScenarios, a_server_that_was_lost_at_any_byte_is_never_released) {
  std::size_t losses = 0;
  for (const Scenario& scenario : scenarios()) {
    for (const auto cancel : both_cancels) {
      for (const char* broken : {"FE57P01", "v", "K", ""}) {
        for (std::size_t at = 0;; ++at) {
          Play play(scenario, cancel);
          for (std::size_t i = 0; i < at && !play.released; ++i) play.step(1);
          if (play.released) break;
          SCOPED_TRACE(scenario.name + std::string(", ") + broken + " at " + std::to_string(at));
          // In the middle of a message it would be a part of that.
          const bool between = play.it.session.framer.at_boundary();
          if (*broken == '\0') {
            ASSERT_FALSE(play.released) << "the connection ended before it was clean";
          } else if (between && play.it.reader.waiting() == 0) {
            play.say(broken);
            ++losses;
            for (int i = 0; i < 1000 && !play.closed && play.step(1); ++i) ASSERT_FALSE(play.released);
            ASSERT_FALSE(play.released);
            ASSERT_FALSE(play.it.session.may_serve_others());
          }
        }
      }
    }
  }
  EXPECT_GT(losses, 200U);
}

// ---- what the texts don't show

std::vector<std::byte> audit_row(std::string_view text) {
  std::vector<std::byte> row;
  Writer(row).u16(1).u32(static_cast<std::uint32_t>(text.size())).bytes(as_bytes(text));
  return row;
}

const std::string audit = "send Q:" + std::string(audit_query());

TEST(CleaningAudit, asks_the_catalogue_when_nobody_knows_what_ran) {
  CleaningDriver it;
  it.session.serves(1);
  it.session.runs({.access = sql::Access::write});
  EXPECT_EQ(it.ask(), audit);
  EXPECT_EQ(it.cleaning.state(), Cleaning::State::auditing);
  EXPECT_FALSE(it.cleaning.take_audit());
  it.cleaning.row(audit_row("2"));
  EXPECT_TRUE(it.receive("C C T D C ZI"));
  EXPECT_EQ(it.ask(), "send Q:DISCARD ALL") << "views may leave something";
  const auto found = it.cleaning.take_audit();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->hidden, Hidden::reads_leave);
  EXPECT_FALSE(found->failure);
  EXPECT_FALSE(it.cleaning.take_audit()) << "once";
  EXPECT_TRUE(it.receive("C ZI"));
  EXPECT_EQ(it.ask(), "release");
  EXPECT_TRUE(it.cleaning.discarded());
}

TEST(CleaningAudit, of_a_harmless_database_releases_as_it_is) {
  CleaningDriver it;
  it.session.serves(1);
  it.session.runs({.access = sql::Access::write});
  EXPECT_EQ(it.ask(), audit);
  it.cleaning.row(audit_row("0"));
  EXPECT_TRUE(it.receive("C C T D C ZI"));
  EXPECT_EQ(it.ask(), "release");
  EXPECT_EQ(it.cleaning.take_audit()->hidden, Hidden::nothing);
  EXPECT_FALSE(it.cleaning.discarded());
}

TEST(CleaningAudit, without_an_answer_means_anything) {
  for (const bool fails : {false, true}) {
    CleaningDriver it;
    it.session.serves(1);
    it.session.runs({.access = sql::Access::read});
    EXPECT_EQ(it.ask(), audit);
    if (!fails) it.cleaning.row(audit_row("much"));
    EXPECT_TRUE(it.receive(fails ? "E57014 ZI" : "C C T D C ZI"));
    EXPECT_EQ(it.ask(), "send Q:DISCARD ALL") << "it is cleaned, and not closed";
    const auto found = it.cleaning.take_audit();
    EXPECT_EQ(found->hidden, Hidden::anything);
    ASSERT_TRUE(found->failure);
    EXPECT_EQ(found->failure->state, fails ? std::string_view("57014") : sqlstate::protocol_violation.view());
    EXPECT_NE(found->failure->message, "");
    EXPECT_TRUE(it.receive("C ZI"));
    EXPECT_EQ(it.ask(), "release");
  }
}

TEST(CleaningAudit, fails_with_its_connection) {
  CleaningDriver it;
  it.session.serves(1);
  it.session.runs({.access = sql::Access::read});
  EXPECT_FALSE(it.cleaning.lost()) << "none has begun";
  EXPECT_EQ(it.ask(), audit);
  ASSERT_TRUE(it.cleaning.lost());
  EXPECT_EQ(it.cleaning.lost()->failure->state, sqlstate::connection_failure);
  it.cleaning.row(audit_row("0"));
  EXPECT_TRUE(it.receive("C C T D C ZI"));
  EXPECT_EQ(it.ask(), "release");
  EXPECT_FALSE(it.cleaning.lost()) << "it has ended";
}

// DISCARD ALL leaves empty custom settings behind, so that it matters who may have made some.
TEST(CleaningAudit, is_made_also_where_everything_is_discarded) {
  CleaningDriver it;
  it.session.serves(1);
  it.session.runs({.access = sql::Access::write});
  it.session.soil(sql::Effect::set);
  EXPECT_EQ(it.ask(), audit);
  it.cleaning.row(audit_row("1"));
  EXPECT_TRUE(it.receive("C C T D C ZI"));
  EXPECT_EQ(it.ask(), "send Q:DISCARD ALL");
  EXPECT_TRUE(it.receive("C ZI"));
  EXPECT_EQ(it.ask(), "release");
  EXPECT_FALSE(it.session.unproven());
  EXPECT_TRUE(it.session.traces().placeholders.by_others_than(1));
}

TEST(CleaningScenarios, an_error_in_place_of_any_answer_to_our_own_statements_closes) {
  for (const Scenario& scenario : scenarios()) {
    for (std::size_t which = 0; which < scenario.answered.size(); ++which) {
      const std::string_view answer = scenario.answered[which];
      if (!answer.contains('C') && !answer.contains('3')) continue;  // that of a batch or a COPY
      SCOPED_TRACE(scenario.name + std::string(", answer ") + std::to_string(which));
      Scenario fails = scenario;
      fails.answered[which] = "E53200 ZI";
      Play play(fails, Play::Cancel::ends_at_once);
      while (!play.released && !play.closed && play.step(1)) {
      }
      EXPECT_TRUE(play.closed);
      EXPECT_FALSE(play.released);
    }
  }
}

}  // namespace
}  // namespace holdfast::protocol
