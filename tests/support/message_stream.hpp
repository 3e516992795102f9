// A client's end of a connection for tests that read many messages: what has come is received in large pieces.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "tests/support/scripted_peer.hpp"

namespace holdfast::testing {

class MessageStream {
 public:
  explicit MessageStream(int port);  // to 127.0.0.1; throws std::system_error

  // What can't be sent because the peer has ended is dropped: what it said before still comes.
  void send(std::string_view bytes);
  // The next message; type 0: the connection has ended. Throws ScriptError when nothing comes within the bound.
  [[nodiscard]] PeerMessage next(std::chrono::milliseconds bound = std::chrono::seconds(20));

 private:
  PeerConnection peer_;
  std::string got_;
  std::size_t used_ = 0;  // of got_
};

}  // namespace holdfast::testing
