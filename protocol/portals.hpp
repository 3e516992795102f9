// What is known of the statements behind a client's portals, and what a Query or an Execute of them may do: the bits
// that decide what the client is told if the server dies.
//
// Task: tracks the unnamed portal by itself and all named portals of a transaction together, since an Execute may use
// any of them. Thread: any one; no locks. Lifetime: that of a Block; portals end with their transaction or their
// server.
#pragma once

#include <optional>

#include "protocol/bytes.hpp"
#include "protocol/request.hpp"
#include "protocol/sql/verdict.hpp"

namespace holdfast::protocol {

// What the exchange needs to know of a statement with this verdict.
[[nodiscard]] Trait traits_of(const sql::Verdict& verdict);
// The traits of a portal that may be bound to either of two statements.
[[nodiscard]] Trait either(Trait a, Trait b);

class Portals {
 public:
  enum class Name : std::uint8_t { unnamed, named };
  // Of a Bind or an Execute: its body begins with the name.
  [[nodiscard]] static Name named_in(Bytes body) {
    return !body.empty() && body[0] == std::byte{0} ? Name::unnamed : Name::named;
  }

  void bind(Name name, const sql::Verdict& verdict) {
    const Trait traits = traits_of(verdict);
    if (name == Name::unnamed) {
      unnamed_ = traits;
    } else {
      named_ = named_ ? either(*named_, traits) : traits;
    }
  }
  // The traits of an Execute. If the portal was never bound the Execute fails: nothing runs.
  [[nodiscard]] Trait of(Name name) const { return name == Name::unnamed ? unnamed_ : named_.value_or(Trait::none); }
  [[nodiscard]] bool any_named() const { return named_.has_value(); }
  // A simple Query destroys the unnamed portal (exec_simple_query, src/backend/tcop/postgres.c).
  void queried() { unnamed_ = Trait::none; }
  // The transaction ended.
  void ended() { named_.reset(); }

 private:
  Trait unnamed_ = Trait::none;
  std::optional<Trait> named_;
};

}  // namespace holdfast::protocol
