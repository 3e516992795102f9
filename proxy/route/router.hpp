// Which member gets a unit: from what it does, what the session has seen, and the topology of this moment.
#pragma once

#include <optional>

#include "health/topology.hpp"
#include "proxy/counters.hpp"
#include "proxy/pool/pool.hpp"
#include "proxy/route/unit.hpp"

namespace holdfast::proxy {

// What a session remembers for read_consistency: session.
struct SeenByClient {
  TimePoint last_write{};                           // when its last write finished; the epoch: never
  TimePoint last_read{};                            // when its last read finished, wherever
  std::optional<health::MemberIndex> last_replica;  // where, if on a replica
  std::uint32_t replica_life = 0;                   // … and in which of its lives: FreshnessMarks::life()
};

struct Route {
  enum class Kind : std::uint8_t {
    member,          // this one
    primary,         // whoever is primary, waiting for one if need be
    wait_for_marks,  // no replica is fresh enough, and it is worth to wait until `until`
    refused,         // `route: replica` without a replica
  };
  Kind kind = Kind::primary;
  health::MemberIndex member = 0;
  RouteReason reason = RouteReason::write;
  TimePoint until{};
};

// `waited`: a wait for marks has been had already.
[[nodiscard]] Route choose_route(const Unit& unit, const config::EffectiveSettings& settings, Pool& pool,
                                 const SeenByClient& seen, TimePoint now, bool waited);

}  // namespace holdfast::proxy
