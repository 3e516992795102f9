#include "protocol/replay.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace holdfast::protocol {
namespace {

using Again = Replay::Again;
using Outcome = Loss::Outcome;
using Repeatable = Replay::Repeatable;
using State = Replay::State;

const Refusal of_standby{.state = sqlstate::read_only_sql_transaction};

Loss loss(Outcome outcome) {
  return {.outcome = outcome};
}

class ReplayTest : public ::testing::Test {
 protected:
  // A unit whose bytes were composed for the server, and nothing else.
  void begin(Repeatable may, std::string_view bytes = "unit") {
    replay.began(may);
    replay.record(as_bytes(bytes));
  }
  // A proven read that has left.
  void send_read(std::string_view bytes = "unit") {
    begin(Repeatable::yes, bytes);
    replay.sent();
  }
  // A unit for which nothing may be done any more.
  void expect_spoiled() {
    EXPECT_EQ(replay.state(), State::spoiled);
    EXPECT_EQ(replay.again(), Again::no);
    EXPECT_FALSE(replay.take_back());
    EXPECT_FALSE(replay.refused(of_standby));
    replay.lost(loss(Outcome::repeatable), false);
    EXPECT_EQ(replay.state(), State::spoiled);
    EXPECT_EQ(replay.again(), Again::no);
  }

