#include "health/isolation.hpp"

#include <algorithm>

namespace holdfast::health {

namespace {

// All Unix sockets are one address: pg_stat_replication has none for them.
std::string address_of(const std::string& text) {
  return text.starts_with('/') || text.starts_with('@') ? std::string() : text;
}

}  // namespace

void Isolation::configure(config::Isolation policy, std::chrono::milliseconds down_after) {
  policy_ = policy;
  down_after_ = down_after;
}

void Isolation::present(MemberIndex member, const std::string& name) {
  if (members_.size() <= member) members_.resize(member + 1);
  if (!members_[member].present) members_[member] = {.name = name, .present = true, .address = {}};
}

void Isolation::removed(MemberIndex member) {
  members_[member] = {};
}

void Isolation::probed(MemberIndex member, const Probed& probed, TimePoint now) {
  Sight& sight = members_[member];
  if (!probed.address.empty()) sight.address = address_of(probed.address);
  if (is_answer(probed.grade)) {
    sight.answered = true;
    sight.unanswered = 0;
    sight.seen = now;
    sight.streams = probed.streams;
  } else if (probed.grade != Grade::own_shortage) {  // which says nothing
    ++sight.unanswered;
    sight.streams = false;
  }
}

void Isolation::attached(const std::vector<Sender>& senders, std::uint64_t lsn, TimePoint now) {
  std::map<std::int32_t, Place> places;
  for (const Sender& sender : senders) {
    Place place{.last = sender, .moved = now, .behind = {}};
    const auto before = places_.find(sender.process);
    if (before != places_.end()) {
      if (before->second.last.replied == sender.replied) place.moved = before->second.moved;
      place.behind = before->second.behind;
    }
    if (sender.flushed >= lsn) {
      place.behind.reset();
    } else if (!place.behind) {
      place.behind = now;
    }
    places.emplace(sender.process, std::move(place));
  }
  places_ = std::move(places);
}

bool Isolation::answers(const Place& place, TimePoint now) const {
  if (!place.behind) return now - place.moved < std::max<TimePoint::duration>(idle_silence, down_after_);
  return now - std::max(place.moved, *place.behind) < down_after_;
}

// Standbys that answer the primary and are no member's that is seen here, by address.
std::map<std::string, std::size_t> Isolation::spare_places(TimePoint now) const {
  std::map<std::string, std::size_t> spare;
  for (const auto& [process, place] : places_) {
    if (answers(place, now)) ++spare[place.last.address];
  }
  for (const Sight& sight : members_) {
    if (!sight.present || !sight.streams) continue;
    const auto found = spare.find(sight.address);
    if (found != spare.end() && found->second > 0) --found->second;
  }
  return spare;
}

const Isolation::Verdict& Isolation::judge(std::optional<MemberIndex> primary, TimePoint now) {
  return verdict_ = primary ? judged(*primary, now) : Verdict{};
}

Isolation::Verdict Isolation::judged(MemberIndex primary, TimePoint now) const {
  auto spare = spare_places(now);
  std::size_t members = 0;
  std::size_t missing = 0;
  std::string list;
  for (MemberIndex member = 0; member < members_.size(); ++member) {
    const Sight& sight = members_[member];
    if (!sight.present || (!sight.answered && member != primary)) continue;
    ++members;
    if (member == primary || sight.unanswered < 2 || now - sight.seen < down_after_) continue;
    if (const auto found = spare.find(sight.address); found != spare.end() && found->second > 0) {
      --found->second;
      continue;
    }
    ++missing;
    list += (list.empty() ? "" : ", ") + sight.name;
  }
  Verdict verdict;
  verdict.isolated =
      policy_ != config::Isolation::ignore && missing > 0 && (missing * 2 > members || missing == members - 1);
  if (!verdict.isolated) return verdict;
  verdict.holds = policy_ == config::Isolation::hold || (policy_ == config::Isolation::automatic && members > 2);
  verdict.reason = missing == members - 1
                       ? members_[primary].name + " is the only one in sight of " + std::to_string(members) + " members"
                       : std::to_string(missing) + " of " + std::to_string(members) + " members are out of sight";
  verdict.reason += " (" + list + "), and " + members_[primary].name +
                    " doesn't hear of them either: they may have another primary; see failover.isolation";
  return verdict;
}

}  // namespace holdfast::health
