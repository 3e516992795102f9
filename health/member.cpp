#include "health/member.hpp"

#include <algorithm>

namespace holdfast::health {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds damping_window{60};
constexpr std::size_t damping_after = 3;  // falls within the window
constexpr seconds damping_limit{30};
// Each broken link is reported by its worker; one probe answers all of them.
constexpr milliseconds evidence_spacing{10};
constexpr seconds question_lasts{1};

// Light probes go on at fast_interval when all is well: ten queries of 18 µs a second make a promotion behind our back
// and a silent host known in a tenth of a second. While there is no primary they come faster still: 40 of them a second
// are 0.07 % of one core of the replica, and adoption waits 12 ms on average.
constexpr milliseconds pace_without_primary{25};
// After this long a member that is down is probed less often.
constexpr seconds patience{10};

}  // namespace

const char* name_of(Reachability state) {
  switch (state) {
    case Reachability::unknown: return "unknown";
    case Reachability::up: return "up";
    case Reachability::suspect: return "suspect";
    case Reachability::starting: return "starting";
    case Reachability::down: return "down";
  }
  return "?";
}

MemberAction Member::become(Reachability state, TimePoint now) {
  if (state == state_) return {};
  if (state == Reachability::down && usable()) falls_.push_back(now);
  if (state == Reachability::up && state_ == Reachability::down) {
    while (!falls_.empty() && now - falls_.front() > damping_window) falls_.pop_front();
    if (falls_.size() >= damping_after) {
      const auto doublings = std::min<std::size_t>(falls_.size() - damping_after, 5);
      damped_until_ = now + std::min(damping_limit, seconds(1 << doublings));
    }
  }
  state_ = state;
  since_ = now;
  ++transitions_;
  return {.changed = true};
}

MemberAction Member::fail(const ProbeResult& result, TimePoint now) {
  ++failures_;
  successes_ = 0;
  reason_ = result.detail;
  // An unknown member has no state to lose; calling it down at once lets the cluster decide.
  if (state_ == Reachability::unknown || failures_ >= settings_.fall) return become(Reachability::down, now);
  if (failures_ >= 2 && now - answered_ >= down_after_) return become(Reachability::down, now);
  if (state_ == Reachability::down || state_ == Reachability::starting) return {};
  MemberAction action = become(Reachability::suspect, now);
  // A time-out has already taken its time; other failures come back at once and are repeated at the fast pace.
  action.probe_now = result.grade == Grade::query_timeout || result.grade == Grade::connect_timeout;
  return action;
}

MemberAction Member::probed(const ProbeResult& result, TimePoint now) {
  switch (result.grade) {
    case Grade::ok: {
      answered_ = now;
      failures_ = 0;
      ++successes_;
      if (state_ == Reachability::down && successes_ < settings_.rise) return {.probe_now = true};
      reason_.clear();
      return become(Reachability::up, now);
    }
    case Grade::tls:
    case Grade::auth:
    case Grade::too_many:
    case Grade::query_failed:
    case Grade::own_shortage: {
      // The member is alive, or nothing was learnt: no reason to take it down, and none to bring it back.
      answered_ = now;
      failures_ = 0;
      reason_ = result.detail;
      return state_ == Reachability::suspect ? become(Reachability::up, now) : MemberAction{};
    }
    case Grade::starting: {
      answered_ = now;
      failures_ = 0;
      successes_ = 0;
      reason_ = result.detail;
      return become(Reachability::starting, now);
    }
    case Grade::refused: {
      ++failures_;
      successes_ = 0;
      reason_ = result.detail;
      return become(Reachability::down, now);
    }
    case Grade::dns:
    case Grade::unreachable:
    case Grade::connect_timeout:
    case Grade::connection_lost:
    case Grade::query_timeout: return fail(result, now);
  }
  return {};
}

MemberAction Member::evidence(Evidence evidence, TimePoint now) {
  // An open connection does not show that the postmaster still listens: backends outlive it. A silent
  // connect is no reason for a new one: with only the postmaster hung, existing sessions still work and shall be used.
  const bool fresh = evidence == Evidence::connect_refused &&
                     (!last_fresh_ || now - *last_fresh_ >= std::chrono::milliseconds(settings_.fast_interval));
  if (fresh) last_fresh_ = now;
  const bool spaced = last_evidence_ && now - *last_evidence_ < evidence_spacing;
  if (spaced && !fresh) return {};
  last_evidence_ = now;
  return {.probe_now = true, .fresh = fresh};
}

bool Member::questioned(TimePoint now) const {
  return last_evidence_ && now - *last_evidence_ < question_lasts;
}

void Member::forget() {
  state_ = Reachability::unknown;
  reason_.clear();
  failures_ = 0;
  successes_ = 0;
  falls_.clear();
  damped_until_ = {};
  last_evidence_.reset();
  last_fresh_.reset();
}

Pace pace(const PaceInput& input, const config::Monitor& settings) {
  const bool up = input.state == Reachability::up;
  const bool gone_long = input.state == Reachability::down && input.in_state > patience;
  Pace result{.full = settings.interval, .light = up ? settings.fast_interval : milliseconds(0)};
  if (!up || input.questioned || !input.cluster_has_primary) result.full = settings.fast_interval;
  if (gone_long) result.full = settings.interval;
  if (!input.cluster_has_primary && !gone_long) result.light = std::min(pace_without_primary, settings.fast_interval);
  return result;
}

}  // namespace holdfast::health
