#include "protocol/loss.hpp"

#include <gtest/gtest.h>

#include <string_view>

#include "protocol/exchange.hpp"

namespace holdfast::protocol {
namespace {

using Outcome = Loss::Outcome;

constexpr std::string_view error_body("SERROR\0VERROR\0C22012\0Mdivision by zero\0\0", 40);
constexpr Trait read = Trait::repeatable;
constexpr Trait write = Trait::none;

class LossTest : public ::testing::Test {
 protected:
  void begin_block(char status = 'T') { exchange.reset(status); }
  void query(Trait traits, Origin origin = Origin::client) { send('Q', traits, origin); }
  // Parse, Bind, Execute.
  void statement(Trait traits) {
    send('P', traits);
    send('B', traits);
    send('E', traits);
  }
  void sync() { send('S', Trait::none); }
  void send(char tag, Trait traits, Origin origin = Origin::client) {
    exchange.sent({.tag = tag, .origin = origin, .traits = traits, .cookie = ++cookie});
  }
  void receive(std::string_view tags) {
    for (const char tag : tags) {
      const char status = exchange.transaction_status();
      const auto body = tag == 'E' ? error_body : std::string_view(&status, 1);
      ASSERT_EQ(exchange.received(tag, as_bytes(body)).action, Reply::Action::forward) << tag;
    }
  }
  Outcome outcome() { return exchange.on_server_lost().outcome; }
  // The units owed: tag and status each, '-' behind one whose error is told.
  std::string units() {
    std::string text;
    for (const auto& unit : exchange.on_server_lost().units)
      text += std::string{unit.tag, unit.status} + (unit.error_owed ? " " : "- ");
    return text;
  }

