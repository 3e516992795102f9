// Why a client keeps its server although its transaction has ended, and what its statements have discarded: the facts
// of a session that last as long as it is linked to one server.
// Owner: the conversation. Thread: any one; no locks.
#pragma once

#include <string>
#include <string_view>

#include "protocol/backend.hpp"
#include "protocol/parameters.hpp"
#include "protocol/sql/reset.hpp"
#include "protocol/sql/verdict.hpp"

namespace holdfast::proxy {

class Pins {
 public:
  using Effect = protocol::sql::Effect;

  [[nodiscard]] bool any() const { return reasons_ != Effect::none; }
  [[nodiscard]] Effect reasons() const { return reasons_; }
  // Pinned only by an unknown function.
  [[nodiscard]] bool guessed() const { return reasons_ == Effect::unknown_function; }

  // A statement with these effects goes to the server. Returns those that pin.
  Effect note(Effect effects) {
    const auto pinning =
        static_cast<Effect>(static_cast<std::uint32_t>(effects) & static_cast<std::uint32_t>(protocol::sql::pinning));
    reasons_ |= pinning;
    if (has(effects, Effect::discard | Effect::sql_deallocate)) discards_ = true;
    return pinning;
  }

  // completed(): a command of the client's unit has completed. Called only while discards().
  [[nodiscard]] bool discards() const { return discards_; }
  void completed(protocol::Discarded what) {
    if (what == protocol::Discarded::everything) all_ = true;
    if (what != protocol::Discarded::nothing) names_ = true;
  }
  // A ReadyForQuery for the client came. `more`: further units are in flight, so names and pins may be newer than the
  // DISCARD; then they stay, for good. True: the client's own statement names are gone.
  [[nodiscard]] bool ready(char status, bool more) {
    if (!discards_) return false;
    discards_ = more;
    const bool names = names_ && !more;
    if (all_ && !more && status == 'I') reasons_ = Effect::none;
    names_ = all_ = false;
    return names;
  }

  // A RESET must lead to what the client asked for at start-up, not to the server's default: keeps the statement to be
  // sent behind the unit, in the same write; a ROLLBACK undoes both.
  void note_reset(std::string_view sql, const protocol::SettingsRef& wanted) {
    if (wanted.empty()) return;
    const auto name = protocol::sql::reset_setting(sql);
    if (!name.empty()) restore_ = protocol::restore_settings(wanted, name);
  }
  [[nodiscard]] bool has_restore() const { return !restore_.empty(); }
  [[nodiscard]] std::string take_restore() { return std::exchange(restore_, {}); }

 private:
  Effect reasons_ = Effect::none;
  bool discards_ = false;
  bool names_ = false;
  bool all_ = false;
  std::string restore_;
};

}  // namespace holdfast::proxy
