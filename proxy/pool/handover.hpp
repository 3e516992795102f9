// Gives server connections and permits to other workers, and takes what they give.
//
// Task: "longest waiting first" is a promise of the process. A server that is released where nobody waits longest goes,
// socket and TLS engine, to the worker whose client does; a permit that comes back is offered to that worker. All by
// messages: nothing of another worker's is touched. Thread: its worker's, but for the fact that others post to it.
// Lifetime: the worker's.
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
  // Of all workers, this one included; before any of them starts.
  void connect(std::vector<Handover*> all) { all_ = std::move(all); }

  // The link object here ends; its connection and permit go on there.
  void give(Handover& other, ServerLink& server, Permit permit);
  void ask_others_for_idle(const PoolKey& key, health::MemberIndex member);
  // A permit came back that another worker may wait for, longer than `own` does here.
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