  Exchange exchange;
  std::uint32_t cookie = 0;
};

TEST_F(LossTest, idle_is_owed_nothing) {
  const Loss loss = exchange.on_server_lost();
  EXPECT_EQ(loss.outcome, Outcome::nothing_in_flight);
  EXPECT_TRUE(loss.units.empty());
  EXPECT_EQ(loss.status_after, 'I');
}

TEST_F(LossTest, a_block_that_was_idle_is_rolled_back) {
  begin_block();
  EXPECT_EQ(outcome(), Outcome::nothing_in_flight);
  EXPECT_EQ(exchange.on_server_lost().status_after, 'E');
}

TEST_F(LossTest, an_autocommit_read_is_repeatable_until_a_byte_was_passed_on) {
  query(read);
  EXPECT_EQ(outcome(), Outcome::repeatable);
  receive("T");
  EXPECT_EQ(outcome(), Outcome::rolled_back);
}

TEST_F(LossTest, a_read_after_a_finished_one_is_repeatable) {
  query(read);
  query(read);
  receive("TDC");
  EXPECT_EQ(outcome(), Outcome::rolled_back);
  receive("Z");
  EXPECT_EQ(outcome(), Outcome::repeatable);
}

TEST_F(LossTest, what_was_swallowed_does_not_prevent_repeating) {
  send('P', Trait::none, Origin::proxy);
  statement(read);
  sync();
  ASSERT_EQ(exchange.received('1', {}).action, Reply::Action::swallow);
  EXPECT_EQ(outcome(), Outcome::repeatable);
}

TEST_F(LossTest, a_local_answer_that_is_not_due_does_not_prevent_repeating) {
  exchange.answered_locally('P', 1);
  send('E', read);
  sync();
  EXPECT_EQ(outcome(), Outcome::repeatable);
}

TEST_F(LossTest, a_notice_of_the_statement_prevents_repeating) {
  query(read);
  static_cast<void>(exchange.received('N', {}));
  EXPECT_EQ(outcome(), Outcome::rolled_back);
}

TEST_F(LossTest, reads_inside_a_block_are_rolled_back_with_it) {
  begin_block();
  query(read);
  EXPECT_EQ(outcome(), Outcome::rolled_back);
  EXPECT_EQ(units(), "QE ");
}

TEST_F(LossTest, an_autocommit_write_is_unknown) {
  query(write);
  EXPECT_EQ(outcome(), Outcome::unknown);
  EXPECT_EQ(units(), "QI ");
}

// A string with transaction control inside, text that was not understood: a COMMIT may be among it.
TEST_F(LossTest, what_may_commit_is_unknown_inside_a_block_too) {
  begin_block();
  query(Trait::may_commit);
  EXPECT_EQ(outcome(), Outcome::unknown);
  EXPECT_EQ(units(), "QE ") << "the client still takes itself for inside";
}

class DeferredBeginLost : public LossTest {
 protected:
  // As DeferredBegin sends it.
  void deferred_begin() {
    send('P', Trait::none, Origin::proxy);
    send('B', Trait::none, Origin::proxy);
    send('E', Trait::begins | Trait::repeatable, Origin::proxy);
  }
  void begun() {
    for (const char tag : {'1', '2', 'C'}) ASSERT_EQ(exchange.received(tag, {}).action, Reply::Action::swallow);
  }
};

TEST_F(DeferredBeginLost, with_a_query_behind_it_is_rolled_back) {
  deferred_begin();
  query(write);
  EXPECT_EQ(outcome(), Outcome::rolled_back) << "outside the block the query would have been skipped";
  EXPECT_EQ(units(), "QE ");
  EXPECT_EQ(exchange.on_server_lost().batch, Loss::Batch::none) << "the client sent no batch and will send no Sync";
  begun();
  EXPECT_EQ(outcome(), Outcome::rolled_back);
  EXPECT_EQ(units(), "QE ");
}

TEST_F(DeferredBeginLost, with_a_batch_behind_it_is_rolled_back) {
  deferred_begin();
  statement(write);
  sync();
  EXPECT_EQ(outcome(), Outcome::rolled_back);
  EXPECT_EQ(units(), "SE ");
  begun();
  EXPECT_EQ(outcome(), Outcome::rolled_back);
  EXPECT_EQ(units(), "SE ");
  EXPECT_EQ(exchange.on_server_lost().status_after, 'E');
}

TEST_F(DeferredBeginLost, with_a_read_behind_it_may_be_repeated) {
  deferred_begin();
  query(read);
  EXPECT_EQ(outcome(), Outcome::repeatable);
  begun();
  EXPECT_EQ(outcome(), Outcome::repeatable);
  receive("T");
  EXPECT_EQ(outcome(), Outcome::rolled_back);
}

TEST_F(DeferredBeginLost, with_a_commit_behind_it_is_unknown) {
  deferred_begin();
  query(Trait::commits);
  EXPECT_EQ(outcome(), Outcome::unknown);
}

// A driver's own BEGIN in the batch of the first statement (pgjdbc).
TEST_F(LossTest, a_block_begun_in_this_batch_holds_what_follows) {
  statement(Trait::begins | Trait::repeatable);
  statement(write);
  sync();
  EXPECT_EQ(outcome(), Outcome::rolled_back);
  receive("12C");
  EXPECT_EQ(outcome(), Outcome::rolled_back);
  EXPECT_EQ(units(), "SE ");
  receive("12C");
  EXPECT_EQ(outcome(), Outcome::rolled_back) << "its Sync commits nothing";
}

// An Execute of COMMIT was answered: what comes behind it commits by itself, whatever the last ReadyForQuery said.
TEST_F(LossTest, a_commit_that_was_answered_is_never_called_rolled_back) {
  begin_block();
  statement(Trait::commits);
  receive("12C");
  EXPECT_EQ(outcome(), Outcome::unknown) << "it is told already";
  statement(write);
  sync();
  EXPECT_EQ(outcome(), Outcome::unknown);
  EXPECT_EQ(units(), "SI ");
}

TEST_F(LossTest, behind_an_answered_rollback_nothing_is_certain) {
  begin_block('E');
  statement(Trait::rolls_back);
  receive("12C");
  EXPECT_EQ(outcome(), Outcome::nothing_in_flight);
  statement(write);
  sync();
  EXPECT_EQ(outcome(), Outcome::unknown);
  EXPECT_EQ(units(), "SI ");
}

// The COMMIT ends the block that began in this batch, not the failed one that the last ReadyForQuery spoke of.
TEST_F(LossTest, a_commit_behind_an_answered_rollback_and_begin_is_unknown) {
  begin_block('E');
  statement(Trait::rolls_back);
  statement(Trait::begins | Trait::repeatable);
  statement(write);
  receive("12C12C12C");
  statement(Trait::commits);
  sync();
  EXPECT_EQ(outcome(), Outcome::unknown);
  EXPECT_EQ(units(), "SI ");
}

// … AND CHAIN: what the client sends next is meant for the next block.
TEST_F(LossTest, an_end_that_chains_leaves_the_client_in_a_failed_block) {
  begin_block();
  query(Trait::commits | Trait::begins);
  EXPECT_EQ(outcome(), Outcome::unknown);
  EXPECT_EQ(units(), "QE ");
}

TEST_F(LossTest, a_rollback_that_chains_is_certain) {
  begin_block();
  query(Trait::rolls_back | Trait::begins);
  EXPECT_EQ(outcome(), Outcome::rolled_back);
  EXPECT_EQ(units(), "QE ");
}

TEST_F(LossTest, behind_an_answered_chain_the_next_block_is_open) {
  for (const Trait end : {Trait::commits, Trait::rolls_back}) {
    exchange.reset('E');
    statement(end | Trait::begins);
    receive("12C");
    EXPECT_EQ(exchange.on_server_lost().status_after, 'E');
    statement(write);
    statement(Trait::commits);
    sync();
    EXPECT_EQ(outcome(), Outcome::unknown) << "the block that it ends has not failed";
  }
}

// As BEGIN; INSERT …; in one Query: the client means what it sends next to run inside.
TEST_F(LossTest, a_string_that_leaves_its_block_open_leaves_the_client_in_a_failed_one) {
  query(Trait::may_commit | Trait::begins);
  EXPECT_EQ(outcome(), Outcome::unknown);
  EXPECT_EQ(units(), "QE ");
}

TEST_F(LossTest, a_string_that_begins_a_block_and_ends_none_commits_nothing) {
  query(Trait::begins);
  EXPECT_EQ(outcome(), Outcome::rolled_back);
  EXPECT_EQ(units(), "QE ");
  query(write);
  EXPECT_EQ(outcome(), Outcome::unknown) << "if the BEGIN fails, it commits by itself";
}

TEST_F(LossTest, a_string_that_ends_with_a_rollback_commits_nothing) {
  query(Trait::rolls_back);
  EXPECT_EQ(outcome(), Outcome::rolled_back);
  EXPECT_EQ(units(), "QI ");
  query(write);
  EXPECT_EQ(outcome(), Outcome::unknown);
}

TEST_F(LossTest, a_rollback_ends_the_block_that_began_in_its_batch) {
  statement(Trait::begins | Trait::repeatable);
  statement(write);
  statement(Trait::rolls_back);
  EXPECT_EQ(outcome(), Outcome::rolled_back);
  statement(write);
  sync();
  EXPECT_EQ(outcome(), Outcome::unknown);
}

TEST_F(LossTest, a_block_that_ended_in_this_batch_holds_nothing) {
  statement(Trait::begins | Trait::repeatable);
  statement(Trait::commits);
  statement(write);
  sync();
  receive("12C12C");
  EXPECT_EQ(outcome(), Outcome::unknown);
  EXPECT_EQ(units(), "SI ");
}

TEST_F(LossTest, a_write_inside_a_block_is_rolled_back) {
  begin_block();
  query(write);
  EXPECT_EQ(outcome(), Outcome::rolled_back);
  EXPECT_EQ(exchange.on_server_lost().status_after, 'E');
}

TEST_F(LossTest, a_commit_in_flight_is_unknown_and_ends_the_block) {
  begin_block();
  query(write);
  query(Trait::commits);
  EXPECT_EQ(outcome(), Outcome::unknown);
  EXPECT_EQ(units(), "QE QI ");
}

TEST_F(LossTest, a_commit_of_a_failed_block_is_a_rollback) {
  begin_block('E');
  query(Trait::commits);
  EXPECT_EQ(outcome(), Outcome::rolled_back);
}

TEST_F(LossTest, a_commit_behind_a_rollback_to_savepoint_is_unknown) {
  begin_block('E');
  query(write);
  query(Trait::commits);
  EXPECT_EQ(outcome(), Outcome::unknown);
}

TEST_F(LossTest, a_rollback_in_flight_is_certain) {
  begin_block();
  query(write);
  query(Trait::rolls_back);
  EXPECT_EQ(outcome(), Outcome::rolled_back);
  EXPECT_EQ(units(), "QE QI ");
}

TEST_F(LossTest, a_write_behind_the_end_of_a_block_is_unknown) {
  begin_block();
  query(Trait::rolls_back);
  query(write);
  EXPECT_EQ(outcome(), Outcome::unknown);
}

TEST_F(LossTest, a_begin_in_flight_leaves_the_client_in_a_failed_block) {
  query(Trait::begins);
  EXPECT_EQ(outcome(), Outcome::rolled_back);
  EXPECT_EQ(units(), "QE ");
}

TEST_F(LossTest, a_begin_that_may_have_failed_proves_nothing_for_the_next_statement) {
  query(Trait::begins);
  query(write);
  EXPECT_EQ(outcome(), Outcome::unknown);
}

TEST_F(LossTest, a_begin_in_the_same_batch_proves_that_its_sync_commits_nothing) {
  statement(Trait::begins);
  statement(write);
  sync();
  EXPECT_EQ(outcome(), Outcome::rolled_back);
}

TEST_F(LossTest, a_batch_commits_at_its_sync) {
  statement(write);
  EXPECT_EQ(outcome(), Outcome::rolled_back);
  sync();
  EXPECT_EQ(outcome(), Outcome::unknown);
}

TEST_F(LossTest, a_sync_behind_an_answered_write_is_unknown) {
  statement(write);
  receive("12C");
  sync();
  EXPECT_EQ(outcome(), Outcome::unknown);
  receive("Z");
  EXPECT_EQ(outcome(), Outcome::nothing_in_flight);
}

TEST_F(LossTest, what_commits_by_itself_does_not_need_a_sync) {
  statement(write | Trait::commits_itself);
  EXPECT_EQ(outcome(), Outcome::unknown);
}

TEST_F(LossTest, a_query_behind_a_batch_commits_it) {
  statement(write);
  query(read);
  EXPECT_EQ(outcome(), Outcome::unknown);
}

TEST_F(LossTest, a_failed_batch_committed_nothing) {
  statement(write);
  sync();
  receive("1E");
  EXPECT_EQ(outcome(), Outcome::rolled_back);
  EXPECT_EQ(units(), "SI- ");
}

TEST_F(LossTest, a_batch_that_was_doomed_committed_nothing) {
  send('P', Trait::none, Origin::failing);
  statement(write);
  sync();
  EXPECT_EQ(outcome(), Outcome::rolled_back);
}

TEST_F(LossTest, a_query_behind_an_unanswered_batch_is_owed_no_ready_for_query) {
  statement(write);
  query(write);
  Loss loss = exchange.on_server_lost();
  EXPECT_TRUE(loss.units.empty());
  EXPECT_EQ(loss.batch, Loss::Batch::owed);
  sync();
  EXPECT_EQ(units(), "SI ");
}

TEST_F(LossTest, the_proxys_own_units_are_owed_to_nobody) {
  query(Trait::begins, Origin::proxy);
  query(write);
  EXPECT_EQ(units(), "QE ");
}

TEST_F(LossTest, skipping_is_an_open_batch_whose_error_is_told) {
  statement(read);
  receive("E");
  const Loss loss = exchange.on_server_lost();
  EXPECT_EQ(loss.batch, Loss::Batch::failed);
}

TEST_F(LossTest, an_answered_batch_without_sync_waits_for_no_answer) {
  statement(read);
  send('H', Trait::none);
  receive("12C");
  const Loss loss = exchange.on_server_lost();
  EXPECT_EQ(loss.outcome, Outcome::nothing_in_flight);
  EXPECT_EQ(loss.batch, Loss::Batch::answered);
}

TEST_F(LossTest, a_copy_in_without_its_end_is_rolled_back) {
  query(write);
  receive("G");
  EXPECT_EQ(outcome(), Outcome::rolled_back);
  EXPECT_TRUE(exchange.on_server_lost().copy_in);
  send('f', Trait::none);
  EXPECT_EQ(outcome(), Outcome::rolled_back);
}

TEST_F(LossTest, a_copy_in_with_its_end_is_unknown) {
  query(write);
  receive("G");
  send('c', Trait::none);
  EXPECT_EQ(outcome(), Outcome::unknown);
}

TEST_F(LossTest, a_sync_inside_a_copy_in_is_owed_nothing) {
  statement(write);
  sync();
  receive("12G");
  Loss loss = exchange.on_server_lost();
  EXPECT_TRUE(loss.units.empty());
  EXPECT_EQ(loss.batch, Loss::Batch::owed);
  EXPECT_EQ(loss.outcome, Outcome::rolled_back);
  send('c', Trait::none);
  sync();
  EXPECT_EQ(units(), "SI ");
  EXPECT_EQ(outcome(), Outcome::unknown);
}

TEST_F(LossTest, everything_without_an_answer_is_listed) {
  statement(read);
  exchange.answered_locally('P', 77);
  sync();
  receive("1");
  const auto unanswered = exchange.on_server_lost().unanswered;
  ASSERT_EQ(unanswered.size(), 4U);
  EXPECT_EQ(unanswered[0].cookie, 2U);
  EXPECT_EQ(unanswered[2].cookie, 77U);
  EXPECT_TRUE(unanswered[2].local);
}

}  // namespace
}  // namespace holdfast::protocol
