// The rules of the header, in the order in which they are applied.
#include <algorithm>
#include <map>
#include <utility>

#include "health/role_judge.hpp"

namespace holdfast::health {

namespace {

std::string timeline_text(std::uint32_t timeline) {
  return "timeline " + std::to_string(timeline);
}

}  // namespace

void RoleJudge::learn_identifier() {
  if (system_identifier_ != 0 || !all_probed()) return;
  std::map<std::uint64_t, std::size_t> votes;
  for (const Facts& facts : members_) {
    if (facts.last) ++votes[facts.last->system_identifier];
  }
  std::uint64_t best = 0;
  std::size_t most = 0;
  bool tie = false;
  for (const auto& [identifier, count] : votes) {
    if (count == most) tie = true;
    if (count > most) {
      best = identifier;
      most = count;
      tie = false;
    }
  }
  if (most != 0 && !tie) system_identifier_ = best;
}

void RoleJudge::decide(TimePoint now) {
  learn_identifier();
  find_second_names(now);
  judge_contest(now);
  note_timelines();
  judge_others();
  bury_the_dead(now);
  judge_claimants();
  // Replicas are judged against the timeline that stands now.
  for (Facts& facts : members_) {
    if (facts.in_configuration && ours(facts) && facts.last->in_recovery && !facts.same_as) judge_standby(facts, now);
  }
  update_positions();
}

// Raises the floor, and notes what doesn't rest on the record alone any more. A claim counts when it is known whether
// it stands beside an incumbent, whether its member answers then or not.
void RoleJudge::note_timelines() {
  const auto raise = [this](const Facts& facts, std::uint32_t timeline) {
    if (doubted(timeline)) return;
    if (timeline >= recorded_.timeline) recorded_.timeline = 0;
    if (timeline <= floor_) return;
    floor_ = timeline;
    floor_witness_ = facts.name;
  };
  const bool claims_count = accepted_once_ || all_probed();
  for (Facts& facts : members_) {
    if (!facts.in_configuration) continue;
    if (ours(facts)) {
      recorded_.identifier = false;
      if (facts.last->in_recovery) raise(facts, facts.highest_timeline);
      facts.claimed_timeline = facts.last->in_recovery ? 0 : facts.last->timeline;
    }
    if (claims_count) raise(facts, std::exchange(facts.claimed_timeline, 0));
  }
}

void RoleJudge::judge_others() {
  for (Facts& facts : members_) {
    if (!facts.last || !facts.in_configuration) {
      set_role(facts, Role::none, facts.lost_reason);
    } else if (system_identifier_ == 0) {
      set_role(facts, Role::none,
               all_probed() ? "the members disagree on the system identifier: set system_identifier"
                            : "waiting until every member has been probed");
    } else if (!ours(facts)) {
      facts.dual = false;
      set_role(facts, Role::quarantined,
               "system identifier " + std::to_string(facts.last->system_identifier) + " is not the cluster's " +
                   std::to_string(system_identifier_) +
                   (recorded_.identifier
                        ? " of an earlier run; if it is the right one, remove " + recorded_.where + " and reload"
                        : ""));
    } else if (facts.same_as) {
      facts.dual = false;
      set_role(
          facts, Role::quarantined,
          "leads to the same server as " + members_[facts.same_as->member].name + ": one of the two names is wrong");
    } else if (facts.last->in_recovery) {
      facts.dual = false;
    }
  }
}

void RoleJudge::judge_standby(Facts& facts, TimePoint now) {
  const std::optional<Receiver>& receiver = facts.last->receiver;
  std::string stuck;
  if (receiver && receiver->visible && receiver->status == ReceiverStatus::waiting) {
    stuck = "its WAL receiver is waiting: the server may have left the timeline, see its log";
  } else if (facts.highest_timeline != 0 && facts.highest_timeline < timeline_ && (!receiver || receiver->visible)) {
    stuck = timeline_text(facts.highest_timeline) + " is behind the cluster's " + std::to_string(timeline_);
  }
  if (stuck.empty()) {
    facts.stuck_since.reset();
  } else if (!facts.stuck_since) {
    facts.stuck_since = now;
  }
  if (facts.stuck_since && now - *facts.stuck_since >= stuck_after) {
    set_role(facts, Role::quarantined, std::move(stuck));
    return;
  }
  set_role(facts, Role::replica, std::move(stuck));
  facts.view.accepts_reads = facts.usable;
}

void RoleJudge::judge_claimants() {
  primary_.reset();
  for (const Facts& facts : members_) {
    if (facts.contest == Contest::waits) return;  // the contest has said who is what
  }
  std::uint32_t highest = 0;
  for (const Facts& facts : members_) {
    if (claims(facts)) highest = std::max(highest, facts.last->timeline);
  }
  std::vector<MemberIndex> contenders;
  bool claimed = false;
  for (MemberIndex member = 0; member < members_.size(); ++member) {
    Facts& facts = members_[member];
    const bool claim = claims(facts);
    claimed = claimed || claim;
    if (claim && facts.last->timeline < std::max(highest, floor_)) {
      if (facts.last->timeline < dual_timeline_) facts.dual = false;  // it is on another one now
      set_role(facts, Role::fenced,
               timeline_text(facts.last->timeline) + " is behind " + std::to_string(std::max(highest, floor_)) +
                   why_behind(highest));
    } else if (claim || (facts.dual && dual_timeline_ >= highest)) {
      contenders.push_back(member);
    }
  }
  if (!claimed) {
    why_ = why_nobody_claims();
    return;
  }
  if (highest < floor_) {
    if (recorded_.timeline != 0) {
      why_ = recorded_.primary + " was the primary on " + timeline_text(floor_) +
             " in an earlier run, and the primary that answers is stale; if it is the right one, make sure that " +
             recorded_.primary + " can't come back as a primary, remove " + recorded_.where + " and reload";
      return;
    }
    why_ = floor_ > timeline_ ? floor_witness_ + " was seen on " + timeline_text(floor_) +
                                    ": its primary does not answer, and the primary that answers is stale"
                              : "the primary that answers is on timeline " + std::to_string(highest) +
                                    ", behind the cluster's " + std::to_string(floor_) + ": it is stale";
    return;
  }
  // The accepted member must have been seen in recovery before another one takes over its timeline.
  // It may only be known from the record, and not have been asked yet.
  const bool asked = accepted_once_ || all_probed();
  if (contenders.size() == 1 && accepted_ && *accepted_ != contenders.front() && highest == timeline_ && asked) {
    const Facts& accepted = members_[*accepted_];
    // It gave way, or is the same server by another name (rule 8).
    const bool gave_way = accepted.last ? !ours(accepted) || accepted.last->in_recovery
                                        : members_[contenders.front()].started == accepted_started_;
    if (!gave_way) contenders.push_back(*accepted_);
  }
  if (contenders.size() > 1) {
    declare_dual(contenders, highest);
    return;
  }
  judge_winner(contenders.front());
}

// What the highest timeline is known from, if no claimant is on it.
std::string RoleJudge::why_behind(std::uint32_t highest) const {
  if (floor_ <= highest) return {};
  if (recorded_.timeline != 0)
    return ", which " + recorded_.primary + " was on in an earlier run (" + recorded_.where + ")";
  return floor_ > timeline_ ? ", which " + floor_witness_ + " is on" : "";
}

// Rule 5: of two on one timeline the accepted one may go on when the other can't write any more.
void RoleJudge::bury_the_dead(TimePoint now) {
  if (!accepted_ || !members_[*accepted_].dual || !claims(members_[*accepted_])) return;
  for (Facts& facts : members_) {
    if (facts.refuses_since && now - *facts.refuses_since >= dead_after) facts.dual = false;
  }
}

void RoleJudge::declare_dual(const std::vector<MemberIndex>& contenders, std::uint32_t timeline) {
  dual_timeline_ = timeline;
  std::string names;
  for (const MemberIndex member : contenders) {
    members_[member].dual = true;
    names += (names.empty() ? "" : ", ") + members_[member].name;
  }
  why_ = "split brain: more than one primary on " + timeline_text(timeline) + " (" + names +
         "); make all but one of them replicas, or remove them from the configuration" +
         (accepted_ ? "; " + members_[*accepted_].name + " goes on by itself when the others are stopped" : "");
  for (const MemberIndex member : contenders) {
    if (claims(members_[member])) set_role(members_[member], Role::fenced, why_);
  }
}

void RoleJudge::judge_winner(MemberIndex winner) {
  Facts& facts = members_[winner];
  facts.dual = false;
  if (!facts.usable || facts.agreeing < 2 || (!accepted_once_ && !all_probed())) {
    set_role(facts, Role::candidate, "claims to be primary, not confirmed yet");
    why_ = facts.name + " " + facts.view.reason;
    if (facts.agreeing < 2) confirmations_.push_back(winner);
    return;
  }
  accept(winner);
  if (facts.last->timeline > dual_timeline_) {
    for (Facts& other : members_) other.dual = false;  // both of the pair are stale now
  }
  if (facts.last->read_only) {
    set_role(facts, Role::candidate, "takes no writes: default_transaction_read_only is on");
    why_ = facts.name + " " + facts.view.reason;
    return;
  }
  set_role(facts, Role::primary, "");
  primary_ = winner;
  why_.clear();
}

void RoleJudge::accept(MemberIndex member) {
  const Facts& facts = members_[member];
  accepted_once_ = true;
  const bool same_reign =
      accepted_ == member && timeline_ == facts.last->timeline && accepted_started_ == facts.started;
  if (same_reign) return;
  if (accepted_ && *accepted_ != member && members_[*accepted_].view.role != Role::fenced) {
    ++members_[*accepted_].view.generation;
  }
  left_behind_.reset();
  if (timeline_ != 0 && timeline_ != facts.last->timeline && primary_lsn_ && facts.last->lsn < primary_lsn_) {
    left_behind_ = LeftBehind{.reached = *primary_lsn_, .begins = facts.last->lsn.value_or(0)};
  }
  ++epoch_;
  ++record_version_;
  accepted_ = member;
  accepted_started_ = facts.started;
  timeline_ = facts.last->timeline;
  floor_ = std::max(floor_, timeline_);
  primary_lsn_.reset();
}

std::string RoleJudge::why_nobody_claims() const {
  if (!accepted_once_ && !all_probed()) return "waiting until every member has been probed";
  if (!accepted_) {
    if (system_identifier_ == 0) {
      const bool answered = std::ranges::any_of(members_, [](const Facts& facts) { return facts.last.has_value(); });
      return answered ? "the members disagree on the system identifier: set system_identifier" : "no member answers";
    }
    return "no member is a primary";
  }
  const Facts& accepted = members_[*accepted_];
  std::string refused;
  for (const Facts& facts : members_) {
    if (facts.contest == Contest::refused) refused = "; " + facts.name + " " + facts.view.reason;
  }
  if (!accepted.last) return accepted.name + " is gone: " + accepted.lost_reason + refused;
  if (!ours(accepted)) return accepted.name + " " + accepted.view.reason;
  return accepted.name + " became a replica, and no member is a primary" + refused;
}

void RoleJudge::update_positions() {
  if (primary_ && members_[*primary_].last->lsn) primary_lsn_ = members_[*primary_].last->lsn;
  for (Facts& facts : members_) {
    View& view = facts.view;
    if (facts.last) {  // else where it was seen last
      view.lsn = facts.last->lsn.value_or(0);
      view.timeline = facts.last->in_recovery ? facts.highest_timeline : facts.last->timeline;
    }
    view.lag_known = primary_lsn_ && view.role == Role::replica && facts.last->lsn;
    view.lag_bytes = view.lag_known && *primary_lsn_ > view.lsn ? *primary_lsn_ - view.lsn : 0;
  }
}

}  // namespace holdfast::health
