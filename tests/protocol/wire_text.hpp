// Server messages as text, for expectations: "1 2 C:SELECT 1 E25P02 ZE".
#pragma once

#include <string>

#include "protocol/backend.hpp"
#include "protocol/framer.hpp"

namespace holdfast::protocol::testing {

// The messages in `out` as text: tags; ErrorResponse with its SQLSTATE, ReadyForQuery with its status.
inline std::string text_of(Bytes out) {
  std::string text;
  Framer framer(Direction::from_server);
  for (Bytes rest = out; !rest.empty();) {
    const Frame frame = framer.next(rest);
    if (frame.kind != Frame::Kind::start || !frame.last) return text + " (broken)";
    rest = rest.subspan(frame.bytes.size());
    text += (text.empty() ? "" : " ") + std::string(1, frame.tag);
    if (frame.tag == 'E') text += std::string(parse_error(frame.body())->state.view());
    if (frame.tag == 'Z') text += *parse_ready_for_query(frame.body());
    if (frame.tag == 'C') text += ":" + std::string(*parse_command_complete(frame.body()));
  }
  return text;
}

}  // namespace holdfast::protocol::testing
