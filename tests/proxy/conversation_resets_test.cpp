// A RESET that a block, a batch or a string has in its neighbourhood: when the settings that the client brought are put
// back, and what it is told meanwhile.
#include <gtest/gtest.h>

#include <string>

#include "tests/proxy/talk.hpp"

namespace holdfast::proxy {
namespace {

using namespace std::string_literals;
using namespace wire;

class ConversationResets : public ConversationWorld {
 protected:
  [[nodiscard]] std::string restores() const {
    return protocol::restore_if_reset(talk.identity.wanted, protocol::Roles::keep);
  }
  // Behind a Sync.
  [[nodiscard]] std::string restores_in_batch() const {
    return "P:" + restores() + " B:hf_restore E:hf_restore C:Phf_restore S";
  }
};

// Where nothing can be put back; it shows when the block has ended. The RESET is not undone with it.
TEST_F(ConversationResets, reset_in_front_of_a_block_that_fails_is_made_good_when_the_block_has_ended) {
  talk.wants("DateStyle", "SQL, DMY");
  talk.client(query("SELECT 1"));
  talk.server(parameter("DateStyle", "SQL, DMY") + one_row() + ready());
  for (const bool revived : {false, true}) {
    talk.heard();
    talk.said();
    talk.client(parse("", "RESET ALL") + bind("") + execute() + parse("", "COMMIT") + bind("") + execute() +
                parse("", "BEGIN") + bind("") + execute() + parse("", "SAVEPOINT a") + bind("") + execute() +
                parse("", "SELECT x") + sync());
    EXPECT_TRUE(talk.said().ends_with(" S " + restores_in_batch()));
    talk.server(parsed + bound + complete("RESET") + parsed + bound + complete("COMMIT") + parsed + bound +
                complete("BEGIN") + parsed + bound + complete("SAVEPOINT") + error("42703") +
                parameter("DateStyle", "ISO, MDY") + ready('E'));
    talk.server(error("25P02") + ready('E'));
    EXPECT_EQ(talk.heard(), "1 2 C:RESET 1 2 C:COMMIT 1 2 C:BEGIN 1 2 C:SAVEPOINT E42703 ZE");
    talk.client(query("SELECT 1"));
    EXPECT_EQ(talk.said(), "Q:SELECT 1");
    talk.server(error("25P02") + ready('E'));
    EXPECT_EQ(talk.heard(), "E25P02 ZE");
    if (revived) {  // and undone with the block, what is put back in it
      talk.client(query("ROLLBACK TO a"));
      EXPECT_EQ(talk.said(), "Q:ROLLBACK TO a Q:" + restores());
      talk.server(complete("ROLLBACK") + ready('T'));
      talk.server(description + one_row() + parameter("DateStyle", "SQL, DMY") + ready('T'));
      EXPECT_EQ(talk.heard(), "C:ROLLBACK ZT");
    }
    talk.client(query("ROLLBACK"));
    EXPECT_EQ(talk.said(), "Q:ROLLBACK Q:" + restores());
    talk.server(complete("ROLLBACK") + parameter("DateStyle", "ISO, MDY") + ready());
    talk.server(description + one_row() + parameter("DateStyle", "SQL, DMY") + ready());
    EXPECT_EQ(talk.heard(), "C:ROLLBACK ZI");
    talk.client(query("SELECT 2"));
    EXPECT_EQ(talk.said(), "Q:SELECT 2") << "nothing is owed any more";
    talk.server(one_row() + ready());
  }
}

// A Query would destroy it.
TEST_F(ConversationResets, unnamed_portal_outlives_what_puts_the_settings_back) {
  talk.wants("work_mem", "4MB");
  talk.client(parse("", "BEGIN") + bind("") + execute() + parse("", "RESET work_mem") + bind("") + sync());
  EXPECT_TRUE(talk.said().ends_with(" S " + restores_in_batch()));
  talk.server(parsed + bound + complete("BEGIN") + parsed + bound + ready('T'));
  talk.server(parsed + bound + one_row() + closed + ready('T'));
  EXPECT_EQ(talk.heard(), "1 2 C:BEGIN 1 2 ZT");
  talk.client(execute() + sync());
  EXPECT_EQ(talk.said(), "E S");
}

TEST_F(ConversationResets, reset_in_its_own_block_is_undone_with_it) {
  talk.wants("work_mem", "4MB");
  talk.client(run("BEGIN"));
  talk.server(parsed + bound + complete("BEGIN") + ready('T'));
  talk.client(query("RESET work_mem"));
  talk.server(complete("RESET") + ready('T') + description + one_row() + ready('T'));
  talk.said();
  talk.client(query("ROLLBACK"));
  EXPECT_EQ(talk.said(), "Q:ROLLBACK");
}

// As a driver does that gives its connection back.
TEST_F(ConversationResets, reset_among_several_statements_is_made_good_as_well) {
  talk.wants("work_mem", "4MB");
  const std::string several = "SET SESSION AUTHORIZATION DEFAULT;RESET ALL;CLOSE ALL;UNLISTEN *";
  talk.client(query(several));
  EXPECT_EQ(talk.said(), "Q:" + several + " Q:" + restores());
}

}  // namespace
}  // namespace holdfast::proxy