  SpareBuffers buffers;
  Replay replay{buffers};
};

// ---- a test per row of the header's table

TEST_F(ReplayTest, before_a_unit_there_is_nothing_to_run_again) {
  EXPECT_EQ(replay.state(), State::none);
  EXPECT_FALSE(replay.take_back());
  EXPECT_EQ(replay.again(), Again::no);
  EXPECT_TRUE(replay.bytes().empty());
}

TEST_F(ReplayTest, a_read_that_has_not_left_may_be_taken_back) {
  begin(Repeatable::yes);
  EXPECT_EQ(replay.state(), State::unsent);
  EXPECT_TRUE(replay.take_back());
  replay.sent();
  EXPECT_FALSE(replay.take_back());
}

TEST_F(ReplayTest, a_write_that_has_not_left_may_be_taken_back) {
  begin(Repeatable::no);
  EXPECT_EQ(replay.state(), State::unsent);
  EXPECT_TRUE(replay.take_back());
}

TEST_F(ReplayTest, what_has_not_left_when_its_server_dies_runs_again_elsewhere_whatever_it_does) {
  for (const Repeatable may : {Repeatable::no, Repeatable::yes}) {
    for (const Outcome outcome :
         {Outcome::nothing_in_flight, Outcome::repeatable, Outcome::rolled_back, Outcome::unknown}) {
      Replay it{buffers};
      it.began(may);
      it.record(as_bytes("unit"));
      it.pass_ended();
      it.lost(loss(outcome), false);
      EXPECT_EQ(it.state(), State::lost) << name_of(outcome);
      EXPECT_EQ(it.again(), Again::elsewhere) << name_of(outcome);
      EXPECT_EQ(as_text(it.bytes()), "unit") << name_of(outcome);
      EXPECT_FALSE(it.take_back()) << name_of(outcome);
    }
  }
}

TEST_F(ReplayTest, a_write_that_has_left_never_runs_again) {
  begin(Repeatable::no);
  replay.sent();
  expect_spoiled();
}

TEST_F(ReplayTest, a_read_whose_server_died_runs_again_elsewhere) {
  send_read("select 1");
  EXPECT_EQ(replay.state(), State::recording);
  EXPECT_EQ(replay.again(), Again::no) << "nothing has happened to it yet";
  replay.lost(loss(Outcome::repeatable), false);
  EXPECT_EQ(replay.state(), State::lost);
  EXPECT_EQ(replay.again(), Again::elsewhere);
  EXPECT_EQ(as_text(replay.bytes()), "select 1");
}

TEST_F(ReplayTest, a_read_that_a_standby_refused_runs_again_on_the_primary) {
  send_read("select 1");
  EXPECT_TRUE(replay.refused(of_standby));
  EXPECT_EQ(replay.state(), State::refused);
  EXPECT_TRUE(replay.swallowing());
  EXPECT_EQ(replay.again(), Again::on_primary);
  EXPECT_EQ(as_text(replay.bytes()), "select 1");
}

TEST_F(ReplayTest, a_read_of_which_a_row_was_passed_on_never_runs_again) {
  send_read();
  replay.delivered();
  expect_spoiled();
}

// ---- what spoils

TEST_F(ReplayTest, an_answer_of_our_own_to_a_part_of_it_keeps_it_from_being_taken_back) {
  begin(Repeatable::yes);
  replay.delivered();
  EXPECT_FALSE(replay.take_back());
  replay.sent();
  expect_spoiled();
}

TEST_F(ReplayTest, a_second_unit_spoils_the_first) {
  send_read("one");
  replay.began(Repeatable::yes);
  replay.record(as_bytes("two"));
  replay.pass_ended();
  expect_spoiled();
}

TEST_F(ReplayTest, of_two_units_that_left_together_none_runs_again) {
  for (const Repeatable first : {Repeatable::yes, Repeatable::no}) {
    for (const Repeatable second : {Repeatable::yes, Repeatable::no}) {
      Replay it{buffers};
      it.began(first);
      it.record(as_bytes("one"));
      it.began(second);
      it.record(as_bytes("two"));
      it.sent();
      EXPECT_EQ(it.state(), State::spoiled);
      EXPECT_FALSE(it.refused(of_standby));
      it.lost(loss(Outcome::repeatable), false);
      EXPECT_EQ(it.again(), Again::no);
    }
  }
}

TEST_F(ReplayTest, a_second_unit_in_the_same_write_leaves_both_to_be_taken_back) {
  begin(Repeatable::yes, "one ");
  begin(Repeatable::no, "two");
  EXPECT_TRUE(replay.take_back()) << "not one byte of either has left";
  replay.pass_ended();
  EXPECT_TRUE(replay.take_back());
  EXPECT_EQ(as_text(replay.bytes()), "one two");
}

TEST_F(ReplayTest, two_units_that_have_not_left_when_their_server_dies_run_elsewhere_both) {
  begin(Repeatable::no, "one ");
  replay.pass_ended();
  begin(Repeatable::no, "two");
  replay.pass_ended();
  replay.lost(loss(Outcome::unknown), false);
  EXPECT_EQ(replay.again(), Again::elsewhere);
  EXPECT_EQ(as_text(replay.bytes()), "one two");
}

TEST_F(ReplayTest, a_unit_of_the_longest_size_is_kept_and_a_byte_more_is_not) {
  const std::string longest(Replay::longest, 'x');
  send_read(longest);
  EXPECT_EQ(replay.state(), State::recording);
  EXPECT_EQ(as_text(replay.bytes()), longest);
  replay.record(as_bytes("x"));
  EXPECT_EQ(replay.state(), State::recording) << "nothing is copied before its pass has ended";
  replay.pass_ended();
  expect_spoiled();
}

TEST_F(ReplayTest, a_longer_unit_may_be_taken_back_in_its_pass_and_not_behind_it) {
  const std::string longer(Replay::longest + 1, 'x');
  for (const Repeatable may : {Repeatable::no, Repeatable::yes}) {
    for (const bool leaves : {false, true}) {
      Replay it{buffers};
      it.began(may);
      it.record(as_bytes(longer));
      EXPECT_EQ(it.state(), State::unsent);
      EXPECT_TRUE(it.take_back());
      EXPECT_EQ(as_text(it.passing()), longer) << "it lies where it was received";
      leaves ? it.sent() : it.pass_ended();
      EXPECT_EQ(it.state(), State::spoiled) << leaves;
      EXPECT_FALSE(it.take_back()) << leaves;
      it.lost(loss(Outcome::repeatable), false);
      EXPECT_EQ(it.again(), Again::no) << leaves;
    }
  }
}

TEST_F(ReplayTest, a_unit_that_gets_too_long_over_several_passes_is_given_up) {
  const std::string half(Replay::longest / 2 + 1, 'x');
  begin(Repeatable::no, half);
  replay.pass_ended();
  EXPECT_TRUE(replay.take_back());
  replay.record(as_bytes(half));
  EXPECT_TRUE(replay.take_back()) << "the one half is kept, the other lies where it was received";
  replay.pass_ended();
  expect_spoiled();
}

// ---- what a refusal must be

TEST_F(ReplayTest, only_states_by_which_a_standby_says_that_it_ran_nothing_count) {
  for (const std::string_view state :
       {"25006", "0A000", "55000", "40001", "40P01", "42P01", "42703", "42501", "3D000", "3F000", "22P02", "XX000"}) {
    Replay read{buffers};
    read.began(Repeatable::yes);
    read.sent();
    EXPECT_TRUE(read.refused({.state = SqlState(state)})) << state;
  }
  for (const std::string_view state : {"57014", "22012", "57P01", "08006", "25P02", "26000", "53200", "23505"}) {
    Replay read{buffers};
    read.began(Repeatable::yes);
    read.sent();
    EXPECT_FALSE(read.refused({.state = SqlState(state)})) << state;
    EXPECT_EQ(read.state(), State::recording) << state;
    EXPECT_EQ(read.again(), Again::no) << state;
  }
}

TEST_F(ReplayTest, a_conflict_with_replay_is_no_refusal_of_the_text) {
  for (const std::string_view state : {"40001", "40P01"}) EXPECT_TRUE(Refusal{.state = SqlState(state)}.conflict());
  for (const std::string_view state : {"25006", "0A000", "55000", "57014"}) {
    EXPECT_FALSE(Refusal{.state = SqlState(state)}.conflict()) << state;
  }
}

// What a standby has not replayed yet it will have in a moment: the shape stays with the replicas.
TEST_F(ReplayTest, only_what_no_standby_can_ever_run_teaches) {
  for (const std::string_view state : {"25006", "0A000", "55000"}) EXPECT_TRUE(Refusal{.state = SqlState(state)}.teaches());
  for (const std::string_view state :
       {"40001", "40P01", "42P01", "42703", "42704", "42883", "42501", "3D000", "3F000", "22P02", "22023", "23514"}) {
    EXPECT_FALSE(Refusal{.state = SqlState(state)}.teaches()) << state;
  }
}

TEST_F(ReplayTest, each_circumstance_by_itself_makes_a_refusal_the_clients) {
  const auto with = [](auto change) {
    Refusal refusal = of_standby;
    change(refusal);
    return refusal;
  };
  const Refusal cases[] = {
      with([](Refusal& refusal) { refusal.by_primary = true; }),
      with([](Refusal& refusal) { refusal.replicas_only = true; }),
      with([](Refusal& refusal) { refusal.status = 'T'; }),
      with([](Refusal& refusal) { refusal.status = 'E'; }),
      with([](Refusal& refusal) { refusal.awaits_sync = true; }),
      with([](Refusal& refusal) { refusal.passed_on = true; }),
  };
  for (std::size_t i = 0; i < std::size(cases); ++i) {
    SCOPED_TRACE(i);
    Replay read{buffers};
    read.began(Repeatable::yes);
    read.sent();
    EXPECT_FALSE(read.refused(cases[i]));
    EXPECT_FALSE(read.swallowing());
    EXPECT_EQ(read.state(), State::recording);
    EXPECT_EQ(read.again(), Again::no);
  }
}

TEST_F(ReplayTest, a_refusal_without_a_unit_that_left_is_the_clients) {
  EXPECT_FALSE(replay.refused(of_standby));
  begin(Repeatable::yes);
  EXPECT_FALSE(replay.refused(of_standby));
  EXPECT_EQ(replay.state(), State::unsent);
}

// ---- what a loss must be

TEST_F(ReplayTest, only_a_loss_that_proves_that_nothing_was_passed_on_lets_it_run_again) {
  for (const Outcome outcome : {Outcome::nothing_in_flight, Outcome::rolled_back, Outcome::unknown}) {
    Replay read{buffers};
    read.began(Repeatable::yes);
    read.sent();
    read.lost(loss(outcome), false);
    EXPECT_EQ(read.state(), State::spoiled) << name_of(outcome);
    EXPECT_EQ(read.again(), Again::no) << name_of(outcome);
  }
}

TEST_F(ReplayTest, a_loss_in_the_middle_of_a_message_of_the_clients_never_lets_it_run_again) {
  for (const Outcome outcome :
       {Outcome::nothing_in_flight, Outcome::repeatable, Outcome::rolled_back, Outcome::unknown}) {
    for (const bool refused_first : {false, true}) {
      Replay read{buffers};
      read.began(Repeatable::yes);
      read.sent();
      if (refused_first) {
        ASSERT_TRUE(read.refused(of_standby));
      }
      read.lost(loss(outcome), true);
      EXPECT_EQ(read.state(), State::spoiled) << name_of(outcome) << refused_first;
      EXPECT_EQ(read.again(), Again::no) << name_of(outcome) << refused_first;
    }
  }
}

TEST_F(ReplayTest, half_a_message_lost_of_what_had_not_left_never_lets_it_run_again) {
  for (const Repeatable may : {Repeatable::no, Repeatable::yes}) {
    Replay it{buffers};
    it.began(may);
    it.record(as_bytes("unit"));
    it.pass_ended();
    it.lost(loss(Outcome::nothing_in_flight), true);
    EXPECT_EQ(it.state(), State::spoiled);
    EXPECT_EQ(it.again(), Again::no);
  }
}

TEST_F(ReplayTest, a_refused_unit_runs_on_the_primary_though_the_standby_dies_before_all_is_swallowed) {
  for (const Outcome outcome :
       {Outcome::nothing_in_flight, Outcome::repeatable, Outcome::rolled_back, Outcome::unknown}) {
    Replay read{buffers};
    read.began(Repeatable::yes);
    read.sent();
    ASSERT_TRUE(read.refused(of_standby));
    read.lost(loss(outcome), false);
    EXPECT_EQ(read.state(), State::lost) << name_of(outcome);
    EXPECT_FALSE(read.swallowing()) << name_of(outcome);
    EXPECT_EQ(read.again(), Again::on_primary) << name_of(outcome);
  }
}

TEST_F(ReplayTest, a_loss_between_two_units_changes_nothing_when_none_began) {
  replay.lost(loss(Outcome::nothing_in_flight), false);
  EXPECT_EQ(replay.state(), State::none);
}

// ---- state by state

struct Cell {
  State state;
  Again again;
};
constexpr Cell at_none{State::none, Again::no};
constexpr Cell at_unsent{State::unsent, Again::no};
constexpr Cell at_recording{State::recording, Again::no};
constexpr Cell at_spoiled{State::spoiled, Again::no};
constexpr Cell at_refused{State::refused, Again::on_primary};
constexpr Cell at_elsewhere{State::lost, Again::elsewhere};
constexpr Cell at_on_primary{State::lost, Again::on_primary};

// Where the events of a row begin.
enum class From : std::uint8_t { none, read, write, recording, spoiled, refused, elsewhere, on_primary };
constexpr From all_from[] = {From::none,    From::read,    From::write,     From::recording,
                             From::spoiled, From::refused, From::elsewhere, From::on_primary};

void bring(Replay& replay, From from) {
  if (from == From::none) return;
  replay.began(from == From::write ? Repeatable::no : Repeatable::yes);
  replay.record(as_bytes("unit"));
  if (from == From::read || from == From::write) return replay.pass_ended();
  replay.sent();
  if (from == From::spoiled) replay.delivered();
  if (from == From::refused || from == From::on_primary) {
    ASSERT_TRUE(replay.refused(of_standby));
  }
  if (from == From::elsewhere || from == From::on_primary) replay.lost(loss(Outcome::repeatable), false);
}

struct Row {
  const char* name;
  void (*event)(Replay&);
  Cell to[std::size(all_from)];  // by where it begins
};

TEST_F(ReplayTest, every_event_in_every_state_leads_where_the_diagram_says) {
  static const std::string too_much(Replay::longest, 'x');
  const Row rows[] = {
      //                                none, read, write, recording, spoiled, refused, elsewhere, on_primary
      {"record",
       [](Replay& it) {
         it.record(as_bytes("more"));
         it.pass_ended();
       },
       {at_none, at_unsent, at_unsent, at_recording, at_spoiled, at_refused, at_elsewhere, at_on_primary}},
      {"record too much",
       [](Replay& it) {
         it.record(as_bytes(too_much));
         it.pass_ended();
       },
       {at_none, at_spoiled, at_spoiled, at_spoiled, at_spoiled, at_refused, at_elsewhere, at_on_primary}},
      {"record too much, in this pass",
       [](Replay& it) { it.record(as_bytes(too_much)); },
       {at_none, at_unsent, at_unsent, at_recording, at_spoiled, at_refused, at_elsewhere, at_on_primary}},
      {"pass ended",
       [](Replay& it) { it.pass_ended(); },
       {at_none, at_unsent, at_unsent, at_recording, at_spoiled, at_refused, at_elsewhere, at_on_primary}},
      {"sent",
       [](Replay& it) { it.sent(); },
       {at_none, at_recording, at_spoiled, at_recording, at_spoiled, at_refused, at_elsewhere, at_on_primary}},
      {"delivered",
       [](Replay& it) { it.delivered(); },
       {at_none, at_spoiled, at_spoiled, at_spoiled, at_spoiled, at_refused, at_elsewhere, at_on_primary}},
      {"refused",
       [](Replay& it) { static_cast<void>(it.refused(of_standby)); },
       {at_none, at_unsent, at_unsent, at_refused, at_spoiled, at_refused, at_elsewhere, at_on_primary}},
      // A server is lost once: a further loss proves nothing.
      {"lost, and it proves that nothing was passed on",
       [](Replay& it) { it.lost(loss(Outcome::repeatable), false); },
       {at_none, at_elsewhere, at_elsewhere, at_elsewhere, at_spoiled, at_on_primary, at_spoiled, at_spoiled}},
      {"lost, and it proves nothing",
       [](Replay& it) { it.lost(loss(Outcome::unknown), false); },
       {at_none, at_elsewhere, at_elsewhere, at_spoiled, at_spoiled, at_on_primary, at_spoiled, at_spoiled}},
      {"lost with half a message",
       [](Replay& it) { it.lost(loss(Outcome::repeatable), true); },
       {at_none, at_spoiled, at_spoiled, at_spoiled, at_spoiled, at_spoiled, at_spoiled, at_spoiled}},
  };
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < std::size(all_from); ++i) {
      SCOPED_TRACE(std::string(row.name) + " from " + std::to_string(i));
      Replay it{buffers};
      bring(it, all_from[i]);
      row.event(it);
      EXPECT_STREQ(name_of(it.state()), name_of(row.to[i].state));
      EXPECT_EQ(it.again(), row.to[i].again);
      EXPECT_EQ(it.take_back(), row.to[i].state == State::unsent);
      EXPECT_EQ(it.swallowing(), row.to[i].state == State::refused);
    }
  }
}

