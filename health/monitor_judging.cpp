#include <utility>

#include "health/monitor_impl.hpp"
#include "health/topology_build.hpp"

namespace holdfast::health {

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

}  // namespace

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
  const bool held = isolation_.verdict().holds;
  // While the process itself stood still it heard of nobody: until everybody was asked, what it knew stands.
  if (!topology.primary || topology.looked_at >= look_wanted_) isolation_.judge(topology.primary, now);
  const Isolation::Verdict& verdict = isolation_.verdict();
  topology.isolated = topology.primary ? verdict.reason : std::string();
  if (!verdict.holds) return;
  MemberStatus& primary = topology.members[*topology.primary];
  if (!held) {
    ++slots_[*topology.primary].generation;
    ++primary.generation;
  }
  primary.state = MemberState::suspect;
  primary.reason = verdict.reason;
  topology.primary.reset();
  topology.why_no_primary = verdict.reason;
}

// Whenever it has changed, and with each reload.
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

}  // namespace holdfast::health
