// The table in protocol/lost_transaction.hpp, row by row: what a client has sent and received when its server is lost,
// what it is told at once, and what in answer to which of its next messages. Told while it waits for nothing, it would
// take an ErrorResponse for a notice, and a bare ReadyForQuery behind it for success.
#include <gtest/gtest.h>

#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/exchange.hpp"
#include "protocol/framer.hpp"
#include "protocol/frontend.hpp"
#include "protocol/lost_transaction.hpp"
#include "tests/protocol/wire_text.hpp"

namespace holdfast::protocol {
namespace {

using Message = LostTransaction::Message;
using sql::TransactionControl;
using Step = LostTransaction::Step;
using testing::text_of;

// One message of the client behind the loss, and the answer.
struct Then {
  const char* sent;  // a tag; Q:rollback and Q:commit are Queries of these; "rest": of the message that was half sent
  const char* told;
};

struct Row {
  friend void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }
  const char* name;
  // What had passed: ">Q": sent, "<C": received, "<ZT": ReadyForQuery in status T. What ran may have written.
  const char* passed;
  Message message;
  const char* at_once;
  std::vector<Then> later;
  bool finished;  // in the end: back to normal
};

class ToldOfLoss : public ::testing::TestWithParam<Row> {
 protected:
  void pass(std::string_view word) {
    constexpr std::string_view error("SERROR\0VERROR\0C22012\0Mno\0\0", 26);
    if (word[0] == '>') {
      exchange.sent({.tag = word[1]});
      return;
    }
    const auto body = word[1] == 'E' ? error : word.substr(2);
    ASSERT_NE(exchange.received(word[1], as_bytes(body)).action, Reply::Action::unexpected) << word;
  }
  static Out message_of(std::string_view what) {
    Out out;
    switch (what[0]) {
      case 'Q': write_query(out, what.size() > 2 ? what.substr(2) : "select 1"); break;
      case 'P': write_parse(out, "", "select 1"); break;
      case 'B': write_bind(out, "", ""); break;
      case 'E': write_execute(out, ""); break;
      case 'C': write_close(out, {'S', "x"}); break;
      case 'S': write_sync(out); break;
      case 'H': write_flush(out); break;
      case 'F': Writer(out).begin(client::function_call).u32(1).end(); break;
      default: Writer(out).begin(what[0]).end();
    }
    return out;
  }
  std::string say(std::string_view what) {
    Out told;
    if (what == "rest") {
      step = machine->rest_came(told);
      return text_of(told);
    }
    auto control = TransactionControl::none;
    if (what == "Q:rollback") control = TransactionControl::rollback;
    if (what == "Q:commit") control = TransactionControl::commit;
    const Out bytes = message_of(what);
    step = machine->client(static_cast<char>(bytes[0]), Bytes(bytes).subspan(header_size), control, told);
    return text_of(told);
  }

