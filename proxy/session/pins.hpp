// Why a client keeps its server although its transaction has ended, and when it may give it back.
// Owner: the conversation. Thread: any one; no locks.
#pragma once

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

 private:
  Effect reasons_ = Effect::none;
  bool all_ = false;
};

}  // namespace holdfast::proxy
