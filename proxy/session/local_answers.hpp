// What needs no server: a BEGIN whose first statement has not come, a block that stays empty, preparing statements that
// servers have parsed before, DEALLOCATE of a name that only the proxy knows, and a Sync by itself.
//
// Task: answers the unit at the front of what a client without a server has sent, as PostgreSQL would. Answers go to
// the desk. Without sockets, clock or log. Thread: the worker's. Lifetime: one call; it has no state of its own.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "protocol/client_statements.hpp"
#include "protocol/framer.hpp"
#include "protocol/sql/verdict.hpp"
#include "proxy/session/conversation.hpp"

namespace holdfast::proxy {

// The name in a DEALLOCATE, if it was made by Parse: SQL and protocol share their names (DBD::Pg, PDO and postgres_fdw
// rely on it), and only the proxy knows this one. `frame`: a whole Query.
[[nodiscard]] std::optional<std::string> names_parsed(const protocol::Frame& frame,
                                                      const protocol::sql::Verdict& verdict,
                                                      const protocol::ClientStatements& statements);
// Forgets the name and appends the answer, ReadyForQuery included.
void answer_deallocate(const std::string& name, char status, protocol::ClientStatements& statements,
                       std::vector<std::byte>& out);

class LocalAnswers {
 public:
  LocalAnswers(const ClientFacts& client, protocol::Framer& framer) : client_(client), framer_(framer) {}

  // Answers the unit if possible: returns its size in bytes at the front of `received`; 0: it needs a server.
  [[nodiscard]] std::size_t answer(const Unit& unit, protocol::Bytes received);
  // Answers a Sync from a client without a server.
  void sync();

 private:
  [[nodiscard]] std::size_t block(const Unit& unit, protocol::Bytes received);
  [[nodiscard]] std::size_t deallocate(const Unit& unit, protocol::Bytes received);
  [[nodiscard]] std::size_t parses(protocol::Bytes received);
  [[nodiscard]] bool all_known(protocol::Bytes received) const;

  const ClientFacts& client_;
  protocol::Framer& framer_;
};

}  // namespace holdfast::proxy
