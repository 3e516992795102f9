#include "protocol/server_session.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/protocol/server_reader.hpp"

namespace holdfast::protocol {
namespace {

using sql::Effect;
using testing::answers;

class ServerSessionTest : public ::testing::Test {
 protected:
  void send(std::string_view tags, Origin origin = Origin::client, std::uint32_t cookie = 0) {
    for (const char tag : tags) session.exchange.sent({.tag = tag, .origin = origin, .cookie = cookie});
  }
  void receive(std::string_view words) { EXPECT_TRUE(reader.read(answers(words))) << words; }
  void expect_busy() {
    EXPECT_FALSE(session.at_rest());
    EXPECT_FALSE(session.may_serve_others());
  }
  void expect_free() {
    EXPECT_TRUE(session.at_rest());
    EXPECT_TRUE(session.may_serve_others());
  }
  StatementRef statement(std::string_view text) {
    std::vector<std::byte> tail;
    Writer(tail).text(text).u16(0);
    return table.intern(tail, text.size());
  }

  PendingPool pending;
  StatementTable table;
  SettingsTable settings;
  ServerSession session{pending, 10};
  testing::ServerReader reader{session};
};

// ---- may it serve others? Each reason by itself

TEST_F(ServerSessionTest, a_new_connection_may_serve_others) {
  expect_free();
  EXPECT_EQ(session.dirt(), Effect::none);
  EXPECT_EQ(session.owed(), 0U);
}

TEST_F(ServerSessionTest, a_query_in_flight_keeps_it) {
  send("Q");
  expect_busy();
  receive("T D C");
  expect_busy();
  receive("ZI");
  expect_free();
}

TEST_F(ServerSessionTest, a_message_of_our_own_in_flight_keeps_it) {
  send("Q", Origin::proxy);
  expect_busy();
  receive("C ZI");
  expect_free();
}

TEST_F(ServerSessionTest, an_open_block_keeps_it) {
  send("Q");
  receive("C ZT");
  expect_busy();
  send("Q");
  receive("C ZI");
  expect_free();
}

TEST_F(ServerSessionTest, a_failed_block_keeps_it) {
  send("Q");
  receive("E ZE");
  expect_busy();
  send("Q");
  receive("C ZI");
  expect_free();
}

TEST_F(ServerSessionTest, a_batch_without_its_sync_keeps_it) {
  send("PBEH");
  receive("1 2 C");
  ASSERT_TRUE(session.exchange.idle());
  expect_busy();
  send("S");
  receive("ZI");
  expect_free();
}

TEST_F(ServerSessionTest, a_batch_that_failed_keeps_it_until_its_sync) {
  send("P");
  receive("E");
  ASSERT_TRUE(session.exchange.idle());
  expect_busy();
  send("S");
  receive("ZI");
  expect_free();
}

TEST_F(ServerSessionTest, a_copy_that_has_begun_keeps_it) {
  send("Q");
  receive("G");
  expect_busy();
  send("c");
  receive("C ZI");
  expect_free();
}

TEST_F(ServerSessionTest, a_doubt_about_how_many_answers_are_to_come_keeps_it_from_strangers) {
  send("Q");
  receive("G");
  send("S");
  receive("E ZI");
  ASSERT_TRUE(session.exchange.idle());
  ASSERT_TRUE(session.exchange.doubtful());
  EXPECT_TRUE(session.at_rest()) << "whom it serves may let go of it";
  EXPECT_FALSE(session.may_serve_others()) << "no stranger may have it";
  send("CS", Origin::proxy);
  expect_busy();
  receive("3 ZI");
  expect_free();
}

TEST_F(ServerSessionTest, an_answer_to_nothing_that_was_asked_keeps_it_from_others_for_good) {
  EXPECT_FALSE(reader.read(answers("D")));
  EXPECT_FALSE(session.may_serve_others());
  send("Q");
  expect_busy();
  static_cast<void>(reader.read(answers("C ZI")));
  EXPECT_FALSE(session.may_serve_others());
}

TEST_F(ServerSessionTest, a_server_that_said_it_ends_serves_nobody) {
  EXPECT_FALSE(reader.read(answers("FE57P01")));
  expect_busy();
}

TEST_F(ServerSessionTest, half_a_streamed_message_of_the_servers_keeps_it) {
  const Out notification = answers("A");
  for (std::size_t size = header_size; size < notification.size(); ++size) {
    ServerSession it{pending, 10};
    testing::ServerReader half{it};
    ASSERT_TRUE(half.read(Bytes(notification).first(size)));
    EXPECT_FALSE(it.at_rest()) << size;
    EXPECT_FALSE(it.may_serve_others()) << size;
    ASSERT_TRUE(half.read(Bytes(notification).subspan(size)));
    EXPECT_TRUE(it.may_serve_others()) << size;
  }
}

TEST_F(ServerSessionTest, a_stream_that_makes_no_sense_keeps_it_for_good) {
  EXPECT_FALSE(reader.read(as_bytes("\xff")));
  expect_busy();
}

TEST_F(ServerSessionTest, half_a_message_of_the_clients_keeps_it_though_all_is_answered) {
  send("Q");
  receive("G");
  send("d");
  session.owes(100);
  receive("E ZI");
  ASSERT_TRUE(session.exchange.may_release());
  EXPECT_EQ(session.owed(), 100U);
  expect_busy();
  EXPECT_TRUE(session.waits_for_rest()) << "for nothing else";
  session.owes(0);
  expect_free();
}

TEST_F(ServerSessionTest, while_anything_else_is_to_come_it_does_not_only_wait_for_the_rest_of_a_message) {
  session.owes(100);
  EXPECT_TRUE(session.waits_for_rest());
  send("Q");
  EXPECT_FALSE(session.waits_for_rest()) << "an answer";
  receive("C ZT");
  EXPECT_FALSE(session.waits_for_rest()) << "the end of a block";
  send("Q");
  receive("C ZI");
  EXPECT_TRUE(session.waits_for_rest());
  send("PBEH");
  receive("1 2 C");
  EXPECT_FALSE(session.waits_for_rest()) << "a Sync";
  send("S");
  receive("ZI");
  EXPECT_TRUE(session.waits_for_rest());
  const Out notice = answers("A");
  ASSERT_TRUE(reader.read(Bytes(notice).first(notice.size() - 1)));
  EXPECT_FALSE(session.waits_for_rest()) << "the rest of a message of the server's";
  ASSERT_TRUE(reader.read(Bytes(notice).last(1)));
  EXPECT_TRUE(session.waits_for_rest());
  EXPECT_FALSE(session.at_rest());
}

TEST_F(ServerSessionTest, whom_it_serves_may_let_go_of_a_soiled_one_but_no_stranger_may_have_it) {
  for (std::uint32_t bit = 0; bit < 18; ++bit) {
    ServerSession it{pending, 10};
    it.soil(static_cast<Effect>(1U << bit));
    EXPECT_TRUE(it.at_rest()) << bit;
    EXPECT_FALSE(it.may_serve_others()) << bit;
    it.emptied();
    EXPECT_TRUE(it.may_serve_others()) << bit;
  }
}

// Every combination of the reasons: one is enough, and none is overlooked beside another.
TEST_F(ServerSessionTest, only_without_any_reason_it_may_serve_others) {
  const std::vector<std::function<void(ServerSession&, testing::ServerReader&)>> reasons = {
      [](ServerSession& it, testing::ServerReader&) { it.soil(Effect::set); },
      [](ServerSession& it, testing::ServerReader& its) {  // a doubt
        it.exchange.sent({.tag = 'Q'});
        static_cast<void>(its.read(answers("G")));
        it.exchange.sent({.tag = 'S'});
        static_cast<void>(its.read(answers("E ZI")));
      },
      [](ServerSession& it, testing::ServerReader&) { it.owes(1); },
      [](ServerSession& it, testing::ServerReader&) { it.exchange.sent({.tag = 'Q'}); },
      [](ServerSession&, testing::ServerReader& its) {
        const Out half = answers("A");
        static_cast<void>(its.read(Bytes(half).first(half.size() - 1)));
      },
  };
  for (unsigned set = 0; set < 1U << reasons.size(); ++set) {
    ServerSession it{pending, 10};
    testing::ServerReader its{it};
    for (std::size_t i = 0; i < reasons.size(); ++i)
      if ((set >> i & 1U) != 0) reasons[i](it, its);
    EXPECT_EQ(it.may_serve_others(), set == 0) << set;
    EXPECT_EQ(it.at_rest(), (set & ~3U) == 0) << set;
    EXPECT_EQ(it.waits_for_rest(), (set & ~7U) == 0) << set;
  }
}

// ---- what is on it

TEST_F(ServerSessionTest, dirt_adds_up) {
  session.soil(Effect::set);
  session.soil(Effect::temp_object);
  session.soil(Effect::none);
  EXPECT_EQ(session.dirt(), Effect::set | Effect::temp_object);
}

TEST_F(ServerSessionTest, when_it_is_emptied_no_statement_no_setting_and_no_dirt_is_left) {
  const auto select = statement("select 1");
  session.statements.add(select, 5);
  session.statements.settle(5, Outcome::completed);
  session.statements.load_unnamed(select, 6);
  session.statements.settle(6, Outcome::completed);
  session.settings = settings.intern({{"work_mem", "1MB"}});
  session.soil(Effect::role | Effect::sql_prepare);
  session.emptied();
  EXPECT_EQ(session.statements.use(*select), ServerStatements::Presence::absent);
  EXPECT_FALSE(session.statements.has_unnamed(*select));
  EXPECT_TRUE(session.settings.empty());
  EXPECT_EQ(session.dirt(), Effect::none);
}

// ---- what became of messages

class ServerSessionSettle : public ServerSessionTest {
 protected:
  void settle(const Reply& reply) {
    session.settle(reply, [this](std::uint32_t cookie, Outcome outcome) {
      heard += std::to_string(cookie) + (outcome == Outcome::completed ? "+" : outcome == Outcome::failed ? "!" : "-");
    });
  }
  void receive(char tag) {
    Out message = answers(std::string_view(&tag, 1));
    settle(session.exchange.received(tag, Bytes(message).subspan(header_size)));
  }
  void parse(const StatementRef& what, std::uint32_t cookie) {
    session.statements.add(what, cookie);
    send("P", Origin::client, cookie);
  }

