#include "protocol/deferred_begin.hpp"

#include <algorithm>

#include "protocol/backend.hpp"
#include "protocol/frontend.hpp"
#include "protocol/invariant.hpp"

namespace holdfast::protocol {

using sql::TransactionControl;

bool DeferredBegin::may_defer(const sql::Verdict& verdict, std::string_view text) {
  return verdict.deferrable != sql::Deferrable::no && text.size() <= longest_text;
}

void DeferredBegin::defer(std::string_view text, const sql::Verdict& verdict, std::vector<std::byte>& out) {
  if (!holds(state_ == State::none, "a BEGIN is deferred behind another one")) return;
  text_ = text;
  control_ = verdict.control;
  hint_ = verdict.hint;
  state_ = State::deferred;
  write_command_complete(out, verdict.deferrable == sql::Deferrable::begin ? "BEGIN" : "START TRANSACTION");
  write_ready_for_query(out, status());
}

bool DeferredBegin::end(const sql::Verdict& verdict, std::vector<std::byte>& out) {
  const bool commits = verdict.control == TransactionControl::commit;
  if (!deferred() || verdict.chains || (!commits && verdict.control != TransactionControl::rollback)) return false;
  state_ = State::none;
  write_command_complete(out, commits ? "COMMIT" : "ROLLBACK");
  write_ready_for_query(out, status());
  return true;
}

sql::Verdict DeferredBegin::of_block(const sql::Verdict& first, bool read_only_by_default) const {
  sql::Verdict block = first;
  const bool read_only = control_ == TransactionControl::begin_read_only || read_only_by_default;
  block.hint = hint_;  // a statement's own hint speaks for the statement
  block.control = TransactionControl::begin;
  if (!read_only && !first.makes_read_only) return block;
  block.control = TransactionControl::begin_read_only;
  if (!sql::has(first.effects, sql::Effect::unknown_function)) return block;
  // Nothing in the block can write, whatever a function hides.
  constexpr auto guess = static_cast<std::uint32_t>(sql::Effect::unknown_function);
  block.effects = static_cast<sql::Effect>(static_cast<std::uint32_t>(first.effects) & ~guess);
  if (block.effects == sql::Effect::none && first.control != TransactionControl::other) {
    block.access = sql::Access::read;
  }
  return block;
}

void DeferredBegin::passed(std::string_view text, const sql::Verdict& verdict) {
  if (!holds(state_ == State::none, "a BEGIN passes behind one that waits")) return;
  text_ = text.size() <= longest_text ? text : std::string_view();
  control_ = verdict.control;
  hint_ = verdict.hint;
}

bool DeferredBegin::repeatable() const {
  const auto same = [](char a, char b) { return (a | 0x20) == b; };
  constexpr std::string_view snapshot = "repeatable";
  return !text_.empty() && std::ranges::search(text_, snapshot, same).empty();
}

void DeferredBegin::send(std::uint32_t cookie, std::vector<std::byte>& out) {
  write_parse(out, "", text_, {});
  write_bind(out, "", "");
  write_execute(out, "");
  write_close(out, {.kind = 'P', .name = ""});  // behind a Query "BEGIN" there is no portal either
  cookie_ = cookie;
  state_ = State::sent;
}

}  // namespace holdfast::protocol
