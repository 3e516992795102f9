// Something that an operator wants to know afterwards: for the log and for incident reports.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "health/topology.hpp"

namespace holdfast::health {

struct Event {
  std::chrono::system_clock::time_point time;
  // Stable names. Of a member: member_added, member_unknown, member_replica, member_suspect, member_starting,
  // member_down, fenced, quarantined, reads_on, reads_off, address_changed, and from the monitor itself dns_failed,
  // monitor_not_let_in. Of the cluster: primary_lost, primary_changed (a new epoch), primary_back (the same epoch),
  // system_identifier_known.
  std::string name;
  std::string cluster;
  std::string member;                                       // empty: the cluster as a whole
  std::string reason;                                       // for people; may be empty
  std::vector<std::pair<std::string, std::string>> fields;  // key=value
};

// What changed from one snapshot to the next, in the order in which it should be read. `before` may be null.
[[nodiscard]] std::vector<Event> changes(const Topology* before, const Topology& after,
                                         std::chrono::system_clock::time_point now);

}  // namespace holdfast::health
