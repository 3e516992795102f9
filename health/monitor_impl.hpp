// The monitor's inside: shared by monitor.cpp (coroutines, membership, what others call) and monitor_judging.cpp (what
// a probe's result means, and the snapshot that comes of it).
#pragma once

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <exception>
#include <optional>
#include <utility>

#include "health/isolation.hpp"
#include "health/member.hpp"
#include "health/monitor.hpp"
#include "health/probe.hpp"
#include "health/pursuit.hpp"
#include "health/role_judge.hpp"
#include "health/sampler.hpp"

namespace holdfast::health {

namespace asio = boost::asio;
using std::chrono::milliseconds;

class Monitor::Impl {
 public:
  Impl(asio::io_context& context, const config::Cluster& cluster, Publish publish, Report report, Keep keep,
       const Remembered& remembered);
  void start();
  asio::awaitable<void> stop();

  void evidence(MemberIndex index, Evidence evidence) {
    if (stopping_ || index >= slots_.size() || !slots_[index].present) return;
    Slot& slot = slots_[index];
    const MemberAction action = slot.member.evidence(evidence, Clock::now());
    slot.fresh = slot.fresh || action.fresh;
    if (action.probe_now) probe_now(slot);
  }

  void freshness_wanted() {
    if (pursuit_.begin(Clock::now())) poke_all();
  }

  void want_look(TimePoint since) {
    look_wanted_ = std::max(look_wanted_, since);
    for (Slot& slot : slots_) {
      if (slot.present && slot.looked_at < since) probe_now(slot);
    }
    refresh();
  }

  void update(const config::Cluster& cluster);
  void begin_record();

  [[nodiscard]] TopologyPtr topology() const { return published_; }

  [[nodiscard]] std::vector<MemberStatistics> statistics() const {
    std::vector<MemberStatistics> result;
    for (const Slot& slot : slots_) {
      result.push_back(slot.statistics);
      result.back().name = slot.settings.name;
      result.back().connects = slot.probe.connects();
      result.back().transitions = slot.member.transitions();
    }
    return result;
  }

 private:
  struct Slot {
    Slot(asio::io_context& context, MemberIndex place, const config::Member& wanted, const config::Cluster& cluster)
        : index(place), settings(wanted), probe(context, wanted, cluster), member(cluster) {}

    MemberIndex index;
    config::Member settings;
    Probe probe;
    Member member;
    MemberStatistics statistics;
    std::optional<Observation> constants;  // the last full observation: sizes of WAL pages and segments, role
    std::string address;                   // as published
    boost::system::error_code dns_error;   // as reported
    Grade limited = Grade::ok;             // as reported: why the monitor can't read its role
    bool sees_little = false;              // as reported: what its receiver says is hidden
    std::uint64_t generation = 0;          // added for changes of the address
    TimePoint last_full{};
    TimePoint looked_at{};  // when the last full probe began
    TimePoint last_probe{};
    bool present = true;       // in the configuration
    bool watched = false;      // its coroutine runs
    bool urgent = true;        // full probe now
    bool fresh = false;        // on a new connection
    bool void_answer = false;  // the probe under way asks a server that this member no longer is
  };

  void add_slot(const config::Member& member) {
    slots_.emplace_back(context_, static_cast<MemberIndex>(slots_.size()), member, settings_);
    isolation_.present(slots_.back().index, member.name);
  }

  // Every coroutine is counted, so that stop() can wait for it. `ended` may start it again.
  template <typename Ended>
  void spawn(asio::awaitable<void> work, Ended ended) {
    ++running_;
    asio::co_spawn(context_, std::move(work), [this, ended](const std::exception_ptr& error) {
      --running_;
      ended(error);
      if (running_ == 0) ended_.cancel();
    });
  }

  void watch(MemberIndex index);
  void report_failure(const std::string& member, const std::exception_ptr& error);
  asio::awaitable<void> watch_member(MemberIndex index);
  [[nodiscard]] Pace pace_of(const Slot& slot) const;
  [[nodiscard]] std::optional<ProbeKind> due(const Slot& slot) const;
  [[nodiscard]] TimePoint next(const Slot& slot) const;
  [[nodiscard]] std::optional<TimePoint> sample_due(const Slot& slot) const;

  void probe_now(Slot& slot) {
    slot.urgent = true;
    slot.probe.poke();
  }
  void poke_all() {
    for (Slot& slot : slots_) slot.probe.poke();
  }

  void judge(MemberIndex index, const ProbeResult& result);
  void count(Slot& slot, const ProbeResult& result);
  void report_limits(Slot& slot, const ProbeResult& result);
  void sample(MemberIndex index, const ProbeResult& result);
  void note_sight(const Slot& slot, const ProbeResult& result, TimePoint now);
  [[nodiscard]] bool streams(const Slot& slot) const;
  void judge_isolation(Topology& topology, TimePoint now);
  [[nodiscard]] MemberStatus status(MemberIndex index, TimePoint now);
  void refresh();
  void keep_record();

  asio::io_context& context_;
  config::Cluster settings_;
  Publish publish_;
  Report report_;
  Keep keep_;
  std::deque<Slot> slots_;  // a deque: coroutines keep references
  RoleJudge roles_;
  Isolation isolation_;
  Sampler sampler_;
  Pursuit pursuit_;
  TopologyPtr published_;
  TimePoint published_at_{};
  std::uint64_t marks_epoch_ = 0;
  TimePoint look_wanted_{};
  std::uint64_t kept_version_ = 0;  // 0: none in this run
  asio::steady_timer ended_;
  std::size_t running_ = 0;
  bool stopping_ = false;
};

}  // namespace holdfast::health
