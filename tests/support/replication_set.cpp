// ReplicationSet: a primary and its streaming replicas.
#include <stdexcept>

#include "tests/support/postgres.hpp"

namespace holdfast::testing {

using namespace std::chrono_literals;

ReplicationSet::ReplicationSet(const ReplicationOptions& options) {
  std::string names;
  for (int i = 0; i <= options.replicas; ++i) names += (i == 0 ? "pg" : ",pg") + std::to_string(i + 1);

  for (int i = 0; i <= options.replicas; ++i) {
    auto server = options.server;
    server.name = "pg" + std::to_string(i + 1);
    if (options.quorum) server.settings.emplace_back("synchronous_standby_names", "ANY 1 (" + names + ")");
    // All of them are copies of one stopped cluster: the same system identifier and the same last checkpoint, so a
    // replica needs no base backup to stream from the primary.
    members_.push_back(std::make_unique<Server>(server));
    if (i == 0)
      members_.back()->launch();
    else
      members_.back()->follow(*members_.front());
  }
  primary().wait_ready();
  for (std::size_t i = 1; i < size(); ++i) members_[i]->launch();
  for (std::size_t i = 1; i < size(); ++i) members_[i]->wait_ready();
  const auto streaming = [&] {
    return primary().scalar("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") ==
           std::to_string(options.replicas);
  };
  if (!wait_until(30s, streaming)) throw std::runtime_error("the replicas don't stream from the primary");
}

void ReplicationSet::wait_caught_up(const Server& primary, const Server& replica) {
  const auto position = primary.scalar("SELECT pg_current_wal_flush_lsn()");
  const auto replayed = [&] {
    return replica.scalar("SELECT coalesce(pg_last_wal_replay_lsn() >= '" + position + "', false)") == "t";
  };
  if (!wait_until(30s, replayed)) throw std::runtime_error(replica.name() + " doesn't catch up to " + position);
}

}  // namespace holdfast::testing
