// How a client's bytes come in: whether a message that has begun makes progress. Owner: the session.
#pragma once

#include <cstddef>
#include <cstdint>

#include "protocol/framer.hpp"
#include "protocol/message.hpp"
#include "proxy/io/reactor.hpp"

namespace holdfast::proxy {

class Intake {
 public:
  void received(std::size_t bytes, TimePoint now) {
    total_ += bytes;
    if (bytes > 0) last_ = now;
  }
  // When bytes came last.
  [[nodiscard]] TimePoint last() const { return last_; }

  // From here on progress is measured.
  void mark() { mark_ = total_; }
  // Enough has come since mark() for another period.
  [[nodiscard]] bool progressed() const { return total_ - mark_ >= enough; }

  // `received` ends within a message; `framer` is at its front. Not in a CopyData, which holds nothing up but its COPY:
  // libpq sends in blocks of 8 KiB, and keeps what is behind the last one until there is more (pqPutMsgEnd,
  // fe-misc.c).
  [[nodiscard]] static bool in_message(protocol::Framer framer, protocol::Bytes received) {
    if (!framer.at_boundary()) return framer.tag() != protocol::client::copy_data;
    while (!received.empty()) {
      const auto frame = framer.next(received);
      if (frame.kind == protocol::Frame::Kind::need_more) return true;
      if (frame.kind != protocol::Frame::Kind::start) return false;
      if (!frame.last) return frame.tag != protocol::client::copy_data;
      received = received.subspan(frame.bytes.size());
    }
    return false;
  }

 private:
  static constexpr std::size_t enough = 16U << 10;

  std::uint64_t total_ = 0;
  std::uint64_t mark_ = 0;
  TimePoint last_;
};

}  // namespace holdfast::proxy
