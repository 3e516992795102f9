// The server connections of one worker to one cluster, for one database and user; and the clients that wait for one.
//
// Task: gives an idle server at once or puts the client in a line: of a member when servers are short, of the pool
// while there is no primary. Oldest first, each with its deadline; across workers the permits keep the order. Opens
// connections in parallel up to a limit, with a back-off per member that holds up no other member. Thread: its
// worker's; only Permits is shared. Lifetime: as long as the worker; a pool without clients keeps its idle servers
// until they time out.
#pragma once

#include <coroutine>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "config/model.hpp"
#include "health/topology.hpp"
#include "protocol/login.hpp"
#include "protocol/parameters.hpp"
#include "proxy/io/wheel.hpp"
#include "proxy/pool/permits.hpp"
#include "proxy/pool/pool_key.hpp"
#include "proxy/pool/server_link.hpp"

namespace holdfast::proxy {

class Pool;
class Worker;

// A client's place in a line. Lives in the session; awaited once it is in a line.
struct Waiter : ListNode<Waiter> {
  enum class Kind : std::uint8_t { read, write };

  ClientSession* session = nullptr;
  Kind kind = Kind::write;
  TimePoint since{};
  Deadline deadline;
  std::coroutine_handle<> handle;
  bool settled = false;  // a server was given (the session has it), or `error` says why not
  std::optional<Error> error;

  struct Awaiter {
    Waiter& waiter;
    [[nodiscard]] bool await_ready() const { return waiter.settled; }
    void await_suspend(std::coroutine_handle<> awaiting) const { waiter.handle = awaiting; }
    void await_resume() const {}
  };
  [[nodiscard]] Awaiter settled_or_failed() { return {*this}; }
};

class MemberPool {
 public:
  MemberPool(Pool& pool, health::MemberIndex member, std::shared_ptr<Permits> permits);
  ~MemberPool();

  // The most recently used idle server that is still good, or null.
  [[nodiscard]] ServerLink* take_idle();
  // Puts the client at the end of this member's line and sees to it that a server comes.
  void wait(Waiter& waiter);
  // A server that is done with its client, clean: to whoever waited longest, else idle.
  void release(ServerLink& server);
  // A connection that was made, or handed over by another worker.
  void ready(ServerLink& server);
  // A server that is gone: its permit comes back.
  void gone(ServerLink& server);
  // Another worker wants a server of this member and there may be an idle one here.
  void offer_idle();
  // A new snapshot: closes what is of an older generation or of a member that is fenced or down.
  void member_changed(const health::MemberStatus& status);
  void close_idle(TimePoint older_than);
  // Every waiter, oldest first, into `line`.
  void give_up_waiters(List<Waiter>& line);
  void fail_waiters(const Error& error);
  // Opens connections while there are more waiters than servers to come.
  void open_more();

  void connect_failed(const Error& error, bool network);
  // … to the process, and to whoever waits longest for one.
  void give_back_permit();
  void connect_ended() { --connecting; }

  Pool& pool;
  health::MemberIndex member;
  std::shared_ptr<Permits> permits;
  List<ServerLink> idle;    // front: used last
  List<ServerLink> active;  // serving, draining, cleaning
  List<Waiter> waiters;
  std::uint32_t connecting = 0;
  bool read_only_by_default = false;  // default_transaction_read_only as the member reported it at the last log-in

 private:
  bool hand_over(ServerLink& server);
  void give(ServerLink& server, Waiter& waiter);
  static void retry(void* self);

  static constexpr std::uint32_t most_connecting = 8;  // at once: a fresh pool fills quickly, a server is not stormed
  static constexpr std::chrono::milliseconds first_backoff{20};
  static constexpr std::chrono::milliseconds longest_backoff{1000};

  Deadline retry_;
  std::chrono::milliseconds backoff_{0};
};

class Pool {
 public:
  // How to log in to the servers as this user.
  using Credentials = std::variant<std::monostate, protocol::LoginRequest::Password, protocol::scram::Keys>;

  Pool(Worker& worker, PoolKey key, const config::EffectiveSettings& settings);

  [[nodiscard]] MemberPool& member(health::MemberIndex index);
  [[nodiscard]] const health::Topology& topology() const { return *topology_; }
  void topology_changed(health::TopologyPtr topology);
  void reconfigure(const config::Config& config);
  // New credentials of the user: links that were opened with others are closed when they come back.
  void set_credentials(Credentials credentials);

  // Puts a client that needs the primary in line for it: the primary's own, or the pool's while there is none.
  // False: `hold_limit` clients wait already.
  [[nodiscard]] bool wait_for_primary(Waiter& waiter);
  [[nodiscard]] std::size_t held() const { return held_.size(); }
  // Somebody gave up: a worker without waiters wants no permits.
  void waiter_left();
  // Once a second: idle servers that are too old.
  void sweep(TimePoint now);
  // Neither a session nor a server nor anybody in line: under "*" there are as many pools as names that were tried.
  [[nodiscard]] bool unused() const;
  // The version under which a connection that was opened with `theirs` may serve here; never a current one if they are
  // not this pool's.
  [[nodiscard]] std::uint64_t version_of(const Credentials& theirs) const;
  void close_all();

  Worker& worker;
  PoolKey key;
  const std::uint64_t id;    // never used again in this process
  std::size_t sessions = 0;  // that use it
  config::EffectiveSettings settings;
  Credentials credentials;
  std::uint64_t credentials_version = 0;
  // What servers report once a client's start-up settings are on them: a log-in with settings seen before needs no
  // server. Bounded; forgotten with every new epoch.
  [[nodiscard]] std::optional<protocol::ReportedRef> find_welcome(const protocol::SettingsRef& settings);
  void remember_welcome(const protocol::SettingsRef& settings, const protocol::ReportedRef& reported);
  std::deque<std::unique_ptr<MemberPool>> members;
  health::MemberIndex last_replica = 0;  // that was given a read, for `balance: round_robin`

 private:
  void primary_available();
  void keep_welcome(const protocol::SettingsRef& settings, const protocol::ReportedRef& reported);

  static constexpr std::size_t welcomes_kept = 64;

  std::vector<std::pair<protocol::SettingsRef, protocol::ReportedRef>> welcomes_;
  health::TopologyPtr topology_;
  List<Waiter> held_;
};

}  // namespace holdfast::proxy