TEST_F(ReplayTest, another_unit_never_makes_anything_run_again) {
  for (const From from : all_from) {
    for (const Repeatable may : {Repeatable::no, Repeatable::yes}) {
      Replay it{buffers};
      bring(it, from);
      const Again before = it.again();
      const State state = it.state();
      it.began(may);
      EXPECT_EQ(it.again(), before) << name_of(state);
      if (state == State::recording || state == State::spoiled) {
        EXPECT_EQ(it.state(), State::spoiled) << name_of(state);
      }
      if (state == State::unsent) {
        EXPECT_EQ(it.state(), State::unsent) << "both may be taken back";
        it.sent();
        EXPECT_EQ(it.state(), State::spoiled);
      }
    }
  }
}

TEST_F(ReplayTest, every_state_has_a_name) {
  for (const State state :
       {State::none, State::unsent, State::recording, State::spoiled, State::refused, State::lost}) {
    EXPECT_STRNE(name_of(state), "?");
  }
}

// ---- bytes

TEST_F(ReplayTest, keeps_the_unit_as_it_came_piece_by_piece) {
  replay.began(Repeatable::yes);
  replay.record(as_bytes("parse "));
  replay.record(as_bytes("bind "));
  replay.sent();
  replay.record(as_bytes("sync"));
  replay.pass_ended();
  EXPECT_EQ(as_text(replay.bytes()), "parse bind sync");
}

