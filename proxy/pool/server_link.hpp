// One server connection of a pool: its socket, what is in flight on it, what it has been told and what was left on it.
//
// Thread: its worker's. Lifetime: owned by the coroutine that reads its answers (session/answers), which ends when the
// connection does; everybody else holds a plain pointer that server_lost() or release() takes back. Never destroyed
// while somebody waits to write to it (Link::quiet).
//
//   connecting ──> idle ⇄ active ──client left──> draining ──> cleaning ──> idle
//        └────────────┴───────┴──────────────────────┴───────────┴───────> closed
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "health/topology.hpp"
#include "protocol/exchange.hpp"
#include "protocol/framer.hpp"
#include "protocol/reported.hpp"
#include "protocol/server_statements.hpp"
#include "protocol/sql/verdict.hpp"
#include "proxy/io/link.hpp"
#include "proxy/io/list.hpp"

namespace holdfast::proxy {

class ClientSession;
class MemberPool;

enum class ServerState : std::uint8_t { connecting, idle, active, draining, cleaning, closed };
[[nodiscard]] const char* name_of(ServerState state);

class ServerLink : public ListNode<ServerLink> {
 public:
  ServerLink(MemberPool& pool, protocol::PendingPool& pending, std::size_t statement_limit)
      : statements(pending, statement_limit), home(&pool) {}

  Link link;
  protocol::Framer framer{protocol::Direction::from_server};
  protocol::Exchange exchange;
  protocol::ServerStatements statements;
  protocol::SettingsRef settings;  // put on top of the server's defaults
  protocol::ReportedRef reported;  // what it last said of itself
  std::uint32_t pid = 0;           // of BackendKeyData
  std::vector<std::byte> secret;   // of BackendKeyData, to cancel with

  MemberPool* home;
  ClientSession* client = nullptr;  // whom it serves now
  ServerState state = ServerState::connecting;
  std::uint64_t generation = 0;   // of the member when connected
  std::uint64_t credentials = 0;  // which of the pool's credentials it logged in with
  TimePoint connected_at{};
  TimePoint idle_since{};
  TimePoint sent_at{};                                       // when something was last sent while nothing was in flight
  protocol::sql::Effect dirt = protocol::sql::Effect::none;  // left behind since it was clean
  std::uint32_t cancels = 0;         // cancel connections to it that are still open: it isn't reused before they close
  bool cancel_next = false;          // a unit ended since the last cancellation: one for the next is no repetition
  std::coroutine_handle<> farewell;  // the connection's end waits for the last of them
  bool waits_for_client = false;     // its answers aren't read before a slow client has taken what there is
  bool handed_over = false;          // another worker has the connection now
  bool doomed = false;               // closed instead of reused
  bool setting_up = false;           // the answers in flight are to settings of ours: an error of theirs is kept here
  std::optional<Error> setup_error;

  // Nothing in flight, clean, and nobody's cancel on its way.
  [[nodiscard]] bool reusable() const {
    return link.open() && !doomed && !waits_for_client && cancels == 0 && exchange.may_release() &&
           framer.at_boundary() && !link.unsent() && dirt == protocol::sql::Effect::none;
  }
};

}  // namespace holdfast::proxy
