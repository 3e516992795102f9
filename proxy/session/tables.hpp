// What the sessions of one worker share: interned statements and settings, verdicts, spare memory.
// Thread: the worker's. Lifetime: the worker's; outlives its sessions and its pools.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/model.hpp"
#include "protocol/parameters.hpp"
#include "protocol/prepared.hpp"
#include "protocol/reported.hpp"
#include "protocol/spare_buffers.hpp"
#include "protocol/sql/classify.hpp"
#include "proxy/io/composer.hpp"

namespace holdfast::proxy {

struct Tables {
  explicit Tables(std::uint32_t worker) : statements(worker), prepared(statements) {}

  protocol::PendingPool pending;
  protocol::StatementTable statements;
  protocol::Prepared prepared;
  protocol::SettingsTable settings;
  protocol::ReportedTable reported;
  protocol::SpareBuffers buffers;

  // What a Parse that is sent now is worth. Set at the beginning of every pass.
  protocol::Vintage vintage{.schema = 1};

  // The classifier of a pool's clients with these `reads.functions`; made on first use, with these limits.
  [[nodiscard]] std::shared_ptr<protocol::sql::Classifier> classifier(const std::string& pool,
                                                                      const std::vector<std::string>& read_functions,
                                                                      const config::Limits& limits);
  // A classifier that reads no text: for clients whose statements can't be read because of their encoding.
  [[nodiscard]] std::shared_ptr<protocol::sql::Classifier> blind_classifier();
  // The one object for these settings that all sessions with them share.
  [[nodiscard]] std::shared_ptr<const config::EffectiveSettings> effective(config::EffectiveSettings wanted);
  // There is a new configuration: sessions keep the settings objects that they use.
  void forget_effective() { effective_.clear(); }

  // DDL was committed, or time has passed: verdicts and what was learnt from standbys may be stale, for the pools whose
  // key begins like this.
  void forget_verdicts(std::string_view pools = {});
  // A server said that a plan's result type has changed: every statement of its database (PoolKey::all_of) is parsed
  // again at its next use.
  void expire_plans(std::string_view database) { statements.expire(statements.scope_of(database)); }

 private:
  void forget_unused();

  std::unique_ptr<protocol::sql::ShapeStore> shapes_;
  std::map<std::string, std::weak_ptr<protocol::sql::Classifier>, std::less<>> classifiers_;  // by pool and functions
  std::size_t swept_at_ = 64;
  std::shared_ptr<protocol::sql::Classifier> blind_;
  std::vector<std::shared_ptr<const config::EffectiveSettings>> effective_;
};

// Where a pass collects its output, for one send to each side. Used by one pass at a time, never across a co_await.
struct Desk {
  Composer to_server;
  Composer to_client;
  std::vector<std::byte> scratch;

  void clear() {
    to_server.clear();
    to_client.clear();
  }
};

}  // namespace holdfast::proxy
