#include "protocol/deferred_begin.hpp"

#include <gtest/gtest.h>

#include <string>

#include "protocol/framer.hpp"
#include "protocol/sql/classify.hpp"

namespace holdfast::protocol {
namespace {

using sql::TransactionControl;
using sql::Verdict;

class DeferredBeginTest : public ::testing::Test {
 protected:
  static Verdict of(std::string_view text) { return sql::classify(text, {}); }
  // Holds it; says what the client reads: tags, the command tag and the status.
  std::string defer(std::string_view text) {
    EXPECT_TRUE(DeferredBegin::may_defer(of(text), text)) << text;
    std::vector<std::byte> out;
    begin.defer(text, of(text), out);
    return told(out);
  }
  std::string end(std::string_view text) {
    std::vector<std::byte> out;
    const bool answered = begin.end(of(text), out);
    EXPECT_EQ(answered, !out.empty());
    return told(out);
  }
  static std::string told(Bytes bytes) {
    std::string text;
    Framer framer(Direction::from_server);
    while (!bytes.empty()) {
      const Frame frame = framer.next(bytes);
      if (frame.kind != Frame::Kind::start || !frame.last) return text + "?";
      text += frame.tag;
      text += std::string(as_text(frame.body())).c_str();
      text += ' ';
      bytes = bytes.subspan(frame.bytes.size());
    }
    return text;
  }
  // Where the block goes when `first` is its first statement.
  TransactionControl block(std::string_view first, bool read_only_by_default = false) {
    return begin.of_block(of(first), read_only_by_default).control;
  }