TEST_F(ReplayTest, what_came_in_one_piece_is_not_copied_before_its_pass_has_ended) {
  const std::string pass = "parse bind sync";
  const Bytes all = as_bytes(pass);
  replay.began(Repeatable::no);
  for (const auto& [from, size] : {std::pair(0, 6), std::pair(6, 5), std::pair(11, 4)}) {
    replay.record(all.subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(size)));
  }
  EXPECT_TRUE(replay.bytes().empty());
  EXPECT_EQ(replay.passing().data(), all.data());
  EXPECT_EQ(as_text(replay.passing()), pass);
  replay.pass_ended();
  EXPECT_EQ(as_text(replay.bytes()), pass);
  EXPECT_TRUE(replay.passing().empty());
}

// What is left out between (a message that was answered before the unit began) is not the unit's.
TEST_F(ReplayTest, what_is_shown_again_is_what_was_kept_and_then_what_is_passing) {
  const std::string pass = "one(not its)two";
  const Bytes all = as_bytes(pass);
  begin(Repeatable::no, "before ");
  replay.pass_ended();
  replay.record(all.first(3));
  replay.record(all.last(3));
  EXPECT_TRUE(replay.take_back());
  EXPECT_EQ(as_text(replay.bytes()), "before one");
  EXPECT_EQ(as_text(replay.passing()), "two");
  EXPECT_EQ(replay.passing().data(), all.last(3).data());
}

