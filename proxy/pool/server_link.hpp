// One server connection of a pool: its socket and what its session has (protocol/server_session).
//
// Thread: its worker's. Lifetime: owned by the coroutine that reads it (server_reader), which ends when the connection
// has ended, its lease is given back and no cancel request for it is under way any more; everybody else holds a lease
// or nothing. The state says which list of its member it is in, and only the member's pool changes it.
//
//   connecting ──> idle ⇄ leased ──lease dropped, not clean──> cleaning ──> idle
//        └──────────┴───────┴─────────────────────────────────────┴───────> closed
#pragma once

#include <coroutine>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "health/topology.hpp"
#include "protocol/cleaning.hpp"
#include "protocol/server_session.hpp"
#include "proxy/base/counters.hpp"
#include "proxy/io/link.hpp"
#include "proxy/io/list.hpp"
#include "proxy/pool/permits.hpp"

namespace holdfast::proxy {

class MemberPool;
class ServerLink;

// What one pass over received answers came to.
struct Pass {
  bool good = true;         // false: the server broke the protocol or is going down; it is closed
  std::size_t wanted = 0;   // bytes in all that would make progress, a hint
  Link* behind = nullptr;   // this peer could not take everything: nothing more is read for it before it has
};

// Whoever uses a leased server, as the coroutine that reads it sees it. One call a pass.
class ServerUser {
 public:
  // Bytes came. May drop the lease.
  virtual Pass answers(ServerLink& server) = 0;
  // The connection has ended. `cut`: in the middle of a message. The lease is dropped before this returns.
  virtual void server_lost(ServerLink& server) = 0;

 protected:
  ~ServerUser() = default;
};

class ServerLink : public ListNode<ServerLink> {
 public:
  enum class State : std::uint8_t { connecting, idle, leased, cleaning, closed };

  ServerLink(MemberPool& pool, protocol::PendingPool& pending, std::size_t statement_limit, Permit granted)
      : session(pending, statement_limit), permit(std::move(granted)), home(&pool) {}

  Link link;
  protocol::ServerSession session;
  Permit permit;                  // to exist
  std::uint32_t pid = 0;          // of BackendKeyData
  std::vector<std::byte> secret;  // of BackendKeyData, to cancel with
  MemberPool* const home;
  ServerUser* user = nullptr;     // of the lease; null while nobody has attached to it
  std::uint64_t generation = 0;   // of the member when connected
  std::uint64_t credentials = 0;  // which of the pool's credentials it logged in with
  TimePoint connected_at{};
  TimePoint sent_at{};  // when something was last sent

  [[nodiscard]] State state() const { return state_; }
  // A cancel request for it is on its way, or could still arrive.
  [[nodiscard]] bool being_canceled() const { return cancels_ > 0; }
  // It could be given to the next client as it is.
  [[nodiscard]] bool ready_for_others() const {
    return link.open() && !link.unsent() && cancels_ == 0 && !reader_waits_ && session.may_serve_others();
  }
  // A unit of it has ended: a cancel request for the next one is no repetition.
  void unit_ended() { cancel_next_ = true; }
  void mark_connected(Counter& gauge) { counted_ = Counted(gauge); }

 private:
  friend class MemberPool;
  friend class ServerLease;
  friend class ServerReader;
  friend class CancelRequest;
  // Its reader has ended and waits for the last lease and the last cancel request.
  void let_go(Reactor& reactor) {
    if (farewell_ && cancels_ == 0 && !leased_) reactor.schedule(std::exchange(farewell_, {}));
  }

  State state_ = State::connecting;
  Counted counted_;
  TimePoint idle_since_{};
  std::optional<protocol::Cleaning> cleaning_;
  std::coroutine_handle<> farewell_;  // its reader waits for the last lease and cancel request
  std::uint32_t cancels_ = 0;         // cancel connections that are still open
  bool cancel_next_ = true;
  bool reader_waits_ = false;  // for a slow client: answers may lie unread
  bool leased_ = false;        // a lease exists, whatever became of the connection
  bool handed_over_ = false;   // another worker has the connection
};

[[nodiscard]] const char* name_of(ServerLink::State state);

}  // namespace holdfast::proxy
