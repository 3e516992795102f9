// What one server connection has and what is under way on it: the server's side of a conversation, and the only place
// that says whether the server may serve somebody else.
//
// Task: the exchange, the statements that the server knows, the settings put on top of its defaults, the parameters that
// it last reported, what was left behind in its session since it was clean, and how much of a client's message is begun
// and not finished. Owner: the server's link. Thread: its worker's. Lifetime: the connection's; a hand-over to another
// worker begins a new one.
#pragma once

#include <cstdint>

#include "protocol/exchange.hpp"
#include "protocol/framer.hpp"
#include "protocol/parameters.hpp"
#include "protocol/reported.hpp"
#include "protocol/server_statements.hpp"
#include "protocol/sql/verdict.hpp"

namespace holdfast::protocol {

class ServerSession {
 public:
  ServerSession(PendingPool& pending, std::size_t statement_limit) : statements(pending, statement_limit) {}

  Framer framer{Direction::from_server};
  Exchange exchange;
  ServerStatements statements;
  SettingsRef settings;  // put on top of the server's defaults
  ReportedRef reported;  // what it last said of itself

  // The client's message that was forwarded last lacks this many bytes. While it does the backend waits for them, and
  // takes whatever comes next for them (SocketBackend, src/backend/tcop/postgres.c).
  void owes(std::uint32_t bytes) { owed_ = bytes; }
  [[nodiscard]] std::uint32_t owed() const { return owed_; }

  // Session state was left behind, or may have been.
  void soil(sql::Effect effects) { dirt_ |= effects; }
  [[nodiscard]] sql::Effect dirt() const { return dirt_; }
  // DISCARD ALL succeeded.
  void emptied() {
    statements.clear();
    settings = {};
    dirt_ = sql::Effect::none;
  }

  // Nothing is in flight, no transaction is open, and no message is half sent or half received: whom it serves may let
  // go of it.
  [[nodiscard]] bool at_rest() const { return waits_for_rest() && owed_ == 0; }
  // … but for the rest of a message that nobody needs any more.
  [[nodiscard]] bool waits_for_rest() const { return exchange.quiet() && framer.at_boundary(); }
  // At rest, and for certain, and nothing of whom it served is left: a stranger may have it.
  [[nodiscard]] bool may_serve_others() const {
    return at_rest() && exchange.may_release() && dirt_ == sql::Effect::none;
  }

  // Tells the statements what became of the request that `reply` finished or failed, and of those that its error took
  // along. `also`(cookie, outcome) hears the same, for the client's names.
  template <typename Also>
  void settle(const Reply& reply, Also&& also) {
    if (!reply.finished && !reply.failed) return;
    settle_one(reply.request.cookie, reply.failed ? Outcome::failed : Outcome::completed, also);
    if (!reply.failed) return;
    for (const auto& dropped : exchange.dropped()) settle_one(dropped.cookie, Outcome::skipped, also);
  }

 private:
  template <typename Also>
  void settle_one(std::uint32_t cookie, Outcome outcome, Also& also) {
    if (cookie == 0) return;
    also(cookie, outcome);
    statements.settle(cookie, outcome);
  }

  std::uint32_t owed_ = 0;
  sql::Effect dirt_ = sql::Effect::none;
};

}  // namespace holdfast::protocol
