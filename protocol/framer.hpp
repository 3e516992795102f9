// Bytes to frames, in place.
//
// Task: finds message boundaries in a byte stream of protocol 3.x after start-up. Owns no bytes; it remembers only its
// position within the current message. Messages that matter to the proxy are handed over whole (Body::whole), long ones
// in pieces (Body::stream), Bind with its head first (Body::head). Thread: any one; no locks. Lifetime: one per
// direction of a connection.
//
//            header complete, body whole or head/stream      more of a streamed body
//   boundary ------------------------------------> boundary / in_body ----------> in_body / boundary
//       |  length < 4, > limit, unknown tag
//       +------------------------------------> failed (for good)
#pragma once

#include <cstddef>
#include <cstdint>

#include "protocol/bytes.hpp"
#include "protocol/error.hpp"
#include "protocol/message.hpp"

namespace holdfast::protocol {

// A message, or a piece of one. `bytes` points into what was passed to next().
struct Frame {
  enum class Kind : std::uint8_t {
    need_more,  // nothing yet: pass the same bytes again, with more behind them
    start,      // a message's header and as much of its body as has come (all of it if `last`)
    more,       // further bytes of the message that `start` began
    error,      // the stream is broken: see Framer::error()
  };
  Kind kind = Kind::need_more;
  bool last = false;         // the message ends with these bytes
  char tag = 0;              // also set for `more`
  std::uint32_t length = 0;  // `start`: the length word (body size + 4)
  Bytes bytes;               // `start`: header included
  std::size_t wanted = 0;    // need_more: total bytes needed for progress, a hint for the buffer's size

  [[nodiscard]] Bytes body() const { return kind == Kind::start ? bytes.subspan(header_size) : bytes; }
};

class Framer {
 public:
  // `whole_limit`: largest length word of a Body::whole message that is handed over whole. A longer one comes in pieces
  // (`last` is false on its start): statements of any size pass, and the caller decides what to do with one that it
  // can't see whole. `head_limit`: the least that the start of a Body::head message contains, in bytes, header
  // included.
  struct Limits {
    std::uint32_t whole_limit = 16U << 20;
    std::uint32_t head_limit = 8192;
  };

  explicit Framer(Direction direction) : Framer(direction, Limits{}) {}
  Framer(Direction direction, Limits limits) : limits_(limits), direction_(direction) {}

  // The next frame at the front of `bytes`, which is the stream from the first byte that no frame has covered yet. The
  // caller advances by frame.bytes.size(), which is 0 for need_more.
  [[nodiscard]] Frame next(Bytes bytes);

  // Undoes the last next(), which must have returned a `start`: the same frame comes again.
  void put_back() { remaining_ = 0; }

  // Between two messages: no message is half read. Bytes of an incomplete header do not count.
  [[nodiscard]] bool at_boundary() const { return remaining_ == 0 && fault_ == Fault::none; }
  // The kind of the message whose rest is to come.
  [[nodiscard]] char tag() const { return tag_; }
  // Bytes of the current message that are still to come.
  [[nodiscard]] std::uint32_t remaining() const { return remaining_; }
  [[nodiscard]] Error error() const;

 private:
  enum class Fault : std::uint8_t { none, unknown_tag, bad_length };
  Frame broken(Fault fault, char tag, std::uint32_t length);

  Limits limits_;
  std::uint32_t remaining_ = 0;  // bytes of the message; after a bad length: that length
  Direction direction_;
  char tag_ = 0;
  Fault fault_ = Fault::none;
};

}  // namespace holdfast::protocol
