#include "proxy/route/router.hpp"

#include <limits>

#include "proxy/worker.hpp"

namespace holdfast::proxy {

using protocol::sql::Access;
using protocol::sql::Effect;
using protocol::sql::Hint;
using protocol::sql::TransactionControl;

const char* name_of(RouteReason reason) {
  switch (reason) {
    case RouteReason::write: return "write";
    case RouteReason::read_replica: return "read";
    case RouteReason::not_fresh: return "not_fresh";
    case RouteReason::no_replica: return "no_replica";
    case RouteReason::configured: return "configured";
    case RouteReason::transaction: return "transaction";
    case RouteReason::session_state: return "session_state";
    case RouteReason::role_question: return "role_question";
    case RouteReason::unparsed: return "unparsed";
    case RouteReason::learnt: return "learnt";
    case RouteReason::count_: break;
  }
  return "?";
}

namespace {

// Why a unit is for the primary whatever the replicas are like; none: a replica may have it.
std::optional<RouteReason> needs_primary(const Unit& unit) {
  const auto& verdict = unit.verdict;
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

// What is compared among replicas that are fresh enough: the least gets the read.
std::size_t load_of(Pool& pool, health::MemberIndex replica, config::Balance balance) {
  const auto& servers = pool.member(replica);
  const std::size_t busy = servers.active.size() + servers.waiters.size();
  const auto& members = pool.topology().members;
  switch (balance) {
    case config::Balance::round_robin: {
      // How far behind the one that had the last read.
      const auto count = members.size();
      return (replica + count - (pool.last_replica + 1) % count) % count;
    }
    case config::Balance::weighted: return (busy + 1) * 1000 / std::max(members[replica].weight, 1U);
    case config::Balance::least_connections:
    case config::Balance::latency: break;  // latency is refused by the configuration
  }
  return busy;
}

// A replica's data must be at least as new as this for the session; the epoch: anything goes.
TimePoint freshness_needed(const config::EffectiveSettings& settings, const SeenByClient& seen, const Shared& shared,
                           const health::FreshnessMarks& marks, health::MemberIndex replica, TimePoint now) {
  switch (settings.read_consistency) {
    case config::ReadConsistency::eventual: return {};
    case config::ReadConsistency::bounded: return now - settings.read_staleness;
    case config::ReadConsistency::global:
      return TimePoint(health::Clock::duration(shared.last_write.load(std::memory_order_acquire)));
    case config::ReadConsistency::session: break;
  }
  // On the replica that it read from last a session can't go back: replay only moves forward there, in one life.
  const bool same = seen.last_replica == replica && seen.replica_life == marks.life(replica);
  return same ? seen.last_write : std::max(seen.last_write, seen.last_read);
}

}  // namespace

Route choose_route(const Unit& unit, const config::EffectiveSettings& settings, Pool& pool, const SeenByClient& seen,
                   TimePoint now, bool waited) {
  const auto& topology = pool.topology();
  const bool replicas_only = settings.route == config::Route::replica;
  const bool prefers_replica = replicas_only || settings.route == config::Route::replica_or_primary;
  if (!prefers_replica) {
    if (settings.route == config::Route::primary || unit.verdict.hint == Hint::primary) {
      return {.reason = RouteReason::configured};
    }
    if (unit.verdict.hint != Hint::replica) {
      if (const auto reason = needs_primary(unit)) return {.reason = *reason};
    }
  }
  std::optional<health::MemberIndex> best;
  std::size_t best_load = std::numeric_limits<std::size_t>::max();
  bool any_replica = false;
  for (health::MemberIndex i = 0; i < topology.members.size(); ++i) {
    const auto& member = topology.members[i];
    if (!member.accepts_reads || topology.primary == i) continue;
    if (!member.lag_known && settings.read_consistency != config::ReadConsistency::eventual && topology.primary)
      continue;
    if (member.lag_known && member.lag_bytes > settings.max_lag) continue;
    if (settings.balance == config::Balance::weighted && member.weight == 0) continue;
    any_replica = true;
    // A read-only endpoint has nobody else to ask: there a replica serves as it is.
    const auto needed =
        replicas_only ? TimePoint{} : freshness_needed(settings, seen, pool.worker.shared, *topology.freshness, i, now);
    if (needed != TimePoint{} && topology.freshness->fresh_until(i) < needed) continue;
    const std::size_t load = load_of(pool, i, settings.balance);
    if (load < best_load) {
      best = i;
      best_load = load;
    }
  }
  if (best) {
    pool.last_replica = *best;
    return {.kind = Route::Kind::member, .member = *best, .reason = RouteReason::read_replica};
  }
  if (any_replica) {
    topology.freshness->want();
    // Once its own write is covered, a busy reader gets back to the replicas by one short wait; otherwise
    // freshness_wait.
    const auto wait = seen.last_read > seen.last_write ? std::max(settings.return_wait, settings.freshness_wait)
                                                       : settings.freshness_wait;
    if (!waited && wait.count() > 0) {
      return {.kind = Route::Kind::wait_for_marks, .reason = RouteReason::not_fresh, .until = now + wait};
    }
  }
  if (replicas_only || (!settings.fallback_to_primary && !prefers_replica)) {
    return {.kind = Route::Kind::refused, .reason = any_replica ? RouteReason::not_fresh : RouteReason::no_replica};
  }
  return {.reason = any_replica ? RouteReason::not_fresh : RouteReason::no_replica};
}

}  // namespace holdfast::proxy
