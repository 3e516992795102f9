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

const char* event_of(MemberState state) {
  switch (state) {
    case MemberState::unknown: return "member_unknown";
    case MemberState::primary: return "member_primary";
    case MemberState::replica: return "member_replica";
    case MemberState::starting: return "member_starting";
    case MemberState::suspect: return "member_suspect";
    case MemberState::down: return "member_down";
    case MemberState::fenced: return "fenced";
    case MemberState::quarantined: return "quarantined";
  }
  return "member_unknown";
}

class Writer {
 public:
  Writer(const Topology& topology, std::chrono::system_clock::time_point now) : topology_(topology), now_(now) {}

  Event& add(std::string name, std::string member = "", std::string reason = "") {
    events_.push_back({.time = now_,
                       .name = std::move(name),
                       .cluster = topology_.cluster,
                       .member = std::move(member),
                       .reason = std::move(reason),
                       .fields = {}});
    return events_.back();
  }
  std::vector<Event> take() { return std::move(events_); }

 private:
  const Topology& topology_;
  std::chrono::system_clock::time_point now_;
  std::vector<Event> events_;
};

void compare_member(Writer& writer, const MemberStatus* before, const MemberStatus& after) {
  if (before == nullptr) {
    writer.add("member_added", after.name);
    if (after.state == MemberState::unknown) return;
  }
  if (before != nullptr && before->address != after.address && !before->address.empty()) {
    writer.add("address_changed", after.name).fields = {{"from", before->address}, {"to", after.address}};
  }
  const MemberState was = before == nullptr ? MemberState::unknown : before->state;
  // The primary's own changes are told by the cluster's events.
  if (was != after.state && after.state != MemberState::primary) {
    writer.add(event_of(after.state), after.name, after.reason).fields = {
        {"from", name_of(was)}, {"timeline", std::to_string(after.timeline)}, {"lsn", lsn_text(after.lsn)}};
  }
  if (before == nullptr) return;
  if (before->accepts_reads != after.accepts_reads) {
    writer.add(after.accepts_reads ? "reads_on" : "reads_off", after.name, after.reason);
  }
}

void compare_primary(Writer& writer, const Topology* before, const Topology& after) {
  if (after.system_identifier != 0 && (before == nullptr || before->system_identifier == 0)) {
    writer.add("system_identifier_known").fields = {{"system_identifier", std::to_string(after.system_identifier)}};
  }
  const std::optional<MemberIndex> was = before == nullptr ? std::nullopt : before->primary;
  const std::uint64_t epoch = before == nullptr ? 0 : before->epoch;
  if (was == after.primary && epoch == after.epoch) return;
  if (was && was != after.primary) {
    writer.add("primary_lost", before->members[*was].name, after.why_no_primary).fields = {
        {"epoch", std::to_string(epoch)}, {"lsn", lsn_text(before->members[*was].lsn)}};
  }
  if (!after.primary) return;
  const MemberStatus& primary = after.members[*after.primary];
  writer.add(epoch == after.epoch ? "primary_back" : "primary_changed", primary.name).fields = {
      {"epoch", std::to_string(after.epoch)},
      {"timeline", std::to_string(after.timeline)},
      {"lsn", lsn_text(primary.lsn)}};
}

}  // namespace

std::vector<Event> changes(const Topology* before, const Topology& after, std::chrono::system_clock::time_point now) {
  Writer writer(after, now);
  for (std::size_t index = 0; index < after.members.size(); ++index) {
    const bool known = before != nullptr && index < before->members.size();
    compare_member(writer, known ? &before->members[index] : nullptr, after.members[index]);
  }
  compare_primary(writer, before, after);
  return writer.take();
}

}  // namespace holdfast::health
