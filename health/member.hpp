// Is one member alive? A machine without sockets or clock: probe results and evidence go in, a state comes out.
//
//            ok              fall failures, or two and down_after of silence
//   unknown ────▶ up ──▶ suspect ────────────────▶ down ──▶ up after `rise` good probes in a row
//                 ▲  ok  │   │    refused: at once  ▲
//                 └──────┘   └──57P03──▶ starting ──┘
//
// It judges reachability only. What the member is (primary, replica, fenced…) is RoleJudge's to say; load never counts:
// 53300, slow or failing queries and a monitor whose login is refused leave the state as it is.
// Thread: control. Call order: any.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "config/model.hpp"
#include "health/observation.hpp"
#include "health/topology.hpp"

namespace holdfast::health {

enum class Reachability : std::uint8_t { unknown, up, suspect, starting, down };
[[nodiscard]] const char* name_of(Reachability state);

// What the driver has to do now.
struct MemberAction {
  bool probe_now = false;  // instead of at the next tick
  bool fresh = false;      // that probe opens a new connection: the old one proves nothing
  bool changed = false;    // the state is a new one
};

class Member {
 public:
  explicit Member(const config::Cluster& cluster) { configure(cluster); }

  [[nodiscard]] MemberAction probed(const ProbeResult& result, TimePoint now);
  [[nodiscard]] MemberAction evidence(Evidence evidence, TimePoint now);
  // Another address or another server behind the name: all that is known is void.
  void forget();
  void configure(const config::Cluster& cluster) {
    settings_ = cluster.monitor;
    down_after_ = cluster.failover.down_after;
  }

  [[nodiscard]] Reachability state() const { return state_; }
  [[nodiscard]] bool usable() const { return state_ == Reachability::up || state_ == Reachability::suspect; }
  // False while a member that went down three times within a minute is made to prove itself before it serves reads
  // again. This does not apply to the primary: writes have nowhere else to go.
  [[nodiscard]] bool steady(TimePoint now) const { return now >= damped_until_; }
  [[nodiscard]] const std::string& reason() const { return reason_; }  // of suspect, starting, down, or a limited view
  [[nodiscard]] std::uint32_t failures() const { return failures_; }
  [[nodiscard]] TimePoint since() const { return since_; }  // of the state
  // Traffic reported trouble within the last second.
  [[nodiscard]] bool questioned(TimePoint now) const;
  [[nodiscard]] std::uint64_t transitions() const { return transitions_; }

 private:
  MemberAction become(Reachability state, TimePoint now);
  MemberAction fail(const ProbeResult& result, TimePoint now);

  config::Monitor settings_;
  std::chrono::milliseconds down_after_{0};
  Reachability state_ = Reachability::unknown;
  std::string reason_;
  std::uint32_t failures_ = 0;
  std::uint32_t successes_ = 0;
  std::uint64_t transitions_ = 0;
  TimePoint since_{};
  TimePoint answered_{};  // last
  std::optional<TimePoint> last_evidence_;
  std::optional<TimePoint> last_fresh_;
  TimePoint damped_until_{};
  std::deque<TimePoint> falls_;  // the last few
};

// How soon to probe again. Full probes cost a server about 250 µs, most of it planning, light ones 18–26 µs
// (measured, PostgreSQL 15).
struct PaceInput {
  Reachability state = Reachability::unknown;
  std::chrono::milliseconds in_state{0};
  bool cluster_has_primary = true;
  bool questioned = false;  // traffic reported trouble a moment ago
};
struct Pace {
  std::chrono::milliseconds full{0};
  std::chrono::milliseconds light{0};  // 0: none
};
[[nodiscard]] Pace pace(const PaceInput& input, const config::Monitor& settings);

}  // namespace holdfast::health
