// What servers report to a client with given start-up settings, shared by the whole process: a log-in with settings
// that any worker has seen needs no server, which matters when all servers are in use.
// Thread: any, under a mutex; used at log-in only, for settings that the worker itself has not seen.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "protocol/parameters.hpp"
#include "proxy/pool/pool_key.hpp"

namespace holdfast::proxy {

class Welcomes {
 public:
  using Parameters = std::vector<protocol::Parameter>;

  // `epoch`: the cluster's; reports from an earlier epoch are ignored.
  [[nodiscard]] std::optional<Parameters> find(const PoolKey& key, std::span<const protocol::Parameter> settings,
                                               std::uint64_t epoch) {
    const auto name = name_of(key, settings);
    const std::lock_guard lock(mutex_);
    const auto found = book_.find(name);
    if (found == book_.end() || found->second.first != epoch) return std::nullopt;
    return found->second.second;
  }
  void remember(const PoolKey& key, std::span<const protocol::Parameter> settings, std::uint64_t epoch,
                std::span<const protocol::Parameter> reported) {
    auto name = name_of(key, settings);
    const std::lock_guard lock(mutex_);
    if (book_.size() >= most_kept) book_.clear();  // the next log-in with each needs a server, nothing worse
    book_.insert_or_assign(std::move(name), std::pair{epoch, Parameters(reported.begin(), reported.end())});
  }

 private:
  static constexpr std::size_t most_kept = 4096;

  static std::string name_of(const PoolKey& key, std::span<const protocol::Parameter> settings) {
    std::string name;
    const auto add = [&name](const std::string& text) {
      name += text;
      name += '\0';
    };
    for (const auto* part : {&key.cluster, &key.database, &key.user}) add(*part);
    for (const auto& setting : settings) {
      add(setting.name);
      add(setting.value);
    }
    return name;
  }

  std::mutex mutex_;
  std::map<std::string, std::pair<std::uint64_t, Parameters>> book_;
};

}  // namespace holdfast::proxy
