#include "protocol/portals.hpp"

namespace holdfast::protocol {

using sql::Effect;
using sql::TransactionControl;

Trait traits_of(const sql::Verdict& verdict) {
  Trait traits = Trait::none;
  if (verdict.repeatable()) traits |= Trait::repeatable;
  switch (verdict.control) {
    case TransactionControl::begin:
    case TransactionControl::begin_read_only: traits |= Trait::begins | Trait::repeatable; break;
    case TransactionControl::commit:
    case TransactionControl::prepare_transaction: traits |= Trait::commits; break;
    case TransactionControl::rollback: traits |= Trait::rolls_back; break;
    case TransactionControl::none:
    case TransactionControl::savepoint:
    case TransactionControl::other: break;
  }
  const auto opaque =
      Effect::ddl | Effect::unknown_function | Effect::unparsed | Effect::database_ddl | Effect::commits_itself;
  if (verdict.chains) traits |= Trait::begins;
  if (verdict.commits_nothing) {
    if (!verdict.chains) traits |= Trait::rolls_back;
  } else {
    if (has(verdict.effects, opaque)) traits |= Trait::commits_itself;
    if (verdict.returns_after_commit || has(verdict.effects, Effect::unparsed)) traits |= Trait::may_commit;
  }
  if (has(verdict.effects, Effect::drops_names)) traits |= Trait::drops_names;
  if (verdict.copy_from_client) traits |= Trait::copies_in;
  return traits;
}

Trait either(Trait a, Trait b) {
  if (a == b) return a;
  const auto control = Trait::begins | Trait::commits | Trait::rolls_back | Trait::may_commit;
  Trait traits = Trait::none;
  if (has(a, Trait::repeatable) && has(b, Trait::repeatable)) traits |= Trait::repeatable;
  if (has(a | b, Trait::commits_itself)) traits |= Trait::commits_itself;
  if (has(a | b, control)) traits |= Trait::may_commit;
  for (const Trait either : {Trait::drops_names, Trait::copies_in})
    if (has(a | b, either)) traits |= either;
  return traits;
}

}  // namespace holdfast::protocol
