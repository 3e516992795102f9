#include "protocol/exchange.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace holdfast::protocol {
namespace {

using Action = Reply::Action;
using Fate = Exchange::Fate;
using Outcome = Loss::Outcome;

constexpr std::string_view error_body("SERROR\0VERROR\0C22012\0Mdivision by zero\0\0", 40);
constexpr std::string_view fatal_body("SFATAL\0VFATAL\0C57P01\0Mterminating\0\0", 35);

// An exchange with a short notation for what happens on it.
class ExchangeTest : public ::testing::Test {
 protected:
  // Each letter a message of the client; cookies count up from 1.
  void send(std::string_view tags, Trait traits = Trait::none) {
    for (const char tag : tags) send(tag, Origin::client, traits);
  }
  Fate send(char tag, Origin origin, Trait traits = Trait::none) {
    return exchange.sent({.tag = tag, .origin = origin, .traits = traits, .cookie = ++cookie});
  }
  Reply receive(char tag, std::string_view body = {}) {
    if (tag == 'E' && body.empty()) body = error_body;
    if (tag == 'Z' && body.empty()) body = "I";
    return exchange.received(tag, as_bytes(body));
  }
  // Each letter a message of the server, each to be passed on.
  void receive_all(std::string_view tags) {
    for (const char tag : tags) EXPECT_EQ(receive(tag).action, Action::forward) << tag;
  }
  // Cookies of the local answers that are due.
  static std::string cookies(std::span<const Request> requests) {
    std::string text;
    for (const Request& request : requests) text += std::to_string(request.cookie) + " ";
    return text;
  }

