// How many connections a member's pool begins to open now.
#pragma once

#include <algorithm>
#include <cstddef>

namespace holdfast::proxy {

struct Demand {
  std::size_t waiters = 0;
  std::size_t connecting = 0;  // under way
  bool backing_off = false;    // an attempt failed a moment ago
  bool reachable = true;       // its address is known
};

// In parallel: a new pool fills quickly, but the server is not flooded.
inline constexpr std::size_t most_connecting = 8;

// One for each waiter without a connection on its way. To be called again after each attempt has begun, since that may
// fail at once and begin a back-off. The limit for the whole process is up to the permits.
[[nodiscard]] constexpr std::size_t to_open(const Demand& demand) {
  if (demand.backing_off || !demand.reachable) return 0;
  const auto wanted = std::min(demand.waiters, most_connecting);
  return wanted > demand.connecting ? wanted - demand.connecting : 0;
}

}  // namespace holdfast::proxy