  Exchange exchange;
  std::optional<LostTransaction> machine;
  Step step = Step::answered;
};

TEST_P(ToldOfLoss, in_the_place_where_its_driver_looks) {
  const Row& row = GetParam();
  for (std::string_view rest = row.passed; !rest.empty();) {
    const auto end = std::min(rest.find(' '), rest.size());
    pass(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  const Loss loss = exchange.on_server_lost();
  machine.emplace(loss, error_of(loss), row.message);
  Out out;
  step = machine->begin(out);
  EXPECT_EQ(text_of(out), row.at_once);
  for (const Then& then : row.later) {
    ASSERT_FALSE(machine->finished()) << then.sent;
    EXPECT_EQ(say(then.sent), then.told) << "in answer to " << then.sent;
  }
  EXPECT_EQ(machine->finished(), row.finished);
  EXPECT_EQ(step == Step::finished, row.finished);
}

constexpr auto whole = Message::whole;
constexpr auto half = Message::half;

INSTANTIATE_TEST_SUITE_P(
    All, ToldOfLoss,
    ::testing::Values(
        Row{"idle", "", whole, "", {}, true},
        Row{"idle_in_a_block",
            ">Q <C <ZT",
            whole,
            "",
            {{"S", "ZE"}, {"H", ""}, {"Q", "E40001 ZE"}, {"Q", "E25P02 ZE"}, {"Q:rollback", "C:ROLLBACK ZI"}},
            true},
        Row{"idle_in_a_block_then_commit", ">Q <C <ZT", whole, "", {{"Q:commit", "E40001 ZI"}}, true},
        Row{"query", ">Q", whole, "E08007 ZI", {}, true},
        Row{"query_in_a_block", ">Q <C <ZT >Q", whole, "E40001 ZE", {{"Q:commit", "C:ROLLBACK ZI"}}, true},
        Row{"query_that_has_failed", ">Q <E", whole, "ZI", {}, true},
        Row{"function_call", ">F", whole, "E08007 ZI", {}, true},
        Row{"batch_with_its_sync", ">P >B >E >S", whole, "E08007 ZI", {}, true},
        Row{"batch_with_its_sync_half_answered", ">P >B >E >S <1 <2", whole, "E08007 ZI", {}, true},
        Row{"batch_that_has_failed_with_its_sync", ">P >B >E >S <E", whole, "ZI", {}, true},
        Row{"several_units", ">Q >P >B >E >S >Q", whole, "E08007 ZI E08007 ZI E08007 ZI", {}, true},
        Row{"several_units_and_a_batch_without_sync",
            ">Q >P >B >E",
            whole,
            "E08007 ZI E08007",
            {{"Q", ""}, {"S", "ZI"}},
            true},
        Row{"batch_without_sync", ">P >B >E", whole, "E40001", {{"P", ""}, {"H", ""}, {"Q", ""}, {"S", "ZI"}}, true},
        Row{"batch_without_sync_half_answered", ">P >B >E >H <1 <2", whole, "E40001", {{"S", "ZI"}}, true},
        Row{"batch_without_sync_in_a_block",
            ">Q <C <ZT >P >B >E >H <1",
            whole,
            "E40001",
            {{"S", "ZE"}, {"P", "E25P02"}, {"S", "ZE"}},
            false},
        // A write that was answered behind a Flush, and is gone.
        Row{"answered_behind_a_flush_then_sync", ">P >B >E >H <1 <2 <C", whole, "", {{"S", "E40001 ZI"}}, true},
        Row{"answered_behind_a_flush_then_flush",
            ">P >B >E >H <1 <2 <C",
            whole,
            "",
            {{"H", ""}, {"d", ""}, {"S", "E40001 ZI"}},
            true},
        Row{"answered_behind_a_flush_then_more",
            ">P >B >E >H <1 <2 <C",
            whole,
            "",
            {{"B", "E40001"}, {"E", ""}, {"H", ""}, {"S", "ZI"}},
            true},
        Row{"answered_behind_a_flush_then_close", ">P >B >E >H <1 <2 <C", whole, "", {{"C", "E40001"}, {"S", "ZI"}}, true},
        Row{"answered_behind_a_flush_then_query", ">P >B >E >H <1 <2 <C", whole, "", {{"Q", "E40001 ZI"}}, true},
        Row{"answered_behind_a_flush_then_nothing_asked", ">P >B >E >H <1 <2 <C", whole, "", {{"Q: ", "E40001 ZI"}}, true},
        Row{"answered_behind_a_flush_then_rollback",
            ">P >B >E >H <1 <2 <C",
            whole,
            "",
            {{"Q:rollback", "E40001 ZI"}},
            true},
        Row{"answered_behind_a_flush_then_commit", ">P >B >E >H <1 <2 <C", whole, "", {{"Q:commit", "E40001 ZI"}}, true},
        Row{"answered_behind_a_flush_then_function", ">P >B >E >H <1 <2 <C", whole, "", {{"F", "E40001 ZI"}}, true},
        Row{"answered_behind_a_flush_in_a_block_then_sync",
            ">Q <C <ZT >P >B >E >H <1 <2 <C",
            whole,
            "",
            {{"S", "E40001 ZE"}, {"S", "ZE"}, {"Q:commit", "C:ROLLBACK ZI"}},
            true},
        Row{"answered_behind_a_flush_in_a_block_then_more",
            ">Q <C <ZT >P >B >E >H <1 <2 <C",
            whole,
            "",
            {{"B", "E40001"}, {"E", ""}, {"S", "ZE"}, {"Q", "E25P02 ZE"}},
            false},
        Row{"answered_behind_a_flush_in_a_block_then_close",
            ">Q <C <ZT >P >B >E >H <1 <2 <C",
            whole,
            "",
            {{"C", "3"}, {"S", "E40001 ZE"}},
            false},
        Row{"answered_behind_a_flush_in_a_block_then_commit",
            ">Q <C <ZT >P >B >E >H <1 <2 <C",
            whole,
            "",
            {{"Q:commit", "E40001 ZI"}},
            true},
        Row{"answered_behind_a_flush_in_a_block_then_rollback",
            ">Q <C <ZT >P >B >E >H <1 <2 <C",
            whole,
            "",
            {{"Q:rollback", "C:ROLLBACK ZI"}},
            true},
        Row{"failed_behind_a_flush", ">P >B >E >H <1 <2 <E", whole, "", {{"B", ""}, {"Q", ""}, {"S", "ZI"}}, true},
        Row{"copy_in_by_query", ">Q <G", whole, "E40001 ZI", {}, true},
        Row{"copy_in_by_query_in_a_block",
            ">Q <C <ZT >Q <G",
            whole,
            "E40001 ZE",
            {{"d", ""}, {"c", ""}, {"f", ""}, {"Q", "E25P02 ZE"}},
            false},
        Row{"copy_in_by_query_with_its_end", ">Q <G >c", whole, "E08007 ZI", {}, true},
        Row{"copy_in_by_execute", ">P >B >E >H <1 <2 <G", whole, "E40001", {{"d", ""}, {"c", ""}, {"S", "ZI"}}, true},
        Row{"copy_out", ">Q <H", whole, "E08007 ZI", {}, true},
        Row{"half_a_query", ">Q", half, "", {{"rest", "E08007 ZI"}}, true},
        Row{"half_a_query_in_a_block", ">Q <C <ZT >Q", half, "", {{"rest", "E40001 ZE"}, {"Q", "E25P02 ZE"}}, false},
        Row{"half_a_bind", ">P >B", half, "", {{"rest", "E40001"}, {"E", ""}, {"S", "ZI"}}, true},
        Row{"half_a_query_behind_another", ">Q >Q", half, "", {{"rest", "E08007 ZI E08007 ZI"}}, true},
        Row{"half_a_piece_of_a_copy_in", ">Q <G", half, "", {{"rest", "E40001 ZI"}}, true}),
    [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace holdfast::protocol
