// Small blocks of memory that the links of one worker share: bytes that wait briefly (a query without a server, the
// beginning of a message) need no allocation. Thread: the worker's. Outlives its links.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace holdfast::proxy {

class Blocks {
 public:
  static constexpr std::size_t size = 1024;

  Blocks() { free_.reserve(kept); }

  // Longer memory that links own, for the messages that they receive: counted here, so that it can be bounded.
  [[nodiscard]] std::size_t large() const { return large_; }
  void took_large(std::size_t bytes) { large_ += bytes; }
  void gave_large(std::size_t bytes) { large_ -= bytes; }

  [[nodiscard]] std::unique_ptr<std::byte[]> take() {
    if (free_.empty()) return std::make_unique_for_overwrite<std::byte[]>(size);
    auto block = std::move(free_.back());
    free_.pop_back();
    return block;
  }
  void give(std::unique_ptr<std::byte[]> block) {
    if (free_.size() < kept) free_.push_back(std::move(block));
  }

 private:
  static constexpr std::size_t kept = 1024;  // keeps at most 1 MiB of free blocks
  std::vector<std::unique_ptr<std::byte[]>> free_;
  std::size_t large_ = 0;
};

}  // namespace holdfast::proxy