TEST_F(ReplayTest, what_was_received_may_be_overwritten_when_its_pass_has_ended) {
  for (const bool leaves : {false, true}) {
    Replay it{buffers};
    std::string received = "unit";
    it.began(Repeatable::yes);
    it.record(as_bytes(received));
    leaves ? it.sent() : it.pass_ended();
    received.assign(received.size(), '?');
    EXPECT_EQ(as_text(it.bytes()), "unit");
    EXPECT_TRUE(it.passing().empty()) << "it points nowhere";
  }
}

TEST_F(ReplayTest, keeps_a_unit_that_may_write_until_it_has_left) {
  begin(Repeatable::no, "insert");
  replay.pass_ended();
  EXPECT_EQ(as_text(replay.bytes()), "insert");
  replay.record(as_bytes(" more"));
  replay.sent();
  EXPECT_TRUE(replay.bytes().empty());
  EXPECT_TRUE(replay.passing().empty());
  replay.record(as_bytes(" and more"));
  EXPECT_TRUE(replay.passing().empty());
  replay.pass_ended();
  EXPECT_TRUE(replay.bytes().empty());
}

TEST_F(ReplayTest, keeps_nothing_that_came_before_the_unit_or_behind_its_end) {
  replay.record(as_bytes("before"));
  replay.pass_ended();
  send_read("unit");
  replay.lost(loss(Outcome::repeatable), false);
  replay.record(as_bytes("behind"));
  replay.pass_ended();
  EXPECT_EQ(as_text(replay.bytes()), "unit");
}

