#include "health/isolation.hpp"

#include <algorithm>

namespace holdfast::health {

namespace {

// Something on the member's host answered, or the failure is our own.
bool sign_of_life(Grade grade) {
  switch (grade) {
    case Grade::ok:
    case Grade::refused:
    case Grade::tls:
    case Grade::auth:
    case Grade::starting:
    case Grade::too_many:
    case Grade::query_failed:
    case Grade::own_shortage: return true;
    case Grade::dns:
    case Grade::unreachable:
    case Grade::connect_timeout:
    case Grade::connection_lost:
    case Grade::query_timeout: break;
  }
  return false;
}

}  // namespace

void Isolation::configure(config::Isolation policy, std::chrono::milliseconds down_after) {
  policy_ = policy;
  down_after_ = down_after;
}

void Isolation::present(MemberIndex member, TimePoint now) {
  if (members_.size() <= member) members_.resize(member + 1);
  if (!members_[member].present) members_[member] = {.present = true, .seen = now};
}

void Isolation::removed(MemberIndex member) {
  members_[member] = {};
}

void Isolation::probed(MemberIndex member, Grade grade, bool streams, TimePoint now) {
  if (!sign_of_life(grade)) return;
  members_[member].seen = now;
  members_[member].streams = streams;
}

void Isolation::attached(const std::vector<Sender>& senders, std::uint64_t lsn, TimePoint now) {
  std::map<std::int32_t, Place> places;
  for (const Sender& sender : senders) {
    const auto before = places_.find(sender.process);
    const bool moved = before == places_.end() || before->second.last.replied != sender.replied;
    places[sender.process] = {
        .last = sender, .moved = moved ? now : before->second.moved, .caught_up = sender.flushed >= lsn};
  }
  places_ = std::move(places);
}

Isolation::Verdict Isolation::judge(const std::vector<std::string>& names, MemberIndex primary, TimePoint now) const {
  std::size_t members = 0;
  std::size_t streaming = 0;
  std::vector<MemberIndex> unseen;
  for (MemberIndex member = 0; member < members_.size(); ++member) {
    const Sight& sight = members_[member];
    if (!sight.present) continue;
    ++members;
    if (member == primary) continue;
    if (now - sight.seen >= down_after_) {
      unseen.push_back(member);
    } else if (sight.streams) {
      ++streaming;
    }
  }
  const auto answering = static_cast<std::size_t>(std::ranges::count_if(places_, [&](const auto& entry) {
    const Place& place = entry.second;
    return now - place.moved < (place.caught_up ? std::max<TimePoint::duration>(idle_silence, down_after_)
                                                : TimePoint::duration(down_after_));
  }));
  const std::size_t told = answering > streaming ? answering - streaming : 0;
  const std::size_t missing = unseen.size() > told ? unseen.size() - told : 0;
  Verdict verdict;
  verdict.isolated =
      policy_ != config::Isolation::ignore && missing > 0 && (missing * 2 > members || missing == members - 1);
  if (!verdict.isolated) return verdict;
  verdict.holds = policy_ == config::Isolation::hold || (policy_ == config::Isolation::automatic && members > 2);
  std::string list;
  for (const MemberIndex member : unseen) list += (list.empty() ? "" : ", ") + names[member];
  verdict.reason = names[primary] + " is the only one in sight of " + std::to_string(members) + " members";
  if (members - missing > 1) {
    verdict.reason = std::to_string(missing) + " of " + std::to_string(members) + " members are out of sight";
  }
  verdict.reason += " (" + list + "), and " + names[primary] +
                    " doesn't hear of them either: they may have another primary; see failover.isolation";
  return verdict;
}

}  // namespace holdfast::health
