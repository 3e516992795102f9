#include "health/topology_build.hpp"

#include <algorithm>

namespace holdfast::health {

namespace {

// The state of a member that can be reached.
MemberState state_of(Role role, bool suspect) {
  switch (role) {
    case Role::none: return MemberState::unknown;
    case Role::primary: return suspect ? MemberState::suspect : MemberState::primary;
    case Role::replica: return suspect ? MemberState::suspect : MemberState::replica;
    case Role::candidate: return MemberState::suspect;
    case Role::fenced: return MemberState::fenced;
    case Role::quarantined: return MemberState::quarantined;
  }
  return MemberState::unknown;
}

}  // namespace

MemberStatus status_of(const config::Member& settings, Presence presence, const Member& member,
                       const RoleJudge::View& view, TimePoint now) {
  MemberStatus status{.name = settings.name,
                      .host = settings.host,
                      .port = settings.port,
                      .zone = settings.zone,
                      .weight = settings.weight,
                      .reason = member.reason(),
                      .timeline = view.timeline,
                      .lsn = view.lsn,
                      .lag_bytes = view.lag_bytes,
                      .lag_known = view.lag_known,
                      .generation = view.generation};
  if (presence == Presence::removed) {
    status.state = MemberState::down;
    status.removed = true;
    status.reason = "removed from the configuration";
    return status;
  }
  switch (member.state()) {
    case Reachability::unknown: status.state = MemberState::unknown; return status;
    case Reachability::starting: status.state = MemberState::starting; return status;
    case Reachability::down: status.state = MemberState::down; return status;
    case Reachability::up:
    case Reachability::suspect: break;
  }
  if (status.reason.empty()) status.reason = view.reason;
  status.state = state_of(view.role, member.state() == Reachability::suspect);
  status.accepts_reads = view.accepts_reads && member.steady(now);
  if (view.accepts_reads && !status.accepts_reads)
    status.reason = "went down several times within a minute: gets no reads for a while";
  return status;
}

bool same_but_positions(const Topology& a, const Topology& b) {
  const auto same_member = [](const MemberStatus& x, const MemberStatus& y) {
    return x.name == y.name && x.host == y.host && x.address == y.address && x.port == y.port && x.zone == y.zone &&
           x.weight == y.weight && x.state == y.state && x.removed == y.removed && x.accepts_reads == y.accepts_reads &&
           x.reason == y.reason && x.timeline == y.timeline && x.lag_known == y.lag_known &&
           x.generation == y.generation;
  };
  return a.epoch == b.epoch && a.system_identifier == b.system_identifier && a.timeline == b.timeline &&
         a.primary == b.primary && a.why_no_primary == b.why_no_primary && a.split_brain == b.split_brain &&
         a.isolated == b.isolated && a.freshness == b.freshness &&
         std::equal(a.members.begin(), a.members.end(), b.members.begin(), b.members.end(), same_member);
}

bool same_positions(const Topology& a, const Topology& b) {
  return std::equal(
      a.members.begin(), a.members.end(), b.members.begin(), b.members.end(),
      [](const MemberStatus& x, const MemberStatus& y) { return x.lsn == y.lsn && x.lag_bytes == y.lag_bytes; });
}

}  // namespace holdfast::health
