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
// seen the restart of the server, or its promotion, and the other not yet, they are still one.
void RoleJudge::find_second_names(TimePoint now) {
  const auto current = [](const Facts& facts) { return facts.in_configuration && facts.last; };
  const auto same = [](const Facts& a, const Facts& b) {
    return a.started == b.started && a.last->system_identifier == b.last->system_identifier &&
           a.last->in_recovery == b.last->in_recovery;
  };
  for (Facts& facts : members_) {
    if (!facts.same_as) continue;
    const Facts& first = members_[facts.same_as->member];
    if (!current(facts) || !current(first)) {
      facts.same_as.reset();
    } else if (same(facts, first)) {
      facts.same_as->seen = now;
    } else if (now - facts.same_as->seen >= same_for) {
      facts.same_as.reset();
    }
  }
  for (MemberIndex member = 0; member < members_.size(); ++member) {
    for (MemberIndex other = 0; other < member; ++other) {
      Facts& later = members_[member];
      Facts& earlier = members_[other];
      if (later.same_as || earlier.same_as || !current(later) || !current(earlier) || !same(later, earlier)) continue;
      const bool keeps = accepted_ == member;
      (keeps ? earlier : later).same_as = {.member = keeps ? member : other, .seen = now};
    }
  }
}

// Standbys that stream this claimant's timeline, or did a moment ago. One that hides its receiver says nothing.
std::size_t RoleJudge::followers(const Facts& claimant, TimePoint now) const {
  return static_cast<std::size_t>(std::ranges::count_if(members_, [&](const Facts& facts) {
    return facts.in_configuration && ours(facts) && facts.last->in_recovery && !facts.same_as && facts.streamed &&
           facts.streamed->timeline == claimant.last->timeline && now - facts.streamed->at < streamed_for;
  }));
}

// Who was there first, and takes writes: the accepted primary, or at a first start the claimant that most standbys
// follow, on the higher timeline if as many do.
std::optional<MemberIndex> RoleJudge::incumbent(TimePoint now) const {
  const auto serves = [this](const Facts& facts) {
    return says_primary(facts) && !facts.dual && facts.usable && !facts.last->read_only;
  };
  if (accepted_) {
    const Facts& facts = members_[*accepted_];
    return serves(facts) && facts.last->timeline == timeline_ ? accepted_ : std::nullopt;
  }
  std::optional<MemberIndex> most;
  const auto more = [&](const Facts& a, const Facts& b) {
    const auto x = followers(a, now);
    const auto y = followers(b, now);
    return x != y ? x > y : a.last->timeline > b.last->timeline;
  };
  for (MemberIndex member = 0; all_probed() && member < members_.size(); ++member) {
    const Facts& facts = members_[member];
    if (!serves(facts) || facts.refused != 0 || followers(facts, now) == 0) continue;
    if (!most || more(facts, members_[*most])) most = member;
  }
  return most;
}

// A timeline that may be nobody's.
bool RoleJudge::doubted(std::uint32_t timeline) const {
  if (timeline <= timeline_) return false;
  return std::ranges::any_of(members_, [&](const Facts& facts) {
    if (facts.refused != 0) return timeline >= facts.refused;
    return facts.contest == Contest::waits && timeline == facts.contested->timeline;
  });
}

void RoleJudge::refuse(Facts& claimant, std::uint32_t timeline) {
  claimant.refused = timeline;
  claimant.contested.reset();
  ++record_version_;
  // A standby of its was seen before it was itself.
  if (floor_ >= timeline) floor_ = timeline_;
}

void RoleJudge::forgive(Facts& facts) {
  facts.contested.reset();
  if (std::exchange(facts.refused, 0) != 0) ++record_version_;
}

void RoleJudge::judge_contest(TimePoint now) {
  const auto first = incumbent(now);
  bool waits = false;
  for (MemberIndex member = 0; member < members_.size(); ++member) {
    Facts& facts = members_[member];
    facts.contest = Contest::none;
    if (member == first || !facts.in_configuration) continue;
    if (says_primary(facts)) {
      judge_contested(member, first, now);
    } else if (facts.last && facts.last->in_recovery && ours(facts)) {
      // A replica again, unless it only was restarted as one.
      if (facts.refused == 0 || facts.highest_timeline < facts.refused) forgive(facts);
    } else if (facts.contested && first && over(facts, members_[*first], now)) {
      refuse(facts, facts.contested->timeline);  // it is silent, and the incumbent has gone on
    }
    waits = waits || facts.contest == Contest::waits;
    if (facts.contest == Contest::refused) {
      set_role(facts, Role::fenced,
               "was promoted to timeline " + std::to_string(facts.last->timeline) + " beside " +
                   (first ? members_[*first].name + ", which standbys followed" : "a primary that standbys followed") +
                   ", and lacks what was written since: rebuild it as a replica");
    }
  }
  if (waits) tell_contest(*first, now);
}

bool RoleJudge::over(const Facts& claimant, const Facts& incumbent, TimePoint now) const {
  return now - claimant.contested->since >= claim_wait_ && incumbent.claimed_to >= claimant.contested->since;
}

void RoleJudge::judge_contested(MemberIndex claimant, std::optional<MemberIndex> incumbent, TimePoint now) {
  Facts& facts = members_[claimant];
  const auto timeline = facts.last->timeline;
  if (facts.refused != 0 && timeline >= facts.refused) {
    // If the incumbent is gone, standbys may say that it is the primary after all.
    const bool alone = std::ranges::none_of(members_, [&](const Facts& other) {
      return &other != &facts && says_primary(other) && other.last->timeline >= timeline;
    });
    if (incumbent || !alone || followers(facts, now) == 0) {
      facts.contest = Contest::refused;
      return;
    }
    forgive(facts);
  }
  if (!incumbent) return;
  const Facts& first = members_[*incumbent];
  if (timeline <= first.last->timeline) return;
  const auto others = followers(first, now);
  if (others == 0 || followers(facts, now) > others || first.unanswered) return;
  if (!facts.contested || facts.contested->timeline != timeline) {
    facts.contested = {.timeline = timeline, .since = now};
    confirmations_.push_back(*incumbent);  // does it live?
  }
  facts.contest = Contest::waits;
  if (!over(facts, first, now)) return;
  refuse(facts, timeline);
  facts.contest = Contest::refused;
}

void RoleJudge::tell_contest(MemberIndex incumbent, TimePoint now) {
  Facts& first = members_[incumbent];
  for (Facts& facts : members_) {
    if (facts.contest != Contest::waits) continue;
    const auto own = followers(facts, now);
    why_ = facts.name + " was promoted to timeline " + std::to_string(facts.last->timeline) + " beside " + first.name +
           ", which answers and is followed by " + std::to_string(followers(first, now)) + " of the standbys" +
           (own == 0 ? "" : " (" + std::to_string(own) + " follow " + facts.name + ")") + ": " + first.name +
           " goes on after " + seconds_text(claim_wait_) + " unless it stops or more of them follow " + facts.name;
    set_role(facts, Role::candidate, why_);
  }
  set_role(first, Role::candidate, why_);
}

}  // namespace holdfast::health
