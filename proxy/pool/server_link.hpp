// One server connection of a pool: its socket and its session (protocol/server_session).
//
// Thread: its worker's. Lifetime: owned by the coroutine that reads it (server_reader), which ends when the connection
// has ended, its lease is given back and no cancel request for it is under way any more; other code refers to it only
// through a lease. The state says which list of its member's pool it is in, and only that pool changes it.
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
#include "protocol/last_word.hpp"
#include "protocol/server_session.hpp"
#include "proxy/base/counters.hpp"
#include "proxy/io/link.hpp"
#include "proxy/io/list.hpp"
#include "proxy/pool/last_writes.hpp"
#include "proxy/pool/permits.hpp"

namespace holdfast::proxy {

class MemberPool;
class ServerLink;

// The result of one pass over received answers.
struct Pass {
  bool good = true;        // false: the server broke the protocol or is going down; it is closed
  std::size_t wanted = 0;  // the total number of bytes that would make progress, a hint
  Link* behind = nullptr;  // this peer could not take everything: nothing more is read for it until it has
};

// The user of a leased server, as the server's reader sees it. One call per pass.
class ServerUser {
 public:
  // Bytes came. May drop the lease.
  virtual Pass answers(ServerLink& server) = 0;
  // The connection has ended. The lease is dropped before this returns.
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
  Permit permit;                  // the right to exist
  std::uint32_t pid = 0;          // of BackendKeyData
  std::vector<std::byte> secret;  // of BackendKeyData, to cancel with
  MemberPool* const home;
  ServerUser* user = nullptr;     // the lease's user; null while none is attached
  std::uint64_t generation = 0;   // the member's when connected
  std::uint64_t credentials = 0;  // which of the pool's credentials it logged in with
  TimePoint connected_at{};
  TimePoint sent_at{};  // when something was last sent
  // What it said when it ended. Behind server_lost(), never Ended::either.
  std::optional<protocol::LastWord> last_word;

  [[nodiscard]] State state() const { return state_; }
  // The server lives, and has ended this session.
  [[nodiscard]] bool ended_alone() const { return last_word && last_word->ended == protocol::Ended::the_session; }
  // Ends the connection. What it was sent and hasn't answered may not reach it any more.
  void close() {
    if (session.at_rest()) {
      link.close();
    } else {
      link.abort();
    }
  }
  // A cancel request for it is on its way, or could still take effect.
  [[nodiscard]] bool being_canceled() const { return cancels_ > 0; }
  // It could be leased to the next client as it is.
  [[nodiscard]] bool ready_for_others() const {
    return link.open() && !link.unsent() && cancels_ == 0 && !reader_waits_ && session.may_serve_others();
  }
  // It has said with which key.
  [[nodiscard]] bool can_be_canceled() const { return pid != 0 && !secret.empty(); }
  // A unit of it has ended: a cancel request for the next one is no repetition.
  void unit_ended() { cancel_next_ = true; }
  void mark_connected(Counter& gauge) { counted_ = Counted(gauge); }
  // Its client is gone, and a statement is left that may still write; `shared`: what all databases share.
  void leaves_write(bool shared, WriteInFlight write) {
    left_ = shared ? LeftWrite::shared : LeftWrite::own;
    left_in_flight_ = std::move(write);
  }

 private:
  friend class MemberPool;
  friend class ServerLease;
  friend class ServerReader;
  friend class CancelRequest;
  // Wakes the reader if it waits at its end and there is no lease and no cancel request any more.
  void let_go(Reactor& reactor) {
    if (farewell_ && cancels_ == 0 && !leased_) reactor.schedule(std::exchange(farewell_, {}));
  }

  enum class LeftWrite : std::uint8_t { none, own, shared };

  State state_ = State::connecting;
  LeftWrite left_ = LeftWrite::none;
  WriteInFlight left_in_flight_;
  Counted counted_;
  TimePoint since_{};  // when it became idle, or its cleaning began
  std::optional<protocol::Cleaning> cleaning_;
  std::coroutine_handle<> farewell_;  // its reader, which waits for the last lease and cancel request
  std::uint64_t audit_schema_ = 0;    // the state of the schema before the audit that runs
  std::uint32_t cancels_ = 0;         // cancel connections that are still open
  bool cancel_next_ = true;
  bool reader_waits_ = false;  // for a slow client: answers may be unread
  bool leased_ = false;        // a lease exists, even if the connection has ended
  bool handed_over_ = false;   // another worker has the connection
};

[[nodiscard]] const char* name_of(ServerLink::State state);

}  // namespace holdfast::proxy