  DeferredBegin begin;
};

TEST_F(DeferredBeginTest, answers_as_postgresql_does) {
  EXPECT_EQ(begin.status(), 'I');
  EXPECT_EQ(defer("BEGIN;"), "CBEGIN ZT ");
  EXPECT_TRUE(begin.deferred());
  EXPECT_EQ(begin.status(), 'T');
  begin.abandon();
  EXPECT_EQ(defer("start transaction isolation level repeatable read"), "CSTART TRANSACTION ZT ");
}

TEST_F(DeferredBeginTest, keeps_only_what_may_begin_anywhere) {
  for (std::string_view text : {"begin read write", "begin isolation level serializable", "begin; select 1", "commit",
                                "select 1", "", "begin nonsense"})
    EXPECT_FALSE(DeferredBegin::may_defer(of(text), text)) << text;
  const std::string long_one = "begin /*" + std::string(DeferredBegin::longest_text, 'x') + "*/";
  EXPECT_FALSE(DeferredBegin::may_defer(of(long_one), long_one));
}

TEST_F(DeferredBeginTest, an_empty_block_needs_no_server) {
  defer("begin");
  EXPECT_EQ(end("commit"), "CCOMMIT ZI ");
  EXPECT_FALSE(begin.deferred());
  defer("begin");
  EXPECT_EQ(end("abort"), "CROLLBACK ZI ");
  EXPECT_EQ(end("commit"), "") << "there is no block any more: the server says so, with a warning";
}

TEST_F(DeferredBeginTest, what_ends_no_block_needs_a_server) {
  defer("begin");
  for (std::string_view text : {"commit and chain", "rollback and chain", "prepare transaction 'x'", "savepoint a",
                                "begin", "select 1; commit"})
    EXPECT_EQ(end(text), "") << text;
  EXPECT_TRUE(begin.deferred());
}

TEST_F(DeferredBeginTest, the_first_statement_decides_for_the_block) {
  defer("begin");
  EXPECT_EQ(block("select 1"), TransactionControl::begin);
  EXPECT_EQ(block("insert into t values (1)"), TransactionControl::begin);
  EXPECT_EQ(block("set transaction isolation level repeatable read"), TransactionControl::begin);
  EXPECT_EQ(block("set transaction read only"), TransactionControl::begin_read_only);
  begin.abandon();
  defer("begin read only");
  EXPECT_EQ(block("select 1"), TransactionControl::begin_read_only);
  EXPECT_EQ(block("declare c cursor for select 1"), TransactionControl::begin_read_only);
  for (std::string_view text :
       {"select unknown()", "select pg_is_in_recovery()", "select unknown(), pg_is_in_recovery()", "notify a",
        "select txid_current()", "analyze t", "select pg_notify('a', '')"}) {
    EXPECT_EQ(begin.of_block(of(text), false).access, sql::Access::write) << text << ": as the primary answers";
  }
  EXPECT_TRUE(has(begin.of_block(of("select pg_advisory_lock(1)"), false).effects, sql::Effect::advisory_lock));
  // The router sends a write to the primary whatever the block says.
  EXPECT_EQ(begin.of_block(of("set transaction read write"), false).access, sql::Access::write);
  EXPECT_EQ(begin.of_block(of("set transaction isolation level serializable"), false).access, sql::Access::write);
}

TEST_F(DeferredBeginTest, may_begin_once_more_unless_its_block_has_one_snapshot) {
  for (std::string_view text : {"begin read only", "start transaction isolation level read committed, read only"}) {
    begin.passed(text, of(text));
    EXPECT_TRUE(begin.repeatable()) << text;
  }
  for (std::string_view text : {"begin isolation level repeatable read, read only",
                                "BEGIN ISOLATION LEVEL RepeaTable READ"}) {
    begin.passed(text, of(text));
    EXPECT_FALSE(begin.repeatable()) << text;
  }
  const std::string long_one = "begin read only /*" + std::string(DeferredBegin::longest_text, 'x') + "*/";
  begin.passed(long_one, of(long_one));
  EXPECT_FALSE(begin.repeatable());
}

TEST_F(DeferredBeginTest, says_what_snapshots_its_block_has) {
  using sql::Isolation;
  defer("begin read only");
  EXPECT_EQ(begin.of_block(of("select 1"), false).isolation, Isolation::unsaid);
  EXPECT_EQ(begin.of_block(of("set transaction isolation level read committed"), false).isolation,
            Isolation::per_statement);
  EXPECT_EQ(begin.of_block(of("set transaction isolation level repeatable read"), false).isolation,
            Isolation::one_snapshot);
  begin.abandon();
  defer("begin isolation level repeatable read");
  EXPECT_EQ(begin.of_block(of("set transaction read only"), false).isolation, Isolation::one_snapshot);
}

TEST_F(DeferredBeginTest, begins_again_with_the_modes_that_its_first_statement_gave_it) {
  constexpr std::string_view modes = "set transaction read only";
  const auto sent = [this] {
    std::vector<std::byte> out;
    begin.send(7, out);
    return std::string(as_text(out));
  };
  defer("begin");
  EXPECT_EQ(sent().find(modes), std::string::npos);
  EXPECT_TRUE(begin.keep_modes(modes));
  EXPECT_FALSE(begin.keep_modes(modes)) << "one is enough";
  begin.answered(false);
  begin.again();
  EXPECT_NE(sent().find(modes), std::string::npos);
  begin.take_back();
  EXPECT_NE(sent().find(modes), std::string::npos) << "it was answered long ago";
  begin.answered(true);
  begin.again();
  EXPECT_NE(sent().find(modes), std::string::npos) << "another statement has failed";
  begin.answered(false);
  defer("begin");
  EXPECT_EQ(sent().find(modes), std::string::npos) << "another block";
}

TEST_F(DeferredBeginTest, keeps_no_modes_that_it_was_not_given) {
  constexpr std::string_view modes = "set transaction read only";
  const auto sent = [this] {
    std::vector<std::byte> out;
    begin.send(7, out);
    return std::string(as_text(out));
  };
  defer("begin");
  sent();
  EXPECT_TRUE(begin.keep_modes(modes));
  begin.take_back();
  EXPECT_EQ(sent().find(modes), std::string::npos) << "its statement comes again";
  EXPECT_TRUE(begin.keep_modes(modes));
  begin.answered(true);
  begin.again();
  EXPECT_EQ(sent().find(modes), std::string::npos) << "it failed";
  EXPECT_FALSE(begin.keep_modes(std::string(DeferredBegin::longest_text + 1, 'x')));
}

TEST_F(DeferredBeginTest, blocks_may_be_read_only_by_default) {
  defer("begin");
  EXPECT_EQ(block("select 1", true), TransactionControl::begin_read_only);
  EXPECT_EQ(begin.of_block(of("set transaction read write"), true).access, sql::Access::write);
}

TEST_F(DeferredBeginTest, the_hint_is_that_of_begin) {
  Verdict held = of("begin");
  held.hint = sql::Hint::replica;
  std::vector<std::byte> out;
  begin.defer("begin", held, out);
  Verdict first = of("select 1");
  first.hint = sql::Hint::primary;
  EXPECT_EQ(begin.of_block(first, false).hint, sql::Hint::replica);
}

TEST_F(DeferredBeginTest, goes_out_as_one_batch_without_a_sync) {
  defer("begin isolation level repeatable read");
  std::vector<std::byte> out;
  EXPECT_EQ(begin.send(7, out), 1U);
  std::string tags;
  Framer framer(Direction::from_client);
  for (Bytes rest = out; !rest.empty();) {
    const Frame frame = framer.next(rest);
    ASSERT_EQ(frame.kind, Frame::Kind::start);
    tags += frame.tag;
    rest = rest.subspan(frame.bytes.size());
  }
  EXPECT_EQ(tags, "PBEC");
  EXPECT_NE(as_text(out).find("begin isolation level repeatable read"), std::string_view::npos);
  EXPECT_TRUE(begin.sent());
  EXPECT_FALSE(begin.deferred());
  EXPECT_EQ(begin.status(), 'I') << "with a server its own status counts";
  EXPECT_TRUE(begin.owns(7));
  EXPECT_FALSE(begin.owns(8));
}

TEST_F(DeferredBeginTest, goes_again_when_its_server_was_lost) {
  defer("begin");
  std::vector<std::byte> first;
  begin.send(1, first);
  begin.take_back();
  EXPECT_TRUE(begin.deferred());
  std::vector<std::byte> second;
  begin.send(2, second);
  EXPECT_EQ(first, second);
  EXPECT_FALSE(begin.owns(1));
  begin.answered(false);
  begin.take_back();
  EXPECT_FALSE(begin.deferred()) << "nothing is taken back of a block that runs";
}

TEST_F(DeferredBeginTest, settling_touches_no_begin_that_waits) {
  defer("begin");
  begin.answered(false);
  EXPECT_TRUE(begin.deferred());
}

}  // namespace
}  // namespace holdfast::protocol
