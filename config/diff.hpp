// What a reload changes, for its log and for deciding what to do. Deterministic: same inputs, same list, same order.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "config/model.hpp"

namespace holdfast::config {

enum class Applies : std::uint8_t {
  live,     // the running process uses the new value at once
  restart,  // the running process keeps the old value until it is restarted
};
[[nodiscard]] std::string_view name_of(Applies applies);

// One setting that differs, or one entry (listener, cluster, member, database, user, credential) that came or went.
// Entries are matched by name, listeners by their address, so that a new order is no change.
struct Change {
  std::string path;    // "clusters.main.members.pg3.priority"
  std::string before;  // as one would write it; secrets are "[secret]"; empty: was not there
  std::string after;   // empty: is not there any more
  Applies applies = Applies::live;
  friend bool operator==(const Change&, const Change&) = default;
};

[[nodiscard]] std::vector<Change> diff(const Config& before, const Config& after);

// "pool.size: 20 -> 40", "databases.app: added (cluster=main)", "workers: 2 -> 4 (after a restart)"
[[nodiscard]] std::string to_string(const Change& change);
std::ostream& operator<<(std::ostream& out, const Change& change);

// What a reload puts in place: `loaded` with everything that only a restart can change as it is in `running`. A
// database whose cluster waits for the restart stays as it was, or is left out if it is new. The result is as
// consistent as both were.
[[nodiscard]] Config adopt(const Config& running, const Config& loaded);

}  // namespace holdfast::config
