// Members that say they are what another one is: a promotion beside a primary that lives (rule 3), and two names of one
// server (rule 8).
#include <algorithm>
#include <utility>

#include "health/role_judge.hpp"

namespace holdfast::health {

namespace {

std::string seconds_text(std::chrono::milliseconds time) {
  return std::to_string(time.count() / 1000) + "." + std::to_string(time.count() % 1000 / 100) + " s";
}

}  // namespace

// A server's system identifier and the microsecond of its postmaster's start are no other's. While one of two names has
// seen the restart of the server and the other not yet, they are still one.
void RoleJudge::find_second_names(MemberIndex observed) {
  Facts& facts = members_[observed];
  const auto same = [](const Facts& a, const Facts& b) {
    return a.last && b.last && a.started == b.started && a.last->system_identifier == b.last->system_identifier &&
           a.last->in_recovery == b.last->in_recovery;
  };
  const auto apart = [](const Facts& a, const Facts& b) {
    return a.started != b.started && a.seen >= b.started_seen && b.seen >= a.started_seen;
  };
  for (MemberIndex other = 0; other < members_.size(); ++other) {
    Facts& rival = members_[other];
    if (other == observed || !rival.in_configuration) continue;
    const bool were = facts.same_as == other || rival.same_as == observed;
    if (same(facts, rival)) {
      if (were || facts.same_as || rival.same_as) continue;
      const bool keeps = accepted_ == observed || (accepted_ != other && observed < other);
      (keeps ? rival : facts).same_as = keeps ? observed : other;
    } else if (were && apart(facts, rival)) {
      facts.same_as.reset();
      rival.same_as.reset();
    }
  }
}

// Standbys that stream this claimant's timeline. One that hides its receiver says nothing.
std::size_t RoleJudge::followers(const Facts& claimant) const {
  return static_cast<std::size_t>(std::ranges::count_if(members_, [&](const Facts& facts) {
    if (!facts.in_configuration || !ours(facts) || !facts.last->in_recovery || facts.same_as) return false;
    const auto& receiver = facts.last->receiver;
    return receiver && receiver->visible && receiver->status == ReceiverStatus::streaming &&
           receiver->timeline == claimant.last->timeline;
  }));
}

// Who was there first: the accepted primary, or at a first start the claimant that most standbys follow.
std::optional<MemberIndex> RoleJudge::incumbent() const {
  if (accepted_) {
    const Facts& facts = members_[*accepted_];
    return says_primary(facts) && facts.last->timeline == timeline_ ? accepted_ : std::nullopt;
  }
  std::optional<MemberIndex> most;
  for (MemberIndex member = 0; all_probed() && member < members_.size(); ++member) {
    const Facts& facts = members_[member];
    if (!says_primary(facts) || followers(facts) == 0) continue;
    if (!most || followers(facts) > followers(members_[*most])) most = member;
  }
  return most;
}

void RoleJudge::judge_contest(TimePoint now) {
  const auto first = incumbent();
  bool waits = false;
  for (MemberIndex member = 0; member < members_.size(); ++member) {
    Facts& facts = members_[member];
    if (facts.last && !says_primary(facts)) {  // a standby, or another system
      facts.contest = Contest::none;
      facts.contested_since.reset();
    }
    if (member == first || !says_primary(facts)) continue;
    judge_contested(member, first, now);
    waits = waits || facts.contest == Contest::waits;
    if (facts.contest == Contest::refused) {
      set_role(facts, Role::fenced,
               "was promoted to timeline " + std::to_string(facts.last->timeline) + " beside " +
                   (first ? members_[*first].name + ", which standbys follow" : "a primary that standbys followed") +
                   ": rebuild it as a replica, or let standbys follow it");
    }
  }
  if (waits) tell_contest(*first);
}

void RoleJudge::judge_contested(MemberIndex claimant, std::optional<MemberIndex> incumbent, TimePoint now) {
  Facts& facts = members_[claimant];
  const std::size_t own = followers(facts);
  const bool refused = facts.contest == Contest::refused;
  facts.contest = Contest::none;
  if (!incumbent) {
    if (refused && own == 0) facts.contest = Contest::refused;
    return;
  }
  const Facts& first = members_[*incumbent];
  const std::size_t others = followers(first);
  if (facts.last->timeline <= first.last->timeline || own > others) return;
  if (refused) {
    facts.contest = Contest::refused;
    return;
  }
  if (others == 0 || first.unanswered) return;
  if (!facts.contested_since) {
    facts.contested_since = now;
    confirmations_.push_back(*incumbent);  // does it live?
  }
  const bool answered = first.claimed_to >= *facts.contested_since;
  const bool over = now - *facts.contested_since >= claim_wait_;
  facts.contest = answered && over && own < others ? Contest::refused : Contest::waits;
}

void RoleJudge::tell_contest(MemberIndex incumbent) {
  Facts& first = members_[incumbent];
  for (Facts& facts : members_) {
    if (facts.contest != Contest::waits || !says_primary(facts)) continue;
    why_ = facts.name + " was promoted to timeline " + std::to_string(facts.last->timeline) + " beside " + first.name +
           ", which answers and is followed by " + std::to_string(followers(first)) +
           (followers(facts) == 0 ? " of the standbys: " + first.name + " goes on after " + seconds_text(claim_wait_) +
                                        " unless it stops or they follow " + facts.name
                                  : " of the standbys, as many as follow " + facts.name + ": stop one of the two");
    set_role(facts, Role::candidate, why_);
  }
  set_role(first, Role::candidate, why_);
}

}  // namespace holdfast::health
