// The server connections of one worker to one cluster, for one database and user; and the clients that wait for one.
//
// Task: has a MemberPool per member, the line of clients that are held while there is no primary, the credentials for
// logging in to servers, and what servers report for known start-up settings. Knows neither sessions nor workers.
// Thread: its worker's. Lifetime: while something uses it (unused()).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "config/model.hpp"
#include "health/topology.hpp"
#include "protocol/login.hpp"
#include "protocol/parameters.hpp"
#include "proxy/pool/context.hpp"
#include "proxy/pool/last_writes.hpp"
#include "proxy/pool/member_pool.hpp"
#include "proxy/pool/pool_key.hpp"

namespace holdfast::proxy {

class Pool {
 public:
  // How to log in to the servers as this user.
  using Credentials = std::variant<std::monostate, protocol::LoginRequest::Password, protocol::scram::Keys>;

  Pool(PoolContext& context, PoolKey key, health::TopologyPtr topology);

  [[nodiscard]] MemberPool& member(health::MemberIndex index) {
    if (index >= members_.size()) make_members(index);
    return *members_[index];
  }
  [[nodiscard]] const health::Topology& topology() const { return *topology_; }
  // For the log; nothing if it is no member any more.
  [[nodiscard]] std::string member_name(health::MemberIndex member) const {
    return member < topology_->members.size() ? topology_->members[member].name : std::string();
  }
  void topology_changed(health::TopologyPtr topology);
  // The worker has a new configuration.
  void reconfigure();
  // The user's current credentials: connections that were opened with others are closed when they are given back.
  void set_credentials(Credentials credentials);
  [[nodiscard]] const Credentials& credentials() const { return credentials_; }
  [[nodiscard]] std::uint64_t credentials_version() const { return credentials_version_; }
  // The credentials version of a connection that another worker's pool opened with `theirs`; not the current one if
  // they differ from this pool's.
  [[nodiscard]] std::uint64_t version_of(const Credentials& theirs) const;

  // Puts a client that needs the primary in the primary's line or, while there is no primary, holds it. If hold_limit
  // is reached the wait ends at once, with an error.
  void wait_for_primary(Waiter& waiter);
  // Closes servers that have been idle for too long; repeats cancel requests for statements whose client is gone.
  void sweep(TimePoint now);
  void close_all();
  // No session, no server and no waiter: with database "*" there are as many pools as names that clients tried.
  [[nodiscard]] bool unused() const;
  // A token that each session of the pool keeps: the pool is in use while there is one.
  [[nodiscard]] std::shared_ptr<const void> use();

  // What servers report once a client's start-up settings are applied: a log-in with known settings needs no server.
  // Bounded; forgotten with every new epoch.
  [[nodiscard]] std::optional<protocol::ReportedRef> find_welcome(const protocol::SettingsRef& settings);
  void remember_welcome(const protocol::SettingsRef& settings, const protocol::ReportedRef& reported);

  [[nodiscard]] PoolContext& context() const { return context_; }
  [[nodiscard]] const PoolKey& key() const { return key_; }
  // What is known of the database's catalogue. Shared by the pools of all users and workers.
  [[nodiscard]] Catalogue& catalogue() const { return *catalogue_; }
  [[nodiscard]] LastWrites& last_writes() const { return *last_writes_; }  // of the database, through any pool
  [[nodiscard]] std::uint64_t id() const { return id_; }                   // unique in this process
  // size, lifetime and idle timeout: those of the database and user, whatever the listener.
  [[nodiscard]] const config::EffectiveSettings& settings() const { return settings_; }
  // The replica that got the last read, for `balance: round_robin`.
  health::MemberIndex last_replica = 0;

 private:
  void make_members(health::MemberIndex last);
  void primary_available();
  void leave_member(MemberPool& member, const health::Topology& topology);
  void keep_welcome(const protocol::SettingsRef& settings, const protocol::ReportedRef& reported);

  static constexpr std::size_t welcomes_kept = 64;

  PoolContext& context_;
  PoolKey key_;
  const std::uint64_t id_;
  std::shared_ptr<Catalogue> catalogue_;
  config::EffectiveSettings settings_;
  std::string writes_of_;  // the cluster under whose name they are kept
  std::shared_ptr<LastWrites> last_writes_;
  std::vector<std::shared_ptr<LastWrites>> former_writes_;  // what began before a reload may still refer to them
  Credentials credentials_;
  std::uint64_t credentials_version_ = 0;
  std::shared_ptr<const void> users_;  // what use() returns
  std::vector<std::unique_ptr<MemberPool>> members_;
  std::vector<std::pair<protocol::SettingsRef, protocol::ReportedRef>> welcomes_;
  health::TopologyPtr topology_;
  List<Waiter> held_;
};

}  // namespace holdfast::proxy
