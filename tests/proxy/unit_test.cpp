// What look_ahead() makes of the bytes at the front.
#include "proxy/route/unit.hpp"

#include <gtest/gtest.h>

#include <string>

#include "protocol/deferred_begin.hpp"
#include "protocol/prepared.hpp"

namespace holdfast::proxy {
namespace {

using namespace std::string_literals;
using protocol::as_bytes;
using protocol::sql::Access;
using protocol::sql::Effect;

std::string message(char tag, const std::string& body = {}) {
  const auto length = static_cast<std::uint32_t>(body.size() + 4);
  std::string text(1, tag);
  for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(length >> static_cast<unsigned>(shift) & 255U);
  return text + body;
}
std::string query(const std::string& sql) {
  return message('Q', sql + '\0');
}
std::string parse(const std::string& name, const std::string& sql) {
  return message('P', name + '\0' + sql + "\0\0\0"s);
}
std::string bind_to(const std::string& name) {
  return message('B', "\0"s + name + "\0\0\0\0\0\0\0"s);
}
const std::string execute = message('E', "\0\0\0\0\0"s);
const std::string end = message('S');
const std::string flush_message = message('H');

constexpr std::size_t limit = 1000;

class LookAhead : public ::testing::Test {
 protected:
  Unit look(const std::string& text) { return look_ahead(as_bytes(text), framer, statements, classifier, limit); }
  // The client has prepared this before.
  void prepared(const std::string& name, const std::string& sql) {
    const auto text = parse(name, sql);
    protocol::Framer own(protocol::Direction::from_client);
    const auto understood = prepare.understand(own.next(as_bytes(text)), statements);
    statements.settle(understood.cookie, protocol::Outcome::completed);
    statements.end_batch();
  }

