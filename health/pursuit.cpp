#include "health/pursuit.hpp"

#include <algorithm>

namespace holdfast::health {

void Pursuit::take_part(std::size_t member, bool takes_part) {
  if (replicas_.size() <= member) replicas_.resize(member + 1);
  replicas_[member].takes_part = takes_part;
}

bool Pursuit::begin(TimePoint now) {
  pursuing_ = true;
  begun_ = now;
  until_ = now + patience;
  return goes_on(now);
}

bool Pursuit::behind(std::size_t member) const {
  return replicas_[member].takes_part && sampler_.marks()->fresh_until(member) < wanted_;
}

void Pursuit::look(TimePoint now) {
  const TimePoint asked = sampler_.marks()->wanted();
  if (asked == wanted_) return;
  wanted_ = asked;
  until_ = now + patience;
  if (outdated_ || primary_asked_ >= wanted_) return;
  outdated_ = true;
  primary_spacing_ = now - primary_answered_ < worthwhile ? std::min(primary_spacing_ * 2, longest_when_busy)
                                                          : std::max(primary_spacing_ / 2, shortest);
}

bool Pursuit::goes_on(TimePoint now) {
  if (!pursuing_) return false;
  const auto& marks = *sampler_.marks();
  look(now);
  bool reached = true;
  for (std::size_t member = 0; member < replicas_.size(); ++member) reached &= !behind(member);
  if (!reached && now < until_) return true;
  // A reader that asks from here on says so; one that asked just now may have seen that nobody rests.
  marks.rest(true);
  if (marks.wanted() == wanted_) {
    pursuing_ = false;
    return false;
  }
  marks.rest(false);
  return true;
}

void Pursuit::primary_sampled(TimePoint sent, TimePoint now) {
  primary_asked_ = sent;
  primary_answered_ = now;
  outdated_ = false;
}

void Pursuit::replica_sampled(std::size_t member, std::uint64_t replayed, TimePoint sent) {
  if (replicas_.size() <= member) replicas_.resize(member + 1);
  Replica& replica = replicas_[member];
  const bool stands = replayed == replica.replayed && sampler_.pending(member);
  replica.spacing = stands ? std::min(replica.spacing * 2, longest) : shortest;
  replica.replayed = replayed;
  replica.asked = sent;
}

std::optional<TimePoint> Pursuit::primary_due() const {
  if (!pursuing_ || primary_asked_ >= wanted_) return std::nullopt;
  std::optional<std::chrono::milliseconds> spacing;
  for (std::size_t member = 0; member < replicas_.size(); ++member) {
    if (behind(member)) spacing = std::min(spacing.value_or(longest), replicas_[member].spacing);
  }
  if (!spacing) return std::nullopt;
  return std::max(primary_asked_ + std::max(*spacing, primary_spacing_), begun_ + breath);
}

std::optional<TimePoint> Pursuit::replica_due(std::size_t member) const {
  if (!pursuing_ || member >= replicas_.size()) return std::nullopt;
  const Replica& replica = replicas_[member];
  if (!replica.takes_part || !sampler_.pending(member)) return std::nullopt;
  if (replica.spacing == shortest && replica.asked < primary_answered_) return primary_answered_;
  return replica.asked + replica.spacing;
}

}  // namespace holdfast::health
