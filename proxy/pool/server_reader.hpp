// Reads one server connection for as long as it lasts: always, whoever it serves.
//
// Task: what comes is for the user of its lease; without one it ends the cleaning, or is something that the server says
// of itself. Thread: the worker's. Lifetime: the coroutine owns the link.
#pragma once

#include <memory>

#include "proxy/io/task.hpp"
#include "proxy/pool/context.hpp"
#include "proxy/pool/server_link.hpp"

namespace holdfast::proxy {

// Until the connection has ended and nobody refers to it any more. It is in its member's pool already.
Task<> read_server(PoolContext& context, std::unique_ptr<ServerLink> server);
// Makes a fresh connection known to its member's pool, and reads it in a coroutine of its own.
void serve(PoolContext& context, std::unique_ptr<ServerLink> server);

// What a NoticeResponse, ErrorResponse or ParameterStatus says of the member, for its monitor. True: the notice was
// meant for us alone (a shutdown).
bool note_evidence(const PoolContext& context, const ServerLink& server, const protocol::Frame& frame);
// Takes a ParameterStatus into what the server reports. False: it is malformed, or the server reports more than we keep.
[[nodiscard]] bool note_parameter(const PoolContext& context, ServerLink& server, const protocol::Frame& frame);

// One pass: calls message(frame) for the beginning of each message, more(frame) for further pieces of a long one.
// message() returns false to end the pass: the server must be closed.
template <typename Message, typename More>
Pass read_frames(ServerLink& server, Message&& message, More&& more) {
  using Kind = protocol::Frame::Kind;
  for (;;) {
    const auto frame = server.session.framer.next(server.link.received());
    switch (frame.kind) {
      case Kind::need_more: return {.wanted = frame.wanted};
      case Kind::error: return {.good = false};
      case Kind::more: more(frame); break;
      case Kind::start:
        if (!message(frame)) return {.good = false};
        break;
    }
    server.link.consume(frame.bytes.size());
  }
}

}  // namespace holdfast::proxy
