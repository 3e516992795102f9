// Memory that is no longer used goes back to the system: what glibc's allocator has to be told for that.
#pragma once

#include <cstdint>

namespace holdfast::proxy {

// Once, before the first thread. From 256 KiB on an allocation is a mapping of its own, which ends when it is freed. By
// default that threshold grows up to 32 MiB with what is freed (mallopt(3), M_MMAP_THRESHOLD): one long statement, and
// from then on long ones stay in the heap of the thread that freed them.
void settle_allocator();

// Gives back the free pages in the middle of heaps. Takes 0.12 ms for a megabyte and locks one heap after the other.
void trim_heaps();

// When to do that: the clients have gone that made the heaps grow. Small allocations of many clients leave heaps full of
// holes, and the next clients fit into them, so it isn't worth while after each small ebb.
class Ebb {
 public:
  // Called from time to time with how many clients there are now, and how many have come since the start; true: now.
  [[nodiscard]] bool over(std::uint64_t now, std::uint64_t came) {
    const auto lately = came - came_before_;
    came_before_ = came;
    const auto since = came - came_at_trim_ + stayed_;
    // Not while many come: then heaps are in use.
    if (since < fewest || now > since / 2 || lately > since / 10) return false;
    came_at_trim_ = came;
    stayed_ = now;
    return true;
  }

 private:
  static constexpr std::uint64_t fewest = 500;
  std::uint64_t came_before_ = 0;
  std::uint64_t came_at_trim_ = 0;
  std::uint64_t stayed_ = 0;  // of those that had come before the last trim
};

}  // namespace holdfast::proxy
