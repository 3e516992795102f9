// What a client's RESETs owe it: a RESET leads to what the client asked for at start-up, not to its pooled server's
// default.
//
// Task: is told the statements of a unit; says what must be sent behind the unit, in the same write, to put the
// client's settings back. A ROLLBACK undoes both, unless the RESET was committed on its way: DISCARD ALL always is, and
// a batch or a string may end its transaction, begin a block and fail in it, where nothing can be put back. Then the
// settings are owed until the block has ended. Owner: the conversation. Thread: any one; no locks.
//
//   unit: runs(text) … due()? take(), sent behind it ──> ended(status): nothing owed, or
//                                                           owed ──a unit that may end the block──> due again
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "protocol/parameters.hpp"
#include "protocol/sql/verdict.hpp"

namespace holdfast::protocol {

class Resets {
 public:
  // How a statement goes out.
  enum class As : std::uint8_t {
    query,     // a Query by itself: if it resets something, that holds until the next one
    in_batch,  // others are before or behind it: it may be skipped, and what it resets may be set again
  };

  // Nothing is due or owed: followed() would do nothing.
  [[nodiscard]] bool none() const { return due_.empty() && !owed_; }
  // A statement goes to the server that may be behind a RESET.
  void followed(const sql::Verdict& verdict, const SettingsRef& wanted);
  // … that changes settings.
  void runs(std::string_view sql, const sql::Verdict& verdict, As as, const SettingsRef& wanted);
  // Something is to be sent behind the unit that ends now.
  [[nodiscard]] bool due() const { return !due_.empty(); }
  [[nodiscard]] std::string take() { return std::exchange(due_, {}); }
  // It was answered, perhaps by an error; the transaction's status now.
  void ended(char status);
  // The settings are not back, and can't be before the block has ended.
  [[nodiscard]] bool owed() const { return owed_; }

 private:
  std::string due_;
  Roles roles_ = Roles::keep;  // whether the RESET is one of the role, too
  bool ends_ = false;          // behind the RESET, in its unit, a transaction may have ended
  bool owed_ = false;
};

}  // namespace holdfast::protocol
