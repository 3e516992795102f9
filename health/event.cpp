#include "health/event.hpp"

#include <optional>

namespace holdfast::health {

namespace {

std::string lsn_text(std::uint64_t lsn) {
  static constexpr const char* digits = "0123456789ABCDEF";
  const auto hex = [](std::uint32_t number) {
    std::string text;
    do {
      text.insert(text.begin(), digits[number % 16]);
      number /= 16;
    } while (number != 0);
    return text;
  };
  return hex(static_cast<std::uint32_t>(lsn >> 32U)) + "/" + hex(static_cast<std::uint32_t>(lsn));
}

// The primary's own changes are told by the cluster's events.
std::optional<EventKind> kind_of(MemberState state) {
  switch (state) {
    case MemberState::unknown: return EventKind::member_unknown;
    case MemberState::primary: return std::nullopt;
    case MemberState::replica: return EventKind::member_replica;
    case MemberState::starting: return EventKind::member_starting;
    case MemberState::suspect: return EventKind::member_suspect;
    case MemberState::down: return EventKind::member_down;
    case MemberState::fenced: return EventKind::fenced;
    case MemberState::quarantined: return EventKind::quarantined;
  }
  return std::nullopt;
}

class Writer {
 public:
  Writer(const Topology& topology, std::chrono::system_clock::time_point now) : topology_(topology), now_(now) {}

  Event& add(EventKind kind, std::string member = "", std::string reason = "") {
    events_.push_back({.time = now_,
                       .kind = kind,
                       .cluster = topology_.cluster,
                       .member = std::move(member),
                       .reason = std::move(reason),
                       .facts = {}});
    return events_.back();
  }
  std::vector<Event> take() { return std::move(events_); }

