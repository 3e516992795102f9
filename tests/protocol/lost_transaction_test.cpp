#include "protocol/lost_transaction.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "protocol/framer.hpp"
#include "protocol/frontend.hpp"
#include "tests/protocol/wire_text.hpp"

namespace holdfast::protocol {
namespace {

using sql::TransactionControl;
using Step = LostTransaction::Step;
using testing::text_of;

class LostTransactionTest : public ::testing::Test {
 protected:
  // A client that was idle in its block.
  static Loss idle_in_block() { return {.status_before = 'T', .status_after = 'E'}; }
  // A client whose Query inside a block was in flight.
  static Loss busy_in_block() {
    return {.outcome = Loss::Outcome::rolled_back,
            .units = {{.tag = 'Q', .status = 'E'}},
            .status_before = 'T',
            .status_after = 'E'};
  }
  void lose(const Loss& loss) {
    machine.emplace(loss);
    Out out;
    step = machine->begin(out);
    said = text_of(out);
  }
  std::string say(Out bytes, TransactionControl control = TransactionControl::none) {
    Framer framer(Direction::from_client);
    std::string text;
    for (Bytes rest = bytes; !rest.empty();) {
      const Frame frame = framer.next(rest);
      Out out;
      step = machine->client(frame.tag, frame.body(), control, out);
      rest = rest.subspan(frame.bytes.size());
      if (!out.empty()) text += (text.empty() ? "" : " ") + text_of(out);
    }
    return text;
  }
  std::string query(std::string_view sql, TransactionControl control = TransactionControl::none) {
    Out out;
    write_query(out, sql);
    return say(std::move(out), control);
  }
  // Parse, Bind, Describe of the portal, Execute, Sync: as libpq and JDBC send them.
  std::string statement(std::string_view sql, TransactionControl control = TransactionControl::none) {
    Out out;
    write_parse(out, "", sql);
    write_bind(out, "", "");
    write_describe(out, {'P', ""});
    write_execute(out, "");
    write_sync(out);
    return say(std::move(out), control);
  }
  std::string sync() {
    Out out;
    write_sync(out);
    return say(std::move(out));
  }

