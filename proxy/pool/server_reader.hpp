// Reads one server connection for as long as it lasts, with or without a client.
//
// Task: hands what comes to the user of the lease; without one, drives the cleaning and records what the server reports
// about itself. Thread: the worker's. Lifetime: the coroutine owns the link.
#pragma once

#include <memory>

#include "proxy/io/task.hpp"
#include "proxy/pool/context.hpp"
#include "proxy/pool/server_link.hpp"

namespace holdfast::proxy {

// Runs until the connection has ended and nothing refers to it any more. The link is in its member's pool already.
Task<> read_server(PoolContext& context, std::unique_ptr<ServerLink> server);
// Adds an adopted connection to its member's pool, and reads it in a coroutine of its own.
void serve(PoolContext& context, std::unique_ptr<ServerLink> server);

// Reports what a NoticeResponse or ErrorResponse says about the member to its monitor, and keeps it if it may be the
// server's last word. True: the notice concerns only the proxy (a shutdown or crash).
bool note_evidence(const PoolContext& context, ServerLink& server, const protocol::Frame& frame);
// Records a ParameterStatus; a change of in_hot_standby is evidence as well. False: it is malformed, or the server
// reports more than we keep.
[[nodiscard]] bool note_parameter(const PoolContext& context, ServerLink& server, const protocol::Frame& frame);

// One pass: calls message(frame) for the start of each message, more(frame) for further pieces of a long one.
// message() returns false to end the pass: the server must be closed.
template <typename Message, typename More>
Pass read_frames(ServerLink& server, Message&& message, More&& more) {
  using Kind = protocol::Frame::Kind;
  while (!server.link.received().empty()) {
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
  return {};
}

}  // namespace holdfast::proxy
