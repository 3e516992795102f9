#include "protocol/deferred_begin.hpp"

#include "protocol/backend.hpp"
#include "protocol/frontend.hpp"
#include "protocol/invariant.hpp"

namespace holdfast::protocol {

using sql::TransactionControl;

bool DeferredBegin::may_defer(const sql::Verdict& verdict, std::string_view text) {
  return verdict.deferrable != sql::Deferrable::no && text.size() <= longest_text;
}

void DeferredBegin::begins(std::string_view text, const sql::Verdict& verdict) {
  text_ = text;
  modes_.clear();
  modes_answered_ = true;
  control_ = verdict.control;
  hint_ = verdict.hint;
  isolation_ = verdict.isolation;
}

void DeferredBegin::defer(std::string_view text, const sql::Verdict& verdict, std::vector<std::byte>& out) {
  if (!holds(state_ == State::none, "a BEGIN is deferred behind another one")) return;
  begins(text, verdict);
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
  block.isolation = isolation(first);
  block.control = TransactionControl::begin;
  if (!read_only && !first.makes_read_only) return block;
  block.control = TransactionControl::begin_read_only;
  return block;
}

void DeferredBegin::passed(std::string_view text, const sql::Verdict& verdict) {
  if (!holds(state_ == State::none, "a BEGIN passes behind one that waits")) return;
  begins(text.size() <= longest_text ? text : std::string_view(), verdict);
}

bool DeferredBegin::keep_modes(std::string_view text) {
  if (text.size() > longest_text || !modes_.empty()) return false;
  modes_ = text;
  modes_answered_ = false;
  return true;
}

std::size_t DeferredBegin::send(std::uint32_t cookie, std::vector<std::byte>& out) {
  std::size_t statements = 0;
  for (const std::string_view text : {std::string_view(text_), std::string_view(modes_)}) {
    if (text.empty()) continue;
    write_parse(out, "", text, {});
    write_bind(out, "", "");
    write_execute(out, "");
    write_close(out, {.kind = 'P', .name = ""});  // behind a Query "BEGIN" there is no portal either
    ++statements;
  }
  cookie_ = cookie;
  state_ = State::sent;
  return statements;
}

}  // namespace holdfast::protocol
