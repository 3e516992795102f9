// Facts that the code relies on and that nothing a peer sends can break. If one does not hold, the code is wrong:
// debug and sanitizer builds stop there; a release build counts it, refuses the action, and closes the connections of
// the pass in which it happened (InvariantWatch), so that a defect costs one client and one server and shows in the
// metrics.
//
//   if (!holds(count > 0, "a place is given back that was never taken")) return;
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace holdfast {

// Whether checks that cost more than a comparison are made as well.
#ifdef NDEBUG
inline constexpr bool checks_everything = false;
#else
inline constexpr bool checks_everything = true;
#endif

// How often a release build met a broken invariant, process-wide: a metric. Any thread.
inline std::atomic<std::uint64_t> broken_invariants{0};  // NOLINT: asserts have no context to count in
// The same for this thread.
inline constinit thread_local std::uint64_t broken_here = 0;  // NOLINT

[[nodiscard]] inline bool holds(bool condition, const char* what) {
  if (condition) [[likely]]
    return true;
#ifdef NDEBUG
  static_cast<void>(what);
  broken_invariants.fetch_add(1, std::memory_order_relaxed);
  ++broken_here;
  return false;
#else
  std::fprintf(stderr, "invariant broken: %s\n", what);
  std::abort();
#endif
}

// Whether an invariant broke on this thread since the watch began: one pass over a connection's messages. Whoever made
// the pass then gives up its connections. Never across a co_await: other connections' passes run meanwhile.
class InvariantWatch {
 public:
  [[nodiscard]] bool broken() const { return broken_here != before_; }

 private:
  std::uint64_t before_ = broken_here;
};

}  // namespace holdfast
