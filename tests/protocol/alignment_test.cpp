#include "protocol/alignment.hpp"

#include <gtest/gtest.h>

#include <string>

#include "protocol/framer.hpp"
#include "protocol/frontend.hpp"
#include "tests/protocol/cleaning_driver.hpp"
#include "tests/protocol/server_reader.hpp"

namespace holdfast::protocol {
namespace {

using State = Alignment::State;
using testing::answers;

class AlignmentTest : public ::testing::Test {
 protected:
  SettingsRef of(std::string value) { return table.intern({{"work_mem", std::move(value)}}); }
  // What is asked of the server; empty: nothing.
  static std::string asked(const std::vector<std::byte>& out) {
    if (out.empty()) return {};
    Framer framer(Direction::from_client);
    const Frame frame = framer.next(out);
    EXPECT_EQ(frame.tag, client::query);
    EXPECT_EQ(frame.bytes.size(), out.size()) << "it is sent alone";
    return std::string(*parse_query(frame.body()));
  }

  PendingPool pending;
  SettingsTable table;
  StatementTable statements;
};

// A server that an alignment is under way on.
struct Aligning {
  Aligning(PendingPool& pending, SettingsRef before, SettingsRef wanted)
      : session(pending, 10), reader(session), alignment(session, std::move(wanted)) {
    session.settings = std::move(before);
  }
  // A pass over what came.
  State read(Bytes bytes) {
    EXPECT_TRUE(reader.read(bytes));
    if (auto error = reader.take_own_error()) alignment.failed(std::move(*error));
    return alignment.answered();
  }

  ServerSession session;
  testing::ServerReader reader;
  Alignment alignment;
};

TEST_F(AlignmentTest, a_server_that_has_the_settings_is_asked_nothing) {
  for (const SettingsRef& settings : {SettingsRef{}, of("1MB")}) {
    Aligning run(pending, settings, settings);
    std::vector<std::byte> out;
    EXPECT_EQ(run.alignment.begin(out), State::aligned);
    EXPECT_EQ(run.alignment.state(), State::aligned);
    EXPECT_TRUE(out.empty());
    EXPECT_TRUE(run.session.exchange.idle());
    EXPECT_EQ(run.session.settings, settings);
    EXPECT_EQ(run.alignment.answered(), State::aligned);
  }
}

TEST_F(AlignmentTest, a_server_with_others_is_asked_in_one_statement) {
  const auto before = of("1MB");
  const auto wanted = of("2MB");
  Aligning run(pending, before, wanted);
  std::vector<std::byte> out;
  EXPECT_EQ(run.alignment.begin(out), State::asking);
  EXPECT_EQ(asked(out), change_settings(before, wanted));
  EXPECT_EQ(run.session.exchange.in_flight(), 1U);
  EXPECT_FALSE(run.session.exchange.expects()) << "no client waits for it";
  EXPECT_EQ(run.session.settings, before) << "it has them when it says so";
}

TEST_F(AlignmentTest, settings_are_taken_off_for_a_client_that_wants_none) {
  const auto before = of("1MB");
  Aligning run(pending, before, {});
  std::vector<std::byte> out;
  ASSERT_EQ(run.alignment.begin(out), State::asking);
  EXPECT_EQ(asked(out), change_settings(before, {}));
  EXPECT_EQ(run.read(answers("T D C ZI")), State::aligned);
  EXPECT_TRUE(run.session.settings.empty());
}

TEST_F(AlignmentTest, what_is_asked_goes_behind_what_is_there) {
  Aligning run(pending, {}, of("1MB"));
  Out out;
  write_sync(out);
  const auto before = out.size();
  run.alignment.begin(out);
  EXPECT_EQ(out[0], std::byte{'S'});
  EXPECT_EQ(out[before], std::byte{'Q'});
}

TEST_F(AlignmentTest, the_statement_destroys_the_unnamed_one_on_the_server) {
  std::vector<std::byte> tail;
  Writer(tail).text("select 1").u16(0);
  const auto select = statements.intern(tail, 8);
  Aligning run(pending, {}, of("1MB"));
  run.session.statements.load_unnamed(select, 5);
  run.session.statements.settle(5, Outcome::completed);
  ASSERT_TRUE(run.session.statements.has_unnamed(*select));
  std::vector<std::byte> out;
  run.alignment.begin(out);
  EXPECT_FALSE(run.session.statements.has_unnamed(*select));
}

TEST_F(AlignmentTest, the_server_has_the_settings_at_ready_for_query_and_not_before) {
  const auto wanted = of("2MB");
  const Out all = answers("S T D C ZI");
  Aligning run(pending, {}, wanted);
  std::vector<std::byte> out;
  run.alignment.begin(out);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const bool last = i + 1 == all.size();
    EXPECT_EQ(run.read(Bytes(all).subspan(i, 1)), last ? State::aligned : State::asking) << i;
    EXPECT_EQ(run.session.settings == wanted, last) << i;
  }
  EXPECT_TRUE(run.session.may_serve_others());
  EXPECT_EQ(run.alignment.answered(), State::aligned);
}

TEST_F(AlignmentTest, a_refusal_leaves_the_server_as_it_was_and_is_the_clients_error) {
  const auto before = of("1MB");
  const Out all = answers("T E22023 ZI");
  Aligning run(pending, before, of("nonsense"));
  std::vector<std::byte> out;
  run.alignment.begin(out);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const bool last = i + 1 == all.size();
    EXPECT_EQ(run.read(Bytes(all).subspan(i, 1)), last ? State::refused : State::asking) << i;
    EXPECT_EQ(run.session.settings, before) << i;
  }
  EXPECT_EQ(run.alignment.error().state, "22023");
  EXPECT_EQ(run.alignment.error().message, "e");
  EXPECT_TRUE(run.session.may_serve_others()) << "nothing has changed on it";
  EXPECT_EQ(run.alignment.answered(), State::refused);
}