  std::string heard;  // cookies, each with + completed, ! failed, - skipped
};

TEST_F(ServerSessionSettle, a_statement_is_known_when_its_parse_is_answered) {
  const auto select = statement("select 1");
  parse(select, 5);
  session.statements.end_batch();
  EXPECT_EQ(session.statements.use(*select), ServerStatements::Presence::stale);
  receive('1');
  EXPECT_EQ(session.statements.use(*select), ServerStatements::Presence::known);
  EXPECT_EQ(heard, "5+");
}

TEST_F(ServerSessionSettle, a_failed_parse_takes_along_what_was_sent_behind_it) {
  const auto one = statement("select 1");
  const auto two = statement("select 2");
  parse(one, 5);
  parse(two, 6);
  send("S");
  receive('E');
  EXPECT_EQ(heard, "5!6-");
  EXPECT_EQ(session.statements.use(*one), ServerStatements::Presence::absent);
  EXPECT_EQ(session.statements.use(*two), ServerStatements::Presence::absent);
  EXPECT_TRUE(session.statements.settled());
}

TEST_F(ServerSessionSettle, a_parse_behind_the_sync_of_a_failed_batch_is_untouched) {
  const auto one = statement("select 1");
  const auto two = statement("select 2");
  parse(one, 5);
  send("S");
  parse(two, 6);
  send("S");
  receive('E');
  receive('Z');
  receive('1');
  EXPECT_EQ(heard, "5!6+");
  EXPECT_EQ(session.statements.use(*two), ServerStatements::Presence::known);
}

TEST_F(ServerSessionSettle, nobody_hears_of_a_message_that_has_no_cookie_or_no_end_yet) {
  send("Q");
  receive('T');
  receive('D');
  receive('C');
  receive('Z');
  send("D", Origin::client, 9);
  receive('t');
  EXPECT_EQ(heard, "");
  receive('T');
  EXPECT_EQ(heard, "9+");
}

TEST_F(ServerSessionSettle, notices_and_reports_settle_nothing) {
  parse(statement("select 1"), 5);
  receive('N');
  receive('S');
  receive('A');
  EXPECT_EQ(heard, "");
  EXPECT_FALSE(session.statements.settled());
}

// ---- what texts don't show

// The kind: hidden code (a trigger, a view) leaves state behind that no text announced.
TEST_F(ServerSessionTest, a_statement_is_judged_before_somebody_else_gets_its_server) {
  struct Row {
    Hidden hidden;
    bool after_read;
    bool after_write;
  };
  for (const auto& row : {Row{Hidden::nothing, true, true}, Row{Hidden::writes_leave, true, false},
                          Row{Hidden::reads_leave, false, false}, Row{Hidden::writes_look, true, true},
                          Row{Hidden::reads_look, true, true}, Row{Hidden::anything, false, false}}) {
    for (const bool writes : {false, true}) {
      ServerSession fresh(pending, 10);
      fresh.serves(1);
      fresh.runs({.access = writes ? sql::Access::write : sql::Access::read});
      EXPECT_TRUE(fresh.unproven());
      EXPECT_FALSE(fresh.may_serve_others());
      fresh.judge(row.hidden);
      EXPECT_FALSE(fresh.unproven());
      EXPECT_EQ(fresh.may_serve_others(), writes ? row.after_write : row.after_read)
          << static_cast<int>(row.hidden) << writes;
      fresh.emptied();
      EXPECT_TRUE(fresh.may_serve_others());
    }
  }
}

TEST_F(ServerSessionTest, a_read_before_the_write_changes_nothing_about_the_write) {
  session.serves(1);
  session.runs({.access = sql::Access::write});
  session.runs({.access = sql::Access::read});
  session.judge(Hidden::writes_leave);
  EXPECT_FALSE(session.may_serve_others());
}

TEST_F(ServerSessionTest, blanks_and_comments_run_nothing) {
  session.runs({.access = sql::Access::nothing});
  expect_free();
}

// The kind: what can't be undone, or need not be, is seen by a client that didn't make it.
TEST_F(ServerSessionTest, sequences_are_seen_by_their_own_client_only) {
  session.serves(1);
  session.runs({.access = sql::Access::read});
  EXPECT_FALSE(session.has_sequences_of_others());
  session.runs({.access = sql::Access::write});
  EXPECT_FALSE(session.has_sequences_of_others());
  session.serves(2);
  EXPECT_TRUE(session.has_sequences_of_others());
  session.runs({.access = sql::Access::write});
  session.serves(1);
  EXPECT_TRUE(session.has_sequences_of_others()) << "lastval() may be the other's";
  session.forgot_sequences();
  EXPECT_FALSE(session.has_sequences_of_others());
  session.runs({.access = sql::Access::write});
  session.emptied();
  session.serves(3);
  EXPECT_FALSE(session.has_sequences_of_others());
}

TEST_F(ServerSessionTest, placeholders_last_as_long_as_the_connection) {
  const auto seen_by = [&](std::uint64_t client) { return session.traces().placeholders.by_others_than(client); };
  session.serves(1);
  session.runs({.access = sql::Access::read, .effects = Effect::custom_setting});
  EXPECT_FALSE(seen_by(1));
  EXPECT_TRUE(seen_by(2));
  session.emptied();
  EXPECT_TRUE(seen_by(2)) << "DISCARD ALL leaves an empty string";
  ServerSession other(pending, 10);
  other.serves(1);
  other.runs({.access = sql::Access::write, .effects = Effect::unknown_function});
  EXPECT_FALSE(other.has_placeholders_of_others()) << "whatever it made is its client's own";
  other.serves(2);
  EXPECT_TRUE(other.has_placeholders_of_others()) << "nobody knows what it made";
  ServerSession hidden(pending, 10);
  hidden.serves(1);
  hidden.runs({.access = sql::Access::write});
  hidden.judge(Hidden::writes_leave);
  EXPECT_TRUE(hidden.traces().placeholders.by_others_than(1));
}

// What a client has made is a stranger's only when somebody else gets the server.
TEST_F(ServerSessionTest, settings_of_unknown_names_are_the_clients_own) {
  const auto asked = sql::custom_settings_asked("SELECT current_setting('app.own', true)");
  session.serves(1);
  const auto made = sql::custom_settings_made("SET LOCAL app.other = 1");
  session.runs({.access = sql::Access::read, .effects = Effect::custom_setting}, &made);
  session.serves(2);
  session.makes_placeholder("app.own");
  session.runs({.access = sql::Access::write, .effects = Effect::unknown_function});
  EXPECT_FALSE(session.shows_placeholders_of_others(asked));
  EXPECT_TRUE(session.traces().names.meet(asked)) << "for whoever gets it next";
  session.serves(3);
  EXPECT_TRUE(session.shows_placeholders_of_others(asked));
}

}  // namespace
}  // namespace holdfast::protocol
