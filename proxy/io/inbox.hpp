// Bytes received but not consumed yet: what a link keeps between reads. Owns memory only while it has bytes.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "protocol/bytes.hpp"
#include "proxy/io/blocks.hpp"

namespace holdfast::proxy {

class Inbox {
 public:
  [[nodiscard]] bool empty() const { return begin_ == end_; }
  [[nodiscard]] std::size_t size() const { return end_ - begin_; }
  [[nodiscard]] protocol::Bytes view() const { return {data_.get() + begin_, end_ - begin_}; }

  Inbox() = default;
  // Takes short memory from the worker's `blocks`, which outlive it.
  explicit Inbox(Blocks* blocks) : blocks_(blocks) {}
  ~Inbox() { release(); }
  void lend_from(Blocks& blocks) { blocks_ = &blocks; }
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;
  Inbox& operator=(Inbox&& other) noexcept {
    release();
    data_ = std::move(other.data_);
    capacity_ = std::exchange(other.capacity_, 0);
    begin_ = std::exchange(other.begin_, 0);
    end_ = std::exchange(other.end_, 0);
    return *this;
  }

  // Memory that it owns, or has from the blocks.
  [[nodiscard]] std::size_t memory() const { return capacity_; }

  // Keeps `bytes`, which may lie in this inbox or elsewhere, and nothing else. Memory that is much too large is given
  // back.
  void keep(protocol::Bytes bytes) {
    if (bytes.empty()) {
      if (capacity_ != 0) release();
      return;
    }
    keep_some(bytes);
  }
  // Room for at least `count` bytes behind those kept; add() says how many were written.
  [[nodiscard]] protocol::MutableBytes room(std::size_t count) {
    if (capacity_ - end_ < count) grow(count);
    return {data_.get() + end_, capacity_ - end_};
  }
  void add(std::size_t count) { end_ += count; }

 private:
  void keep_some(protocol::Bytes bytes) {
    if (data_ && bytes.data() >= data_.get() && bytes.data() <= data_.get() + capacity_) {
      begin_ = static_cast<std::size_t>(bytes.data() - data_.get());
      end_ = begin_ + bytes.size();
      if (capacity_ > largest_unused && bytes.size() < capacity_ / 4) resize(std::max(Blocks::size, bytes.size()));
      return;
    }
    clear();
    std::memcpy(room(bytes.size()).data(), bytes.data(), bytes.size());
    end_ += bytes.size();
  }
  void clear() { begin_ = end_ = 0; }
  void release() {
    if (capacity_ == 0) return;
    if (blocks_ != nullptr && capacity_ == Blocks::size) {
      blocks_->give(std::move(data_));
    } else {
      if (blocks_ != nullptr) blocks_->gave_large(capacity_);
      data_.reset();
    }
    capacity_ = 0;
    clear();
  }
  void grow(std::size_t count) {
    // Doubles, so that each byte of a large message that comes in pieces is copied a constant number of times.
    resize(std::max({Blocks::size, size() + count, size() * 2}));
  }
  void resize(std::size_t wanted) {
    const std::size_t used = size();
    auto larger = blocks_ != nullptr && wanted == Blocks::size ? blocks_->take()
                                                               : std::make_unique_for_overwrite<std::byte[]>(wanted);
    if (blocks_ != nullptr && wanted != Blocks::size) blocks_->took_large(wanted);
    if (used > 0) std::memcpy(larger.get(), data_.get() + begin_, used);
    release();
    data_ = std::move(larger);
    capacity_ = wanted;
    begin_ = 0;
    end_ = used;
  }

  static constexpr std::size_t largest_unused = 256U << 10;

  Blocks* blocks_ = nullptr;
  std::unique_ptr<std::byte[]> data_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace holdfast::proxy
