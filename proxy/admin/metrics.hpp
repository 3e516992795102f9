// /metrics: the workers' counters, summed at each scrape, and what health knows. Names are
// holdfast_<thing>_<unit>[_total]; labels come from bounded sets (clusters, members, reasons), never from clients. Each
// HELP line must be understandable by itself.
// Thread: control, every call. Lifetime: the Server's; `monitors` outlives it.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "health/event.hpp"
#include "health/topology.hpp"
#include "proxy/base/counters.hpp"

namespace holdfast::health {
class Monitor;
}

namespace holdfast::proxy {

class Metrics {
 public:
  static constexpr const char* content_type = "text/plain; version=0.0.4; charset=utf-8";

  using Monitors = std::map<std::string, std::unique_ptr<health::Monitor>>;  // by cluster

  explicit Metrics(const Monitors& monitors) : monitors_(monitors) {}

  // Adds a worker's counters, which outlive this.
  void add(const Counters& worker) { workers_.push_back(&worker); }

  void topology(health::TopologyPtr topology) {
    // Counters begin at 0, so that increase() sees the first event.
    events_.try_emplace(topology->cluster);
    left_behind_.try_emplace(topology->cluster);
    without_primary_.try_emplace(topology->cluster);
    topologies_[topology->cluster] = std::move(topology);
  }
  void event(const health::Event& event, health::TimePoint now);
  // Whether the record of the cluster's primary is on disk.
  void record_kept(const std::string& cluster, bool good) { records_[cluster] = good; }
  void reloaded(bool good) { ++(good ? reloads_ : reloads_refused_); }
  // All metrics in Prometheus's text format.
  [[nodiscard]] std::string text() const;

 private:
  std::vector<const Counters*> workers_;
  const Monitors& monitors_;
  std::map<std::string, health::TopologyPtr> topologies_;
  std::map<std::string, std::array<std::uint64_t, health::event_kinds>> events_;  // by cluster, then EventKind
  std::map<std::string, std::uint64_t> left_behind_;                              // bytes of WAL, by cluster
  std::map<std::string, bool> records_;                                           // by cluster
  struct WithoutPrimary {
    std::optional<health::TimePoint> since;
    Durations durations;
  };
  std::map<std::string, WithoutPrimary> without_primary_;  // by cluster
  std::uint64_t reloads_ = 0;
  std::uint64_t reloads_refused_ = 0;
};

}  // namespace holdfast::proxy
