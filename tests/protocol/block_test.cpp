#include "protocol/block.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "protocol/framer.hpp"
#include "protocol/frontend.hpp"
#include "protocol/sql/classify.hpp"
#include "tests/protocol/wire_text.hpp"

namespace holdfast::protocol {
namespace {

using sql::TransactionControl;
using State = Block::State;
using Step = LostTransaction::Step;
using testing::text_of;

constexpr std::uint32_t cookie = 7;
constexpr State all_states[] = {State::idle, State::deferred, State::opening, State::open, State::failed, State::lost};

sql::Verdict verdict(std::string_view text) {
  return sql::classify(text, {});
}

// Tags of client messages.
std::string tags_of(Bytes bytes) {
  std::string tags;
  Framer framer(Direction::from_client);
  while (!bytes.empty()) {
    const Frame frame = framer.next(bytes);
    if (frame.kind != Frame::Kind::start || !frame.last) return tags + "?";
    tags += frame.tag;
    bytes = bytes.subspan(frame.bytes.size());
  }
  return tags;
}

class BlockTest : public ::testing::Test {
 protected:
  // What the client reads; empty if a server is needed.
  static std::string defer(Block& block, std::string_view text) {
    std::vector<std::byte> out;
    const bool answered = block.defer(text, verdict(text), out);
    EXPECT_EQ(answered, !out.empty());
    return text_of(out);
  }
  static std::string end(Block& block, std::string_view text) {
    std::vector<std::byte> out;
    const bool answered = block.end(verdict(text), out);
    EXPECT_EQ(answered, !out.empty());
    return text_of(out);
  }
  static std::string open(Block& block, std::uint32_t under = cookie) {
    std::vector<std::byte> out;
    (void)block.open(under, out);
    return tags_of(out);
  }
  // A client that was idle in a block that is gone.
  static Loss idle_in_block() { return {.status_before = 'T', .status_after = 'E'}; }
  static std::string lose(Block& block, const Loss& loss, Error error = {sqlstate::serialization_failure, "lost"}) {
    std::vector<std::byte> out;
    block.lose(loss, error, LostTransaction::Message::whole, out);
    return text_of(out);
  }
  static void bring(Block& block, State state) {
    if (state == State::deferred || state == State::opening) defer(block, "begin");
    if (state == State::opening) open(block);
    if (state == State::open) block.ready('T', true);
    if (state == State::failed) block.ready('E', true);
    if (state == State::lost) lose(block, idle_in_block());
    ASSERT_EQ(block.state(), state);
  }
  std::string query(std::string_view sql, TransactionControl control = TransactionControl::none) {
    Out bytes;
    write_query(bytes, sql);
    return say(std::move(bytes), control);
  }
  std::string say(const Out& bytes, TransactionControl control = TransactionControl::none) {
    Framer framer(Direction::from_client);
    Out out;
    for (Bytes rest = bytes; !rest.empty();) {
      const Frame frame = framer.next(rest);
      step = block.answer(frame.tag, frame.body(), control, out);
      rest = rest.subspan(frame.bytes.size());
      if (step != Step::answered) break;
    }
    return text_of(out);
  }

