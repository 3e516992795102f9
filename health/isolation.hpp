// Is what the proxy sees of the cluster enough to believe the primary? A machine without sockets or clock.
//
// A proxy that is alone with a primary, both cut off from the replicas, can't know whether these have a new one: what
// it lets be written may be lost. So a primary whose replicas are out of sight is believed for `down_after` only.
//
//   a member is out of sight | when two probes in a row were not answered and the last answer is older than
//   `down_after`;
//                            | a refused connection is an answer: whoever is known to be down stops nobody
//   … but for the primary    | when a standby at its address answers the primary: its place in pg_stat_replication
//   counts
//                            | while reply_time moves, or, as long as it has everything, for the 10 s of
//                            | wal_receiver_status_interval and one more
//   out of sight too far     | more than half of the members, or all but the primary
//
// A member that never answered in this run isn't missed. At an address with several members each that streams and is
// seen here takes one of its places. Owner: the monitor. Thread: control.
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
  // Membership; the name is for reasons.
  void present(MemberIndex member, const std::string& name);
  void removed(MemberIndex member);

  struct Probed {
    Grade grade = Grade::ok;
    std::string address;   // numeric, as the primary would see it
    bool streams = false;  // a standby that takes its WAL from the primary itself
  };
  void probed(MemberIndex member, const Probed& probed, TimePoint now);
  // What the primary says of its standbys; `lsn`: its position.
  void attached(const std::vector<Sender>& senders, std::uint64_t lsn, TimePoint now);

  struct Verdict {
    bool isolated = false;
    bool holds = false;  // writes wait
    std::string reason;
    friend bool operator==(const Verdict&, const Verdict&) = default;
  };
  // `primary`: whom it would be; none: there is nobody to believe. The verdict stands until the next call.
  const Verdict& judge(std::optional<MemberIndex> primary, TimePoint now);
  [[nodiscard]] const Verdict& verdict() const { return verdict_; }

 private:
  struct Sight {
    std::string name;
    bool present = false;
    bool answered = false;  // ever
    bool streams = false;
    std::uint32_t unanswered = 0;  // probes in a row
    TimePoint seen{};
    std::string address;
  };
  struct Place {
    Sender last;
    TimePoint moved{};                  // when its reply_time was seen to change
    std::optional<TimePoint> behind{};  // since when it lacks something
  };

  [[nodiscard]] bool answers(const Place& place, TimePoint now) const;
  [[nodiscard]] std::map<std::string, std::size_t> spare_places(TimePoint now) const;
  [[nodiscard]] Verdict judged(MemberIndex primary, TimePoint now) const;

  config::Isolation policy_ = config::Isolation::automatic;
  std::chrono::milliseconds down_after_{2000};
  std::vector<Sight> members_;
  std::map<std::int32_t, Place> places_;  // by process id
  Verdict verdict_;
};

}  // namespace holdfast::health
