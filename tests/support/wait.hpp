// Waiting for something outside this process, with a bound.
#pragma once

#include <chrono>
#include <concepts>
#include <thread>

namespace holdfast::testing {

// Calls `predicate` until it holds or `bound` is over; says whether it held. The one place where tests poll: the state
// of another process (a file, a port, a view) offers nothing to wait on. Between calls it waits 2 ms, later 10 ms.
template <std::predicate Predicate>
[[nodiscard]] bool wait_until(std::chrono::milliseconds bound, Predicate&& predicate) {
  const auto start = std::chrono::steady_clock::now();
  while (!predicate()) {
    const auto waited = std::chrono::steady_clock::now() - start;
    if (waited >= bound) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(waited < std::chrono::milliseconds(200) ? 2 : 10));
  }
  return true;
}

}  // namespace holdfast::testing