 private:
  const Topology& topology_;
  std::chrono::system_clock::time_point now_;
  std::vector<Event> events_;
};

void compare_member(Writer& writer, const MemberStatus* before, const MemberStatus& after) {
  if (after.removed) {
    if (before != nullptr && !before->removed) writer.add(EventKind::member_removed, after.name);
    return;
  }
  if (before != nullptr && before->removed) before = nullptr;  // back under its name
  if (before == nullptr) writer.add(EventKind::member_added, after.name);
  if (before != nullptr && before->address != after.address && !before->address.empty()) {
    writer.add(EventKind::address_changed, after.name).facts =
        AddressChange{.from = before->address, .to = after.address};
  }
  const MemberState was = before == nullptr ? MemberState::unknown : before->state;
  if (const auto kind = kind_of(after.state); kind && was != after.state) {
    writer.add(*kind, after.name, after.reason).facts =
        StateChange{.from = was, .timeline = after.timeline, .lsn = after.lsn};
  }
  if (before != nullptr && before->accepts_reads != after.accepts_reads) {
    writer.add(after.accepts_reads ? EventKind::reads_on : EventKind::reads_off, after.name, after.reason);
  }
}

SplitBrain rivals_of(const Topology& topology) {
  SplitBrain result;
  for (const MemberIndex index : topology.split_brain) {
    const MemberStatus& member = topology.members[index];
    result.members.push_back({.name = member.name, .timeline = member.timeline});
  }
  return result;
}

void compare_isolation(Writer& writer, const Topology* before, const Topology& after) {
  const std::string was = before != nullptr ? before->isolated : "";
  if (was == after.isolated) return;
  if (after.isolated.empty()) {
    writer.add(EventKind::isolated_ended);
  } else {
    writer.add(EventKind::isolated, "", (after.primary ? "writes go on: " : "writes wait: ") + after.isolated);
  }
}

void compare_split_brain(Writer& writer, const Topology* before, const Topology& after) {
  const bool was = before != nullptr && !before->split_brain.empty();
  if (!was && after.split_brain.empty()) return;
  if (was && before->split_brain == after.split_brain) return;
  const bool ended = after.split_brain.empty();
  std::string reason = after.why_no_primary;
  if (after.primary) {
    reason = "writes go to " + after.members[*after.primary].name;
    if (!ended) reason += ", the others are fenced";
  }
  writer.add(ended ? EventKind::split_brain_ended : EventKind::split_brain, "", std::move(reason)).facts =
      rivals_of(ended ? *before : after);
}

void compare_primary(Writer& writer, const Topology* before, const Topology& after) {
  if (after.system_identifier != 0 && (before == nullptr || before->system_identifier == 0)) {
    writer.add(EventKind::system_identifier_known).facts = SystemIdentifier{after.system_identifier};
  }
  const std::optional<MemberIndex> was = before == nullptr ? std::nullopt : before->primary;
  const std::uint64_t epoch = before == nullptr ? 0 : before->epoch;
  if (was == after.primary && epoch == after.epoch) return;
  if (was && was != after.primary) {
    const MemberStatus& lost = before->members[*was];
    writer.add(EventKind::primary_lost, lost.name, after.why_no_primary).facts =
        PrimaryChange{.epoch = epoch, .timeline = before->timeline, .lsn = lost.lsn};
  }
  if (!after.primary) return;
  const MemberStatus& primary = after.members[*after.primary];
  writer.add(epoch == after.epoch ? EventKind::primary_back : EventKind::primary_changed, primary.name).facts =
      PrimaryChange{.epoch = after.epoch, .timeline = after.timeline, .lsn = primary.lsn};
  if (epoch == after.epoch || !after.left_behind) return;
  writer
      .add(EventKind::wal_left_behind, primary.name,
           "it was promoted without the end of the last primary's WAL: transactions in there are lost, also those that "
           "were acknowledged, unless a synchronous standby had to confirm them")
      .facts = WalLeftBehind{.epoch = after.epoch, .wal = *after.left_behind};
}

using Fields = std::vector<std::pair<std::string_view, std::string>>;

struct ToFields {
  Fields operator()(const std::monostate& /*none*/) const { return {}; }
  Fields operator()(const StateChange& facts) const {
    return {{"from", name_of(facts.from)}, {"timeline", std::to_string(facts.timeline)}, {"lsn", lsn_text(facts.lsn)}};
  }
  Fields operator()(const AddressChange& facts) const { return {{"from", facts.from}, {"to", facts.to}}; }
  Fields operator()(const ProbeFailure& facts) const { return {{"grade", name_of(facts.grade)}}; }
  Fields operator()(const PrimaryChange& facts) const {
    return {{"epoch", std::to_string(facts.epoch)},
            {"timeline", std::to_string(facts.timeline)},
            {"lsn", lsn_text(facts.lsn)}};
  }
  Fields operator()(const WalLeftBehind& facts) const {
    return {{"epoch", std::to_string(facts.epoch)},
            {"reached", lsn_text(facts.wal.reached)},
            {"begins", lsn_text(facts.wal.begins)},
            {"bytes", std::to_string(facts.wal.bytes())}};
  }
  Fields operator()(const SplitBrain& facts) const {
    std::string members;
    std::string timelines;
    for (const auto& [name, timeline] : facts.members) {
      members += (members.empty() ? "" : ",") + name;
      timelines += (timelines.empty() ? "" : ",") + (timeline == 0 ? "?" : std::to_string(timeline));
    }
    return {{"members", members}, {"timelines", timelines}};
  }
  Fields operator()(const SystemIdentifier& facts) const {
    return {{"system_identifier", std::to_string(facts.value)}};
  }
};

}  // namespace

const char* name_of(EventKind kind) {
  switch (kind) {
    case EventKind::member_added: return "member_added";
    case EventKind::member_removed: return "member_removed";
    case EventKind::member_unknown: return "member_unknown";
    case EventKind::member_replica: return "member_replica";
    case EventKind::member_suspect: return "member_suspect";
    case EventKind::member_starting: return "member_starting";
    case EventKind::member_down: return "member_down";
    case EventKind::fenced: return "fenced";
    case EventKind::quarantined: return "quarantined";
    case EventKind::reads_on: return "reads_on";
    case EventKind::reads_off: return "reads_off";
    case EventKind::address_changed: return "address_changed";
    case EventKind::dns_failed: return "dns_failed";
    case EventKind::monitor_access_denied: return "monitor_access_denied";
    case EventKind::monitor_sees_little: return "monitor_sees_little";
    case EventKind::probe_inconclusive: return "probe_inconclusive";
    case EventKind::primary_lost: return "primary_lost";
    case EventKind::primary_changed: return "primary_changed";
    case EventKind::primary_back: return "primary_back";
    case EventKind::wal_left_behind: return "wal_left_behind";
    case EventKind::split_brain: return "split_brain";
    case EventKind::split_brain_ended: return "split_brain_ended";
    case EventKind::isolated: return "isolated";
    case EventKind::isolated_ended: return "isolated_ended";
    case EventKind::system_identifier_known: return "system_identifier_known";
    case EventKind::monitor_failed: return "monitor_failed";
  }
  return "?";
}

Severity severity_of(EventKind kind) {
  switch (kind) {
    case EventKind::split_brain:
    case EventKind::monitor_failed: return Severity::error;
    case EventKind::member_down:
    case EventKind::fenced:
    case EventKind::quarantined:
    case EventKind::dns_failed:
    case EventKind::monitor_access_denied:
    case EventKind::monitor_sees_little:
    case EventKind::probe_inconclusive:
    case EventKind::primary_lost:
    case EventKind::isolated:
    case EventKind::wal_left_behind: return Severity::warning;
    case EventKind::member_added:
    case EventKind::member_removed:
    case EventKind::member_unknown:
    case EventKind::member_replica:
    case EventKind::member_suspect:
    case EventKind::member_starting:
    case EventKind::reads_on:
    case EventKind::reads_off:
    case EventKind::address_changed:
    case EventKind::primary_changed:
    case EventKind::primary_back:
    case EventKind::split_brain_ended:
    case EventKind::isolated_ended:
    case EventKind::system_identifier_known: return Severity::info;
  }
  return Severity::info;
}

std::vector<std::pair<std::string_view, std::string>> fields_of(const Event& event) {
  return std::visit(ToFields{}, event.facts);
}

std::vector<Event> changes(const Topology* before, const Topology& after, std::chrono::system_clock::time_point now) {
  Writer writer(after, now);
  for (std::size_t index = 0; index < after.members.size(); ++index) {
    const bool known = before != nullptr && index < before->members.size();
    compare_member(writer, known ? &before->members[index] : nullptr, after.members[index]);
  }
  compare_split_brain(writer, before, after);
  compare_isolation(writer, before, after);
  compare_primary(writer, before, after);
  return writer.take();
}

}  // namespace holdfast::health
