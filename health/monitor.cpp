#include "health/monitor.hpp"

#include <algorithm>
#include <utility>

#include "health/monitor_impl.hpp"

namespace holdfast::health {

namespace {

std::vector<std::string> names_of(const config::Cluster& cluster) {
  std::vector<std::string> names;
  for (const config::Member& member : cluster.members) names.push_back(member.name);
  return names;
}

}  // namespace

Monitor::Impl::Impl(asio::io_context& context, const config::Cluster& cluster, Publish publish, Report report,
                    Keep keep, const Remembered& remembered)
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

void Monitor::Impl::start() {
  refresh();
  for (MemberIndex member = 0; member < slots_.size(); ++member) watch(member);
}

asio::awaitable<void> Monitor::Impl::stop() {
  stopping_ = true;
  for (Slot& slot : slots_) slot.probe.interrupt();
  while (running_ != 0) {
    ended_.expires_at(TimePoint::max());
    co_await ended_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

void Monitor::Impl::watch(MemberIndex index) {
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
void Monitor::Impl::report_failure(const std::string& member, const std::exception_ptr& error) {
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

asio::awaitable<void> Monitor::Impl::watch_member(MemberIndex index) {
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

Pace Monitor::Impl::pace_of(const Slot& slot) const {
  const TimePoint now = Clock::now();
  return pace({.state = slot.member.state(),
               .in_state = std::chrono::duration_cast<milliseconds>(now - slot.member.since()),
               .cluster_has_primary = roles_.primary().has_value(),
               .questioned = slot.member.questioned(now)},
              settings_.monitor);
}

std::optional<ProbeKind> Monitor::Impl::due(const Slot& slot) const {
  const Pace wanted = pace_of(slot);
  const TimePoint now = Clock::now();
  if (slot.urgent || now >= slot.last_full + wanted.full) return ProbeKind::full;
  if (const auto sample = sample_due(slot); sample && now >= *sample) return ProbeKind::light;
  if (wanted.light.count() != 0 && now >= slot.last_probe + wanted.light) return ProbeKind::light;
  return std::nullopt;
}

TimePoint Monitor::Impl::next(const Slot& slot) const {
  const Pace wanted = pace_of(slot);
  TimePoint next = slot.last_full + wanted.full;
  if (wanted.light.count() != 0) next = std::min(next, slot.last_probe + wanted.light);
  return std::min(next, sample_due(slot).value_or(next));
}

// While readers ask for a newer mark.
std::optional<TimePoint> Monitor::Impl::sample_due(const Slot& slot) const {
  if (slot.member.state() != Reachability::up) return std::nullopt;
  return roles_.primary() == slot.index ? pursuit_.primary_due() : pursuit_.replica_due(slot.index);
}

void Monitor::Impl::begin_record() {
  kept_version_ = 0;
  roles_.begin_record(settings_.system_identifier, Clock::now());
  for (const MemberIndex candidate : roles_.take_confirmations()) probe_now(slots_[candidate]);
  refresh();
  keep_record();
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
    isolation_.present(member, kept->name);
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
