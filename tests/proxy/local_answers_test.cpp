// What a client is answered without a server.
#include "proxy/session/local_answers.hpp"

#include <gtest/gtest.h>

#include <string>

#include "tests/proxy/talk.hpp"

namespace holdfast::proxy {
namespace {

using namespace wire;
using protocol::Block;
using protocol::ClientStatements;
using Answer = ClientStatements::Answer;

class LocalAnswersTest : public ConversationWorld {
 protected:
  // A server of this scope has parsed this before.
  void confirm(const std::string& sql, const std::string& name = "first") {
    talk.client(parse(name, sql) + sync());
    ASSERT_TRUE(talk.linked());
    talk.server(parsed + ready());
    ASSERT_FALSE(talk.linked());
    talk.said();
    talk.heard();
  }
  // Nothing of it went to a server.
  std::string answer(const std::string& bytes) {
    talk.client(bytes);
    EXPECT_FALSE(talk.linked());
    EXPECT_EQ(talk.said(), "");
    return talk.heard();
  }
};

TEST_F(LocalAnswersTest, begin_waits_for_its_first_statement) {
  EXPECT_EQ(answer(query("BEGIN")), "C:BEGIN ZT");
  EXPECT_EQ(talk.block.state(), Block::State::deferred);
  EXPECT_EQ(talk.counters.units.value(), 1U);
}

TEST_F(LocalAnswersTest, begin_is_answered_by_its_own_tag) {
  EXPECT_EQ(answer(query("START TRANSACTION READ ONLY")), "C:START TRANSACTION ZT");
}

TEST_F(LocalAnswersTest, empty_block_ends_as_it_began) {
  EXPECT_EQ(answer(query("BEGIN") + query("COMMIT")), "C:BEGIN ZT C:COMMIT ZI");
  EXPECT_EQ(answer(query("BEGIN") + query("ROLLBACK")), "C:BEGIN ZT C:ROLLBACK ZI");
  EXPECT_EQ(talk.block.state(), Block::State::idle);
  EXPECT_EQ(talk.counters.units.value(), 4U);
}

TEST_F(LocalAnswersTest, commit_and_chain_of_an_empty_block_needs_a_server) {
  talk.client(query("BEGIN"));
  talk.client(query("COMMIT AND CHAIN"));
  EXPECT_EQ(talk.said(), "P:BEGIN B E C:P Q:COMMIT AND CHAIN");
}

TEST_F(LocalAnswersTest, commit_outside_a_block_is_the_servers_to_warn_about) {
  talk.client(query("COMMIT"));
  EXPECT_EQ(talk.said(), "Q:COMMIT");
}

TEST_F(LocalAnswersTest, second_begin_is_the_servers_to_warn_about) {
  talk.client(query("BEGIN"));
  talk.client(query("BEGIN"));
  EXPECT_EQ(talk.said(), "P:BEGIN B E C:P Q:BEGIN");
}

TEST_F(LocalAnswersTest, begin_that_says_more_than_a_standby_could_do_needs_a_server) {
  talk.client(query("BEGIN ISOLATION LEVEL SERIALIZABLE"));
  EXPECT_EQ(talk.said(), "Q:BEGIN ISOLATION LEVEL SERIALIZABLE");
}

TEST_F(LocalAnswersTest, begin_in_a_batch_needs_a_server) {
  talk.client(run("BEGIN"));
  EXPECT_EQ(talk.said(), "P:BEGIN B E S");
}

TEST_F(LocalAnswersTest, session_mode_defers_nothing) {
  talk.configure({.pool_mode = config::PoolMode::session});
  talk.client(query("BEGIN"));
  EXPECT_EQ(talk.said(), "Q:BEGIN");
}

TEST_F(LocalAnswersTest, begin_destroys_the_unnamed_statement) {
  talk.client(parse("", "SELECT 1") + sync());
  talk.server(parsed + ready());
  EXPECT_EQ(talk.statements.find("").answer, Answer::ok);
  talk.client(query("BEGIN"));
  EXPECT_EQ(talk.statements.find("").answer, Answer::unknown);
}

TEST_F(LocalAnswersTest, sync_says_how_the_block_stands) {
  EXPECT_EQ(answer(sync()), "ZI");
  EXPECT_EQ(answer(query("BEGIN") + sync()), "C:BEGIN ZT ZT");
}

TEST_F(LocalAnswersTest, statements_that_servers_know_are_prepared_without_one) {
  confirm("SELECT 1");
  EXPECT_EQ(answer(parse("second", "SELECT 1") + sync()), "1 ZI");
  EXPECT_EQ(answer(parse("", "SELECT 1") + sync()), "1 ZI");
  EXPECT_EQ(talk.statements.find("second").answer, Answer::ok);
  EXPECT_EQ(talk.statements.find("").answer, Answer::ok);
  EXPECT_TRUE(talk.statements.settled());
}

TEST_F(LocalAnswersTest, inside_a_block_that_is_deferred_too) {
  confirm("SELECT 1");
  EXPECT_EQ(answer(query("BEGIN") + parse("second", "SELECT 1") + sync()), "C:BEGIN ZT 1 ZT");
}

TEST_F(LocalAnswersTest, name_in_use_is_for_a_server) {
  confirm("SELECT 1");
  talk.client(parse("first", "SELECT 1") + sync());
  EXPECT_EQ(talk.said(), "C:Shf_1 P:hf_1:SELECT 1 D:Shf_0 S");
}

TEST_F(LocalAnswersTest, two_names_in_one_batch_are_for_a_server) {
  confirm("SELECT 1");
  talk.client(parse("second", "SELECT 1") + parse("second", "SELECT 1") + sync());
  EXPECT_EQ(talk.said(), "C:Shf_1 P:hf_1:SELECT 1 D:Shf_0 S");
}

TEST_F(LocalAnswersTest, unknown_text_is_for_a_server) {
  confirm("SELECT 1");
  talk.client(parse("", "SELECT 1") + parse("second", "SELECT 2") + sync());
  EXPECT_EQ(talk.said(), "P:SELECT 1 P:hf_2:SELECT 2 S");
}

TEST_F(LocalAnswersTest, text_that_was_parsed_under_other_settings_is_for_a_server) {
  confirm("SELECT 1");
  talk.wants("search_path", "elsewhere");
  talk.client(parse("second", "SELECT 1") + sync());
  EXPECT_TRUE(talk.linked());
}

TEST_F(LocalAnswersTest, text_whose_plans_expired_is_for_a_server) {
  talk.statements.set_scope({.database = talk.tables.statements.scope_of("main")});
  confirm("SELECT 1");
  talk.tables.expire_plans("main");
  talk.client(parse("second", "SELECT 1") + sync());
  EXPECT_TRUE(talk.linked());
}

TEST_F(LocalAnswersTest, deallocate_of_a_parsed_name_is_answered) {
  confirm("SELECT 1");
  EXPECT_EQ(answer(query("DEALLOCATE first")), "C:DEALLOCATE ZI");
  EXPECT_EQ(talk.statements.find("first").answer, Answer::unknown);
  EXPECT_TRUE(talk.statements.settled());
}

TEST_F(LocalAnswersTest, deallocate_in_a_deferred_block_stays_in_it) {
  confirm("SELECT 1");
  EXPECT_EQ(answer(query("BEGIN") + query("DEALLOCATE PREPARE first")), "C:BEGIN ZT C:DEALLOCATE ZT");
}

TEST_F(LocalAnswersTest, deallocate_of_another_name_needs_a_server) {
  confirm("SELECT 1");
  talk.client(query("DEALLOCATE other"));
  EXPECT_EQ(talk.said(), "Q:DEALLOCATE other");
}

TEST_F(LocalAnswersTest, deallocate_among_other_statements_needs_a_server) {
  confirm("SELECT 1");
  talk.client(query("DEALLOCATE first; SELECT 1"));
  EXPECT_EQ(talk.said(), "Q:DEALLOCATE first; SELECT 1");
}

TEST_F(LocalAnswersTest, read_alone_needs_a_server) {
  talk.client(query("SELECT 1"));
  EXPECT_EQ(talk.said(), "Q:SELECT 1");
}

}  // namespace
}  // namespace holdfast::proxy
