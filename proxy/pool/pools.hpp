// All pools of one worker, by cluster, database and user, and the topologies that the worker knows.
// Thread: the worker's. Lifetime: the worker's.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "health/topology.hpp"
#include "proxy/pool/pool.hpp"

namespace holdfast::proxy {

class Pools {
 public:
  Pools(PoolContext& context, std::map<std::string, health::TopologyPtr> topologies)
      : context_(context), topologies_(std::move(topologies)) {}

  // The pool is made on first use.
  [[nodiscard]] Pool& get(const PoolKey& key);
  // Null: there is no such pool here, or this worker does not know the member yet.
  [[nodiscard]] MemberPool* find(const PoolKey& key, health::MemberIndex member);

  [[nodiscard]] PoolShared& shared() const { return context_.shared; }

  void topology_changed(const health::TopologyPtr& topology);
  // Every member of every cluster was asked after this moment, or tried.
  [[nodiscard]] bool looked_since(TimePoint moment) const;
  void reconfigure();
  // Called once a second. Removes pools that nothing uses.
  void sweep(TimePoint now);
  void close_all();

 private:
  [[nodiscard]] health::TopologyPtr topology(const std::string& cluster) const;

  PoolContext& context_;
  std::map<std::string, health::TopologyPtr> topologies_;
  std::map<PoolKey, std::unique_ptr<Pool>> pools_;
};

}  // namespace holdfast::proxy
