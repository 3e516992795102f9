// /metrics: workers' counters, summed when asked, and what health knows. Names are holdfast_<thing>_<unit>[_total];
// labels come from bounded sets (clusters, members, reasons), never from clients.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "health/event.hpp"
#include "health/topology.hpp"

namespace holdfast::proxy {

struct Shared;
class Worker;

class Metrics {
 public:
  static constexpr const char* content_type = "text/plain; version=0.0.4; charset=utf-8";

  // Control thread. Both outlive it.
  Metrics(const std::vector<std::unique_ptr<Worker>>& workers, const Shared& shared)
      : workers_(workers), shared_(shared) {}

  void topology(health::TopologyPtr topology) { topologies_[topology->cluster] = std::move(topology); }
  void event(const health::Event& event);
  void reloaded(bool good) { ++(good ? reloads_ : reloads_refused_); }
  // Prometheus's text format.
  [[nodiscard]] std::string text() const;

 private:
  const std::vector<std::unique_ptr<Worker>>& workers_;
  const Shared& shared_;
  std::map<std::string, health::TopologyPtr> topologies_;
  std::map<std::pair<std::string, std::string>, std::uint64_t> events_;  // by cluster and name
  std::uint64_t reloads_ = 0;
  std::uint64_t reloads_refused_ = 0;
};

}  // namespace holdfast::proxy
