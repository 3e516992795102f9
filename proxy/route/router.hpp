// Which member gets a unit: decided from what the unit does, what the session has seen, and the current topology.
// Pure: nothing is changed here, the caller carries out what a Route says. Thread: any.
#pragma once

#include <optional>

#include "config/model.hpp"
#include "health/topology.hpp"
#include "protocol/sql/verdict.hpp"
#include "proxy/base/counters.hpp"

namespace holdfast::proxy {

using health::TimePoint;

// What a session remembers for reads.consistency: session.
struct SeenByClient {
  TimePoint last_write{};                           // when its last write finished; TimePoint{}: never
  TimePoint last_read{};                            // when its last read finished, on any member
  std::optional<health::MemberIndex> last_replica;  // the replica of that read, if it was on one
  std::uint32_t replica_life = 0;                   // that replica's life then: FreshnessMarks::life()
};

// What the pool knows of a member: how busy it is (connections in use and clients in line), and whether it lets the
// pool's user in. Called for replicas only.
struct Loads {
  const void* of_what = nullptr;
  std::size_t (*ask)(const void* of_what, health::MemberIndex member) = nullptr;
  bool (*lets_in)(const void* of_what, health::MemberIndex member) = nullptr;
};

struct RouteRequest {
  const protocol::sql::Verdict& verdict;  // of the whole unit
  const config::EffectiveSettings& settings;
  const health::Topology& topology;
  const SeenByClient& seen;
  TimePoint now{};
  TimePoint last_write_anywhere{};  // in this database, for consistency: global
  bool write_in_flight = false;     // there: its end was not noted yet
  bool begins_for_good = false;     // it begins a block that could not go on elsewhere as if nothing had been
  bool has_waited = false;          // this unit has already waited for a fresher replica
  Loads loads{};
  health::MemberIndex last_replica = 0;  // the one that this pool gave the last read to, for balance: round_robin
};

struct Route {
  enum class Kind : std::uint8_t {
    member,          // this replica
    primary,         // the primary, waiting for one if necessary
    wait_for_marks,  // no replica is fresh enough, and it is worth waiting until `until`
    refused,         // `route: replica` without a replica
  };
  Kind kind = Kind::primary;
  health::MemberIndex member = 0;
  RouteReason reason = RouteReason::write;
  TimePoint until{};
  bool wants_marks = false;  // marks of `wanted` or later would have helped
  TimePoint wanted{};
};

[[nodiscard]] Route choose_route(const RouteRequest& request);

}  // namespace holdfast::proxy
