// A ring of requests, eight bytes each: the exchange's memory.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "protocol/invariant.hpp"
#include "protocol/request.hpp"

namespace holdfast::protocol {

// First in, first out, with access by position. The first few entries live inside; a deep pipeline moves the queue to
// the heap, and release_spare() back. Thread: any one. Not copyable: it is part of an exchange.
class RequestQueue {
 public:
  enum Mark : std::uint8_t {
    local = 1U << 0,        // answered by the proxy
    flush_after = 1U << 1,  // local: a Flush came behind it
    answered = 1U << 2,     // has had an answer; another one finishes it
    failed = 1U << 3,       // Q, F, S: its ErrorResponse has come, only ReadyForQuery is to follow
    data_behind = 1U << 4,  // S: CopyData came behind it
  };
  struct Entry {
    std::uint32_t cookie = 0;
    char tag = 0;
    Origin origin = Origin::client;
    Trait traits = Trait::none;
    std::uint8_t marks = 0;

    [[nodiscard]] bool is(Mark mark) const { return (marks & mark) != 0; }
    void mark(Mark mark) { marks = static_cast<std::uint8_t>(marks | mark); }
    [[nodiscard]] Request request() const { return {tag, origin, traits, is(local), cookie}; }
  };
  static_assert(sizeof(Entry) == 8);

  RequestQueue() = default;
  RequestQueue(const RequestQueue&) = delete;
  RequestQueue& operator=(const RequestQueue&) = delete;

  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t capacity() const { return mask_ + 1; }

  // Position 0 is the oldest. Valid until the next push.
  [[nodiscard]] Entry& operator[](std::size_t at) { return slots()[(head_ + at) & mask_]; }
  [[nodiscard]] const Entry& operator[](std::size_t at) const { return slots()[(head_ + at) & mask_]; }
  [[nodiscard]] Entry& back() { return (*this)[size_ - 1]; }

  void push(const Entry& entry) {
    if (size_ > mask_) grow();
    slots()[(head_ + size_) & mask_] = entry;
    ++size_;
  }
  void pop_front(std::size_t count = 1) {
    if (!holds(count <= size_, "a request is taken from a queue that has none")) return;
    head_ = static_cast<std::uint32_t>((head_ + count) & mask_);
    size_ -= static_cast<std::uint32_t>(count);
  }
  // Removes `count` entries from position `at` on. O(at): the entries before them move up.
  void erase(std::size_t at, std::size_t count) {
    for (std::size_t i = at; i-- > 0;) (*this)[i + count] = (*this)[i];
    pop_front(count);
  }
  void clear() {
    head_ = size_ = 0;
    release_spare();
  }
  // Gives the heap back after a deep pipeline. Only when empty.
  void release_spare() {
    if (size_ != 0 || mask_ + 1 <= kept) return;
    heap_.reset();
    mask_ = inside - 1;
    head_ = 0;
  }

 private:
  static constexpr std::size_t inside = 8;
  static constexpr std::size_t kept = 1024;  // 8 KiB: a pipeline of that depth may come again

  [[nodiscard]] Entry* slots() { return heap_ ? heap_.get() : inside_.data(); }
  [[nodiscard]] const Entry* slots() const { return heap_ ? heap_.get() : inside_.data(); }
  void grow() {
    auto bigger = std::make_unique<Entry[]>(2 * capacity());
    for (std::size_t i = 0; i < size_; ++i) bigger[i] = (*this)[i];
    mask_ = static_cast<std::uint32_t>(2 * capacity() - 1);
    heap_ = std::move(bigger);
    head_ = 0;
  }

  std::array<Entry, inside> inside_{};
  std::unique_ptr<Entry[]> heap_;
  std::uint32_t head_ = 0;
  std::uint32_t size_ = 0;
  std::uint32_t mask_ = inside - 1;
};

}  // namespace holdfast::protocol
