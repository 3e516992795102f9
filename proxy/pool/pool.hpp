// The server connections of one worker to one cluster, for one database and user; and the clients that wait for one.
//
// Task: a MemberPool per member, a line of the clients that are held while there is no primary, the credentials that
// servers are logged in to with, and what servers report to clients with certain settings. Knows neither sessions nor
// workers. Thread: its worker's. Lifetime: while something uses it (unused()).
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "config/model.hpp"
#include "health/topology.hpp"
#include "protocol/login.hpp"
#include "protocol/parameters.hpp"
#include "proxy/pool/context.hpp"
#include "proxy/pool/member_pool.hpp"
#include "proxy/pool/pool_key.hpp"

namespace holdfast::proxy {

class Pool {
 public:
  // How to log in to the servers as this user.
  using Credentials = std::variant<std::monostate, protocol::LoginRequest::Password, protocol::scram::Keys>;

  Pool(PoolContext& context, PoolKey key, health::TopologyPtr topology);

  [[nodiscard]] MemberPool& member(health::MemberIndex index);
  [[nodiscard]] const health::Topology& topology() const { return *topology_; }
  void topology_changed(health::TopologyPtr topology);
  // The worker's configuration is another one.
  void reconfigure();
  // New credentials of the user: connections that were opened with others are closed when they come back.
  void set_credentials(Credentials credentials);
  [[nodiscard]] const Credentials& credentials() const { return credentials_; }
  [[nodiscard]] std::uint64_t credentials_version() const { return credentials_version_; }
  // The version under which a connection that was opened with `theirs` may serve here; never a current one if they are
  // not this pool's.
  [[nodiscard]] std::uint64_t version_of(const Credentials& theirs) const;

  // Puts a client that needs the primary in line for it: the primary's own, or the pool's while there is none. Without
  // a place (hold_limit) the wait ends at once, in an error.
  void wait_for_primary(Waiter& waiter);
  // Idle servers that are too old are closed; what nobody waits for is canceled again.
  void sweep(TimePoint now);
  void close_all();
  // Neither a session nor a server nor anybody in line: under "*" there are as many pools as names that were tried.
  [[nodiscard]] bool unused() const;
  // Of the sessions that use it: each keeps one.
  [[nodiscard]] std::shared_ptr<const void> use();

  // What servers report once a client's start-up settings are on them: a log-in with settings seen before needs no
  // server. Bounded; forgotten with every new epoch.
  [[nodiscard]] std::optional<protocol::ReportedRef> find_welcome(const protocol::SettingsRef& settings);
  void remember_welcome(const protocol::SettingsRef& settings, const protocol::ReportedRef& reported);

  [[nodiscard]] PoolContext& context() const { return context_; }
  [[nodiscard]] const PoolKey& key() const { return key_; }
  [[nodiscard]] std::uint64_t id() const { return id_; }  // never used again in this process
  // size, lifetime and idle timeout: of the database and user, whatever the listener.
  [[nodiscard]] const config::EffectiveSettings& settings() const { return settings_; }
  // The replica that was given the last read, for `balance: round_robin`.
  health::MemberIndex last_replica = 0;

 private:
  void primary_available();
  void leave_member(MemberPool& member, const health::Topology& topology);
  void keep_welcome(const protocol::SettingsRef& settings, const protocol::ReportedRef& reported);

  static constexpr std::size_t welcomes_kept = 64;

  PoolContext& context_;
  PoolKey key_;
  const std::uint64_t id_;
  config::EffectiveSettings settings_;
  Credentials credentials_;
  std::uint64_t credentials_version_ = 0;
  std::shared_ptr<const void> users_;  // what use() gives out
  std::deque<std::unique_ptr<MemberPool>> members_;
  std::vector<std::pair<protocol::SettingsRef, protocol::ReportedRef>> welcomes_;
  health::TopologyPtr topology_;
  List<Waiter> held_;
};

}  // namespace holdfast::proxy
