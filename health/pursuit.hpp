// When to sample next so that a mark reaches the moment that readers ask for. A machine without sockets or clock.
//
//              a reader asks (begin)
//   resting ───────────────────────────> pursuing ──┐
//      ^                                            │ every replica has reached the moment asked for last, or nobody
//      └────────────────────────────────────────────┘ has asked for a newer one for a second
//
// Resting: samples come with the usual probes, and a reader that finds no mark new enough has to say so
// (FreshnessMarks::want). Pursuing:
//   member     | is asked
//   primary    | when its newest sample is older than the moment asked for
//   replica    | while it has not reached a sample of the primary: at once behind each new one
// Each a millisecond after the last time at the earliest, and the primary 2 ms after the reader that found this
// resting: the reads that are under way right behind a write would share their processors with the samples. A replica
// whose replay stands still is asked after 2, 4, … 16 ms, and so is the primary while that is true of all that are
// behind. Where a mark is too old again within 4 ms, since writes follow each other that fast, marks help few reads,
// and sampling costs all of them: there the primary is asked after 2, 4, … 128 ms. Owner: the monitor. Thread: control.
// Lifetime: the monitor's.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "health/sampler.hpp"

namespace holdfast::health {

class Pursuit {
 public:
  static constexpr std::chrono::milliseconds breath{2};
  static constexpr std::chrono::milliseconds shortest{1};
  static constexpr std::chrono::milliseconds longest{16};
  static constexpr std::chrono::milliseconds worthwhile{4};
  static constexpr std::chrono::milliseconds longest_when_busy{128};
  static constexpr std::chrono::seconds patience{1};

  // The sampler says which marks there are and who is behind; it outlives this.
  explicit Pursuit(const Sampler& sampler) : sampler_(sampler) {}

  // Whether the member serves reads: only then its mark matters.
  void take_part(std::size_t member, bool takes_part);
  // A reader has asked while this was resting. False: what it asks for has come meanwhile, and it rests again.
  bool begin(TimePoint now);
  // Looks at what readers ask for. False: it rests.
  bool goes_on(TimePoint now);

  // Behind Sampler::primary_at() and replica_at(). `sent`: when the member was asked.
  void primary_sampled(TimePoint sent, TimePoint now);
  void replica_sampled(std::size_t member, std::uint64_t replayed, TimePoint sent);

  // When the member is to be asked; nullopt: not beyond the usual probes. A moment in the past: now.
  [[nodiscard]] std::optional<TimePoint> primary_due() const;
  [[nodiscard]] std::optional<TimePoint> replica_due(std::size_t member) const;

 private:
  struct Replica {
    bool takes_part = false;
    std::uint64_t replayed = 0;
    TimePoint asked{};
    std::chrono::milliseconds spacing = shortest;
  };

  [[nodiscard]] bool behind(std::size_t member) const;
  void look(TimePoint now);

  const Sampler& sampler_;
  std::vector<Replica> replicas_;
  bool pursuing_ = false;
  TimePoint wanted_{};  // as of the last look
  TimePoint begun_{};
  TimePoint until_{};
  TimePoint primary_asked_{};
  TimePoint primary_answered_{};
  std::chrono::milliseconds primary_spacing_ = shortest;
  bool outdated_ = true;  // a reader has asked for more than the primary's last sample can give
};

}  // namespace holdfast::health
