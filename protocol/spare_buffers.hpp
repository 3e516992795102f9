// Byte buffers that the connections of one worker share: what is kept of a unit while it is in flight needs no
// allocation, and an idle client owns no buffer. Owner: the worker. Thread: the worker's. Outlives its borrowers.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

namespace holdfast::protocol {

class SpareBuffers {
 public:
  // An empty buffer, with memory from earlier use if there is any.
  [[nodiscard]] std::vector<std::byte> take() {
    if (spare_.empty()) return {};
    auto buffer = std::move(spare_.back());
    spare_.pop_back();
    kept_ -= buffer.capacity();
    return buffer;
  }
  void give(std::vector<std::byte> buffer) {
    if (buffer.capacity() == 0 || kept_ + buffer.capacity() > most_kept) return;
    buffer.clear();
    kept_ += buffer.capacity();
    spare_.push_back(std::move(buffer));
  }
  [[nodiscard]] std::size_t kept() const { return kept_; }

 private:
  static constexpr std::size_t most_kept = 1U << 20;  // bytes that lie idle

  std::vector<std::vector<std::byte>> spare_;
  std::size_t kept_ = 0;
};

}  // namespace holdfast::protocol