  protocol::PendingPool pending;
  protocol::StatementTable table{0};
  protocol::Prepared prepare{table};
  protocol::ClientStatements statements{pending};
  protocol::sql::Classifier classifier{protocol::sql::Classifier::Options{}};
  protocol::Framer framer{protocol::Direction::from_client};
};

TEST_F(LookAhead, query_is_a_unit_of_its_own) {
  const auto unit = look(query("SELECT 1") + query("DELETE FROM t"));
  EXPECT_EQ(unit.shape, Unit::Shape::decided);
  EXPECT_TRUE(unit.needs_server);
  EXPECT_TRUE(unit.answered_alone);
  EXPECT_TRUE(unit.verdict.repeatable());
}

TEST_F(LookAhead, incomplete_until_the_last_byte_at_every_cut) {
  const auto text = parse("", "SELECT 1") + bind_to("") + execute + end;
  for (std::size_t cut = 0; cut < text.size(); ++cut) {
    const auto unit = look(text.substr(0, cut));
    ASSERT_EQ(unit.shape, Unit::Shape::incomplete) << cut;
    ASSERT_GT(unit.wanted, cut);
    ASSERT_LE(unit.wanted, text.size());
  }
  const auto unit = look(text);
  EXPECT_EQ(unit.shape, Unit::Shape::decided);
  EXPECT_FALSE(unit.answered_alone);
  EXPECT_TRUE(unit.verdict.repeatable());
}

TEST_F(LookAhead, one_write_makes_the_batch_a_write) {
  const auto unit = look(parse("", "SELECT 1") + bind_to("") + execute + parse("", "INSERT INTO t VALUES (1)") +
                         bind_to("") + execute + end);
  EXPECT_EQ(unit.shape, Unit::Shape::decided);
  EXPECT_EQ(unit.verdict.access, Access::write);
}

TEST_F(LookAhead, statement_prepared_before_counts_by_its_name) {
  prepared("w", "INSERT INTO t VALUES (1)");
  prepared("r", "SELECT 1");
  EXPECT_EQ(look(bind_to("w") + execute + end).verdict.access, Access::write);
  EXPECT_TRUE(look(bind_to("r") + execute + end).verdict.repeatable());
  EXPECT_EQ(look(bind_to("r") + execute + bind_to("w") + execute + end).verdict.access, Access::write);
}

TEST_F(LookAhead, unnamed_statement_of_the_batch_hides_the_one_before) {
  prepared("", "INSERT INTO t VALUES (1)");
  EXPECT_TRUE(look(parse("", "SELECT 1") + bind_to("") + execute + end).verdict.repeatable());
  EXPECT_EQ(look(bind_to("") + execute + end).verdict.access, Access::write);
}

TEST_F(LookAhead, flush_decides_early_but_nothing_needs_no_server) {
  EXPECT_EQ(look(parse("", "SELECT 1") + flush_message).shape, Unit::Shape::decided);
  EXPECT_EQ(look(parse("", "SELECT 1") + flush_message).verdict.access, protocol::sql::Access::write)
      << "what comes behind it in the batch may write";
  EXPECT_FALSE(look(parse("", "SELECT 1").substr(0, 5)).begun);
  EXPECT_TRUE(look(parse("", "SELECT 1")).begun);
  EXPECT_FALSE(look(flush_message + query("SELECT 1")).needs_server);
  EXPECT_FALSE(look(end).needs_server);
  EXPECT_FALSE(look(message('X')).needs_server);
}

TEST_F(LookAhead, what_is_left_of_a_copy_needs_no_server) {
  for (const auto& text : {message('d', std::string(5000, 'x')).substr(0, 100), message('c'), message('f', "no\0"s)}) {
    const auto unit = look(text);
    EXPECT_EQ(unit.shape, Unit::Shape::decided);
    EXPECT_FALSE(unit.needs_server);
  }
}

TEST_F(LookAhead, longer_batch_than_is_looked_at_is_a_write) {
  std::string text;
  while (text.size() <= limit) text += parse("", "SELECT 1") + bind_to("") + execute;
  const auto unit = look(text);
  EXPECT_EQ(unit.shape, Unit::Shape::decided);
  EXPECT_EQ(unit.verdict.access, Access::write);
}

TEST_F(LookAhead, function_call_and_long_query_end_with_their_own_answer) {
  const auto call = look(message('F', std::string(10, '\0')));
  EXPECT_TRUE(call.answered_alone);
  EXPECT_EQ(call.verdict.access, Access::write);
  framer = protocol::Framer(protocol::Direction::from_client, {.whole_limit = 2000});
  const auto query_in_pieces = look(query("SELECT '" + std::string(5000, 'x') + "'").substr(0, 3000));
  EXPECT_EQ(query_in_pieces.shape, Unit::Shape::decided);
  EXPECT_TRUE(query_in_pieces.answered_alone);
  EXPECT_EQ(query_in_pieces.verdict.access, Access::write);
}

TEST_F(LookAhead, parses_alone_are_told_apart) {
  EXPECT_TRUE(look(parse("a", "SELECT 1") + end).only_parses);
  EXPECT_TRUE(look(parse("a", "DELETE FROM t") + end).only_parses);
  EXPECT_FALSE(look(parse("a", "SELECT 1") + message('D', "Sa\0"s) + end).only_parses);
}

TEST_F(LookAhead, no_protocol_is_broken) {
  EXPECT_EQ(look("\x01\x02\x03\x04\x05\x06").shape, Unit::Shape::broken);
  EXPECT_EQ(look(std::string("Q\0\0\0\1", 5)).shape, Unit::Shape::broken);
}

TEST_F(LookAhead, what_binds_nothing_runs_nothing_new) {
  EXPECT_FALSE(look(parse("a", "SET a.b = 1") + message('D', "Sa\0"s) + message('C', "Sb\0"s) + end).binds);
  EXPECT_TRUE(look(parse("a", "SELECT 1") + bind_to("a") + end).binds);
  EXPECT_FALSE(look(execute + parse("a", "SET a.b = 1") + end).binds) << "a portal of an earlier unit";
  EXPECT_TRUE(look(query("SELECT 1")).binds);
  EXPECT_TRUE(look(message('F', std::string(14, '\0'))).binds);
  EXPECT_TRUE(look(parse("a", "SELECT 1") + flush_message).binds) << "what comes behind it may";
}

TEST_F(LookAhead, named_portals_are_seen) {
  EXPECT_TRUE(look(parse("", "SELECT 1") + message('B', "p\0\0\0\0\0\0\0\0"s) + end).keeps_portal);
  EXPECT_FALSE(look(parse("", "SELECT 1") + bind_to("") + execute + end).keeps_portal);
}

TEST_F(LookAhead, a_begin_that_could_not_be_sent_again_is_seen) {
  const std::string long_one = "BEGIN READ ONLY /*" + std::string(protocol::DeferredBegin::longest_text, 'x') + "*/";
  EXPECT_TRUE(look(query("BEGIN READ ONLY")).hides_begin) << "it was not deferred";
  EXPECT_TRUE(look(parse("", long_one) + bind_to("") + end).hides_begin);
  EXPECT_FALSE(look(parse("", "BEGIN READ ONLY") + bind_to("") + end).hides_begin);
  prepared("long", long_one);
  prepared("short", "BEGIN READ ONLY");
  EXPECT_TRUE(look(bind_to("long") + execute + end).hides_begin);
  EXPECT_FALSE(look(bind_to("short") + execute + end).hides_begin);
  EXPECT_FALSE(look(query("SELECT 1")).hides_begin);
}

TEST_F(LookAhead, a_chain_is_seen_wherever_it_stands) {
  EXPECT_TRUE(
      look(parse("", "COMMIT AND CHAIN") + bind_to("") + execute + parse("", "SELECT 1") + bind_to("") + execute + end)
          .verdict.chains);
}

TEST_F(LookAhead, control_of_two_kinds_is_for_the_primary) {
  const auto unit =
      look(parse("", "BEGIN READ ONLY") + bind_to("") + execute + parse("", "COMMIT") + bind_to("") + execute + end);
  EXPECT_EQ(unit.verdict.access, Access::write);
}

}  // namespace
}  // namespace holdfast::proxy