TEST_F(AlignmentTest, cut_anywhere_it_ends_as_whole) {
  for (const std::string_view words : {"T D C ZI", "N S T D C ZI", "E22023 ZI", "T D E57014 ZI"}) {
    const Out all = answers(words);
    const bool refused = words.contains('E');
    for (std::size_t cut = 0; cut <= all.size(); ++cut) {
      const auto before = of("1MB");
      const auto wanted = of("2MB");
      Aligning run(pending, before, wanted);
      std::vector<std::byte> out;
      run.alignment.begin(out);
      run.read(Bytes(all).first(cut));
      const State state = run.read(Bytes(all).subspan(cut));
      EXPECT_EQ(state, refused ? State::refused : State::aligned) << words << cut;
      EXPECT_EQ(run.session.settings, refused ? before : wanted) << words << cut;
    }
  }
}

TEST_F(AlignmentTest, without_the_end_of_its_answers_nothing_is_settled) {
  for (const std::string_view words : {"T D C ZI", "E22023 ZI"}) {
    const Out all = answers(words);
    for (std::size_t size = 0; size < all.size(); ++size) {
      const auto before = of("1MB");
      Aligning run(pending, before, of("2MB"));
      std::vector<std::byte> out;
      run.alignment.begin(out);
      EXPECT_EQ(run.read(Bytes(all).first(size)), State::asking) << words << size;
      EXPECT_EQ(run.session.settings, before) << words << size;
      EXPECT_FALSE(run.session.may_serve_others()) << words << size;
    }
  }
}

TEST_F(AlignmentTest, a_server_that_broke_the_protocol_is_never_aligned) {
  const auto before = of("1MB");
  Aligning run(pending, before, of("2MB"));
  std::vector<std::byte> out;
  run.alignment.begin(out);
  EXPECT_FALSE(run.reader.read(answers("T D C 1 ZI")));
  EXPECT_EQ(run.alignment.answered(), State::asking);
  EXPECT_EQ(run.session.settings, before);
  EXPECT_FALSE(run.session.may_serve_others());
}

// The client goes while its settings are on their way: they take effect all the same.
TEST_F(AlignmentTest, a_server_whose_client_left_meanwhile_is_not_released_as_if_it_had_the_old_ones) {
  const auto before = of("1MB");
  testing::CleaningDriver it;
  it.session.settings = before;
  std::vector<std::byte> out;
  {
    Alignment alignment(it.session, of("2MB"));
    ASSERT_EQ(alignment.begin(out), State::asking);
    alignment.give_up();
  }
  EXPECT_EQ(it.ask(), "wait") << "what runs there is ours, and short";
  it.receive("T D C ZI");
  EXPECT_EQ(it.ask(), "send Q:DISCARD ALL") << "nobody knows which it has";
  it.receive("C ZI");
  EXPECT_EQ(it.ask(), "release");
  EXPECT_TRUE(it.session.settings.empty());
}

TEST_F(AlignmentTest, an_alignment_that_is_given_up_soils_its_server_until_it_is_emptied) {
  Aligning run(pending, of("1MB"), of("2MB"));
  std::vector<std::byte> out;
  ASSERT_EQ(run.alignment.begin(out), State::asking);
  EXPECT_EQ(run.session.dirt(), sql::Effect::none);
  run.alignment.give_up();
  EXPECT_NE(run.session.dirt(), sql::Effect::none);
  EXPECT_TRUE(run.reader.read(answers("T D C ZI")));
  EXPECT_TRUE(run.session.at_rest());
  EXPECT_FALSE(run.session.may_serve_others());
  run.session.emptied();
  EXPECT_TRUE(run.session.may_serve_others());
}

TEST_F(AlignmentTest, a_server_that_refuses_when_its_client_has_left_is_not_released_as_it_is) {
  testing::CleaningDriver it;
  it.session.settings = of("1MB");
  std::vector<std::byte> out;
  Alignment alignment(it.session, of("nonsense"));
  ASSERT_EQ(alignment.begin(out), State::asking);
  alignment.give_up();
  it.receive("E22023 ZI");
  EXPECT_NE(it.ask(), "release");
}

}  // namespace
}  // namespace holdfast::protocol
