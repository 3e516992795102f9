// The server connections of one pool to one member, and the clients that wait for one of them.
//
// Task: leases an idle server at once or keeps the clients in line, oldest first, also across workers (permits); opens
// connections in parallel up to a limit, with a back-off that holds up no other member; cleans what comes back dirty.
// Thread: its worker's. Lifetime: the pool's.
#pragma once

#include <chrono>
#include <memory>

#include "health/topology.hpp"
#include "proxy/io/wheel.hpp"
#include "proxy/pool/context.hpp"
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
  // The idle server that was used last, if nobody waits longer for one, here or on another worker; else an empty lease.
  [[nodiscard]] ServerLease lease_now();
  // Puts the client at the end of the line and sees to it that a server comes.
  void wait(Waiter& waiter);

  // ---- for leases, readers, connections
  // The lease was dropped.
  void returned(ServerLink& server);
  // A connection was made (connecting → idle or to a waiter), or adopted from another worker.
  void ready(ServerLink& server);
  // After a pass over the answers of a server that is being cleaned, and when a cancel request for it has ended.
  void clean(ServerLink& server);
  // The connection has ended: its permit comes back.
  void gone(ServerLink& server);
  // An attempt to connect has ended. `network`: it is worth trying again; else the server itself said no.
  void connect_failed(const Error& error, bool network, Permit permit);
  void connect_succeeded();

  // ---- for the pool
  // A waiter ended before its turn.
  void left();
  // Opens connections while there are more waiters than connections to come.
  void open_more();
  // Another worker wants a server of this member, and there may be an idle one here.
  void offer_idle();
  // A new snapshot: closes what is of an older generation, or of a member that is fenced or down.
  void member_changed(const health::MemberStatus& status);
  void close_idle(TimePoint older_than);
  void close_all();
  // Once a second: cancels again what nobody waits for; true: an answer is overdue.
  [[nodiscard]] bool sweep(TimePoint now, std::chrono::milliseconds overdue_after);

  [[nodiscard]] Pool& pool() const { return pool_; }
  [[nodiscard]] health::MemberIndex member() const { return member_; }
  [[nodiscard]] const std::shared_ptr<Permits>& permits() const { return permits_; }
  [[nodiscard]] List<Waiter>& line() { return line_; }
  // Connections in use and clients in line: what balancing compares.
  [[nodiscard]] std::size_t load() const { return busy_.size() + line_.size(); }
  [[nodiscard]] bool empty() const { return idle_.empty() && busy_.empty() && line_.empty() && connecting_ == 0; }
  [[nodiscard]] std::size_t idle() const { return idle_.size(); }
  // default_transaction_read_only, as the member reported it at the last log-in.
  [[nodiscard]] bool read_only_by_default() const { return read_only_by_default_; }
  void set_read_only_by_default(bool on) { read_only_by_default_ = on; }

 private:
  // The only place where a server changes its list and its state.
  void enter(ServerLink& server, ServerLink::State state);
  // A server without a lease that is ready for others: to the client that waits longest, or idle.
  void release(ServerLink& server);
  void give(ServerLink& server, Waiter& waiter);
  [[nodiscard]] ServerLink* take_idle();
  [[nodiscard]] ServerLease lease(ServerLink& server);
  [[nodiscard]] bool hand_over(ServerLink& server);
  void give_back(Permit permit);
  void update_want();
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
  List<ServerLink> busy_;  // leased, being cleaned, or closed and not gone yet
  List<Waiter> line_;      // front: waits longest
  std::size_t connecting_ = 0;
  bool read_only_by_default_ = false;
  Deadline retry_;
  std::chrono::milliseconds backoff_{0};
};

}  // namespace holdfast::proxy
