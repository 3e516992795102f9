// The server connections of one pool to one member, and the clients that wait for one of them.
//
// Task: leases an idle server at once or keeps the clients in line, oldest first, also across workers (permits); opens
// connections in parallel up to a limit, with a back-off that delays no other member; cleans servers that come back
// dirty.
// Thread: its worker's. Lifetime: the pool's.
#pragma once

#include <chrono>
#include <memory>

#include "health/topology.hpp"
#include "proxy/io/wheel.hpp"
#include "proxy/pool/context.hpp"
#include "proxy/pool/postmaster_check.hpp"
#include "proxy/pool/server_link.hpp"
#include "proxy/pool/waiter.hpp"

namespace holdfast::proxy {

class Pool;

class MemberPool {
 public:
  MemberPool(Pool& pool, health::MemberIndex member, std::shared_ptr<Permits> permits);
  ~MemberPool();
  MemberPool(const MemberPool&) = delete;
  MemberPool& operator=(const MemberPool&) = delete;

  // ---- for sessions
  // The idle server that was used last, if no client has waited longer, here or on another worker; else an empty lease.
  [[nodiscard]] ServerLease lease_now();
  // Puts the client at the end of the line and has a connection opened if necessary.
  void wait(Waiter& waiter);

  // ---- for leases, readers, connections
  // The lease was dropped.
  void returned(ServerLink& server);
  // A connection was opened (connecting → idle or to a waiter), or adopted from another worker.
  void ready(ServerLink& server);
  // Continues the cleaning: after a pass over the server's answers, and when a cancel request for it has ended.
  void clean(ServerLink& server);
  // The connection has ended: its permit comes back.
  void gone(ServerLink& server);
  // An attempt to connect has ended. `network`: another attempt may succeed; otherwise the server itself refused.
  void connect_failed(const Error& error, bool network, Permit permit);
  void connect_succeeded();

  // ---- for the pool
  // A waiter has left the line, served or not.
  void left();
  // Opens connections while there are more waiters than connections to come. How many it began to open.
  std::size_t open_more();
  // Another worker wants a server of this member, and there may be an idle one here.
  void offer_idle();
  // A new snapshot: closes connections of an older generation, and all if the member is fenced, down or quarantined.
  void member_changed(const health::MemberStatus& status);
  void close_idle(TimePoint older_than);
  void close_all();
  // Called once a second: repeats the cancel requests for statements whose client is gone. True: an answer is overdue.
  [[nodiscard]] bool sweep(TimePoint now, std::chrono::milliseconds overdue_after);

  [[nodiscard]] Pool& pool() const { return pool_; }
  [[nodiscard]] health::MemberIndex member() const { return member_; }
  [[nodiscard]] const std::shared_ptr<Permits>& permits() const { return permits_; }
  [[nodiscard]] List<Waiter>& line() { return line_; }
  // False: the member itself refused this user or database a moment ago (a standby may not have heard of it yet), and
  // it is too soon to ask again, or one connection is asking.
  [[nodiscard]] bool lets_in() const;
  // Connections in use and clients in line: what balancing compares.
  [[nodiscard]] std::size_t load() const { return busy_.size() + line_.size(); }
  [[nodiscard]] bool empty() const {
    return idle_.empty() && busy_.empty() && line_.empty() && connecting_ == 0 && !postmaster_.running();
  }
  [[nodiscard]] PostmasterCheck& postmaster() { return postmaster_; }
  [[nodiscard]] std::size_t idle() const { return idle_.size(); }
  // default_transaction_read_only, as the member reported it at the last log-in.
  [[nodiscard]] bool read_only_by_default() const { return read_only_by_default_; }
  void set_read_only_by_default(bool on) { read_only_by_default_ = on; }

 private:
  // The only place where a server changes its list and its state.
  void enter(ServerLink& server, ServerLink::State state);
  // A server without a lease that is ready for others: leases it to the client that has waited longest, or makes it
  // idle.
  void release(ServerLink& server);
  void give(ServerLink& server, Waiter& waiter);
  // What a client left running on it has ended, or its end will never be known.
  void note_left_write(ServerLink& server);
  [[nodiscard]] ServerLink* take_idle();
  [[nodiscard]] ServerLease lease(ServerLink& server);
  [[nodiscard]] bool hand_over(ServerLink& server);
  void give_back(Permit permit);
  void update_want();
  void audit_ended(ServerLink& server, const protocol::Cleaning::Audit& audit);
  void tell_audit(ServerLink& server, const std::optional<Error>& failure);
  [[nodiscard]] std::optional<TimePoint> oldest_wait() const;
  void fail_line(const Error& error);
  [[nodiscard]] const health::MemberStatus* status() const;
  static void retry(void* self);

  static constexpr std::chrono::milliseconds first_backoff{20};
  static constexpr std::chrono::milliseconds longest_backoff{1000};

  Pool& pool_;
  health::MemberIndex member_;
  std::shared_ptr<Permits> permits_;
  List<ServerLink> idle_;  // front: used last
  List<ServerLink> busy_;  // leased, being cleaned, or closed but not gone yet
  List<Waiter> line_;      // front: waits longest
  std::size_t connecting_ = 0;
  bool read_only_by_default_ = false;
  Deadline retry_;
  std::chrono::milliseconds backoff_{0};
  TimePoint not_before_{};  // after a refusal by the member itself; TimePoint{}: it lets us in
  PostmasterCheck postmaster_{*this};
};

}  // namespace holdfast::proxy