  Exchange exchange;
  std::uint32_t cookie = 0;
};

// ---- who gets what

TEST_F(ExchangeTest, a_query_is_in_flight_until_ready_for_query) {
  EXPECT_TRUE(exchange.may_release());
  send("Q");
  EXPECT_FALSE(exchange.may_release());
  EXPECT_TRUE(exchange.expects());
  receive_all("TDDC");
  EXPECT_EQ(exchange.in_flight(), 1U);
  const Reply reply = receive('Z');
  EXPECT_TRUE(reply.finished);
  EXPECT_EQ(reply.request.cookie, 1U);
  EXPECT_TRUE(exchange.may_release());
  EXPECT_FALSE(exchange.expects());
}

TEST_F(ExchangeTest, an_open_transaction_keeps_the_server) {
  send("Q");
  receive_all("C");
  receive('Z', "T");
  EXPECT_TRUE(exchange.idle());
  EXPECT_EQ(exchange.transaction_status(), 'T');
  EXPECT_FALSE(exchange.may_release());
}

TEST_F(ExchangeTest, an_answered_batch_without_sync_keeps_the_server) {
  send("PBEH");
  receive_all("12C");
  EXPECT_TRUE(exchange.idle());
  EXPECT_TRUE(exchange.open_batch());
  EXPECT_FALSE(exchange.may_release());
  send("S");
  receive_all("Z");
  EXPECT_TRUE(exchange.may_release());
}

TEST_F(ExchangeTest, each_completion_names_its_statement) {
  send("PBDES");
  EXPECT_EQ(receive('1').request.cookie, 1U);
  EXPECT_EQ(receive('2').request.cookie, 2U);
  const Reply parameters = receive('t');
  EXPECT_FALSE(parameters.finished);
  EXPECT_EQ(parameters.request.cookie, 3U);
  EXPECT_TRUE(receive('T').finished);
  EXPECT_FALSE(receive('D').finished);
  const Reply complete = receive('C');
  EXPECT_TRUE(complete.finished);
  EXPECT_EQ(complete.request.tag, 'E');
}

TEST_F(ExchangeTest, rows_after_the_first_keep_their_owner) {
  send('E', Origin::proxy);
  send('S', Origin::proxy);
  for (int row = 0; row < 5; ++row) {
    const Reply reply = receive('D');
    EXPECT_EQ(reply.action, Action::swallow);
    EXPECT_EQ(reply.request.cookie, 1U);
  }
  EXPECT_TRUE(receive('C').finished);
  EXPECT_EQ(receive('D').action, Action::unexpected);
}

TEST_F(ExchangeTest, swallows_what_was_injected) {
  send('P', Origin::proxy);
  send("BES");
  const Reply injected = receive('1');
  EXPECT_EQ(injected.action, Action::swallow);
  EXPECT_TRUE(injected.finished);
  EXPECT_EQ(injected.request.cookie, 1U);
  receive_all("2CZ");
  EXPECT_TRUE(exchange.may_release());
}

TEST_F(ExchangeTest, an_injected_query_is_swallowed_with_its_ready_for_query) {
  send('Q', Origin::proxy);
  EXPECT_FALSE(exchange.expects());
  send("Q");
  EXPECT_TRUE(exchange.expects());
  EXPECT_EQ(receive('C').action, Action::swallow);
  EXPECT_EQ(receive('Z', "T").action, Action::swallow);
  EXPECT_EQ(exchange.transaction_status(), 'T');
  receive_all("CZ");
}

TEST_F(ExchangeTest, an_injected_query_that_fails_is_reported_and_swallowed) {
  send('Q', Origin::proxy);
  const Reply reply = receive('E');
  EXPECT_EQ(reply.action, Action::swallow);
  EXPECT_TRUE(reply.failed);
  EXPECT_EQ(receive('Z').action, Action::swallow);
}

TEST_F(ExchangeTest, an_injected_message_that_fails_a_clients_batch_fails_the_client) {
  send('P', Origin::proxy);
  send("BES");
  EXPECT_EQ(receive('E').action, Action::forward);
  EXPECT_EQ(cookies(exchange.dropped()), "2 3 ");
  receive_all("Z");
}

TEST_F(ExchangeTest, a_failed_batch_of_the_proxys_own_is_swallowed) {
  send('P', Origin::proxy);
  send('S', Origin::proxy);
  send("Q");
  EXPECT_EQ(receive('E').action, Action::swallow);
  EXPECT_EQ(receive('Z').action, Action::swallow);
  receive_all("CZ");
}

TEST_F(ExchangeTest, the_error_of_a_doomed_message_is_replaced) {
  send("P");
  send('P', Origin::failing);
  send("BES");
  receive_all("1");
  const Reply reply = receive('E');
  EXPECT_EQ(reply.action, Action::replace);
  EXPECT_EQ(reply.request.cookie, 2U);
  receive_all("Z");
}

TEST_F(ExchangeTest, a_doomed_message_behind_an_error_is_skipped) {
  send("P");
  send('P', Origin::failing);
  send("S");
  EXPECT_EQ(receive('E').action, Action::forward);
  receive_all("Z");
}

TEST_F(ExchangeTest, a_doomed_message_that_succeeds_breaks_the_link) {
  send('P', Origin::failing);
  EXPECT_EQ(receive('1').action, Action::unexpected);
}

// ---- errors

TEST_F(ExchangeTest, an_error_drops_the_batch_up_to_its_sync) {
  send("PBES");
  send("PBES");
  receive_all("1");
  const Reply reply = receive('E');
  EXPECT_TRUE(reply.failed);
  EXPECT_EQ(reply.request.cookie, 2U);
  EXPECT_EQ(cookies(exchange.dropped()), "3 ");
  receive_all("Z12CZ");
  EXPECT_TRUE(exchange.may_release());
}

TEST_F(ExchangeTest, what_is_sent_behind_an_error_is_skipped_until_sync) {
  send("P");
  receive_all("E");
  EXPECT_TRUE(exchange.idle());
  EXPECT_FALSE(exchange.may_release());
  EXPECT_EQ(send('B', Origin::client), Fate::skipped);
  EXPECT_EQ(send('Q', Origin::client), Fate::skipped);
  EXPECT_EQ(exchange.answered_locally('P', 9), Fate::skipped);
  EXPECT_EQ(send('S', Origin::client), Fate::in_flight);
  receive_all("Z");
  EXPECT_TRUE(exchange.may_release());
}

TEST_F(ExchangeTest, a_query_behind_an_error_without_sync_is_skipped) {
  send("PQ");
  receive_all("E");
  EXPECT_EQ(cookies(exchange.dropped()), "2 ");
  EXPECT_TRUE(exchange.open_batch());
  send("S");
  receive_all("Z");
}

TEST_F(ExchangeTest, a_query_ends_the_batch_before_it) {
  send("PBEQ");
  receive_all("12CTDCZ");
  EXPECT_TRUE(exchange.may_release());
}

TEST_F(ExchangeTest, a_sync_whose_commit_fails_is_answered_twice) {
  send("BES");
  receive_all("2C");
  EXPECT_EQ(receive('E').request.tag, 'S');
  receive_all("Z");
  EXPECT_TRUE(exchange.may_release());
}

TEST_F(ExchangeTest, a_timeout_at_a_flush_fails_the_batch) {
  send("PH");
  receive_all("1");
  receive_all("E");
  EXPECT_TRUE(exchange.skipping());
}

TEST_F(ExchangeTest, a_fatal_error_ends_the_server) {
  send("Q");
  receive_all("TD");
  EXPECT_EQ(receive('E', fatal_body).action, Action::fatal);
  EXPECT_FALSE(exchange.may_release());
  EXPECT_EQ(exchange.on_server_lost().units.size(), 1U);
  EXPECT_EQ(receive('E', fatal_body).action, Action::fatal);
  EXPECT_EQ(receive('Z').action, Action::unexpected);
}

TEST_F(ExchangeTest, a_fatal_error_may_come_while_idle) {
  EXPECT_EQ(receive('E', fatal_body).action, Action::fatal);
  EXPECT_FALSE(exchange.may_release());
}

TEST_F(ExchangeTest, answers_that_nobody_asked_for_break_the_link) {
  for (const char tag : std::string_view("123CDEGHITVWZcdnstKRv")) {
    exchange.reset();
    EXPECT_EQ(receive(tag).action, Action::unexpected) << tag;
    EXPECT_TRUE(exchange.broken());
    EXPECT_FALSE(exchange.may_release());
    send("Q");
    EXPECT_EQ(receive('T').action, Action::unexpected) << "broken for good";
  }
}

TEST_F(ExchangeTest, a_ready_for_query_out_of_turn_breaks_the_link) {
  send("QQ");
  receive_all("CZ");
  EXPECT_EQ(receive('Z').action, Action::unexpected);
}

TEST_F(ExchangeTest, a_ready_for_query_with_an_odd_status_breaks_the_link) {
  send("Q");
  receive_all("C");
  EXPECT_EQ(receive('Z', "X").action, Action::unexpected);
}

TEST_F(ExchangeTest, notices_and_parameters_come_at_any_time) {
  for (const char tag : std::string_view("NSA")) EXPECT_EQ(receive(tag).action, Action::async);
  EXPECT_TRUE(exchange.may_release());
  send("Q");
  receive_all("TD");
  for (const char tag : std::string_view("NSA")) EXPECT_EQ(receive(tag).action, Action::async);
  receive_all("DCZ");
}

// ---- local answers

// The server had come to the message behind it. PostgreSQL sends what it has answered with the notice.
TEST_F(ExchangeTest, a_local_answer_comes_before_the_notices_of_what_is_behind_it) {
  for (const char tag : std::string_view("NSA")) {
    exchange.reset();
    send("BE");
    exchange.answered_locally('P', 7);
    send("P");
    exchange.answered_locally('C', 8);
    send("S");
    receive_all("2");
    EXPECT_EQ(receive(tag).action, Action::async);
    EXPECT_TRUE(exchange.before().empty()) << "the Execute is not answered";
    receive_all("C");
    EXPECT_EQ(receive(tag).action, Action::async);
    EXPECT_EQ(cookies(exchange.before()), "7 ");
    EXPECT_TRUE(exchange.after().empty());
    receive_all("1");
    EXPECT_EQ(receive(tag).action, Action::async);
    EXPECT_EQ(cookies(exchange.before()), "8 ");
    receive_all("Z");
    EXPECT_TRUE(exchange.may_release());
  }
}

// With nothing behind it, a notice has nothing to do with it, and no Flush has asked for it.
TEST_F(ExchangeTest, a_local_answer_at_the_end_is_not_hastened_by_a_notice) {
  exchange.answered_locally('P', 7);
  EXPECT_EQ(receive('N').action, Action::async);
  EXPECT_FALSE(exchange.any_due());
}

TEST_F(ExchangeTest, a_local_answer_waits_for_what_the_server_says_next) {
  exchange.answered_locally('P', 7);
  EXPECT_TRUE(exchange.after().empty());
  EXPECT_TRUE(exchange.expects());
  send("BES");
  receive_all("2");
  EXPECT_EQ(cookies(exchange.before()), "7 ");
  receive_all("C");
  EXPECT_TRUE(exchange.before().empty());
}

TEST_F(ExchangeTest, a_local_answer_keeps_its_turn) {
  send("BE");
  exchange.answered_locally('C', 7);
  send("S");
  receive_all("2C");
  EXPECT_TRUE(exchange.before().empty() && exchange.after().empty());
  receive_all("Z");
  EXPECT_EQ(cookies(exchange.before()), "7 ");
}

TEST_F(ExchangeTest, a_flush_makes_local_answers_due) {
  exchange.answered_locally('P', 7);
  exchange.answered_locally('C', 8);
  send("H");
  EXPECT_EQ(cookies(exchange.after()), "7 8 ");
  EXPECT_TRUE(exchange.idle());
}

TEST_F(ExchangeTest, a_flushed_local_answer_follows_the_answer_before_it) {
  send("B");
  exchange.answered_locally('P', 7);
  send("H");
  EXPECT_TRUE(exchange.after().empty());
  receive_all("2");
  EXPECT_TRUE(exchange.before().empty());
  EXPECT_EQ(cookies(exchange.after()), "7 ");
}

TEST_F(ExchangeTest, a_local_answer_behind_an_error_is_dropped) {
  send("B");
  exchange.answered_locally('P', 7);
  send("S");
  receive_all("E");
  EXPECT_TRUE(exchange.before().empty());
  EXPECT_EQ(cookies(exchange.dropped()), "7 ");
  EXPECT_TRUE(exchange.dropped()[0].local);
  receive_all("Z");
}

TEST_F(ExchangeTest, a_local_answer_before_an_error_is_given) {
  exchange.answered_locally('P', 7);
  send("BS");
  receive_all("E");
  EXPECT_EQ(cookies(exchange.before()), "7 ");
}

TEST_F(ExchangeTest, a_local_query_is_due_in_its_turn) {
  exchange.answered_locally('Q', 7);
  EXPECT_EQ(cookies(exchange.after()), "7 ");
  EXPECT_TRUE(exchange.may_release());
  send("Q");
  exchange.answered_locally('Q', 8);
  EXPECT_TRUE(exchange.after().empty());
  receive_all("CZ");
  EXPECT_EQ(cookies(exchange.after()), "8 ");
}

// ---- a client that says no more

TEST_F(ExchangeTest, answers_come_for_units_that_are_whole_and_for_what_was_flushed) {
  EXPECT_FALSE(exchange.answers_come());
  send("PB");
  EXPECT_FALSE(exchange.answers_come()) << "the server keeps them";
  send("H");
  EXPECT_TRUE(exchange.answers_come());
  receive_all("12");
  EXPECT_FALSE(exchange.answers_come());
  send("E");
  EXPECT_FALSE(exchange.answers_come());
  send("S");
  EXPECT_TRUE(exchange.answers_come());
  receive_all("C");
  EXPECT_TRUE(exchange.answers_come());
  receive_all("Z");
  send("Q");
  receive_all("G");
  EXPECT_FALSE(exchange.answers_come()) << "the copy waits for its client";
  send("c");
  EXPECT_TRUE(exchange.answers_come());
}

// ---- copy

TEST_F(ExchangeTest, keeps_server_during_copy_in) {
  send("Q");
  receive_all("G");
  EXPECT_EQ(exchange.copy(), Copy::in);
  send("ddc");
  EXPECT_FALSE(exchange.may_release());
  receive_all("CZ");
  EXPECT_EQ(exchange.copy(), Copy::none);
  EXPECT_TRUE(exchange.may_release());
}

TEST_F(ExchangeTest, a_sync_sent_into_a_copy_has_no_answer) {
  send("PBES");  // libpq sends the Sync before it knows that this is a COPY
  receive_all("12G");
  send("ddcS");
  receive_all("C");
  EXPECT_EQ(exchange.in_flight(), 1U);
  receive_all("Z");
  EXPECT_TRUE(exchange.may_release());
}

TEST_F(ExchangeTest, a_copy_whose_sync_was_swallowed_leaves_the_batch_open) {
  send("BES");
  receive_all("2G");
  send("c");
  receive_all("C");
  EXPECT_TRUE(exchange.idle());
  EXPECT_TRUE(exchange.open_batch());
  EXPECT_FALSE(exchange.may_release());
}

TEST_F(ExchangeTest, a_failed_copy_with_a_sync_inside_is_doubtful_until_something_proves_the_rest) {
  send("BES");
  receive_all("2G");
  send("dcS");
  receive_all("E");
  EXPECT_TRUE(exchange.doubtful());
  receive_all("Z");
  EXPECT_TRUE(exchange.idle());
  EXPECT_FALSE(exchange.may_release()) << "a second ReadyForQuery may be under way";
  send('C', Origin::proxy);
  send('S', Origin::proxy);
  EXPECT_EQ(receive('3').action, Action::swallow);
  EXPECT_FALSE(exchange.doubtful());
  EXPECT_EQ(receive('Z').action, Action::swallow);
  EXPECT_TRUE(exchange.may_release());
}

TEST_F(ExchangeTest, the_second_ready_for_query_of_a_failed_copy_belongs_to_the_client) {
  send("BES");
  receive_all("2G");
  send("cS");
  receive_all("EZ");
  send('C', Origin::proxy);
  send('S', Origin::proxy);
  EXPECT_EQ(receive('Z').action, Action::forward);
  EXPECT_EQ(receive('3').action, Action::swallow);
  EXPECT_EQ(receive('Z').action, Action::swallow);
  EXPECT_TRUE(exchange.may_release());
}

TEST_F(ExchangeTest, copy_messages_behind_a_failed_copy_are_ignored) {
  send("Q");
  receive_all("G");
  send("dd");
  receive_all("EZ");
  send("ddc");
  EXPECT_TRUE(exchange.may_release());
  send("Q");
  receive_all("CZ");
  EXPECT_TRUE(exchange.may_release());
}

TEST_F(ExchangeTest, copies_of_one_query_take_a_copy_done_each) {
  send("Q");
  send("dcdc");
  receive_all("GC");
  receive_all("GCTDCZ");
  EXPECT_TRUE(exchange.may_release());
}

TEST_F(ExchangeTest, a_query_inside_a_copy_breaks_the_link) {
  send("Q");
  receive_all("G");
  send("Q");
  // PostgreSQL from 14 on closes behind it: it has lost the place in the stream.
  EXPECT_EQ(receive('E', std::string_view("SERROR\0VERROR\0C08P01\0Munexpected\0\0", 34)).action, Action::forward);
  EXPECT_TRUE(exchange.broken());
  EXPECT_EQ(receive('E', fatal_body).action, Action::fatal);
}

// It had failed before the server read the Query. By Execute, the server skips it; else it runs.
TEST_F(ExchangeTest, a_copy_that_fails_over_its_data_leaves_what_is_behind_it_to_its_fate) {
  send("Q");
  receive_all("G");
  send("dQ");
  receive_all("EZ");
  EXPECT_FALSE(exchange.broken());
  receive_all("TDCZ");
  EXPECT_TRUE(exchange.may_release());

  send("BE");
  receive_all("2G");
  send("dQc");
  receive_all("E");
  EXPECT_EQ(exchange.dropped().size(), 1U);
  EXPECT_TRUE(exchange.skipping());
  send("S");
  receive_all("Z");
  EXPECT_TRUE(exchange.may_release());
}

// Its data failed before it read the Sync.
TEST_F(ExchangeTest, a_query_behind_a_sync_behind_a_failed_copy_runs) {
  send("BE");
  receive_all("2G");
  send("dSQ");
  receive_all("EZ");
  EXPECT_FALSE(exchange.broken());
  receive_all("CZ");
  EXPECT_TRUE(exchange.may_release());
}

// The copy may have ignored the Sync or not: then the Query is skipped or runs.
TEST_F(ExchangeTest, a_query_behind_a_sync_inside_a_failed_copy_breaks_the_link) {
  send("BE");
  receive_all("2G");
  send("dSdQ");
  receive_all("E");
  EXPECT_TRUE(exchange.broken());
  exchange.reset();
  send("BE");
  receive_all("2G");
  send("dSQ");
  EXPECT_EQ(receive('E', std::string_view("SERROR\0VERROR\0C57014\0Mcanceled\0\0", 32)).action, Action::forward);
  EXPECT_TRUE(exchange.broken());
}

TEST_F(ExchangeTest, a_copy_out_streams_to_its_end) {
  send("Q");
  receive_all("Hdddc");
  EXPECT_EQ(exchange.copy(), Copy::none);
  receive_all("CZ");
  send("BES");
  receive_all("2HddE");
  EXPECT_EQ(exchange.copy(), Copy::none);
  receive_all("Z");
  EXPECT_TRUE(exchange.may_release());
}

TEST_F(ExchangeTest, a_replication_stream_goes_both_ways) {
  send("Q");
  receive_all("Wdd");
  EXPECT_EQ(exchange.copy(), Copy::both);
  send("dd");
  receive_all("dc");
  send("c");
  receive_all("TDCCZ");
  EXPECT_TRUE(exchange.may_release());
}

// ---- memory

TEST_F(ExchangeTest, a_deep_pipeline_keeps_its_order_and_gives_its_memory_back) {
  constexpr int depth = 20000;
  for (int i = 0; i < depth; ++i) send("BES");
  EXPECT_EQ(exchange.in_flight(), 3U * depth);
  for (std::uint32_t i = 0; i < depth; ++i) {
    ASSERT_EQ(receive('2').request.cookie, 3 * i + 1);
    ASSERT_EQ(receive('C').request.cookie, 3 * i + 2);
    ASSERT_EQ(receive('Z').request.cookie, 3 * i + 3);
  }
  EXPECT_TRUE(exchange.may_release());
}

TEST_F(ExchangeTest, reset_forgets_everything) {
  send("PBE");
  receive_all("E");
  exchange.answered_locally('P', 1);
  exchange.reset('T');
  EXPECT_TRUE(exchange.idle());
  EXPECT_EQ(exchange.transaction_status(), 'T');
  exchange.reset();
  EXPECT_TRUE(exchange.may_release());
}

TEST(RequestQueue, grows_around_its_end_and_shrinks_when_empty) {
  RequestQueue queue;
  const auto inside = queue.capacity();
  std::uint32_t in = 0;
  std::uint32_t out = 0;
  for (int round = 0; round < 2000; ++round) {
    for (int i = 0; i < 3; ++i) queue.push({.cookie = in++});
    ASSERT_EQ(queue[0].cookie, out);
    ASSERT_EQ(queue[queue.size() - 1].cookie, in - 1);
    queue.pop_front();
    ++out;
  }
  EXPECT_GT(queue.capacity(), 1024U);
  queue.erase(1, 2);
  EXPECT_EQ(queue[0].cookie, out);
  EXPECT_EQ(queue[1].cookie, out + 3);
  queue.pop_front(queue.size());
  queue.release_spare();
  EXPECT_EQ(queue.capacity(), inside);
}

TEST_F(ExchangeTest, takes_effect_by_itself_with_a_write_and_the_end_of_its_unit) {
  EXPECT_FALSE(exchange.takes_effect());
  exchange.sent({.tag = 'Q', .traits = Trait::repeatable});
  EXPECT_FALSE(exchange.takes_effect()) << "a read";
  exchange.sent({.tag = 'E'});
  EXPECT_FALSE(exchange.takes_effect()) << "its Sync may never come";
  exchange.sent({.tag = 'S'});
  EXPECT_TRUE(exchange.takes_effect());
  exchange.reset();
  exchange.sent({.tag = 'Q'});
  EXPECT_TRUE(exchange.takes_effect());
  exchange.reset();
  exchange.sent({.tag = 'E'});
  exchange.sent({.tag = 'H'});
  static_cast<void>(exchange.received('C', {}));
  EXPECT_FALSE(exchange.takes_effect());
  exchange.sent({.tag = 'S'});
  EXPECT_TRUE(exchange.takes_effect()) << "what was answered behind a Flush is committed by it";
}

TEST_F(ExchangeTest, a_copy_in_takes_no_effect_without_its_end) {
  exchange.sent({.tag = 'Q'});
  static_cast<void>(exchange.received('G', {}));
  EXPECT_FALSE(exchange.takes_effect());
  exchange.sent({.tag = 'c'});
  EXPECT_TRUE(exchange.takes_effect());
}

}  // namespace
}  // namespace holdfast::protocol
