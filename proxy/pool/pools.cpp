#include "proxy/pool/pools.hpp"

namespace holdfast::proxy {

Pool& Pools::get(const PoolKey& key) {
  auto& pool = pools_[key];
  if (!pool) {
    pool = std::make_unique<Pool>(context_, key, topology(key.cluster));
    context_.counters.pools.add();
  }
  return *pool;
}

MemberPool* Pools::find(const PoolKey& key, health::MemberIndex member) {
  const auto found = pools_.find(key);
  if (found == pools_.end() || member >= found->second->topology().members.size()) return nullptr;
  return &found->second->member(member);
}

health::TopologyPtr Pools::topology(const std::string& cluster) const {
  const auto found = topologies_.find(cluster);
  return found == topologies_.end() ? std::make_shared<const health::Topology>() : found->second;
}

bool Pools::looked_since(TimePoint moment) const {
  return std::ranges::all_of(topologies_, [&](const auto& entry) { return entry.second->looked_at >= moment; });
}

void Pools::topology_changed(const health::TopologyPtr& topology) {
  topologies_[topology->cluster] = topology;
  for (auto& [key, pool] : pools_) {
    if (key.cluster == topology->cluster) pool->topology_changed(topology);
  }
}

void Pools::reconfigure() {
  for (auto& [key, pool] : pools_) pool->reconfigure();
}

void Pools::sweep(TimePoint now) {
  for (auto& [key, pool] : pools_) pool->sweep(now);
  context_.counters.pools.subtract(std::erase_if(pools_, [](const auto& entry) { return entry.second->unused(); }));
}

void Pools::close_all() {
  for (auto& [key, pool] : pools_) pool->close_all();
}

}  // namespace holdfast::proxy
