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
    return pinning;
  }

  // DISCARD ALL has completed.
  void discarded() { all_ = true; }
  // A ReadyForQuery for the client came. `more`: further units are in flight, so pins may be newer than the DISCARD;
  // then they stay, for good.
  void ready(char status, bool more) {
    if (!all_) return;
    if (!more && status == 'I') reasons_ = Effect::none;
    all_ = false;
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
  bool all_ = false;
  std::string restore_;
};

}  // namespace holdfast::proxy
