// Puts a client's start-up settings on a server that has others, before anything of the client's runs there.
//
// Task: sends one statement (parameters.hpp), alone; its answers are the proxy's. It takes a round trip of its own: if
// it went along with the query, its failure would come when the query had already run under the wrong settings. A
// server that has the settings is sent nothing. What other clients' sequences have left is discarded with it, for a
// client that may look (manual, DISCARD SEQUENCES). Thread: any one; no locks. Lifetime: from the moment the server is
// taken until state() is `aligned` or `refused`.
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

  // `forget`: others' sequence values as well.
  enum class Sequences : std::uint8_t { keep, forget };

  Alignment(ServerSession& server, SettingsRef wanted, Sequences sequences = Sequences::keep)
      : server_(server), wanted_(std::move(wanted)), sequences_(sequences) {}

  // Appends what must be sent. The server must be idle.
  State begin(std::vector<std::byte>& out);
  // The server answered with an ErrorResponse.
  void failed(Error error) { error_ = std::move(error); }
  // The client is gone while its settings are on their way: nobody knows which of them the server has.
  void give_up() { server_.soil(sql::Effect::discard); }
  // After a pass over the server's answers.
  State answered();
  [[nodiscard]] State state() const { return state_; }
  // Only when `refused`: the server's own error, for the client.
  [[nodiscard]] const Error& error() const { return *error_; }

 private:
  ServerSession& server_;
  SettingsRef wanted_;
  Sequences sequences_;
  std::optional<Error> error_;
  State state_ = State::asking;
};

}  // namespace holdfast::protocol
