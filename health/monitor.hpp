// Watches one cluster: one coroutine and one connection per member, whatever the number of pools. Publishes a snapshot
// whenever something that matters changed, and at most four times a second when only positions moved.
// Thread: control; every call and both callbacks happen on the io_context's thread. Lifetime: start(), then stop() must
// have ended before the monitor is destroyed.
#pragma once

#include <array>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/model.hpp"
#include "health/event.hpp"
#include "health/observation.hpp"
#include "health/record.hpp"
#include "health/topology.hpp"

namespace holdfast::health {

// Counters of one member since start, for metrics.
struct MemberStatistics {
  std::string name;
  std::array<std::uint64_t, grade_count> results{};  // probes, by Grade
  std::uint64_t full_probes = 0;                     // the others read role and position only
  std::chrono::nanoseconds duration{0};              // sum, of the probes that were ok
  std::uint64_t connects = 0;                        // connections that the probe began
  std::uint64_t transitions = 0;                     // between states of reachability
};

class Monitor {
 public:
  using Publish = std::function<void(TopologyPtr)>;
  using Report = std::function<void(const Event&)>;
  using Keep = std::function<void(const Record&)>;
  // What an earlier run left behind, and where.
  struct Remembered {
    std::optional<Record> record;
    std::string where;
  };

  // Callbacks must not call back into the monitor. `keep` is given the record for the next run, after the snapshot in
  // which a primary was accepted was published, and again with each update().
  Monitor(boost::asio::io_context& context, const config::Cluster& cluster, Publish publish, Report report,
          Keep keep = {}, const Remembered& remembered = {});
  ~Monitor();
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  // Publishes a first snapshot (all members unknown, no primary) before it returns, then begins to probe.
  void start();
  // Ends when every coroutine has ended. A DNS lookup that hangs in the system's resolver is not waited for.
  [[nodiscard]] boost::asio::awaitable<void> stop();

  // What traffic saw of a member; the monitor probes it at once where that can tell more.
  void evidence(MemberIndex member, Evidence evidence);
  // A reader found no mark that is new enough (FreshnessMarks::want() said so): sample until one is.
  void freshness_wanted();
  // Somebody stood still until `since`: asks every member anew at once, and publishes what came out of it, also if that
  // is no news (Topology::looked_at).
  void want_look(TimePoint since);
  // A reload. Members are matched by name; one that is gone keeps its index, is `down` and accepts nothing; one that
  // comes back gets its old index. Others are not touched. A changed host or port starts that member over; a changed
  // monitor user, password, database or TLS setting opens new probe connections.
  void update(const config::Cluster& cluster);
  // The operator ended the record (RoleJudge::begin_record).
  void begin_record();

  [[nodiscard]] TopologyPtr topology() const;                      // the one published last; never null after start()
  [[nodiscard]] std::vector<MemberStatistics> statistics() const;  // by MemberIndex

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace holdfast::health
