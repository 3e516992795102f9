#include "proxy/route/router.hpp"

#include <algorithm>
#include <limits>

namespace holdfast::proxy {

using protocol::sql::Access;
using protocol::sql::Effect;
using protocol::sql::Hint;
using protocol::sql::TransactionControl;

namespace {

// Why a unit must go to the primary, whatever the state of the replicas; nullopt: a replica may have it.
std::optional<RouteReason> needs_primary(const protocol::sql::Verdict& verdict) {
  if (has(verdict.effects, Effect::unparsed)) return RouteReason::unparsed;
  if (has(verdict.effects, protocol::sql::pinning)) return RouteReason::session_state;
  if (has(verdict.effects, Effect::role_question)) return RouteReason::role_question;
  if (verdict.access == Access::write) return RouteReason::write;
  if (verdict.control == TransactionControl::begin_read_only && !verdict.returns_after_commit) return std::nullopt;
  if (verdict.control != TransactionControl::none) return RouteReason::transaction;
  if (has(verdict.effects, Effect::discard | Effect::sql_deallocate | Effect::cursor))
    return RouteReason::session_state;
  return std::nullopt;
}

// It leaves state in its session for certain. (What an unknown function may leave is given up for a write.)
bool keeps_session(const protocol::sql::Verdict& verdict) {
  constexpr auto guess = static_cast<std::uint32_t>(Effect::unknown_function);
  return has(verdict.effects, static_cast<Effect>(static_cast<std::uint32_t>(protocol::sql::pinning) & ~guess));
}

// The value compared among replicas that are fresh enough: the smallest gets the read.
std::size_t load_of(const RouteRequest& request, health::MemberIndex replica) {
  const auto& members = request.topology.members;
  switch (request.settings.balance) {
    case config::Balance::round_robin: {
      // Its distance, in the order of members, from the one after the replica that had the last read.
      const auto count = members.size();
      return (replica + count - (request.last_replica + 1) % count) % count;
    }
    case config::Balance::weighted:
      return (request.loads.ask(request.loads.of_what, replica) + 1) * 1000 / std::max(members[replica].weight, 1U);
    case config::Balance::least_connections:
    case config::Balance::latency: break;  // latency is refused by the configuration
  }
  return request.loads.ask(request.loads.of_what, replica);
}

// How new a replica's data must be for the session; TimePoint{}: any age will do.
TimePoint freshness_needed(const RouteRequest& request, health::MemberIndex replica) {
  const auto& seen = request.seen;
  switch (request.settings.read_consistency) {
    case config::ReadConsistency::eventual: return {};
    case config::ReadConsistency::bounded: return request.now - request.settings.read_staleness;
    case config::ReadConsistency::global:
      // What the session has read last may be of a write whose end is not noted yet; otherwise it is in the last write.
      if (!request.write_in_flight) return request.last_write_anywhere;
      break;
    case config::ReadConsistency::session: break;
  }
  // On the replica of its last read a session can't go back in time: within one life of it replay only moves forward.
  const bool same = seen.last_replica == replica && seen.replica_life == request.topology.freshness->life(replica);
  const bool global = request.settings.read_consistency == config::ReadConsistency::global;
  const auto written = global ? request.last_write_anywhere : seen.last_write;
  return same ? written : std::max(written, seen.last_read);
}

// Whether this replica may serve reads of a session with these settings, judging by its state and its lag.
bool usable(const RouteRequest& request, health::MemberIndex replica) {
  const auto& settings = request.settings;
  const auto& member = request.topology.members[replica];
  if (!member.accepts_reads || request.topology.primary == replica) return false;
  const bool any_age = settings.read_consistency == config::ReadConsistency::eventual;
  if (!member.lag_known && !any_age && request.topology.primary) return false;
  if (member.lag_known && member.lag_bytes > settings.max_lag) return false;
  return settings.balance != config::Balance::weighted || member.weight != 0;
}

}  // namespace

Route choose_route(const RouteRequest& request) {
  const auto& settings = request.settings;
  const auto& topology = request.topology;
  const bool replicas_only = settings.route == config::Route::replica;
  const bool prefers_replica = replicas_only || settings.route == config::Route::replica_or_primary;
  if (!prefers_replica) {
    if (settings.route == config::Route::primary || request.verdict.hint == Hint::primary) {
      return {.reason = RouteReason::configured};
    }
    // A hint sends no session to a standby that would then be kept there: it could never write again.
    if (request.verdict.hint != Hint::replica || keeps_session(request.verdict)) {
      if (const auto reason = needs_primary(request.verdict)) return {.reason = *reason};
    }
    if (request.begins_for_good) return {.reason = RouteReason::transaction};
  }
  std::optional<health::MemberIndex> best;
  std::size_t best_load = std::numeric_limits<std::size_t>::max();
  bool any_replica = false;
  TimePoint wanted{};
  for (health::MemberIndex i = 0; i < topology.members.size(); ++i) {
    if (!usable(request, i)) continue;
    // A replicas-only endpoint has no other member to use: there a replica serves however stale it is, and says itself
    // why it doesn't let the user in.
    if (!replicas_only && !request.loads.lets_in(request.loads.of_what, i)) continue;
    any_replica = true;
    const auto needed = replicas_only ? TimePoint{} : freshness_needed(request, i);
    if (needed != TimePoint{} && topology.freshness->fresh_until(i) < needed) {
      wanted = std::max(wanted, needed);
      continue;
    }
    const std::size_t load = load_of(request, i);
    if (load < best_load) {
      best = i;
      best_load = load;
    }
  }
  if (best) return {.kind = Route::Kind::member, .member = *best, .reason = RouteReason::read_replica};
  const auto reason = any_replica ? RouteReason::not_fresh : RouteReason::no_replica;
  if (any_replica && !request.has_waited) {
    // With consistency: session a client whose last read is newer than its last write gets back to the replicas by a
    // wait of at least return_wait; for others the limit is freshness_wait.
    const auto& seen = request.seen;
    const bool returns =
        settings.read_consistency == config::ReadConsistency::session && seen.last_read > seen.last_write;
    const auto wait = returns ? std::max(settings.return_wait, settings.freshness_wait) : settings.freshness_wait;
    if (wait.count() > 0) {
      return {.kind = Route::Kind::wait_for_marks,
              .reason = reason,
              .until = request.now + wait,
              .wants_marks = true,
              .wanted = wanted};
    }
  }
  const bool refused = replicas_only || (!settings.fallback_to_primary && !prefers_replica);
  return {.kind = refused ? Route::Kind::refused : Route::Kind::primary,
          .reason = reason,
          .wants_marks = any_replica,
          .wanted = wanted};
}

}  // namespace holdfast::proxy
