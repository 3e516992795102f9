#include "protocol/replay.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace holdfast::protocol {

bool Refusal::conflict() const {
  return state == sqlstate::serialization_failure || state == sqlstate::deadlock_detected;
}

bool Refusal::not_yet() const {
  // What is not there, or not like this, on a standby that has not replayed the DDL yet. Class 42: objects, columns,
  // types, rights. The others: a database; a schema; a value of an enum, in the text of a literal or a parameter; a
  // configuration or role that a setting names; a check or NOT NULL of a domain; what an OID of the primary stands for
  // ("cache lookup failed").
  constexpr auto states = std::to_array<std::string_view>(
      {"3D000", "3F000", "22P02", "22023", "23502", "23514", "XX000"});
  return state.view().starts_with("42") || std::ranges::find(states, state.view()) != states.end();
}

bool Refusal::repeatable() const {
  return teaches() || not_yet() || conflict();
}

bool Refusal::teaches() const {
  return state == sqlstate::read_only_sql_transaction || state == sqlstate::feature_not_supported ||
         state == sqlstate::object_not_in_prerequisite_state;
}

void Replay::began(Repeatable may) {
  switch (state_) {
    case State::none:
      state_ = State::unsent;
      kept_ = may;
      return;
    case State::unsent:
      // Both may still be taken back; neither is repeated once they have left.
      kept_ = Repeatable::no;
      return;
    case State::recording: state_ = State::spoiled; return;
    case State::spoiled:
    case State::refused:  // the session takes no more messages until the remaining answers are swallowed
    case State::lost: return;
  }
}

// From here on only a proven read is worth keeping.
void Replay::leave() {
  state_ = kept_ == Repeatable::yes ? State::recording : State::spoiled;
  if (kept_ == Repeatable::yes) return;
  passing_ = {};
  bytes_.clear();
}

void Replay::keep() {
  const Bytes bytes = std::exchange(passing_, {});
  if (state_ != State::unsent && state_ != State::recording) return;
  if (bytes_.size() + bytes.size() <= longest) {
    if (bytes_.capacity() == 0) bytes_ = buffers_->take();
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return;
  }
  kept_ = Repeatable::no;
  state_ = State::spoiled;
}

bool Replay::refused(const Refusal& refusal) {
  if (state_ != State::recording || !refusal.repeatable()) return false;
  if (refusal.by_primary || refusal.replicas_only) return false;
  if (refusal.status != 'I' && !refusal.begins_again) return false;
  if (refusal.awaits_sync || refusal.passed_on) return false;
  state_ = State::refused;
  return true;
}

void Replay::lost(const Loss& loss, bool cut) {
  const bool refused_first = state_ == State::refused;
  const bool proven = refused_first || state_ == State::unsent ||
                      (state_ == State::recording && loss.outcome == Loss::Outcome::repeatable);
  if (state_ == State::none) return;
  state_ = proven && !cut ? State::lost : State::spoiled;
  refused_first_ = refused_first;
}

Replay::Again Replay::again() const {
  if (state_ == State::refused) return Again::on_primary;
  if (state_ == State::lost) return refused_first_ ? Again::on_primary : Again::elsewhere;
  return Again::no;
}

const char* name_of(Replay::State state) {
  switch (state) {
    case Replay::State::none: return "none";
    case Replay::State::unsent: return "unsent";
    case Replay::State::recording: return "recording";
    case Replay::State::spoiled: return "spoiled";
    case Replay::State::refused: return "refused";
    case Replay::State::lost: return "lost";
  }
  return "?";
}

}  // namespace holdfast::protocol
