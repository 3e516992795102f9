// From the machines' state to what workers read: one member's line of a Topology, and whether two snapshots differ in
// something that matters. Pure functions.
#pragma once

#include <string>

#include "config/model.hpp"
#include "health/member.hpp"
#include "health/role_judge.hpp"
#include "health/topology.hpp"

namespace holdfast::health {

enum class Presence : bool { removed, configured };

// Reachability comes before role: a fenced member that is down is `down`. Address and the generation's part that
// depends on it are the caller's.
[[nodiscard]] MemberStatus status_of(const config::Member& settings, Presence presence, const Member& member,
                                     const RoleJudge::View& view, TimePoint now);

// Equal but for positions, version and the contents of the marks.
[[nodiscard]] bool same_but_positions(const Topology& a, const Topology& b);
[[nodiscard]] bool same_positions(const Topology& a, const Topology& b);

}  // namespace holdfast::health
