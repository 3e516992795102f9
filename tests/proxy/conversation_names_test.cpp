// Prepared statements by the client's names over shared servers, and errors of the proxy's own in their place.
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "protocol/pending_errors.hpp"
#include "tests/proxy/talk.hpp"

namespace holdfast::proxy {
namespace {

using namespace std::string_literals;
using namespace wire;
using protocol::ClientStatements;
using Answer = ClientStatements::Answer;
using Taken = Conversation::Taken;

class ConversationNames : public ConversationWorld {
 protected:
  ConversationNames() { talk.answers_locally = false; }
  void prepare(const std::string& name, const std::string& sql) {
    talk.client(parse(name, sql) + sync());
    talk.server(parsed + ready());
    talk.said(talk.next);
    talk.heard();
  }
  [[nodiscard]] Answer known(std::string_view name) const { return talk.statements.find(name).answer; }
};

std::string says(char tag, std::string_view state, std::string_view text, std::string_view routine) {
  const std::string body = "S?\0VERROR\0C"s + std::string(state) + "\0M"s + std::string(text) + "\0D"s + "in hf_1" +
                           "\0R"s + std::string(routine) + "\0\0"s;
  return message(tag, body);
}

// In whatever language: the routine tells that it is one, and the name has no other form.
TEST_F(ConversationNames, in_an_error_are_the_clients_own) {
  prepare("mine", "SELECT $1");
  prepare("other", "SELECT 2");
  for (const auto& [state, text, routine, own] : std::vector<std::array<std::string, 4>>{
           {"26000", "prepared statement \"hf_1\" does not exist", "FetchPreparedStatement",
            "prepared statement \"mine\" does not exist"},
           {"08P01", "Bind liefert 0 Parameter, aber \xc2\xbbhf_1\xc2\xab verlangt 1", "exec_bind_message",
            "Bind liefert 0 Parameter, aber \xc2\xbbmine\xc2\xab verlangt 1"},
           {"08P01", "of hf_10, xhf_1 and hf_1x no word; of hf_2", "exec_bind_message",
            "of hf_10, xhf_1 and hf_1x no word; of hf_2"},
           {"42P01", "relation \"hf_1\" does not exist", "parserOpenTable", "relation \"hf_1\" does not exist"},
           {"26000", "prepared statement \"hf_77\" does not exist", "FetchPreparedStatement",
            "prepared statement \"\" does not exist"}}) {
    talk.client(bind("mine") + execute() + sync());
    talk.server(says('E', state, text, routine) + ready());
    EXPECT_EQ(talk.heard(), "E" + state + " ZI");
    if (own.find("hf_10") == std::string::npos) {
      EXPECT_EQ(talk.last_message(), own);
    } else {
      EXPECT_EQ(talk.last_message(), "of , xhf_1 and hf_1x no word; of hf_2") << "the first one";
    }
  }
  // What a client's own SQL calls so is its own.
  talk.client(run("EXECUTE hf_1"));
  talk.server(parsed + bound +
              says('E', "26000", "prepared statement \"hf_1\" does not exist", "FetchPreparedStatement") + ready());
  EXPECT_EQ(talk.last_message(), "prepared statement \"hf_1\" does not exist");
}

TEST_F(ConversationNames, in_a_notice_are_the_clients_own) {
  prepare("mine", "SELECT 1");
  talk.client(bind("mine") + execute() + wire::close("mine") + sync());
  talk.server(says('N', "00000", "bind hf_1 to <unnamed>", "exec_bind_message"));
  EXPECT_EQ(talk.last_message(), "bind mine to <unnamed>");
  talk.server(bound + says('N', "00000", "duration: 1 ms  execute hf_1: SELECT hf_1", "exec_execute_message"));
  EXPECT_EQ(talk.last_message(), "duration: 1 ms  execute mine: SELECT hf_1");
  talk.server(one_row() + says('N', "00000", "from hf_1", "exec_stmt_raise") + ready());
  EXPECT_EQ(talk.last_message(), "from hf_1");
}

TEST_F(ConversationNames, names_on_the_server_are_the_proxys) {
  talk.client(parse("mine", "SELECT 1") + bind("mine", "portal") + describe("mine") + execute("portal") + sync());
  EXPECT_EQ(talk.said(), "P:hf_1:SELECT 1 B:portal:hf_1 D:Shf_1 E:portal S");
  talk.server(parsed + bound + parameters + description + one_row() + ready());
  EXPECT_EQ(talk.heard(), "1 2 t T D:one C:SELECT 1 ZI");
  EXPECT_EQ(known("mine"), Answer::ok);
}

TEST_F(ConversationNames, statement_that_another_server_lacks_is_parsed_there_unheard) {
  prepare("mine", "SELECT 1");
  talk.next = 1;
  talk.client(run_named("mine"));
  EXPECT_EQ(talk.said(1), "P:hf_1:SELECT 1 B:hf_1 E S");
  talk.server(parsed + bound + one_row() + ready());
  EXPECT_EQ(talk.heard(), "2 D:one C:SELECT 1 ZI");
  talk.client(run_named("mine"));
  EXPECT_EQ(talk.said(1), "B:hf_1 E S");
}

TEST_F(ConversationNames, error_of_a_parse_that_was_injected_is_the_clients) {
  prepare("mine", "SELECT c FROM t");
  talk.next = 1;
  talk.client(run_named("mine"));
  talk.server(error("54001") + ready());
  EXPECT_EQ(talk.heard(), "E54001 ZI");
  EXPECT_EQ(known("mine"), Answer::ok);
  talk.client(run_named("mine"));
  EXPECT_EQ(talk.said(1), "P:hf_1:SELECT c FROM t B:hf_1 E S P:hf_1:SELECT c FROM t B:hf_1 E S");
}

TEST_F(ConversationNames, parse_of_what_the_server_has_is_answered_in_its_turn) {
  prepare("mine", "SELECT 1");
  talk.client(execute() + parse("yours", "SELECT 1") + bind("yours") + sync());
  EXPECT_EQ(talk.said(), "E B:hf_1 S");
  EXPECT_EQ(talk.heard(), "") << "it stands behind the Execute";
  talk.server(one_row());
  EXPECT_EQ(talk.heard(), "D:one C:SELECT 1");
  talk.server(bound + ready());
  EXPECT_EQ(talk.heard(), "1 2 ZI");
  EXPECT_EQ(known("yours"), Answer::ok);
}

TEST_F(ConversationNames, close_is_answered_in_its_turn_and_the_server_keeps_the_statement) {
  prepare("mine", "SELECT 1");
  talk.client(bind("mine") + execute() + close("mine") + sync());
  EXPECT_EQ(talk.said(), "B:hf_1 E S");
  talk.server(bound + one_row() + ready());
  EXPECT_EQ(talk.heard(), "2 D:one C:SELECT 1 3 ZI");
  EXPECT_EQ(known("mine"), Answer::unknown);
}

TEST_F(ConversationNames, flush_asks_for_what_the_proxy_answers) {
  prepare("mine", "SELECT 1");
  talk.client(parse("yours", "SELECT 1") + flush());
  EXPECT_EQ(talk.heard(), "1");
  talk.client(close("yours") + flush());
  EXPECT_EQ(talk.heard(), "3");
}

TEST_F(ConversationNames, local_answers_behind_an_error_are_not_given) {
  prepare("mine", "SELECT 1");
  talk.client(parse("", "SELECT 1/0") + bind("") + execute() + parse("yours", "SELECT 1") + close("mine") + sync());
  talk.server(parsed + bound + error("22012") + ready());
  EXPECT_EQ(talk.heard(), "1 2 E22012 ZI");
  EXPECT_EQ(known("yours"), Answer::unknown);
  EXPECT_EQ(known("mine"), Answer::ok) << "its Close never happened";
}

TEST_F(ConversationNames, name_that_an_earlier_batch_makes_is_waited_for) {
  EXPECT_EQ(talk.client(parse("mine", "SELECT 1") + sync() + bind("mine") + execute() + sync()), Taken::wait);
  EXPECT_EQ(talk.said(), "P:hf_1:SELECT 1 S");
  talk.server(error("42P01") + ready());
  EXPECT_EQ(talk.said(), "B:hf_0 E S") << "the Bind fails where it would have failed";
  talk.server(error("26000") + ready());
  EXPECT_EQ(talk.heard(), "E42P01 ZI E26000 ZI");
}

TEST_F(ConversationNames, unnamed_statement_of_an_earlier_unit_is_loaded_again_on_another_server) {
  talk.client(parse("", "SELECT 1") + sync());
  talk.server(parsed + ready());
  talk.next = 1;
  talk.client(bind("") + execute() + sync());
  EXPECT_EQ(talk.said(1), "P:SELECT 1 B E S");
  talk.server(parsed + bound + one_row() + ready());
  EXPECT_EQ(talk.heard(), "1 ZI 2 D:one C:SELECT 1 ZI");
}

TEST_F(ConversationNames, query_destroys_the_unnamed_statement) {
  talk.client(parse("", "SELECT 1") + sync());
  talk.server(parsed + ready());
  talk.client(query("SELECT 2"));
  talk.server(one_row() + ready());
  talk.heard();
  talk.client(bind("") + sync());
  talk.server(error("26000") + ready());
  EXPECT_EQ(talk.heard(), "E26000 ZI");
  EXPECT_EQ(talk.last_error(), "unnamed prepared statement does not exist");
}

// ---- errors of our own

TEST_F(ConversationNames, unknown_name_fails_in_its_place_in_the_clients_words) {
  talk.client(parse("", "SELECT 1") + bind("") + execute() + bind("nobody") + execute() + sync());
  EXPECT_EQ(talk.said(), "P:SELECT 1 B E B:hf_0 E S");
  talk.server(parsed + bound + one_row());
  EXPECT_EQ(talk.heard(), "1 2 D:one C:SELECT 1");
  talk.server(error("26000") + ready());
  EXPECT_EQ(talk.heard(), "E26000 ZI");
  EXPECT_EQ(talk.last_error(), "prepared statement \"nobody\" does not exist");
  EXPECT_FALSE(talk.linked());
}

TEST_F(ConversationNames, name_in_use_is_42p05) {
  prepare("mine", "SELECT 1");
  talk.client(parse("mine", "SELECT 2") + sync());
  EXPECT_EQ(talk.said(), "P:hf_2:SELECT 2 D:Shf_0 S");
  talk.server(parsed + error("26000") + ready());
  EXPECT_EQ(talk.heard(), "E42P05 ZI");
  EXPECT_EQ(talk.statements.find("mine").statement->text(), "SELECT 1");
}

TEST_F(ConversationNames, name_in_use_of_a_text_that_fails_is_told_what_is_wrong_with_the_text) {
  prepare("mine", "SELECT 1");
  talk.unlinks = false;
  // More than errors of our own are ever kept: none is left behind.
  for (std::size_t i = 0; i < 2 * protocol::PendingErrors::most; ++i) {
    ASSERT_EQ(talk.client(parse("mine", "SELECT * FROM nowhere") + sync()), Taken::taken) << i;
    talk.server(error("42P01") + ready());
    ASSERT_EQ(talk.heard(), "E42P01 ZI");
  }
  EXPECT_EQ(known("mine"), Answer::ok);
}

TEST_F(ConversationNames, malformed_bind_is_08p01) {
  talk.client(message('B', "portal without its end"));
  talk.client(sync());
  EXPECT_EQ(talk.said(), "B:hf_0 S");
  talk.server(error("26000") + ready());
  EXPECT_EQ(talk.heard(), "E08P01 ZI");
}

TEST_F(ConversationNames, errors_of_ours_behind_an_error_are_skipped_and_forgotten) {
  talk.unlinks = false;
  // More than are ever kept: if each left one behind, the client would wait for good.
  for (std::size_t i = 0; i < 2 * protocol::PendingErrors::most; ++i) {
    ASSERT_EQ(talk.client(parse("", "SELECT x") + bind("nobody") + sync()), Taken::taken) << i;
    talk.server(error("42703") + ready());
    ASSERT_EQ(talk.heard(), "E42703 ZI");
  }
}

TEST_F(ConversationNames, errors_of_ours_while_the_server_skips_are_not_kept) {
  talk.client(parse("", "SELECT x") + flush());
  talk.server(error("42703"));
  for (std::size_t i = 0; i < 2 * protocol::PendingErrors::most; ++i) {
    ASSERT_EQ(talk.client(bind("nobody")), Taken::taken) << i;
  }
  talk.client(sync());
  talk.server(ready());
  EXPECT_EQ(talk.heard(), "E42703 ZI");
}

TEST_F(ConversationNames, errors_of_ours_that_are_pipelined_are_bounded) {
  std::string flood;
  for (std::size_t i = 0; i < protocol::PendingErrors::most; ++i) flood += bind("nobody") + sync();
  EXPECT_EQ(talk.client(flood), Taken::taken);
  EXPECT_EQ(talk.client(bind("nobody") + sync()), Taken::wait);
  talk.said();
  talk.server(error("26000") + ready());
  EXPECT_EQ(talk.said(), "B:hf_0 S");
  for (std::size_t i = 0; i < protocol::PendingErrors::most; ++i) talk.server(error("26000") + ready());
  EXPECT_FALSE(talk.linked());
  EXPECT_EQ(talk.after.units, protocol::PendingErrors::most + 1);
}

// ---- names and SQL

TEST_F(ConversationNames, deallocate_in_sql_of_a_parsed_name_is_answered_here) {
  prepare("mine", "SELECT 1");
  talk.client(query("SET work_mem = 1"));  // keeps the server
  talk.server(complete("SET") + ready());
  talk.said();
  talk.heard();
  EXPECT_EQ(talk.client(query("DEALLOCATE mine")), Taken::taken);
  EXPECT_EQ(talk.said(), "");
  EXPECT_EQ(talk.heard(), "C:DEALLOCATE ZI");
  EXPECT_EQ(known("mine"), Answer::unknown);
  EXPECT_FALSE(talk.conversation->unit_open());
}

TEST_F(ConversationNames, deallocate_waits_for_what_is_in_flight_and_says_what_became_of_the_block) {
  prepare("mine", "SELECT 1");
  talk.client(query("BEGIN"));
  EXPECT_EQ(talk.client(query("DEALLOCATE mine")), Taken::wait);
  talk.server(complete("BEGIN") + ready('T'));
  EXPECT_EQ(talk.said(), "Q:BEGIN");
  EXPECT_EQ(talk.heard(), "C:BEGIN ZT C:DEALLOCATE ZT");
}

TEST_F(ConversationNames, deallocate_in_a_failed_block_is_the_servers_to_refuse) {
  prepare("mine", "SELECT 1");
  talk.client(query("BEGIN"));
  talk.server(complete("BEGIN") + ready('T'));
  talk.client(query("SELECT 1/0"));
  talk.server(error("22012") + ready('E'));
  talk.heard();
  talk.client(query("DEALLOCATE mine"));
  EXPECT_EQ(talk.said(), "Q:BEGIN Q:SELECT 1/0 Q:DEALLOCATE mine");
  talk.server(error("25P02") + ready('E'));
  EXPECT_EQ(talk.heard(), "E25P02 ZE");
  EXPECT_EQ(known("mine"), Answer::ok);
}

TEST_F(ConversationNames, deallocate_of_a_name_of_sqls_own_goes_to_the_server) {
  talk.client(query("DEALLOCATE other"));
  EXPECT_EQ(talk.said(), "Q:DEALLOCATE other");
}

TEST_F(ConversationNames, deallocate_all_takes_every_name_and_the_server_is_not_trusted_with_any) {
  prepare("mine", "SELECT 1");
  prepare("yours", "SELECT 2");
  talk.client(query("DEALLOCATE ALL"));
  auto& server = talk.current();
  talk.server(complete("DEALLOCATE ALL") + ready());
  EXPECT_EQ(known("mine"), Answer::unknown);
  EXPECT_EQ(known("yours"), Answer::unknown);
  EXPECT_FALSE(server.session.may_serve_others());
  talk.said();
  talk.client(parse("mine", "SELECT 1") + sync());
  EXPECT_EQ(talk.said(), "C:Shf_1 P:hf_1:SELECT 1 S");
  talk.server(closed + parsed + ready());
  EXPECT_EQ(talk.heard(), "C:DEALLOCATE ALL ZI 1 ZI");
}

// Names behind it mean what they mean once it has run. The server is asked for its answer, and the pipeline goes on.
TEST_F(ConversationNames, behind_a_deallocate_all_in_a_batch_names_wait) {
  prepare("mine", "SELECT 1");
  const auto all = parse("", "DEALLOCATE ALL") + bind("") + execute();
  EXPECT_EQ(talk.client(all + close("mine") + parse("mine", "SELECT 2") + sync()), Taken::wait);
  EXPECT_EQ(talk.said(), "P:DEALLOCATE ALL B E H");
  talk.server(parsed + bound + complete("DEALLOCATE ALL"));
  EXPECT_EQ(talk.said(), "P:hf_3:SELECT 2 S");
  talk.server(parsed + ready());
  EXPECT_EQ(talk.heard(), "1 2 C:DEALLOCATE ALL 3 1 ZI");
  EXPECT_EQ(known("mine"), Answer::ok);
}

TEST_F(ConversationNames, behind_a_discard_all_of_an_earlier_unit_names_wait) {
  prepare("mine", "SELECT 1");
  for (const auto& all : {query("DISCARD ALL"), parse("", "DISCARD ALL") + bind("") + execute() + sync()}) {
    EXPECT_EQ(talk.client(all + parse("mine", "SELECT 1") + sync()), Taken::wait);
    EXPECT_EQ(talk.said().find('H'), std::string::npos);
    talk.server((all[0] == 'P' ? parsed + bound : std::string()) + complete("DISCARD ALL") + ready());
    EXPECT_TRUE(talk.said().ends_with("P:hf_1:SELECT 1 S")) << "and the server has lost what it had";
    talk.server(closed + parsed + ready());
    talk.heard();
    EXPECT_EQ(known("mine"), Answer::ok);
  }
}

TEST_F(ConversationNames, discard_that_fails_or_never_runs_takes_no_name) {
  prepare("mine", "SELECT 1");
  const auto all = parse("", "DISCARD ALL") + bind("") + execute();
  EXPECT_EQ(talk.client(all + parse("mine", "SELECT 1") + sync()), Taken::wait);
  talk.server(parsed + bound + error("25001"));
  EXPECT_EQ(talk.said(), "P:DISCARD ALL B E H P:hf_3:SELECT 1 D:Shf_0 S") << "which are skipped";
  talk.server(ready());
  EXPECT_EQ(talk.heard(), "1 2 E25001 ZI");
  EXPECT_EQ(talk.client(parse("", "SELECT x") + all + bind("mine") + sync()), Taken::wait);
  talk.server(error("42703"));
  talk.server(ready());
  EXPECT_EQ(talk.heard(), "E42703 ZI");
  EXPECT_EQ(known("mine"), Answer::ok);
}

// What doesn't belong into a COPY ends it: the server must see it, and as what it is.
TEST_F(ConversationNames, nothing_is_answered_here_while_a_copy_waits_for_its_client) {
  prepare("mine", "SELECT 1");
  for (const auto& [message, sent] : std::vector<std::pair<std::string, std::string>>{
           {close("mine"), "C:Shf_0"},
           {parse("other", "SELECT 1"), "C:Shf_1 P:hf_1:SELECT 1"},
           {bind("nobody"), "B:hf_0"},
           {query("DEALLOCATE mine"), "Q:DEALLOCATE mine"}}) {
    Talk again(pool());
    again.client(parse("mine", "SELECT 1") + sync());
    again.server(parsed + ready());
    again.client(query("COPY t FROM STDIN"));
    again.server(copy_in);
    again.said();
    EXPECT_EQ(again.client(message), Taken::taken);
    EXPECT_EQ(again.said(), sent);
    EXPECT_TRUE(again.server(error("08P01")));
  }
}

TEST_F(ConversationNames, close_behind_a_whole_copy_is_answered_here) {
  prepare("mine", "SELECT 1");
  talk.client(query("COPY t FROM STDIN") + copy_data("1\n") + copy_done() + close("mine") + sync());
  EXPECT_TRUE(talk.said().ends_with("c S")) << "the Close is not sent";
  talk.server(copy_in + complete("COPY 1") + ready() + ready());
  EXPECT_TRUE(talk.heard().ends_with("C:COPY 1 ZI 3 ZI"));
}

TEST_F(ConversationNames, plans_that_expired_are_parsed_again_under_the_same_name) {
  talk.statements.set_scope({.database = talk.tables.statements.scope_of("main")});
  prepare("mine", "SELECT 1");
  talk.tables.expire_plans("main");
  talk.client(run_named("mine"));
  EXPECT_EQ(talk.said(), "C:Shf_1 P:hf_1:SELECT 1 B:hf_1 E S");
  talk.server(closed + parsed + bound + one_row() + ready());
  EXPECT_EQ(talk.heard(), "2 D:one C:SELECT 1 ZI");
}

class ConversationLongStatement : public PoolWorld {
 protected:
  ConversationLongStatement() { talk.answers_locally = false; }
  Talk talk{pool(), 1000};  // longer texts come in pieces
  const std::string sql = "SELECT '" + std::string(70'000, 'x') + "'";
  const std::string text = parse("mine", sql);
};

TEST_F(ConversationLongStatement, streams_through_under_another_name_and_is_known_where_it_was_parsed) {
  talk.client(text.substr(0, 9000));
  ASSERT_TRUE(talk.linked());
  EXPECT_EQ(talk.current().session.owed(), text.size() - 9000);
  talk.client(text.substr(9000) + sync());
  EXPECT_EQ(talk.current().session.owed(), 0U);
  EXPECT_EQ(talk.said(), "P:hf_1:" + sql + " S");
  talk.server(parsed + ready());
  talk.client(run_named("mine"));
  EXPECT_EQ(talk.said(), "B:hf_1 E S");
  talk.server(bound + one_row() + ready());
  EXPECT_EQ(talk.heard(), "1 ZI 2 D:one C:SELECT 1 ZI");
}

TEST_F(ConversationLongStatement, is_26000_on_a_server_that_never_saw_it) {
  talk.client(text.substr(0, 9000));
  talk.client(text.substr(9000) + sync());
  talk.server(parsed + ready());
  ASSERT_FALSE(talk.linked());
  talk.next = 1;
  talk.client(run_named("mine"));
  EXPECT_EQ(talk.said(1), "B:hf_0 E S");
  talk.server(error("26000") + ready());
  EXPECT_EQ(talk.heard(), "1 ZI E26000 ZI");
  EXPECT_NE(talk.last_error().find("too long to be kept"), std::string::npos);
}

TEST_F(ConversationNames, rest_of_a_long_message_that_fails_here_goes_nowhere) {
  talk.client(parse("", "SELECT 1") + flush());
  const auto text = message('B', "\0nobody\0"s + std::string(20'000, 'v'));
  talk.client(text.substr(0, 9000));
  EXPECT_TRUE(talk.conversation->dropping());
  EXPECT_EQ(talk.current().session.owed(), 0U);
  talk.client(text.substr(9000) + sync());
  EXPECT_FALSE(talk.conversation->dropping());
  EXPECT_EQ(talk.said(), "P:SELECT 1 H B:hf_0 S");
}

}  // namespace
}  // namespace holdfast::proxy
