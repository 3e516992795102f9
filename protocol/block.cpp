#include "protocol/block.hpp"

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
  return true;
}

bool Block::end(const sql::Verdict& verdict, std::vector<std::byte>& out) {
  if (state_ != State::deferred || !begin_.end(verdict, out)) return false;
  state_ = State::idle;
  return true;
}

void Block::open(std::uint32_t cookie, std::vector<std::byte>& out) {
  if (!holds(state_ == State::deferred, "a BEGIN is sent that was not deferred")) return;
  begin_.send(cookie, out);
  plain_ = begin_.repeatable();
  state_ = State::opening;
}

void Block::take_back() {
  begin_error_.reset();
  if (state_ != State::opening) return;
  begin_.take_back();
  state_ = State::deferred;
}

void Block::passes(std::string_view text, const sql::Verdict& verdict) {
  if (state_ != State::idle) return;
  begin_.passed(text, verdict);
  plain_ = begin_.repeatable();
}

void Block::move() {
  if (!holds(may_move(), "a block moves that may not")) return;
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
  begin_.answered();
  state_ = status == 'I' ? State::idle : status == 'T' ? State::open : State::failed;
  if (status != 'I') return;
  plain_ = false;
  if (idle) portals_.ended();
}

void Block::lose(const Loss& loss, const Error& error, LostTransaction::Message message, std::vector<std::byte>& out) {
  begin_.answered();
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
