// Where answers of the proxy itself stand among those of a server, and what counts as answered.
#include <gtest/gtest.h>

#include <string>

#include "tests/proxy/talk.hpp"

namespace holdfast::proxy {
namespace {

using namespace std::string_literals;
using namespace wire;
using protocol::ClientStatements;

class ConversationAnswers : public ConversationWorld {
 protected:
  void prepare(const std::string& name, const std::string& sql) {
    talk.client(parse(name, sql) + sync());
    if (talk.linked()) talk.server(parsed + ready());
    talk.heard();
  }
};

// The rest of a RowDescription is still to come when its Describe has "finished".
TEST_F(ConversationAnswers, answer_of_our_own_does_not_come_in_the_midst_of_a_row_description) {
  prepare("mine", "SELECT 1");
  prepare("yours", "SELECT 2");
  talk.client(describe("mine") + close("yours") + flush());
  const auto answer = parameters + description;
  talk.server(answer.substr(0, answer.size() - 1));
  talk.server(answer.substr(answer.size() - 1));
  EXPECT_EQ(talk.heard(), "t T 3");
}

TEST_F(ConversationAnswers, what_the_client_sends_while_a_row_description_passes_is_answered_behind_it) {
  prepare("mine", "SELECT 1");
  prepare("yours", "SELECT 2");
  talk.client(describe("mine") + flush());
  const auto answer = parameters + description;
  talk.server(answer.substr(0, answer.size() - 1));
  ASSERT_TRUE(talk.conversation->in_answer());
  talk.client(close("yours") + flush());
  talk.server(answer.substr(answer.size() - 1));
  EXPECT_EQ(talk.heard(), "t T 3");
}

TEST_F(ConversationAnswers, deallocate_is_answered_behind_a_notification_that_passes) {
  prepare("mine", "SELECT 1");
  talk.client(query("LISTEN channel"));
  talk.server(complete("LISTEN") + ready());
  talk.heard();
  const auto notification = message('A', "\0\0\0\1channel\0payload\0"s);
  talk.server(notification.substr(0, 15));
  talk.client(query("DEALLOCATE mine"));
  talk.server(notification.substr(15));
  EXPECT_EQ(talk.heard(), "A C:DEALLOCATE ZI");
}

// DDL that this process did not see: a stale plan on a standby is no reason to send the text to the primary for good.
TEST_F(ConversationAnswers, plan_that_a_standby_refuses_expires_plans_and_teaches_nothing) {
  talk.next = 1;
  prepare("mine", "SELECT c FROM t");
  talk.client(run_named("mine"));
  talk.server(error("0A000", "RevalidateCachedQuery") + ready());
  EXPECT_TRUE(talk.after.plans_expired);
  EXPECT_EQ(talk.identity.classifier->verdict("SELECT c FROM t").access, protocol::sql::Access::read);
}

// Aftermath::units: "of the client's that were answered".
TEST_F(ConversationAnswers, unit_that_a_standby_refused_was_not_answered) {
  talk.next = 1;
  talk.client(query("SELECT 1"));
  talk.server(error("25006") + ready());
  EXPECT_EQ(talk.after.units, 0U);
  talk.server(one_row() + ready());
  EXPECT_EQ(talk.after.units, 1U);
}

// The proxy's own Query behind a RESET counts as a further unit in flight: the marks of the unit stay.
TEST_F(ConversationAnswers, read_behind_a_write_with_a_reset_does_not_count_as_a_write) {
  talk.wants("work_mem", "4MB");
  const auto part = [](std::string_view sql) { return parse("", sql) + bind("") + execute(); };
  talk.client(part("CREATE TABLE t (c int)") + part("RESET work_mem") + sync());
  talk.server(parsed + bound + complete("CREATE TABLE") + parsed + bound + complete("RESET") + ready());
  talk.server(parsed + bound + one_row() + closed + ready());
  EXPECT_TRUE(talk.after.wrote);
  EXPECT_TRUE(talk.after.schema_changed);
  talk.after = {};
  talk.client(query("SELECT 1"));
  talk.server(one_row() + ready());
  EXPECT_FALSE(talk.after.wrote);
  EXPECT_FALSE(talk.after.schema_changed);
}

// SELECT * FROM v, whose view calls a function that writes: in such a database a read on the primary is told, counted and
// never repeated, as a write. A standby can't write.
TEST_F(ConversationAnswers, a_read_that_may_write_unseen_is_a_write_on_the_primary) {
  const auto prepared = parse("", "SELECT * FROM v") + bind("") + execute() + sync();
  for (const auto hidden : {protocol::Hidden::reads_write, protocol::Hidden::anything, protocol::Hidden::nothing}) {
    for (const auto& bytes : {query("SELECT * FROM v"), prepared}) {
      for (const std::size_t server : {0U, 1U}) {
        SCOPED_TRACE(std::to_string(static_cast<int>(hidden)) + " on server " + std::to_string(server));
        Talk fresh(*talk.identity.pool);
        fresh.hides(hidden);
        fresh.next = server;
        fresh.client(bytes);
        const bool may_write = server == 0 && hidden != protocol::Hidden::nothing;
        EXPECT_EQ(fresh.lose().outcome, may_write ? protocol::Loss::Outcome::unknown : protocol::Loss::Outcome::repeatable);
        EXPECT_EQ(fresh.after.wrote, may_write);
        EXPECT_EQ(fresh.conversation->replay().again(),
                  may_write ? protocol::Replay::Again::no : protocol::Replay::Again::elsewhere);
      }
    }
  }
}

// exec_parse_message (src/backend/tcop/postgres.c) refuses everything but the block's end, whatever the name.
TEST_F(ConversationAnswers, parse_in_a_failed_block_is_25p02) {
  prepare("mine", "SELECT 1");
  talk.answers_locally = false;
  talk.client(query("BEGIN"));
  talk.server(complete("BEGIN") + ready('T'));
  talk.client(query("SELECT 1/0"));
  talk.server(error("22012") + ready('E'));
  talk.heard();
  talk.client(parse("yours", "SELECT 1") + sync());
  talk.server(error("25P02") + ready('E'));  // a server that sees only the Sync says ZE alone
  EXPECT_EQ(talk.heard(), "E25P02 ZE");
  EXPECT_EQ(talk.statements.find("yours").answer, ClientStatements::Answer::unknown);
}

// A ParseComplete for a name that was not kept: the next Bind would be 26000.
TEST_F(ConversationAnswers, parse_of_one_name_too_many_is_not_answered_without_a_server) {
  prepare("mine", "SELECT 1");
  ClientStatements full(talk.tables.pending, {.names = 0});
  ClientFacts facts{.identity = talk.identity,
                    .statements = full,
                    .block = talk.block,
                    .told = talk.reported,
                    .tables = talk.tables,
                    .desk = talk.desk,
                    .counters = talk.counters};
  const auto text = parse("yours", "SELECT 1") + sync();
  protocol::Framer framer(protocol::Direction::from_client);
  const auto received = protocol::as_bytes(text);
  const auto unit = look_ahead(received, framer, full, *talk.identity.classifier, 1000);
  ASSERT_TRUE(unit.only_parses);
  EXPECT_EQ(LocalAnswers(facts, framer).answer(unit, received), 0U) << "54000 is told in its place";
}

}  // namespace
}  // namespace holdfast::proxy
