// Puts a client's start-up settings on a server that has others, before anything of the client's runs there.
//
// Task: one statement (parameters.hpp), sent alone; its answers are the proxy's. In a round trip of its own: sent along
// with the query, a failure would come when the query had run under the wrong settings already. Nothing is sent to a
// server that has them. Thread: any one; no locks. Lifetime: from the moment the server is taken until done().
//
//   begin() ──nothing to do──> aligned
//      └──sent──> asking ──ReadyForQuery──> aligned | refused (nothing has changed on the server)
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "protocol/error.hpp"
#include "protocol/server_session.hpp"

namespace holdfast::protocol {

class Alignment {
 public:
  enum class State : std::uint8_t { asking, aligned, refused };

  Alignment(ServerSession& server, SettingsRef wanted) : server_(server), wanted_(std::move(wanted)) {}

  // Appends what is to be sent. The server is idle.
  State begin(std::vector<std::byte>& out);
  // An ErrorResponse came in answer.
  void failed(Error error) { error_ = std::move(error); }
  // After a pass over the server's answers.
  State answered();
  [[nodiscard]] State state() const { return state_; }
  // Of `refused`: the server's own, for the client.
  [[nodiscard]] const Error& error() const { return *error_; }

 private:
  ServerSession& server_;
  SettingsRef wanted_;
  std::optional<Error> error_;
  State state_ = State::asking;
};

}  // namespace holdfast::protocol
