#include "protocol/framer.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace holdfast::protocol {

Frame Framer::next(Bytes bytes) {
  if (fault_ != Fault::none) return {.kind = Frame::Kind::error};
  if (remaining_ > 0) {
    if (bytes.empty()) return {.wanted = 1};
    const auto size = std::min<std::size_t>(bytes.size(), remaining_);
    remaining_ -= static_cast<std::uint32_t>(size);
    return {.kind = Frame::Kind::more, .last = remaining_ == 0, .tag = tag_, .bytes = bytes.first(size)};
  }
  if (bytes.empty()) return {.wanted = header_size};
  const char tag = static_cast<char>(bytes[0]);
  const Body body = body_of(direction_, tag);
  // An unknown tag is refused before its length is read: what follows can't be trusted either.
  if (body == Body::unknown) {
    return broken(Fault::unknown_tag, tag, 0);
  }
  if (bytes.size() < header_size) return {.wanted = header_size};
  const auto length = load_be<std::uint32_t>(bytes.data() + 1);
  if (length < 4 || length > max_message_length) {
    return broken(Fault::bad_length, tag, length);
  }
  const std::size_t total = std::size_t{length} + 1;
  if (bytes.size() < total) {
    if (body == Body::whole && length <= limits_.whole_limit) return {.wanted = total};
    // A Parse that is too long to be handed over whole still needs its head: its name must be replaced.
    if (body == Body::head || tag == client::parse) {
      const std::size_t head = std::min<std::size_t>(total, limits_.head_limit);
      if (bytes.size() < head) return {.wanted = head};
    }
  }
  const auto size = std::min(bytes.size(), total);
  remaining_ = static_cast<std::uint32_t>(total - size);
  tag_ = tag;
  return {
      .kind = Frame::Kind::start, .last = remaining_ == 0, .tag = tag, .length = length, .bytes = bytes.first(size)};
}

Frame Framer::broken(Fault fault, char tag, std::uint32_t length) {
  fault_ = fault;
  tag_ = tag;
  remaining_ = length;
  return {.kind = Frame::Kind::error};
}

Error Framer::error() const {
  switch (fault_) {
    case Fault::none: break;
    case Fault::unknown_tag:
      return {sqlstate::protocol_violation, "invalid message type " + std::to_string(static_cast<unsigned char>(tag_))};
    case Fault::bad_length:
      return {sqlstate::protocol_violation,
              "invalid length " + std::to_string(remaining_) + " of message " + name_of(direction_, tag_)};
  }
  return {};
}

}  // namespace holdfast::protocol
