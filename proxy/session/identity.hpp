// Who a client is, as established by its log-in: its pool and the settings that apply to it. Fixed for the session,
// except for settings that a reload may change.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "config/model.hpp"
#include "protocol/parameters.hpp"
#include "protocol/sql/classify.hpp"
#include "proxy/base/runtime.hpp"
#include "proxy/pool/pool.hpp"
#include "proxy/session/tables.hpp"

namespace holdfast::proxy {

struct Identity {
  std::string user;
  std::string database;                  // as the client calls it
  std::size_t listener = 0;              // index into the configuration's listeners
  protocol::SettingsRef wanted;          // start-up settings
  std::optional<bool> read_only_asked;   // default_transaction_read_only among them
  std::optional<bool> snapshot_asked;    // default_transaction_isolation: one snapshot for all statements of a block?
  bool path_is_temporary = false;        // its search_path names pg_temp: what it creates may be temporary
  bool blind = false;                    // its statements can't be read because of its encoding
  Pool* pool = nullptr;                  // null before the database is chosen
  std::shared_ptr<const void> pool_use;  // keeps the pool
  std::shared_ptr<const config::EffectiveSettings> settings;
  std::shared_ptr<protocol::sql::Classifier> classifier;
  protocol::Scope scope;  // all that decides what its texts mean: see protocol::StatementTable

  // Applies what the configuration says now about this listener, database and user.
  void configure(const Runtime& runtime, Tables& tables) {
    const auto& config = runtime.config;
    const auto& from = config.listeners.at(std::min(listener, config.listeners.size() - 1));
    settings = tables.effective(config.effective(from, config.find_database(database), config.find_user(user)));
    if (pool == nullptr) return;
    const auto key = pool->key().text();
    classifier = blind ? tables.blind_classifier() : tables.classifier(key, settings->read_functions, config.limits);
    scope = {.meaning = tables.statements.scope_of(key + meaning()),
             .database = tables.statements.scope_of(PoolKey::all_of(pool->key().cluster, pool->key().database))};
  }
  [[nodiscard]] bool session_mode() const { return settings->pool_mode == config::PoolMode::session; }

 private:
  // What its texts are read by, besides the database and the user's rights.
  [[nodiscard]] std::string meaning() const {
    std::string text(1, blind ? 'b' : 's');
    for (const auto& function : settings->read_functions) text.append(1, '\0').append(function);
    text.append(1, '\0');
    for (const auto& [name, value] : wanted.parameters()) {
      if (protocol::decides_meaning(name)) text.append(1, '\0').append(name).append(1, '\0').append(value);
    }
    return text;
  }
};

}  // namespace holdfast::proxy
