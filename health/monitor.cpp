#include "health/monitor.hpp"

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
#include "health/probe.hpp"
#include "health/pursuit.hpp"
#include "health/role_judge.hpp"
#include "health/sampler.hpp"
#include "health/topology_build.hpp"

namespace holdfast::health {

namespace asio = boost::asio;
using std::chrono::milliseconds;

namespace {

constexpr milliseconds positions_spacing{250};  // between snapshots in which only positions moved

// What an operator is told of a probe that failed without saying anything against the member.
std::optional<EventKind> limit_of(Grade grade) {
  switch (grade) {
    case Grade::tls:
    case Grade::auth: return EventKind::monitor_access_denied;
    case Grade::too_many:
    case Grade::query_failed:
    case Grade::own_shortage: return EventKind::probe_inconclusive;
    case Grade::ok:
    case Grade::dns:
    case Grade::refused:
    case Grade::unreachable:
    case Grade::connect_timeout:
    case Grade::starting:
    case Grade::connection_lost:
    case Grade::query_timeout: break;
  }
  return std::nullopt;
}

std::vector<std::string> names_of(const config::Cluster& cluster) {
  std::vector<std::string> names;
  for (const config::Member& member : cluster.members) names.push_back(member.name);
  return names;
}

}  // namespace

class Monitor::Impl {
 public:
  Impl(asio::io_context& context, const config::Cluster& cluster, Publish publish, Report report, Keep keep,
       const Remembered& remembered)
      : context_(context),
        settings_(cluster),
        publish_(std::move(publish)),
        report_(std::move(report)),
        keep_(std::move(keep)),
        roles_(names_of(cluster), cluster.system_identifier),
        sampler_(std::make_shared<FreshnessMarks>(cluster.members.size())),
        pursuit_(sampler_),
        ended_(context) {
    isolation_.configure(cluster.failover.isolation, cluster.failover.down_after);
    for (const config::Member& member : cluster.members) add_slot(member);
    roles_.set_claim_wait(cluster.failover.claim_wait);
    if (remembered.record) roles_.remember(*remembered.record, remembered.where);
    marks_epoch_ = roles_.epoch();
  }

  void start() {
    refresh();
    for (MemberIndex member = 0; member < slots_.size(); ++member) watch(member);
  }

  asio::awaitable<void> stop() {
    stopping_ = true;
    for (Slot& slot : slots_) slot.probe.interrupt();
    while (running_ != 0) {
      ended_.expires_at(TimePoint::max());
      co_await ended_.async_wait(asio::as_tuple(asio::use_awaitable));
    }
  }

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

  void begin_record() {
    kept_version_ = 0;
    roles_.begin_record(settings_.system_identifier, Clock::now());
    for (const MemberIndex candidate : roles_.take_confirmations()) probe_now(slots_[candidate]);
    refresh();
    keep_record();
  }

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
    isolation_.present(slots_.back().index);
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

  void watch(MemberIndex index) {
    if (slots_[index].watched) return;
    slots_[index].watched = true;
    spawn(watch_member(index), [this, index](const std::exception_ptr& error) {
      Slot& slot = slots_[index];
      slot.watched = false;
      slot.probe.close();
      if (!error) return;
      report_failure(slot.settings.name, error);
      slot.urgent = false;
      slot.last_full = slot.last_probe = Clock::now();  // go on at the next tick, not in a tight loop
      if (!stopping_ && slot.present) watch(index);
    });
  }

  // Only a lack of memory is expected to throw; the log must say so.
  void report_failure(const std::string& member, const std::exception_ptr& error) {
    std::string reason = "unknown exception";
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& known) {
      reason = known.what();
    } catch (...) {  // NOLINT(bugprone-empty-catch): `reason` says so
    }
    report_({.time = std::chrono::system_clock::now(),
             .kind = EventKind::monitor_failed,
             .cluster = settings_.name,
             .member = member,
             .reason = std::move(reason),
             .facts = {}});
  }

  asio::awaitable<void> watch_member(MemberIndex index) {
    Slot& slot = slots_[index];
    while (!stopping_ && slot.present) {
      const std::optional<ProbeKind> kind = due(slot);
      if (!kind) {
        const TimePoint until = next(slot);
        const Wake wake = co_await slot.probe.idle(until);
        if (wake == Wake::lost) {
          slot.urgent = true;
          sampler_.forget(index);
        }
        continue;
      }
      slot.urgent = false;
      const bool fresh = std::exchange(slot.fresh, false);
      const TimePoint began = Clock::now();
      const auto names = roles_.primary() ? AddressBook::Age::usual : AddressBook::Age::short_lived;
      const ProbeResult result = co_await slot.probe.probe(*kind, fresh, names);
      if (stopping_ || !slot.present) break;
      if (std::exchange(slot.void_answer, false)) {
        slot.urgent = true;
        continue;
      }
      if (*kind == ProbeKind::full || result.grade != Grade::ok) slot.looked_at = began;
      judge(index, result);
    }
  }

