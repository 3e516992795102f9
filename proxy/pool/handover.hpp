// Gives server connections and permits to other workers, and takes what they give.
//
// Task: keeps "longest waiting first" across all workers. A server that is released while another worker's client has
// waited longer goes to that worker, with socket and TLS engine; a permit that comes back is offered to it. All by
// messages: no worker touches another's data. Thread: its worker's; other workers' hand-overs post to it. Lifetime: the
// worker's.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "proxy/pool/context.hpp"
#include "proxy/pool/pool_key.hpp"

namespace holdfast::proxy {

class Pools;
class ServerLink;

class Handover {
 public:
  Handover(PoolContext& context, Pools& pools) : context_(context), pools_(pools) {}
  // `all`: the hand-overs of all workers, this one included. Call before any of them starts.
  void connect(std::vector<Handover*> all) { all_ = std::move(all); }

  // Ends the link object here; its connection and permit continue on the other worker.
  void give(Handover& other, ServerLink& server, Permit permit);
  void ask_others_for_idle(const PoolKey& key, health::MemberIndex member);
  // A permit came back: offers it to a worker that has waited for one for longer than `own`, the oldest wait here.
  void offer_permit(const std::shared_ptr<Permits>& permits, const PoolKey& key, health::MemberIndex member,
                    std::optional<TimePoint> own);

 private:
  struct Parcel;
  void adopt(const PoolKey& key, health::MemberIndex member, Parcel parcel);

  PoolContext& context_;
  Pools& pools_;
  std::vector<Handover*> all_;
};

}  // namespace holdfast::proxy
