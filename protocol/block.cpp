#include "protocol/block.hpp"

#include "protocol/frontend.hpp"
#include "protocol/invariant.hpp"
#include "protocol/message.hpp"

namespace holdfast::protocol {

char Block::status() const {
  switch (state_) {
    case State::idle: return 'I';
    case State::deferred:
    case State::opening:
    case State::open: return 'T';
    case State::failed: return 'E';
    case State::lost: return lost_->status();
  }
  return 'I';
}

bool Block::defer(std::string_view text, const sql::Verdict& verdict, std::vector<std::byte>& out) {
  if (state_ != State::idle || !DeferredBegin::may_defer(verdict, text)) return false;
  begin_.defer(text, verdict, out);
  state_ = State::deferred;
  queried_ = fails_ = false;
  return true;
}

bool Block::end(const sql::Verdict& verdict, std::vector<std::byte>& out) {
  if (state_ != State::deferred || !begin_.end(verdict, out)) return false;
  state_ = State::idle;
  return true;
}

Block::Opening Block::open(std::uint32_t cookie, std::vector<std::byte>& out) {
  if (!holds(state_ == State::deferred, "a BEGIN is sent that was not deferred")) return {};
  Opening opening{.statements = begin_.send(cookie, out), .snapshot = queried_ && !fails_, .fails = fails_};
  if (opening.snapshot) write_parse(out, "", "SELECT", {});
  if (opening.fails) {
    write_describe(out, {.kind = 'S', .name = "hf_0"});
    write_sync(out);
  }
  queried_before_ = queried_;
  kept_ = false;
  plain_ = begin_.repeatable();
  state_ = State::opening;
  return opening;
}

void Block::take_back() {
  begin_error_.reset();
  if (may_run_again()) return move();
  if (state_ != State::opening) return;
  begin_.take_back();
  queried_ = queried_before_;
  state_ = State::deferred;
}

void Block::passes(std::string_view text, const sql::Verdict& verdict) {
  if (state_ != State::idle) return;
  begin_.passed(text, verdict);
  plain_ = begin_.repeatable();
  queried_ = fails_ = false;
}

bool Block::refuses(const sql::Verdict& unit) const {
  using Control = sql::TransactionControl;
  const bool ends = unit.control == Control::commit || unit.control == Control::rollback;
  return state_ == State::failed && !ends && !unit.returns_after_commit && !unit.chains &&
         !sql::has(unit.effects, sql::pinning);
}

bool Block::stays_plain(const sql::Verdict& unit) const {
  using Control = sql::TransactionControl;
  if (unit.access == sql::Access::write || unit.effects != sql::Effect::none) return false;
  if (unit.returns_after_commit || unit.bends_block || unit.chains) return false;
  switch (unit.control) {
    case Control::none:
    case Control::commit:
    case Control::rollback: return true;
    case Control::begin:
    case Control::begin_read_only: return state_ == State::idle;
    case Control::other:
      return state_ == State::deferred && unit.makes_read_only && unit.statements == 1 &&
             unit.isolation != sql::Isolation::one_snapshot;
    case Control::savepoint:
    case Control::prepare_transaction: break;
  }
  return false;
}

void Block::move() {
  if (!holds(may_move(), "a block moves that may not")) return;
  fails_ = state_ == State::failed;
  begin_.again();
  state_ = State::deferred;
}

void Block::abandon() {
  if (state_ != State::deferred) return;
  begin_.abandon();
  state_ = State::idle;
}

void Block::ready(char status, bool idle) {
  if (!holds(state_ != State::deferred && state_ != State::lost, "a server speaks for a block that it has not")) return;
  begin_.answered(status == 'E');
  fails_ = false;
  state_ = status == 'I' ? State::idle : status == 'T' ? State::open : State::failed;
  if (status != 'I') return;
  plain_ = queried_ = false;
  if (idle) portals_.ended();
}

void Block::lose(const Loss& loss, const Error& error, LostTransaction::Message message, std::vector<std::byte>& out) {
  begin_.answered(true);
  begin_error_.reset();
  bound_ = sql::TransactionControl::none;
  lost_.emplace(loss, error, message);
  state_ = State::lost;
  after(lost_->begin(out));
}

void Block::rest_came(std::vector<std::byte>& out) {
  if (lost_) after(lost_->rest_came(out));
}

void Block::after(LostTransaction::Step step) {
  if (step == LostTransaction::Step::answered) return;
  lost_.reset();
  state_ = State::idle;
}

LostTransaction::Step Block::answer(char tag, Bytes body, sql::TransactionControl control,
                                    std::vector<std::byte>& out) {
  if (!holds(lost_.has_value(), "a block that is not lost answers in a server's place")) {
    return LostTransaction::Step::hand_over;
  }
  if (tag == client::bind) bound_ = control;
  if (tag == client::execute || tag == client::describe) control = bound_;
  const auto step = lost_->client(tag, body, control, out);
  after(step);
  return step;
}

const char* name_of(Block::State state) {
  switch (state) {
    case Block::State::idle: return "idle";
    case Block::State::deferred: return "deferred";
    case Block::State::opening: return "opening";
    case Block::State::open: return "open";
    case Block::State::failed: return "failed";
    case Block::State::lost: return "lost";
  }
  return "?";
}

}  // namespace holdfast::protocol