  [[nodiscard]] Pace pace_of(const Slot& slot) const {
    const TimePoint now = Clock::now();
    return pace({.state = slot.member.state(),
                 .in_state = std::chrono::duration_cast<milliseconds>(now - slot.member.since()),
                 .cluster_has_primary = roles_.primary().has_value(),
                 .questioned = slot.member.questioned(now)},
                settings_.monitor);
  }

  [[nodiscard]] std::optional<ProbeKind> due(const Slot& slot) const {
    const Pace wanted = pace_of(slot);
    const TimePoint now = Clock::now();
    if (slot.urgent || now >= slot.last_full + wanted.full) return ProbeKind::full;
    if (const auto sample = sample_due(slot); sample && now >= *sample) return ProbeKind::light;
    if (wanted.light.count() != 0 && now >= slot.last_probe + wanted.light) return ProbeKind::light;
    return std::nullopt;
  }

  [[nodiscard]] TimePoint next(const Slot& slot) const {
    const Pace wanted = pace_of(slot);
    TimePoint next = slot.last_full + wanted.full;
    if (wanted.light.count() != 0) next = std::min(next, slot.last_probe + wanted.light);
    return std::min(next, sample_due(slot).value_or(next));
  }

  // While readers ask for a newer mark.
  [[nodiscard]] std::optional<TimePoint> sample_due(const Slot& slot) const {
    if (slot.member.state() != Reachability::up) return std::nullopt;
    return roles_.primary() == slot.index ? pursuit_.primary_due() : pursuit_.replica_due(slot.index);
  }

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
  bool alone_ = false;  // writes wait because of it
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

void Monitor::Impl::judge(MemberIndex index, const ProbeResult& result) {
  Slot& slot = slots_[index];
  const TimePoint now = Clock::now();
  slot.last_probe = now;
  if (result.observation || result.grade != Grade::ok) slot.last_full = now;
  count(slot, result);
  report_limits(slot, result);
  // The member may have restarted (Sampler::forget): a read too many on the primary is better than one that goes back
  // in time.
  if (result.reconnected || result.grade != Grade::ok) sampler_.forget(index);

  const MemberAction action = slot.member.probed(result, now);
  slot.urgent = slot.urgent || action.probe_now;
  if (result.observation) {
    slot.constants = result.observation;
    roles_.observed(index, *result.observation, slot.member.usable(), now);
  } else if (result.position) {
    if (slot.constants && slot.constants->in_recovery != result.position->in_recovery) slot.urgent = true;
  } else if (!slot.member.usable()) {
    const bool refuses = result.grade == Grade::refused;
    roles_.lost(index, slot.member.reason(), now, refuses ? RoleJudge::Silence::refuses : RoleJudge::Silence::quiet);
  } else if (!is_answer(result.grade) && result.grade != Grade::own_shortage) {
    roles_.unanswered(index, now);
  }
  note_sight(slot, result, now);
  for (const MemberIndex candidate : roles_.take_confirmations()) probe_now(slots_[candidate]);
  if (roles_.epoch() != marks_epoch_) {
    sampler_.reset();
    marks_epoch_ = roles_.epoch();
  }
  if (result.position) sample(index, result);
  // Samples come by the thousand: one that is no news but for its position is not worth a snapshot.
  const bool only_position = result.position && !result.observation && !result.reconnected && !action.changed;
  if (!only_position || now - published_at_ >= positions_spacing) refresh();
  if (slot.looked_at < look_wanted_) probe_now(slot);  // the probe was under way already when the look was wanted
  if (roles_.record_version() != kept_version_) keep_record();
}

void Monitor::Impl::note_sight(const Slot& slot, const ProbeResult& result, TimePoint now) {
  isolation_.probed(
      slot.index,
      {.grade = result.grade, .address = slot.probe.address(), .streams = result.grade == Grade::ok && streams(slot)},
      now);
  if (result.observation && roles_.primary() == slot.index) {
    isolation_.attached(result.observation->senders, roles_.view(slot.index).lsn, now);
  }
}

// Whether it takes its WAL from the primary itself, as far as is known: not from another member.
bool Monitor::Impl::streams(const Slot& slot) const {
  const auto& last = slot.constants;
  if (!last || !last->in_recovery || !last->receiver) return false;
  const Receiver& receiver = *last->receiver;
  if (!receiver.visible) return true;
  if (receiver.status != ReceiverStatus::streaming) return false;
  return std::ranges::none_of(slots_, [&](const Slot& other) {
    const bool there = receiver.sender_host == other.settings.host || receiver.sender_host == other.probe.address();
    return other.present && roles_.primary() != other.index && there && receiver.sender_port == other.settings.port;
  });
}

// A primary that is not believed has lost its connections as if it were gone: what is committed there may be lost.
void Monitor::Impl::judge_isolation(Topology& topology, TimePoint now) {
  Isolation::Verdict verdict;
  // While the process itself stood still it heard of nobody: then first a look.
  if (topology.primary && topology.looked_at >= look_wanted_) {
    std::vector<std::string> names;
    for (const Slot& slot : slots_) names.push_back(slot.settings.name);
    verdict = isolation_.judge(names, *topology.primary, now);
  }
  topology.isolated = verdict.reason;
  const bool begins = verdict.holds && !alone_;
  alone_ = verdict.holds;
  if (!verdict.holds) return;
  MemberStatus& primary = topology.members[*topology.primary];
  if (begins) {
    ++slots_[*topology.primary].generation;
    ++primary.generation;
  }
  primary.state = MemberState::suspect;
  primary.reason = verdict.reason;
  topology.primary.reset();
  topology.why_no_primary = verdict.reason;
}

// Of each epoch once, and with each reload.
void Monitor::Impl::keep_record() {
  auto record = roles_.record();
  if (!record) return;
  kept_version_ = roles_.record_version();
  record->cluster = settings_.name;
  if (keep_) keep_(*record);
}

void Monitor::Impl::count(Slot& slot, const ProbeResult& result) {
  MemberStatistics& statistics = slot.statistics;
  ++statistics.results[static_cast<std::size_t>(result.grade)];
  if (!result.position || result.observation) ++statistics.full_probes;
  if (result.grade == Grade::ok) statistics.duration += result.received - result.sent;
}

// Once per change: what is no state of the member, but what an operator has to know.
void Monitor::Impl::report_limits(Slot& slot, const ProbeResult& result) {
  const auto tell = [&](EventKind kind, std::string reason) -> Event {
    return {.time = std::chrono::system_clock::now(),
            .kind = kind,
            .cluster = settings_.name,
            .member = slot.settings.name,
            .reason = std::move(reason),
            .facts = {}};
  };
  if (slot.dns_error != slot.probe.dns_error()) {
    slot.dns_error = slot.probe.dns_error();
    if (slot.dns_error) report_(tell(EventKind::dns_failed, slot.dns_error.message()));
  }
  if (result.observation && result.observation->receiver) {
    const bool hidden = !result.observation->receiver->visible;
    if (hidden && !slot.sees_little) {
      report_(tell(EventKind::monitor_sees_little,
                   "what the WAL receiver does is hidden from the monitor's role: neither a new timeline nor whom the "
                   "standby follows is seen at once; GRANT pg_monitor TO " +
                       settings_.monitor.user));
    }
    slot.sees_little = hidden;
  }
  const std::optional<EventKind> limit = limit_of(result.grade);
  if (limit && slot.limited != result.grade) {
    Event event = tell(*limit, result.detail);
    event.facts = ProbeFailure{result.grade};
    report_(event);
  }
  slot.limited = limit ? result.grade : Grade::ok;
}

// Samples only members on the accepted timeline: a standby that left it may have a higher position and lack the WAL.
void Monitor::Impl::sample(MemberIndex index, const ProbeResult& result) {
  const Slot& slot = slots_[index];
  if (!result.position->lsn || !slot.constants || slot.constants->in_recovery != result.position->in_recovery) return;
  std::uint64_t lsn = *result.position->lsn;
  if (!result.position->in_recovery) {
    lsn = normalise_insert_position(lsn, slot.constants->block_size, slot.constants->segment_size);
  }
  roles_.positioned(index, lsn);
  const RoleJudge::View& view = roles_.view(index);
  const TimePoint now = Clock::now();
  if (view.role == Role::replica && view.timeline == roles_.timeline()) {
    sampler_.replica_at(index, lsn);
    pursuit_.replica_sampled(index, lsn, result.sent);
  }
  const bool of_primary = roles_.primary() == index;
  if (of_primary) {
    sampler_.primary_at(lsn, result.sent);
    pursuit_.primary_sampled(result.sent, now);
  }
  if (!pursuit_.goes_on(now)) return;
  for (Slot& other : slots_) {
    if (other.index != index && sample_due(other)) other.probe.poke();
  }
}

MemberStatus Monitor::Impl::status(MemberIndex index, TimePoint now) {
  Slot& slot = slots_[index];
  if (slot.probe.address() != slot.address && !slot.probe.address().empty()) {
    if (!slot.address.empty()) ++slot.generation;
    slot.address = slot.probe.address();
  }
  const Presence presence = slot.present ? Presence::configured : Presence::removed;
  MemberStatus status = status_of(slot.settings, presence, slot.member, roles_.view(index), now);
  status.address = slot.address;
  status.generation += slot.generation;
  return status;
}

void Monitor::Impl::refresh() {
  const TimePoint now = Clock::now();
  auto topology = std::make_shared<Topology>();
  topology->cluster = settings_.name;
  topology->epoch = roles_.epoch();
  topology->system_identifier = roles_.system_identifier();
  topology->timeline = roles_.timeline();
  topology->primary = roles_.primary();
  topology->why_no_primary = roles_.why_no_primary();
  topology->left_behind = roles_.left_behind();
  topology->looked_at = TimePoint::max();
  topology->split_brain = roles_.split_brain();
  topology->freshness = sampler_.marks();
  for (MemberIndex member = 0; member < slots_.size(); ++member) {
    topology->members.push_back(status(member, now));
    if (slots_[member].present) topology->looked_at = std::min(topology->looked_at, slots_[member].looked_at);
    pursuit_.take_part(member, topology->members.back().accepts_reads);
  }
  judge_isolation(*topology, now);

  const bool looked = published_ && published_->looked_at < look_wanted_ && topology->looked_at >= look_wanted_;
  if (published_ && !looked && same_but_positions(*published_, *topology) &&
      (same_positions(*published_, *topology) || now - published_at_ < positions_spacing)) {
    return;
  }
  topology->version = published_ ? published_->version + 1 : 1;
  const TopologyPtr before = std::exchange(published_, topology);
  published_at_ = now;
  publish_(topology);
  for (const Event& event : changes(before.get(), *topology, std::chrono::system_clock::now())) report_(event);
  if (!before || before->primary.has_value() != topology->primary.has_value()) poke_all();  // another pace
}

void Monitor::Impl::update(const config::Cluster& cluster) {
  const TimePoint now = Clock::now();
  settings_ = cluster;
  roles_.set_claim_wait(cluster.failover.claim_wait);
  isolation_.configure(cluster.failover.isolation, cluster.failover.down_after);
  for (MemberIndex member = 0; member < slots_.size(); ++member) {
    Slot& slot = slots_[member];
    const auto kept = std::find_if(cluster.members.begin(), cluster.members.end(),
                                   [&](const config::Member& wanted) { return wanted.name == slot.settings.name; });
    if (kept == cluster.members.end()) {
      if (!std::exchange(slot.present, false)) continue;
      slot.member.forget();
      isolation_.removed(member);
      roles_.removed(member, now);
      sampler_.forget(member);
      slot.probe.interrupt();
      continue;
    }
    const bool back = !std::exchange(slot.present, true);
    const bool moved = kept->host != slot.settings.host || kept->port != slot.settings.port;
    slot.settings = *kept;
    slot.member.configure(cluster);
    isolation_.present(member);
    if (back) roles_.restored(member);
    if (back || moved) {
      slot.member.forget();
      slot.address.clear();
      slot.constants.reset();
      slot.void_answer = slot.watched;
      roles_.forget(member, now);
      sampler_.forget(member);
    }
    slot.probe.configure(*kept, cluster);
    slot.urgent = true;
  }
  for (const config::Member& wanted : cluster.members) {
    const bool known =
        std::any_of(slots_.begin(), slots_.end(), [&](const Slot& slot) { return slot.settings.name == wanted.name; });
    if (known) continue;
    add_slot(wanted);
    roles_.added(wanted.name);
    sampler_.resize(slots_.size());
  }
  refresh();
  keep_record();  // its directory may have come or gone
  for (MemberIndex member = 0; member < slots_.size(); ++member) {
    if (slots_[member].present) watch(member);
  }
}

Monitor::Monitor(asio::io_context& context, const config::Cluster& cluster, Publish publish, Report report, Keep keep,
                 const Remembered& remembered)
    : impl_(std::make_unique<Impl>(context, cluster, std::move(publish), std::move(report), std::move(keep),
                                   remembered)) {}
Monitor::~Monitor() = default;

void Monitor::start() {
  impl_->start();
}
asio::awaitable<void> Monitor::stop() {
  return impl_->stop();
}
void Monitor::evidence(MemberIndex member, Evidence evidence) {
  impl_->evidence(member, evidence);
}
void Monitor::freshness_wanted() {
  impl_->freshness_wanted();
}
void Monitor::want_look(TimePoint since) {
  impl_->want_look(since);
}
void Monitor::update(const config::Cluster& cluster) {
  impl_->update(cluster);
}
void Monitor::begin_record() {
  impl_->begin_record();
}
TopologyPtr Monitor::topology() const {
  return impl_->topology();
}
std::vector<MemberStatistics> Monitor::statistics() const {
  return impl_->statistics();
}

}  // namespace holdfast::health
