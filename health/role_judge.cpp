#include "health/role_judge.hpp"

#include <algorithm>
#include <utility>

#include "health/sampler.hpp"

namespace holdfast::health {

namespace {

// Do two full observations say the same about who this is? A standby's position and timeline may move on.
bool agree(const Observation& a, const Observation& b) {
  if (a.in_recovery != b.in_recovery || a.system_identifier != b.system_identifier) return false;
  return a.in_recovery || (a.timeline == b.timeline && a.started == b.started);
}

}  // namespace

const char* name_of(Role role) {
  switch (role) {
    case Role::none: return "none";
    case Role::primary: return "primary";
    case Role::replica: return "replica";
    case Role::candidate: return "candidate";
    case Role::fenced: return "fenced";
    case Role::quarantined: return "quarantined";
  }
  return "?";
}

RoleJudge::RoleJudge(const std::vector<std::string>& names, std::uint64_t system_identifier)
    : system_identifier_(system_identifier), why_("no member has been probed yet") {
  for (const std::string& name : names) added(name);
}

void RoleJudge::remember(const Record& record, const std::string& where) {
  if (system_identifier_ != 0 && system_identifier_ != record.system_identifier) {
    epoch_ = record.epoch;
    return;
  }
  recorded_ = {
      .timeline = record.timeline, .identifier = system_identifier_ == 0, .primary = record.primary, .where = where};
  system_identifier_ = record.system_identifier;
  timeline_ = floor_ = record.timeline;
  epoch_ = record.epoch;
  for (MemberIndex member = 0; member < members_.size(); ++member) {
    if (members_[member].name == record.primary) accepted_ = member;
  }
  accepted_started_ = record.started;
  for (const auto& [name, timeline] : record.refused) {
    for (Facts& facts : members_) {
      if (facts.name == name) facts.refused = timeline;
    }
  }
}

void RoleJudge::begin_record(std::uint64_t system_identifier, TimePoint now) {
  system_identifier_ = system_identifier;
  timeline_ = floor_ = dual_timeline_ = 0;
  floor_witness_.clear();
  recorded_ = {};
  accepted_.reset();
  accepted_once_ = false;
  primary_lsn_.reset();
  for (Facts& facts : members_) {
    facts.dual = false;
    forgive(facts);
    facts.claimed_timeline = 0;
    if (facts.last && facts.last->in_recovery) facts.highest_timeline = facts.last->timeline;
  }
  decide(now);
}

std::optional<Record> RoleJudge::record() const {
  if (!accepted_once_ || !accepted_) return std::nullopt;
  Record record{.cluster = {},
                .system_identifier = system_identifier_,
                .timeline = timeline_,
                .epoch = epoch_,
                .primary = members_[*accepted_].name,
                .started = accepted_started_,
                .refused = {}};
  for (const Facts& facts : members_) {
    if (facts.refused != 0) record.refused.emplace(facts.name, facts.refused);
  }
  return record;
}

void RoleJudge::observed(MemberIndex member, const Observation& observation, bool usable, TimePoint now) {
  Facts& facts = members_[member];
  if (facts.started != 0 && facts.started != observation.started) {
    ++facts.view.generation;  // every connection to the postmaster before is gone
    facts.highest_timeline = 0;
  }
  facts.started = observation.started;
  facts.unanswered = false;
  facts.refuses_since.reset();
  facts.agreeing = facts.last && agree(*facts.last, observation) ? facts.agreeing + 1 : 1;
  if (facts.agreeing == 1) facts.claimed_from = now;
  facts.claimed_to = now;
  facts.last = observation;
  if (observation.in_recovery) {
    facts.highest_timeline = std::max(facts.highest_timeline, observation.timeline);
  } else if (facts.last->lsn) {
    facts.last->lsn = normalise_insert_position(*facts.last->lsn, observation.block_size, observation.segment_size);
  }
  facts.judged = true;
  facts.usable = usable;
  facts.lost_reason.clear();
  const auto& receiver = observation.receiver;
  if (!observation.in_recovery) {
    facts.streamed.reset();
  } else if (receiver && receiver->visible && receiver->status == ReceiverStatus::streaming) {
    facts.streamed = {.timeline = receiver->timeline, .at = now};
  }
  decide(now);
}

void RoleJudge::unanswered(MemberIndex member, TimePoint now) {
  if (std::exchange(members_[member].unanswered, true)) return;
  decide(now);
}

void RoleJudge::lost(MemberIndex member, const std::string& reason, TimePoint now, Silence silence) {
  Facts& facts = members_[member];
  if (silence == Silence::quiet) {
    facts.refuses_since.reset();
  } else if (!facts.refuses_since) {
    facts.refuses_since = now;
  }
  facts.last.reset();
  facts.agreeing = 0;
  facts.judged = true;
  facts.usable = false;
  facts.lost_reason = reason;
  facts.stuck_since.reset();
  facts.unanswered = true;
  decide(now);
}

void RoleJudge::positioned(MemberIndex member, std::uint64_t lsn) {
  Facts& facts = members_[member];
  if (!facts.last) return;
  facts.last->lsn = lsn;
  update_positions();
}

void RoleJudge::added(std::string name) {
  members_.emplace_back();
  members_.back().name = std::move(name);
}

void RoleJudge::removed(MemberIndex member, TimePoint now) {
  forget(member, now);
  Facts& facts = members_[member];
  facts.in_configuration = false;
  facts.dual = false;
  facts.contested.reset();
  facts.judged = true;
  // An operator who removes a primary from the configuration allows another one on the same timeline.
  if (accepted_ == member) {
    accepted_.reset();
    for (Facts& other : members_) forgive(other);
  }
  decide(now);
}

void RoleJudge::restored(MemberIndex member) {
  members_[member].in_configuration = true;
  members_[member].judged = false;
}

void RoleJudge::forget(MemberIndex member, TimePoint now) {
  Facts& facts = members_[member];
  ++facts.view.generation;
  facts.started = 0;
  facts.highest_timeline = 0;
  facts.streamed.reset();
  lost(member, "not probed yet", now);
}

bool RoleJudge::dual() const {
  return std::any_of(members_.begin(), members_.end(), [](const Facts& facts) { return facts.dual; });
}

std::vector<MemberIndex> RoleJudge::split_brain() const {
  const auto at_once = [this](const Facts& a, const Facts& b) {
    return &a != &b && says_primary(a) && says_primary(b) && a.claimed_from <= b.claimed_to &&
           b.claimed_from <= a.claimed_to;
  };
  std::vector<MemberIndex> result;
  for (MemberIndex member = 0; member < members_.size(); ++member) {
    const Facts& facts = members_[member];
    if (facts.dual || std::ranges::any_of(members_, [&](const Facts& other) { return at_once(facts, other); })) {
      result.push_back(member);
    }
  }
  return result.size() > 1 ? result : std::vector<MemberIndex>{};
}

std::vector<MemberIndex> RoleJudge::take_confirmations() {
  return std::exchange(confirmations_, {});
}

bool RoleJudge::all_probed() const {
  return std::all_of(members_.begin(), members_.end(), [](const Facts& facts) { return facts.judged; });
}

bool RoleJudge::ours(const Facts& facts) const {
  return facts.last && system_identifier_ != 0 && facts.last->system_identifier == system_identifier_;
}

bool RoleJudge::says_primary(const Facts& facts) const {
  return facts.in_configuration && ours(facts) && !facts.last->in_recovery && !facts.same_as;
}

bool RoleJudge::claims(const Facts& facts) const {
  return says_primary(facts) && facts.contest == Contest::none;
}

void RoleJudge::set_role(Facts& facts, Role role, std::string reason) {
  // Connections made while it had another role must not be used for writes again.
  if (role == Role::fenced && facts.view.role != Role::fenced) ++facts.view.generation;
  facts.view.role = role;
  facts.view.reason = std::move(reason);
  facts.view.accepts_reads = false;
}

}  // namespace holdfast::health