TEST_F(ReplayTest, gives_its_memory_back_for_the_next_unit_which_finds_it_empty) {
  {
    Replay first{buffers};
    first.began(Repeatable::yes);
    first.record(as_bytes("the first unit"));
    first.pass_ended();
    EXPECT_EQ(buffers.kept(), 0U);
  }
  EXPECT_GT(buffers.kept(), 0U);
  replay.began(Repeatable::yes);
  EXPECT_GT(buffers.kept(), 0U) << "nothing is to be kept yet";
  replay.record(as_bytes("the second"));
  replay.pass_ended();
  EXPECT_EQ(buffers.kept(), 0U) << "it was lent";
  EXPECT_EQ(as_text(replay.bytes()), "the second");
}

// ---- any order of events

// What happened, told without the machine's states: a unit may run again if it was never sent, or if it may repeat, and
// nothing was delivered.
struct Story {
  std::size_t units = 0;    // that began before its end
  bool may_repeat = false;  // the first one
  bool left = false;        // something was sent
  bool delivered = false;
  bool too_long = false;
  bool refused = false;  // the machine took a refusal
  bool lost = false;
  bool proven = false;  // by the loss
  std::string bytes;    // of all these units

  [[nodiscard]] bool ended() const { return refused || lost; }
  [[nodiscard]] bool hopeless() const {
    return units == 0 || delivered || too_long || (left && (units > 1 || !may_repeat));
  }
  [[nodiscard]] bool may_take_back() const { return !hopeless() && !left && !ended(); }
  [[nodiscard]] bool may_refuse() const { return !hopeless() && left && !ended(); }
  [[nodiscard]] Again again() const {
    if (hopeless() || !ended() || (lost && !proven)) return Again::no;
    return refused ? Again::on_primary : Again::elsewhere;
  }
};

