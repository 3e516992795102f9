// Is what the proxy sees of the cluster enough to believe the primary? A machine without sockets or clock.
//
// A proxy that is alone with a primary, both cut off from the replicas, can't know whether these have a new one: what
// it lets be written may be lost. So a primary whose replicas are out of sight is believed for `down_after` only.
//
//   a member is in sight  | while its last sign of life is younger than `down_after`
//   a sign of life is     | an answer to a probe, a refused connection too: whoever is known to be down stops nobody;
//   or
//                         | that a standby answers the primary: its place in pg_stat_replication counts while
//                         reply_time | moves, or, where it has everything, for the 10 s of wal_receiver_status_interval
//                         and one more
//   out of sight too far  | more than half of the members, or all but the primary
//
// Places in pg_stat_replication have no certain names. As many as are more than the standbys that the proxy sees itself
// stand for members that it doesn't. Owner: the monitor. Thread: control.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "config/model.hpp"
#include "health/observation.hpp"
#include "health/topology.hpp"

namespace holdfast::health {

class Isolation {
 public:
  // How long a standby that has everything may keep silent: wal_receiver_status_interval is 10 s.
  static constexpr std::chrono::seconds idle_silence{11};

  void configure(config::Isolation policy, std::chrono::milliseconds down_after);
  // Membership; a member that is new counts as seen at that moment.
  void present(MemberIndex member, TimePoint now);
  void removed(MemberIndex member);

  // A probe of the member ended. `streams`: it said that it is a standby whose receiver streams.
  void probed(MemberIndex member, Grade grade, bool streams, TimePoint now);
  // What the primary says of its standbys; `lsn`: its position.
  void attached(const std::vector<Sender>& senders, std::uint64_t lsn, TimePoint now);

  struct Verdict {
    bool isolated = false;
    bool holds = false;  // writes wait
    std::string reason;
    friend bool operator==(const Verdict&, const Verdict&) = default;
  };
  // `primary`: whom it would be.
  [[nodiscard]] Verdict judge(const std::vector<std::string>& names, MemberIndex primary, TimePoint now) const;

 private:
  struct Sight {
    bool present = false;
    bool streams = false;
    TimePoint seen{};
  };
  struct Place {
    Sender last;
    TimePoint moved{};  // when its reply_time was seen to change
    bool caught_up = false;
  };

  config::Isolation policy_ = config::Isolation::automatic;
  std::chrono::milliseconds down_after_{2000};
  std::vector<Sight> members_;
  std::map<std::int32_t, Place> places_;  // by process id
};

}  // namespace holdfast::health
