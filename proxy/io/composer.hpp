// Collects what one pass over received frames passes on, for one send.
//
// While frames go out unchanged and contiguous it only remembers their span in the receive buffer; the first byte that
// is inserted, rewritten or left out between them makes it copy from there on. Steady traffic copies nothing.
// Thread: the worker's. Lifetime: the worker's, cleared after each pass; the spans are valid until the receive buffer
// changes.
#pragma once

#include <vector>

#include "protocol/bytes.hpp"

namespace holdfast::proxy {

class Composer {
 public:
  // Received bytes, unchanged.
  void forward(protocol::Bytes bytes) {
    if (bytes.empty()) return;
    if (copied_.empty()) {
      if (direct_.empty()) {
        direct_ = bytes;
        return;
      }
      if (direct_.data() + direct_.size() == bytes.data()) {
        direct_ = {direct_.data(), direct_.size() + bytes.size()};
        return;
      }
    }
    copy(bytes);
  }
  // For bytes that are not forwarded: append them to what this returns.
  [[nodiscard]] std::vector<std::byte>& writable() {
    if (!direct_.empty()) {
      copied_.insert(copied_.end(), direct_.begin(), direct_.end());
      direct_ = {};
    }
    return copied_;
  }

  [[nodiscard]] bool empty() const { return direct_.empty() && copied_.empty(); }
  [[nodiscard]] protocol::Bytes bytes() const { return copied_.empty() ? direct_ : protocol::Bytes(copied_); }
  [[nodiscard]] std::size_t size() const { return direct_.size() + copied_.size(); }
  void clear() {
    direct_ = {};
    if (copied_.empty()) return;
    copied_.clear();
    if (copied_.capacity() > largest_kept) copied_.shrink_to_fit();
  }

 private:
  static constexpr std::size_t largest_kept = 256 * 1024;

  // Apart from forward(), which is called for every message and mostly has nothing to copy.
  [[gnu::noinline]] void copy(protocol::Bytes bytes) {
    auto& out = writable();
    out.insert(out.end(), bytes.begin(), bytes.end());
  }

  protocol::Bytes direct_;
  std::vector<std::byte> copied_;
};

}  // namespace holdfast::proxy
