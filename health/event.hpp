// Something that an operator wants to know afterwards: for the log, metrics and incident reports. What happened is a
// kind and typed facts; only name_of() and fields_of() turn them into text.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "health/observation.hpp"
#include "health/topology.hpp"

namespace holdfast::health {

// The comment says which facts come along (Event::facts).
enum class EventKind : std::uint8_t {
  // about a member
  member_added,
  member_removed,         // from the configuration
  member_unknown,         // StateChange
  member_replica,         // StateChange
  member_suspect,         // StateChange
  member_starting,        // StateChange
  member_down,            // StateChange
  fenced,                 // StateChange; it claims to be primary and gets no traffic
  quarantined,            // StateChange
  reads_on,               // the replica may get reads from now on
  reads_off,              // … and no longer
  address_changed,        // AddressChange
  dns_failed,             // its name can't be resolved; the last good address is kept
  monitor_access_denied,  // ProbeFailure; alive, but TLS or the login of the monitor's role fails
  monitor_sees_little,    // the monitor's role lacks pg_monitor
  probe_inconclusive,     // ProbeFailure; the probe could not read the member's role, which says nothing against it
  // about the cluster
  primary_lost,             // PrimaryChange
  primary_changed,          // PrimaryChange; a new epoch
  primary_back,             // PrimaryChange; the same epoch
  wal_left_behind,          // WalLeftBehind; the new primary lacks some of its predecessor's WAL
  split_brain,              // SplitBrain; several members are primary at once
  split_brain_ended,        // SplitBrain; those that were
  isolated,                 // too few members are in sight
  isolated_ended,           // enough are again, or the primary has gone
  system_identifier_known,  // SystemIdentifier
  monitor_failed,           // the monitor itself failed, and goes on
};
inline constexpr std::size_t event_kinds = static_cast<std::size_t>(EventKind::monitor_failed) + 1;

// The event's name in the log and in metrics: stable, and the name of the enumerator.
[[nodiscard]] const char* name_of(EventKind kind);

enum class Severity : std::uint8_t { info, warning, error };
// How loudly the log says it. error: a person has to act.
[[nodiscard]] Severity severity_of(EventKind kind);

struct StateChange {
  MemberState from = MemberState::unknown;
  std::uint32_t timeline = 0;
  std::uint64_t lsn = 0;
  friend bool operator==(const StateChange&, const StateChange&) = default;
};
struct AddressChange {
  std::string from;
  std::string to;
  friend bool operator==(const AddressChange&, const AddressChange&) = default;
};
struct ProbeFailure {
  Grade grade = Grade::ok;
  friend bool operator==(const ProbeFailure&, const ProbeFailure&) = default;
};
// For primary_lost: the epoch that it was the primary of, and its last known position.
struct PrimaryChange {
  std::uint64_t epoch = 0;
  std::uint32_t timeline = 0;
  std::uint64_t lsn = 0;
  friend bool operator==(const PrimaryChange&, const PrimaryChange&) = default;
};
struct WalLeftBehind {
  std::uint64_t epoch = 0;  // of the new primary
  LeftBehind wal;
  friend bool operator==(const WalLeftBehind&, const WalLeftBehind&) = default;
};
struct SplitBrain {
  struct Rival {
    std::string name;
    std::uint32_t timeline = 0;  // 0: it does not answer now
    friend bool operator==(const Rival&, const Rival&) = default;
  };
  std::vector<Rival> members;
  friend bool operator==(const SplitBrain&, const SplitBrain&) = default;
};
struct SystemIdentifier {
  std::uint64_t value = 0;
  friend bool operator==(const SystemIdentifier&, const SystemIdentifier&) = default;
};

struct Event {
  std::chrono::system_clock::time_point time;
  EventKind kind = EventKind::member_added;
  std::string cluster;
  std::string member;  // empty: the cluster as a whole
  std::string reason;  // for people; may be empty
  std::variant<std::monostate, StateChange, AddressChange, ProbeFailure, PrimaryChange, WalLeftBehind, SplitBrain,
               SystemIdentifier>
      facts;
};

// The facts as key=value pairs for the log, in a fixed order.
[[nodiscard]] std::vector<std::pair<std::string_view, std::string>> fields_of(const Event& event);

// What changed from one snapshot to the next, in the order in which it should be read. `before` may be null.
[[nodiscard]] std::vector<Event> changes(const Topology* before, const Topology& after,
                                         std::chrono::system_clock::time_point now);

}  // namespace holdfast::health
