#include "protocol/resets.hpp"

#include "protocol/sql/reset.hpp"

namespace holdfast::protocol {
namespace {

bool may_end(const sql::Verdict& verdict) {
  return verdict.control != sql::TransactionControl::none || verdict.returns_after_commit ||
         has(verdict.effects, sql::Effect::unparsed);
}

}  // namespace

void Resets::followed(const sql::Verdict& verdict, const SettingsRef& wanted) {
  if (!may_end(verdict)) return;
  if (due_.empty()) due_ = restore_if_reset(wanted, roles_);
  ends_ = true;
}

void Resets::runs(std::string_view sql, const sql::Verdict& verdict, As as, const SettingsRef& wanted) {
  if (wanted.empty()) return;
  if (verdict.statements > 1 && sql::may_reset(sql)) {
    if (sql::may_reset_role(sql)) roles_ = Roles::restore;
    due_ = restore_if_reset(wanted, roles_);
    ends_ = ends_ || may_end(verdict);
    return;
  }
  const auto name = sql::reset_setting(sql);
  if (name.empty()) return;
  auto restore = restore_settings(wanted, name);
  if (restore.empty()) return;
  if (name == "role" || name == "session_authorization" || name == sql::everything) roles_ = Roles::restore;
  if (as == As::query && due_.empty()) {
    due_ = std::move(restore);
  } else {
    due_ = restore_if_reset(wanted, roles_);
  }
}

void Resets::ended(char status) {
  owed_ = status != 'I' && (owed_ || ends_ || status == 'E');
  ends_ = false;
  if (!owed_) roles_ = Roles::keep;
}

}  // namespace holdfast::protocol
