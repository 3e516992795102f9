// What one server connection has and what is under way on it: the server's side of a conversation, and the only place
// that says whether the server may serve another client.
//
// Task: combines the exchange, the statements that the server knows, the settings put on top of its defaults, the
// parameters that it last reported, the session state left behind since it was last clean, and how many bytes of a
// client's message it still lacks. Owner: the server's link. Thread: its worker's. Lifetime: the connection's; a
// hand-over to another worker begins a new one.
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
  ReportedRef reported;  // the parameters that it last reported

  // The last forwarded message of the client lacks this many bytes. Until they come the server waits for them, and
  // takes whatever is sent next for them (SocketBackend, src/backend/tcop/postgres.c).
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

  // Nothing is in flight, no transaction is open, and no message is half sent or half received: its client may give it
  // back.
  [[nodiscard]] bool at_rest() const { return waits_for_rest() && owed_ == 0; }
  // The same, except that the server may still lack the rest of a message that no longer matters.
  [[nodiscard]] bool waits_for_rest() const { return exchange.quiet() && framer.at_boundary(); }
  // Certainly at rest, and without traces of the client that it served: any client may have it.
  [[nodiscard]] bool may_serve_others() const {
    return at_rest() && exchange.may_release() && dirt_ == sql::Effect::none;
  }

  // Settles the statement operations of the request that `reply` finished or failed, and of those dropped because of
  // its error. `also`(cookie, outcome) is called for each, for the client's names.
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