  std::optional<LostTransaction> machine;
  Step step = Step::answered;
  std::string said;
};

TEST_F(LostTransactionTest, outside_a_block_the_debt_is_paid_and_all_is_over) {
  lose({.outcome = Loss::Outcome::unknown, .units = {{.tag = 'Q'}, {.tag = 'S'}}});
  EXPECT_EQ(said, "E08007 ZI E08007 ZI");
  EXPECT_EQ(step, Step::finished);
  EXPECT_TRUE(machine->finished());
}

TEST_F(LostTransactionTest, an_error_that_was_told_is_not_told_again) {
  lose({.outcome = Loss::Outcome::rolled_back, .units = {{.tag = 'S', .error_owed = false}, {.tag = 'Q'}}});
  EXPECT_EQ(said, "ZI E40001 ZI");
}

TEST_F(LostTransactionTest, a_busy_client_stays_in_a_failed_block_until_it_ends_it) {
  lose(busy_in_block());
  EXPECT_EQ(said, "E40001 ZE");
  EXPECT_EQ(query("SELECT 1"), "E25P02 ZE");
  EXPECT_EQ(query(" ; "), "I ZE");
  EXPECT_EQ(query("SAVEPOINT a", TransactionControl::savepoint), "E25P02 ZE");
  EXPECT_EQ(step, Step::answered);
  EXPECT_EQ(query("ROLLBACK", TransactionControl::rollback), "C:ROLLBACK ZI");
  EXPECT_EQ(step, Step::finished);
}

TEST_F(LostTransactionTest, a_commit_of_the_failed_block_says_rollback) {
  lose(busy_in_block());
  EXPECT_EQ(query("COMMIT", TransactionControl::commit), "C:ROLLBACK ZI");
  EXPECT_TRUE(machine->finished());
}

TEST_F(LostTransactionTest, an_idle_client_learns_it_with_its_first_statement) {
  lose(idle_in_block());
  EXPECT_EQ(said, "");
  EXPECT_EQ(query("SELECT 1"), "E40001 ZE");
  EXPECT_EQ(query("SELECT 1"), "E25P02 ZE");
}

TEST_F(LostTransactionTest, an_idle_client_may_roll_back_without_an_error) {
  lose(idle_in_block());
  EXPECT_EQ(query("ROLLBACK", TransactionControl::rollback), "C:ROLLBACK ZI");
  EXPECT_TRUE(machine->finished());
}

TEST_F(LostTransactionTest, an_idle_clients_commit_fails_and_ends_the_block) {
  lose(idle_in_block());
  EXPECT_EQ(query("COMMIT", TransactionControl::commit), "E40001 ZI");
  EXPECT_TRUE(machine->finished());
}

TEST_F(LostTransactionTest, an_idle_clients_prepare_transaction_fails_and_ends_the_block) {
  lose(idle_in_block());
  EXPECT_EQ(query("PREPARE TRANSACTION 'x'", TransactionControl::prepare_transaction), "E40001 ZI");
}

TEST_F(LostTransactionTest, an_extended_statement_fails_once_per_batch) {
  lose(idle_in_block());
  EXPECT_EQ(statement("SELECT 1"), "E40001 ZE");
  EXPECT_EQ(statement("SELECT 1"), "E25P02 ZE");
}

TEST_F(LostTransactionTest, an_extended_rollback_is_answered_message_by_message) {
  lose(busy_in_block());
  EXPECT_EQ(statement("ROLLBACK", TransactionControl::rollback), "1 2 n C:ROLLBACK ZI");
  EXPECT_EQ(step, Step::finished);
}

TEST_F(LostTransactionTest, an_idle_clients_extended_commit_fails_and_ends_the_block) {
  lose(idle_in_block());
  EXPECT_EQ(statement("COMMIT", TransactionControl::commit), "1 2 n E40001 ZI");
  EXPECT_TRUE(machine->finished());
}

TEST_F(LostTransactionTest, a_described_statement_has_no_parameters) {
  lose(busy_in_block());
  Out out;
  write_describe(out, {'S', "rollback"});
  EXPECT_EQ(say(std::move(out), TransactionControl::rollback), "t n");
}

TEST_F(LostTransactionTest, what_follows_the_end_of_the_block_in_its_batch_is_handed_over) {
  lose(busy_in_block());
  Out out;
  write_bind(out, "", "rollback");
  write_execute(out, "");
  EXPECT_EQ(say(std::move(out), TransactionControl::rollback), "2 C:ROLLBACK");
  EXPECT_EQ(query("SELECT 1"), "");
  EXPECT_EQ(step, Step::hand_over);
  EXPECT_TRUE(machine->finished());
}

TEST_F(LostTransactionTest, an_open_batch_fails_at_once_and_skips_to_its_sync) {
  lose({.outcome = Loss::Outcome::rolled_back, .batch = Loss::Batch::owed});
  EXPECT_EQ(said, "E40001");
  EXPECT_EQ(step, Step::answered);
  EXPECT_EQ(query("COMMIT", TransactionControl::commit), "") << "a Query behind an error is skipped, too";
  EXPECT_EQ(sync(), "ZI");
  EXPECT_EQ(step, Step::finished);
}

TEST_F(LostTransactionTest, an_open_batch_inside_a_block_goes_on_in_the_failed_block) {
  lose({.outcome = Loss::Outcome::rolled_back, .batch = Loss::Batch::failed, .status_before = 'T', .status_after = 'E'});
  EXPECT_EQ(said, "");
  EXPECT_EQ(sync(), "ZE");
  EXPECT_EQ(query("SELECT 1"), "E25P02 ZE");
}

TEST_F(LostTransactionTest, a_copy_that_goes_on_is_ignored) {
  Loss loss = busy_in_block();
  loss.copy_in = true;
  lose(loss);
  Out out;
  Writer writer(out);
  writer.begin(client::copy_data).bytes(as_bytes("1\n")).end();
  writer.begin(client::copy_done).end();
  EXPECT_EQ(say(std::move(out)), "");
  EXPECT_EQ(query("ROLLBACK", TransactionControl::rollback), "C:ROLLBACK ZI");
}

TEST_F(LostTransactionTest, closing_and_syncing_tell_nothing) {
  lose(idle_in_block());
  Out out;
  write_close(out, {'S', "x"});
  write_flush(out);
  write_sync(out);
  EXPECT_EQ(say(std::move(out)), "3 ZE");
  EXPECT_EQ(query("SELECT 1"), "E40001 ZE");
}

TEST_F(LostTransactionTest, and_chain_does_not_end_the_block) {
  lose(busy_in_block());
  EXPECT_EQ(query("ROLLBACK AND CHAIN", TransactionControl::rollback), "E25P02 ZE");
  EXPECT_EQ(statement("commit and Chain", TransactionControl::commit), "E25P02 ZE");
}

TEST_F(LostTransactionTest, a_function_call_fails_with_ready_for_query) {
  lose(idle_in_block());
  Out out;
  Writer(out).begin(client::function_call).u32(1).end();
  EXPECT_EQ(say(std::move(out)), "E40001 ZE");
}

TEST_F(LostTransactionTest, nothing_is_said_once_it_is_finished) {
  lose({});
  EXPECT_TRUE(machine->finished());
  EXPECT_EQ(query("SELECT 1"), "");
  EXPECT_EQ(step, Step::hand_over);
}

}  // namespace
}  // namespace holdfast::protocol
