// What a server shows of others is gone before a client looks at it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/proxy/talk.hpp"

namespace holdfast::proxy {
namespace {

using namespace std::string_literals;
using namespace wire;
using protocol::Hidden;

constexpr const char* batch =
    "C:Shf_forget P:hf_forget:DISCARD SEQUENCES B:hf_forget:hf_forget E:hf_forget C:Phf_forget "
    "C:Shf_forget";

class ConversationStrangers : public ConversationWorld {
 protected:
  ConversationStrangers() {
    talk.hides(Hidden::sequences);
    auto& session = talk.servers[0].session;
    session.serves(1);
    session.runs({.access = protocol::sql::Access::write});
    session.serves(2);
  }
  void begin() {
    talk.client(query("BEGIN") + query("SELECT 1"));
    talk.server(parsed + bound + complete("BEGIN") + closed + one_row() + ready('T'));
    talk.said();
    talk.heard();
  }
  void other_made_setting() {
    auto& session = talk.servers[0].session;
    const auto made = protocol::sql::custom_settings_made("SET LOCAL app.one = 1");
    session.serves(1);
    session.runs({.access = protocol::sql::Access::read, .effects = protocol::sql::Effect::custom_setting}, &made);
    session.serves(2);
  }
  // In front of a statement that may look.
  void forgotten() {
    EXPECT_EQ(talk.said(), "Q:DISCARD SEQUENCES");
    talk.server(complete("DISCARD SEQUENCES") + ready('T'));
  }
};

TEST_F(ConversationStrangers, values_of_a_sequence_are_discarded_before_they_are_asked_for) {
  begin();
  talk.client(query("SELECT lastval()"));
  forgotten();
  EXPECT_EQ(talk.said(), "Q:SELECT lastval()");
  talk.server(error("55000") + ready('E'));
  EXPECT_EQ(talk.heard(), "E55000 ZE");
}

TEST_F(ConversationStrangers, values_are_discarded_once) {
  begin();
  talk.client(query("SELECT lastval()"));
  forgotten();
  talk.server(one_row() + ready('T'));
  talk.said();
  talk.client(query("INSERT INTO t VALUES (1)"));
  talk.server(complete("INSERT 0 1") + ready('T'));
  talk.client(query("SELECT lastval()"));
  EXPECT_EQ(talk.said(), "Q:INSERT INTO t VALUES (1) Q:SELECT lastval()");
}

TEST_F(ConversationStrangers, what_cannot_look_waits_for_nothing) {
  begin();
  for (const char* sql : {"SELECT 1", "INSERT INTO t VALUES (1)", "SAVEPOINT a"}) {
    talk.client(query(sql));
    EXPECT_EQ(talk.said(), "Q:"s + sql);
    talk.server(complete("X") + ready('T'));
  }
  talk.hides(Hidden::nothing);  // no sequence, nothing to see
  talk.client(query("SELECT lastval()"));
  EXPECT_EQ(talk.said(), "Q:SELECT lastval()");
}

TEST_F(ConversationStrangers, hidden_code_looks_as_well) {
  begin();
  talk.hides(
      static_cast<Hidden>(static_cast<unsigned>(Hidden::sequences) | static_cast<unsigned>(Hidden::writes_look)));
  talk.client(query("SELECT 1"));
  EXPECT_EQ(talk.said(), "Q:SELECT 1");
  talk.server(one_row() + ready('T'));
  talk.client(query("INSERT INTO t VALUES (1)"));
  forgotten();
  EXPECT_EQ(talk.said(), "Q:INSERT INTO t VALUES (1)");
}

TEST_F(ConversationStrangers, in_a_batch_values_are_discarded_within_it) {
  begin();
  talk.client(run("SELECT lastval()"));
  EXPECT_EQ(talk.said(), "P:SELECT lastval() "s + batch + " B E S");
  talk.server(parsed + closed + parsed + bound + complete("DISCARD SEQUENCES") + closed + closed + bound +
              error("55000") + ready('E'));
  EXPECT_EQ(talk.heard(), "1 2 E55000 ZE");
}

// The error of its batch skips the statement, too: what was there still is.
TEST_F(ConversationStrangers, values_that_were_not_discarded_are_still_there) {
  begin();
  talk.client(parse("", "SELECT x") + bind("") + execute() + run("SELECT lastval()"));
  talk.said();
  talk.server(error("42703") + ready('E'));
  EXPECT_EQ(talk.heard(), "E42703 ZE");
  EXPECT_TRUE(talk.servers[0].session.has_sequences_of_others());
}

TEST_F(ConversationStrangers, discarding_that_fails_is_told_as_canceled) {
  begin();
  talk.unlinks = false;
  talk.client(query("COMMIT"));
  talk.server(complete("COMMIT") + ready());
  talk.client(query("SELECT lastval()"));
  EXPECT_EQ(talk.said(), "Q:COMMIT Q:DISCARD SEQUENCES");
  talk.server(error("57014") + ready());
  EXPECT_EQ(talk.said(), "Q:hf_0");
  talk.server(error("42601") + ready());
  EXPECT_EQ(talk.heard(), "C:COMMIT ZI E57014 ZI");
}

TEST_F(ConversationStrangers, settings_that_cannot_be_removed_are_not_shown) {
  other_made_setting();
  begin();
  talk.client(query("SELECT current_setting('app.two', true)"));
  EXPECT_EQ(talk.said(), "Q:SELECT current_setting('app.two', true)");
  talk.server(one_row() + ready('T'));
  talk.heard();
  talk.client(query("SELECT current_setting('app.one', true)"));
  EXPECT_EQ(talk.said(), "Q:hf_0");
  talk.server(error("42601") + ready('E'));
  EXPECT_EQ(talk.heard(), "E40001 ZE");
}

// Each is answered by one ReadyForQuery, also where an error of its batch stands in front.
TEST_F(ConversationStrangers, what_is_refused_behind_an_error_of_its_batch_is_skipped_with_it) {
  other_made_setting();
  begin();
  talk.client(parse("", "SELECT nosuch") + bind("") + execute() + query("SELECT current_setting('app.one', true)") +
              sync() + query("SELECT 2"));
  EXPECT_EQ(talk.said(), "P:SELECT nosuch B E Q:hf_0 S Q:SELECT 2");
  talk.server(error("42703") + ready('E') + error("25P02") + ready('E'));
  EXPECT_EQ(talk.heard(), "E42703 ZE E25P02 ZE");
}

TEST_F(ConversationStrangers, a_refused_query_behind_an_open_batch_ends_it) {
  other_made_setting();
  begin();
  talk.client(run("SELECT 1").substr(0, run("SELECT 1").size() - sync().size()) +
              query("SELECT current_setting('app.one', true)") + query("SELECT 2"));
  EXPECT_EQ(talk.said(), "P:SELECT 1 B E Q:hf_0 Q:SELECT 2");
  talk.server(parsed + bound + one_row() + error("42601") + ready('E') + error("25P02") + ready('E'));
  EXPECT_EQ(talk.heard(), "1 2 D:one C:SELECT 1 E40001 ZE E25P02 ZE");
}

// It waits for what is in flight: behind that its client may have another server, or a failed block.
TEST_F(ConversationStrangers, a_look_waits_for_what_is_in_flight) {
  other_made_setting();
  begin();
  talk.client(query("SELECT nosuch") + query("SELECT current_setting('app.one', true)"));
  EXPECT_EQ(talk.said(), "Q:SELECT nosuch");
  talk.server(error("42703") + ready('E'));
  EXPECT_EQ(talk.said(), "Q:SELECT current_setting('app.one', true)") << "PostgreSQL itself refuses it";
  talk.server(error("25P02") + ready('E'));
  EXPECT_EQ(talk.heard(), "E42703 ZE E25P02 ZE");
}

TEST_F(ConversationStrangers, a_setting_that_was_not_made_is_not_the_clients_own) {
  other_made_setting();
  begin();
  talk.client(query("SELECT nosuch") + query("SET LOCAL app.one = 'mine'"));
  talk.server(error("42703") + ready('E') + error("25P02") + ready('E'));
  talk.client(query("ROLLBACK TO a"));
  talk.server(complete("ROLLBACK") + ready('T'));
  talk.said();
  talk.heard();
  talk.client(query("SELECT current_setting('app.one', true)"));
  EXPECT_EQ(talk.said(), "Q:hf_0");
}

TEST_F(ConversationStrangers, a_setting_made_in_front_of_it_in_its_batch_is_the_clients_own) {
  other_made_setting();
  begin();
  const std::string set = "SELECT set_config('app.one', 'mine', true)";
  const std::string get = "SELECT current_setting('app.one', true)";
  const auto part = [](const std::string& sql) { return parse("", sql) + bind("") + execute(); };
  talk.client(part(set) + part(get) + sync());
  EXPECT_EQ(talk.said(), "P:" + set + " B E P:" + get + " B E S");
}

// A Flush behind it: its answer comes, and says whether it exists.
TEST_F(ConversationStrangers, a_look_behind_a_flush_waits_for_the_setting_in_front) {
  other_made_setting();
  begin();
  const std::string set = "SELECT set_config('app.one', 'mine', true)";
  const std::string get = "SELECT current_setting('app.one', true)";
  const auto part = [](const std::string& sql) { return parse("", sql) + bind("") + execute(); };
  talk.client(parse("get", get) + sync());
  talk.server(parsed + ready('T'));
  talk.said();
  talk.client(part(set) + flush() + bind("get") + execute() + sync());
  EXPECT_EQ(talk.said(), "P:" + set + " B E H");
  talk.server(parsed + bound + complete("SELECT 1"));
  EXPECT_THAT(talk.said(), ::testing::EndsWith(" E S"));
}

TEST_F(ConversationStrangers, a_setting_that_was_skipped_is_not_the_clients_own) {
  other_made_setting();
  begin();
  talk.client(parse("", "SELECT nosuch") + flush());
  talk.server(error("42703"));
  talk.client(parse("", "SET LOCAL app.one = 'mine'") + bind("") + execute() + sync());
  talk.server(ready('E'));
  talk.client(query("ROLLBACK TO a"));
  talk.server(complete("ROLLBACK") + ready('T'));
  talk.said();
  talk.client(query("SELECT current_setting('app.one', true)"));
  EXPECT_EQ(talk.said(), "Q:hf_0");
}

TEST_F(ConversationStrangers, a_look_that_does_not_belong_into_a_copy_is_the_servers_to_refuse) {
  other_made_setting();
  begin();
  talk.client(query("COPY t FROM STDIN"));
  talk.server(copy_in);
  talk.said();
  talk.client(parse("", "SELECT current_setting('app.one', true)"));
  EXPECT_EQ(talk.said(), "P:SELECT current_setting('app.one', true)");
}

TEST_F(ConversationStrangers, what_must_be_first_in_its_batch_is) {
  begin();
  talk.hides(
      static_cast<Hidden>(static_cast<unsigned>(Hidden::sequences) | static_cast<unsigned>(Hidden::writes_look)));
  talk.client(parse("", "VACUUM t") + bind("") + execute() + sync());
  EXPECT_EQ(talk.said(), "P:VACUUM t B E S");
}

TEST_F(ConversationStrangers, settings_that_the_client_makes_itself_are_its_own) {
  other_made_setting();
  begin();
  talk.client(query("SET LOCAL app.one = 'mine'"));
  talk.server(complete("SET") + ready('T'));
  talk.said();
  talk.client(query("SELECT current_setting('app.one', true)"));
  EXPECT_EQ(talk.said(), "Q:SELECT current_setting('app.one', true)");
}

}  // namespace
}  // namespace holdfast::proxy