  Block block;
  Step step = Step::answered;
};

// ---- states and what they are called

TEST_F(BlockTest, a_session_begins_outside_any_block) {
  EXPECT_EQ(block.state(), State::idle);
  EXPECT_EQ(block.status(), 'I');
  EXPECT_FALSE(block.lost());
  EXPECT_FALSE(block.owns(0));
  EXPECT_FALSE(block.take_begin_error());
}

TEST_F(BlockTest, ready_for_query_says_in_every_state_what_the_client_believes) {
  const std::pair<State, char> said[] = {{State::idle, 'I'}, {State::deferred, 'T'}, {State::opening, 'T'},
                                         {State::open, 'T'}, {State::failed, 'E'},   {State::lost, 'E'}};
  for (const auto& [state, status] : said) {
    Block it;
    bring(it, state);
    EXPECT_EQ(it.status(), status) << name_of(state);
    EXPECT_EQ(it.lost(), state == State::lost) << name_of(state);
  }
}

TEST_F(BlockTest, every_state_has_a_name) {
  for (const State state : all_states) EXPECT_STRNE(name_of(state), "?");
}

// ---- a BEGIN that no server has seen

TEST_F(BlockTest, a_begin_that_may_wait_is_answered_at_once) {
  EXPECT_EQ(defer(block, "begin"), "C:BEGIN ZT");
  EXPECT_EQ(block.state(), State::deferred);
  Block other;
  EXPECT_EQ(defer(other, "start transaction"), "C:START TRANSACTION ZT");
}

TEST_F(BlockTest, a_begin_that_says_where_it_belongs_needs_a_server) {
  for (const std::string_view text : {"begin read write", "begin isolation level serializable", "select 1"}) {
    EXPECT_EQ(defer(block, text), "") << text;
    EXPECT_EQ(block.state(), State::idle) << text;
  }
}

TEST_F(BlockTest, only_outside_any_block_a_begin_waits) {
  for (const State state : all_states) {
    if (state == State::idle) continue;
    Block it;
    bring(it, state);
    EXPECT_EQ(defer(it, "begin"), "") << name_of(state);
    EXPECT_EQ(it.state(), state);
  }
}

TEST_F(BlockTest, an_empty_block_ends_without_a_server) {
  for (const auto& [text, answer] :
       {std::pair("commit", "C:COMMIT ZI"), std::pair("rollback", "C:ROLLBACK ZI"), std::pair("end", "C:COMMIT ZI")}) {
    defer(block, "begin");
    EXPECT_EQ(end(block, text), answer);
    EXPECT_EQ(block.state(), State::idle) << text;
    EXPECT_EQ(block.status(), 'I') << text;
  }
}

TEST_F(BlockTest, what_does_not_end_the_empty_block_leaves_it_deferred) {
  defer(block, "begin");
  for (const std::string_view text : {"select 1", "commit and chain", "savepoint a", "prepare transaction 'x'"}) {
    EXPECT_EQ(end(block, text), "") << text;
    EXPECT_EQ(block.state(), State::deferred) << text;
  }
}

TEST_F(BlockTest, a_block_that_a_server_has_seen_is_ended_by_that_server) {
  for (const State state : all_states) {
    if (state == State::deferred) continue;
    Block it;
    bring(it, state);
    EXPECT_EQ(end(it, "commit"), "") << name_of(state);
    EXPECT_EQ(it.state(), state);
  }
}

TEST_F(BlockTest, the_first_statement_takes_the_begin_along) {
  defer(block, "begin read only");
  EXPECT_EQ(open(block), "PBEC");
  EXPECT_EQ(block.state(), State::opening);
  EXPECT_TRUE(block.owns(cookie));
  EXPECT_FALSE(block.owns(cookie + 1));
  EXPECT_FALSE(block.owns(0));
}

TEST_F(BlockTest, a_begin_is_owned_until_its_block_is_ready) {
  for (const char status : {'I', 'T', 'E'}) {
    Block it;
    bring(it, State::opening);
    it.ready(status, true);
    EXPECT_FALSE(it.owns(cookie)) << status;
  }
}

TEST_F(BlockTest, a_begin_that_was_lost_on_its_way_goes_to_another_server) {
  defer(block, "begin isolation level repeatable read");
  std::vector<std::byte> first;
  (void)block.open(cookie, first);
  block.take_back();
  EXPECT_EQ(block.state(), State::deferred);
  EXPECT_EQ(block.status(), 'T');
  EXPECT_FALSE(block.owns(cookie));
  std::vector<std::byte> second;
  (void)block.open(cookie + 1, second);
  EXPECT_EQ(first, second);
  EXPECT_TRUE(block.owns(cookie + 1));
  EXPECT_FALSE(block.owns(cookie));
}

TEST_F(BlockTest, there_is_nothing_to_take_back_but_a_begin_on_its_way) {
  for (const State state : all_states) {
    if (state == State::opening) continue;
    Block it;
    bring(it, state);
    it.take_back();
    EXPECT_EQ(it.state(), state) << name_of(state);
  }
}

TEST_F(BlockTest, a_block_whose_first_statement_was_refused_never_was) {
  defer(block, "begin");
  block.abandon();
  EXPECT_EQ(block.state(), State::idle);
  EXPECT_EQ(block.status(), 'I');
  EXPECT_EQ(defer(block, "begin"), "C:BEGIN ZT") << "the next one may wait again";
}

TEST_F(BlockTest, there_is_nothing_to_abandon_but_a_deferred_begin) {
  for (const State state : all_states) {
    if (state == State::deferred) continue;
    Block it;
    bring(it, state);
    it.abandon();
    EXPECT_EQ(it.state(), state) << name_of(state);
  }
}

TEST_F(BlockTest, the_router_judges_the_block_while_its_begin_is_deferred) {
  const auto first = verdict("select 1");
  EXPECT_EQ(block.judged(first, false), first);
  defer(block, "begin read only");
  EXPECT_EQ(block.judged(first, false).control, TransactionControl::begin_read_only);
  open(block);
  EXPECT_EQ(block.judged(first, false), first);
  Block plain;
  defer(plain, "begin");
  EXPECT_EQ(plain.judged(first, false).control, TransactionControl::begin);
  EXPECT_EQ(plain.judged(first, true).control, TransactionControl::begin_read_only);
}

#ifndef NDEBUG
TEST(BlockDeathTest, a_begin_that_was_not_deferred_is_never_sent) {
  Block block;
  std::vector<std::byte> out;
  EXPECT_DEATH((void)block.open(cookie, out), "a BEGIN is sent that was not deferred");
}
#else
TEST(BlockInvariantTest, a_begin_that_was_not_deferred_is_never_sent) {
  Block block;
  std::vector<std::byte> out;
  (void)block.open(cookie, out);
  EXPECT_TRUE(out.empty());
  EXPECT_EQ(block.state(), State::idle);
}
#endif

// ---- on a server

TEST_F(BlockTest, the_servers_word_is_taken_in_every_state_that_has_one) {
  for (const State from : {State::idle, State::opening, State::open, State::failed}) {
    for (const auto& [status, to] :
         {std::pair('I', State::idle), std::pair('T', State::open), std::pair('E', State::failed)}) {
      Block it;
      bring(it, from);
      it.ready(status, true);
      EXPECT_EQ(it.state(), to) << name_of(from) << status;
      EXPECT_EQ(it.status(), status) << name_of(from);
    }
  }
}

TEST_F(BlockTest, a_whole_life_of_a_block) {
  defer(block, "begin");
  open(block);
  block.ready('T', true);
  block.ready('E', true);
  EXPECT_EQ(block.status(), 'E');
  block.ready('T', true);
  EXPECT_EQ(block.status(), 'T') << "ROLLBACK TO SAVEPOINT revives it";
  block.ready('I', true);
  EXPECT_EQ(defer(block, "begin"), "C:BEGIN ZT");
}

// ---- on to another member

TEST_F(BlockTest, may_move_while_only_plain_reads_have_run) {
  block.passes("begin read only", verdict("begin read only"));
  block.runs(verdict("begin read only"));
  EXPECT_FALSE(block.may_move()) << "it isn't open yet";
  block.ready('T', true);
  EXPECT_TRUE(block.may_move());
  block.runs(verdict("select 1"));
  block.ready('T', true);
  EXPECT_TRUE(block.may_move());
  block.move();
  EXPECT_EQ(block.state(), Block::State::deferred);
  EXPECT_EQ(block.status(), 'T') << "its client sees no difference";
  EXPECT_EQ(open(block), "PBECP") << "it begins again, and takes a snapshot, behind which its modes are fixed";
  block.ready('T', true);
  block.ready('I', true);
  defer(block, "begin read only");
  EXPECT_EQ(open(block), "PBEC") << "the next one is another block";
}

TEST_F(BlockTest, moves_without_a_snapshot_if_it_has_none) {
  for (const char* sql : {"begin read only", "set transaction read only"}) {
    Block other;
    defer(other, "begin");
    open(other);
    if (sql != std::string_view("begin read only")) {
      other.makes_read_only(sql);
      other.runs(verdict(sql));
    }
    other.ready('T', true);
    ASSERT_TRUE(other.may_move()) << sql;
    other.move();
    EXPECT_EQ(open(other), sql == std::string_view("begin read only") ? "PBEC" : "PBECPBEC") << sql;
  }
}

TEST_F(BlockTest, moves_with_a_snapshot_if_a_statement_was_parsed) {
  defer(block, "begin read only");
  open(block);
  block.parses(verdict("select 1"));
  block.ready('T', true);
  block.move();
  EXPECT_EQ(open(block), "PBECP");
}

// The next statement may be on its way behind its end.
TEST_F(BlockTest, may_move_until_its_end_is_answered) {
  defer(block, "begin read only");
  open(block);
  block.ready('T', true);
  block.runs(verdict("commit"));
  EXPECT_TRUE(block.may_move());
  block.runs(verdict("commit and chain"));
  EXPECT_FALSE(block.may_move());
}

TEST_F(BlockTest, what_is_taken_back_has_left_no_snapshot) {
  defer(block, "begin read only");
  open(block);
  block.runs(verdict("select 1"));
  block.take_back();
  EXPECT_EQ(open(block), "PBEC");
}

TEST_F(BlockTest, that_has_failed_moves_as_a_failed_one) {
  defer(block, "begin read only");
  open(block);
  block.runs(verdict("select 1"));
  block.ready('E', true);
  ASSERT_TRUE(block.may_move());
  block.move();
  std::vector<std::byte> out;
  const auto opening = block.open(cookie, out);
  EXPECT_TRUE(opening.fails);
  EXPECT_FALSE(opening.snapshot);
  EXPECT_EQ(tags_of(out), "PBECDS");
  block.take_back();
  EXPECT_EQ(open(block), "PBECDS") << "also on another server";
  block.ready('E', true);
  EXPECT_EQ(block.state(), State::failed);
}

TEST_F(BlockTest, a_plain_block_only_reads) {
  const auto plain = [this](std::string_view sql) { return block.stays_plain(verdict(sql)); };
  EXPECT_TRUE(plain("begin read only")) << "outside a block";
  EXPECT_FALSE(plain("set transaction read only"));
  defer(block, "begin");
  EXPECT_TRUE(plain("set transaction read only"));
  EXPECT_TRUE(plain("set transaction read only, isolation level read committed"));
  EXPECT_FALSE(plain("set transaction read only, isolation level repeatable read"));
  EXPECT_FALSE(plain("set transaction read only; select 1"));
  open(block);
  block.ready('T', true);
  for (const char* sql :
       {"select 1", "select 1; select 2", "", "commit", "rollback", "copy t to stdout", "explain select 1"})
    EXPECT_TRUE(plain(sql)) << sql;
  for (const char* sql : {"begin",
                          "begin read only",
                          "commit and chain",
                          "rollback; select 1",
                          "savepoint a",
                          "rollback to a",
                          "set a.b = 1",
                          "set local work_mem = '1MB'",
                          "set transaction read only",
                          "set local work_mem = '1MB'; select 1",
                          "select set_config('a.b', 'c', true)",
                          "select unknown()",
                          "declare c cursor for select 1",
                          "fetch c",
                          "close c",
                          "discard plans",
                          "deallocate a",
                          "listen a",
                          "unlisten a",
                          "select pg_is_in_recovery()",
                          "set constraints all immediate",
                          "insert into t values (1)",
                          "no statement"})
    EXPECT_FALSE(plain(sql)) << sql;
}

TEST_F(BlockTest, that_has_failed_refuses_all_but_its_end) {
  const auto refuses = [this](std::string_view sql) { return block.refuses(verdict(sql)); };
  defer(block, "begin read only");
  open(block);
  block.ready('T', true);
  EXPECT_FALSE(refuses("select 1"));
  block.ready('E', true);
  for (const char* sql : {"select 1", "begin", "insert into t values (1)", "savepoint a", "rollback to a",
                          "set local a.b = 1", "declare c cursor for select 1"}) {
    EXPECT_TRUE(refuses(sql)) << sql;
    block.runs(verdict(sql));
    EXPECT_TRUE(block.may_move()) << sql << " has left nothing";
  }
  for (const char* sql : {"rollback", "commit and chain", "rollback; insert into t values (1)", "no statement",
                          "set a.b = 1", "select pg_advisory_lock(1)", "listen a"})
    EXPECT_FALSE(refuses(sql)) << sql;
}

TEST_F(BlockTest, stays_behind_what_has_left_something_in_it) {
  for (const char* sql :
       {"savepoint a", "set local work_mem = '1MB'", "declare c cursor for select 1", "insert into t values (1)",
        "select 1; set local work_mem = '1MB'", "select unknown()", "select set_config('a.b', 'c', true)"}) {
    Block other;
    other.passes("begin read only", verdict("begin read only"));
    other.runs(verdict("begin read only"));
    other.runs(verdict(sql));
    other.ready('T', true);
    EXPECT_FALSE(other.may_move()) << sql;
    other.ready('I', true);
    other.passes("begin read only", verdict("begin read only"));
    other.ready('T', true);
    EXPECT_TRUE(other.may_move()) << "the next one is another block";
  }
}

TEST_F(BlockTest, stays_with_its_named_portals) {
  block.passes("begin read only", verdict("begin read only"));
  block.portals().bind(Portals::Name::named, verdict("select 1"));
  block.ready('T', true);
  EXPECT_FALSE(block.may_move());
}

TEST_F(BlockTest, stays_if_its_begin_is_not_known) {
  block.runs(verdict("begin read only; select 1"));
  block.ready('T', true);
  EXPECT_FALSE(block.may_move());
}

TEST_F(BlockTest, named_portals_live_as_long_as_their_transaction) {
  block.linked();
  block.portals().bind(Portals::Name::named, verdict("select 1"));
  block.ready('T', true);
  EXPECT_EQ(block.portals().of(Portals::Name::named), Trait::repeatable);
  block.ready('E', true);
  EXPECT_EQ(block.portals().of(Portals::Name::named), Trait::repeatable);
  block.ready('I', true);
  EXPECT_EQ(block.portals().of(Portals::Name::named), Trait::none);
}

TEST_F(BlockTest, portals_of_what_was_sent_behind_the_end_of_a_transaction_stay_known) {
  block.portals().bind(Portals::Name::named, verdict("insert into t values (1)"));
  block.ready('I', false);
  block.portals().bind(Portals::Name::named, verdict("select 1"));
  EXPECT_EQ(block.portals().of(Portals::Name::named), Trait::none) << "it may be either of the two";
}

TEST_F(BlockTest, portals_end_with_their_server) {
  block.portals().bind(Portals::Name::named, verdict("select 1"));
  block.portals().bind(Portals::Name::unnamed, verdict("select 1"));
  block.linked();
  EXPECT_EQ(block.portals().of(Portals::Name::named), Trait::none);
  EXPECT_EQ(block.portals().of(Portals::Name::unnamed), Trait::none);
}

TEST_F(BlockTest, a_new_server_changes_nothing_of_the_block) {
  defer(block, "begin");
  block.linked();
  EXPECT_EQ(block.state(), State::deferred);
}

// ---- without its server

TEST_F(BlockTest, a_loss_with_nothing_left_to_say_leads_to_idle_from_everywhere) {
  for (const State state : all_states) {
    Block it;
    bring(it, state);
    EXPECT_EQ(lose(it, {.outcome = Loss::Outcome::unknown, .units = {{.tag = 'Q'}}}), "E40001 ZI") << name_of(state);
    EXPECT_EQ(it.state(), State::idle) << name_of(state);
    EXPECT_EQ(it.status(), 'I');
    EXPECT_FALSE(it.lost());
    EXPECT_FALSE(it.owns(cookie));
  }
}

TEST_F(BlockTest, a_loss_inside_a_block_leads_to_lost_from_everywhere) {
  for (const State state : all_states) {
    Block it;
    bring(it, state);
    EXPECT_EQ(lose(it, idle_in_block()), "") << name_of(state);
    EXPECT_EQ(it.state(), State::lost) << name_of(state);
    EXPECT_EQ(it.status(), 'E');
    EXPECT_FALSE(it.owns(cookie));
  }
}

TEST_F(BlockTest, the_error_of_the_loss_is_the_callers) {
  const Loss loss{.outcome = Loss::Outcome::unknown, .units = {{.tag = 'Q', .status = 'E'}}, .status_after = 'E'};
  EXPECT_EQ(lose(block, loss, {sqlstate::query_canceled, "no"}), "E57014 ZE");
  EXPECT_EQ(query("select 1"), "E25P02 ZE");
}

TEST_F(BlockTest, a_lost_block_answers_until_it_is_ended) {
  bring(block, State::lost);
  EXPECT_EQ(query("select 1"), "E40001 ZE");
  EXPECT_EQ(query("select 1"), "E25P02 ZE");
  EXPECT_EQ(step, Step::answered);
  EXPECT_EQ(block.state(), State::lost);
  EXPECT_EQ(block.status(), 'E');
  EXPECT_EQ(query("rollback", TransactionControl::rollback), "C:ROLLBACK ZI");
  EXPECT_EQ(step, Step::finished);
  EXPECT_EQ(block.state(), State::idle);
  EXPECT_EQ(block.status(), 'I');
  EXPECT_EQ(defer(block, "begin"), "C:BEGIN ZT");
}

TEST_F(BlockTest, a_lost_batch_outside_a_block_answers_until_its_sync) {
  EXPECT_EQ(lose(block, {.batch = Loss::Batch::owed}), "E40001");
  EXPECT_EQ(block.state(), State::lost);
  EXPECT_EQ(block.status(), 'I') << "there is no block";
  Out sync;
  write_sync(sync);
  EXPECT_EQ(say(sync), "ZI");
  EXPECT_EQ(step, Step::finished);
  EXPECT_EQ(block.state(), State::idle);
}

TEST_F(BlockTest, an_execute_behind_a_bind_is_judged_by_what_was_bound) {
  bring(block, State::lost);
  Out bind;
  write_bind(bind, "", "rollback");
  EXPECT_EQ(say(bind, TransactionControl::rollback), "2");
  Out rest;
  write_describe(rest, {'P', ""});
  write_execute(rest, "");
  write_sync(rest);
  EXPECT_EQ(say(rest, TransactionControl::none), "n C:ROLLBACK ZI");
  EXPECT_EQ(step, Step::finished);
  EXPECT_EQ(block.state(), State::idle);
}

TEST_F(BlockTest, what_follows_the_end_of_a_lost_block_in_its_batch_is_handed_over) {
  bring(block, State::lost);
  Out end;
  write_bind(end, "", "rollback");
  write_execute(end, "");
  EXPECT_EQ(say(end, TransactionControl::rollback), "2 C:ROLLBACK");
  EXPECT_EQ(block.state(), State::lost);
  EXPECT_EQ(block.status(), 'I');
  Out next;
  write_parse(next, "", "select 1");
  EXPECT_EQ(say(next), "");
  EXPECT_EQ(step, Step::hand_over);
  EXPECT_EQ(block.state(), State::idle);
}

TEST_F(BlockTest, what_was_bound_while_an_earlier_block_was_lost_says_nothing_of_the_next) {
  bring(block, State::lost);
  Out bind;
  write_bind(bind, "", "rollback");
  EXPECT_EQ(say(bind, TransactionControl::rollback), "2");
  EXPECT_EQ(query("rollback", TransactionControl::rollback), "C:ROLLBACK ZI");
  bring(block, State::lost);
  Out execute;
  write_execute(execute, "");
  EXPECT_EQ(say(execute), "E40001");
}

TEST_F(BlockTest, a_second_loss_is_told_as_the_first) {
  bring(block, State::lost);
  query("rollback", TransactionControl::rollback);
  block.ready('T', true);
  lose(block, idle_in_block());
  EXPECT_EQ(query("select 1"), "E40001 ZE");
}

// ---- a BEGIN that its server refused

TEST_F(BlockTest, the_error_of_a_begin_is_told_once_in_place_of_the_loss) {
  bring(block, State::opening);
  block.begin_refused({sqlstate::query_canceled, "canceled"});
  EXPECT_EQ(block.state(), State::opening);
  const auto error = block.take_begin_error();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->state, sqlstate::query_canceled);
  EXPECT_FALSE(block.take_begin_error());
}

TEST_F(BlockTest, a_begin_that_is_sent_again_has_no_error_yet) {
  bring(block, State::opening);
  block.begin_refused({sqlstate::query_canceled, "canceled"});
  block.take_back();
  EXPECT_FALSE(block.take_begin_error());
}

TEST_F(BlockTest, a_loss_that_was_told_leaves_no_error_of_a_begin_behind) {
  bring(block, State::opening);
  block.begin_refused({sqlstate::query_canceled, "canceled"});
  lose(block, idle_in_block());
  EXPECT_FALSE(block.take_begin_error());
}

}  // namespace
}  // namespace holdfast::protocol