// The memory that a pass's bytes lie in, which the next one overwrites.
class PassMemory {
 public:
  // Behind what came before, or with something between that is not recorded.
  Bytes take(std::size_t size, bool gap) {
    if (gap) used_ += 7;
    for (std::size_t i = 0; i < size; ++i) memory_[used_ + i] = static_cast<std::byte>('a' + next_++ % 26);
    used_ += size;
    return Bytes(memory_).subspan(used_ - size, size);
  }
  void end() {
    std::fill_n(memory_.begin(), static_cast<std::ptrdiff_t>(used_), std::byte{'?'});
    used_ = 0;
  }
  [[nodiscard]] bool empty() const { return used_ == 0; }

 private:
  std::vector<std::byte> memory_ = std::vector<std::byte>(150'000);
  std::size_t used_ = 0;
  std::size_t next_ = 0;
};

TEST_F(ReplayTest, in_any_order_of_events_nothing_runs_twice_and_nothing_is_forgotten) {
  std::minstd_rand random(17);
  const auto pick = [&random](auto... values) {
    const std::common_type_t<decltype(values)...> all[] = {values...};
    return all[random() % sizeof...(values)];
  };
  std::size_t elsewhere_seen = 0;
  std::size_t unsent_elsewhere_seen = 0;
  std::size_t primary_seen = 0;
  std::size_t taken_back = 0;
  std::size_t two_taken_back = 0;
  std::size_t too_long_seen = 0;
  PassMemory memory;
  for (int round = 0; round < 100000; ++round) {
    Replay it{buffers};
    Story story;
    std::string script;
    const auto kept = [&] {
      if (story.units > 0 && !story.ended() && story.bytes.size() > Replay::longest) story.too_long = true;
    };
    // Everything that was recorded in it is to be copied by now.
    const auto end_pass = [&](bool sends) {
      if (sends && story.units > 0 && !story.ended()) story.left = true;
      sends ? it.sent() : it.pass_ended();
      kept();
      memory.end();
      ASSERT_TRUE(it.passing().empty()) << script;
    };
    for (auto left = 1 + random() % 12; left > 0; --left) {
      const State before = it.state();
      switch (random() % 9) {
        case 0:
        case 1: {
          const Repeatable may = pick(Repeatable::yes, Repeatable::yes, Repeatable::no);
          script += may == Repeatable::yes ? "began-read " : "began-write ";
          it.began(may);
          // Behind its end a unit waits with the client's bytes.
          if (!story.ended() && ++story.units == 1) story.may_repeat = may == Repeatable::yes;
          break;
        }
        case 2:
        case 3: {
          const bool gap = random() % 4 == 0;
          const Bytes bytes = memory.take(pick(1U, 100U, 9000U), gap);
          script += (gap ? "record-apart" : "record") + std::to_string(bytes.size()) + " ";
          it.record(bytes);
          if (gap) kept();  // what lies apart is kept at once
          if (story.units > 0 && !story.ended()) story.bytes += as_text(bytes);
          break;
        }
        case 4:
          if (story.units == 0) break;
          script += "sent ";
          end_pass(true);
          break;
        case 5:
          script += "pass-ended ";
          end_pass(false);
          break;
        case 6:
          // While it swallows, and without a server, nothing is passed on.
          if (random() % 3 != 0 || story.ended()) break;
          script += "delivered ";
          it.delivered();
          if (story.units > 0) story.delivered = true;
          break;
        case 7: {
          if (!memory.empty()) end_pass(false);
          const Refusal refusal{
              .state = SqlState(pick(std::string_view("25006"), std::string_view("40001"), std::string_view("22012"))),
              .by_primary = random() % 6 == 0,
              .replicas_only = random() % 6 == 0,
              .status = pick('I', 'I', 'I', 'T', 'E'),
              .awaits_sync = random() % 6 == 0,
              .passed_on = random() % 6 == 0};
          script += "refused ";
          const bool counts = refusal.repeatable() && !refusal.by_primary && !refusal.replicas_only &&
                              refusal.status == 'I' && !refusal.awaits_sync && !refusal.passed_on;
          const bool may = counts && story.may_refuse();
          ASSERT_EQ(it.refused(refusal), may) << script;
          if (may) story.refused = true;
          break;
        }
        default: {
          if (story.units == 0 || story.lost) break;
          if (!memory.empty()) end_pass(false);
          const Outcome outcome =
              pick(Outcome::repeatable, Outcome::nothing_in_flight, Outcome::rolled_back, Outcome::unknown);
          const bool cut = random() % 4 == 0;
          script += std::string("lost-") + name_of(outcome) + (cut ? "-cut " : " ");
          it.lost(loss(outcome), cut);
          story.lost = true;
          story.proven = !cut && (!story.left || story.refused || outcome == Outcome::repeatable);
        }
      }
      if (before == State::spoiled) {
        ASSERT_EQ(it.state(), State::spoiled) << script;
      }
      ASSERT_EQ(it.take_back(), story.may_take_back()) << script;
      ASSERT_EQ(it.again(), story.again()) << script;
      if (story.too_long) ++too_long_seen;
      if (it.take_back()) {
        ++taken_back;
        if (story.units > 1) ++two_taken_back;
        ASSERT_EQ(std::string(as_text(it.bytes())) + std::string(as_text(it.passing())), story.bytes) << script;
      }
      if (it.again() == Again::no) continue;
      ASSERT_LE(story.bytes.size(), Replay::longest) << script;
      ASSERT_EQ(as_text(it.bytes()), story.bytes) << script;
      ++(it.again() == Again::on_primary ? primary_seen : story.left ? elsewhere_seen : unsent_elsewhere_seen);
    }
    memory.end();
  }
  EXPECT_GT(elsewhere_seen, 100U);
  EXPECT_GT(unsent_elsewhere_seen, 1000U);
  EXPECT_GT(primary_seen, 100U);
  EXPECT_GT(taken_back, 1000U);
  EXPECT_GT(two_taken_back, 1000U);
  EXPECT_GT(too_long_seen, 1000U);
}

}  // namespace
}  // namespace holdfast::protocol
