// Answers of the proxy's own to messages that no server has to see, in their turn (Exchange::before, Exchange::after).
#pragma once

#include <vector>

#include "protocol/backend.hpp"
#include "protocol/client_statements.hpp"
#include "protocol/request.hpp"
#include "protocol/server_statements.hpp"

namespace holdfast::proxy {

inline void append_local_reply(std::vector<std::byte>& out, const protocol::Request& request,
                               protocol::ClientStatements& client, protocol::ServerStatements& server) {
  if (request.tag == protocol::client::parse) {
    protocol::write_parse_complete(out);
  } else {
    protocol::write_close_complete(out);
  }
  if (request.cookie == 0) return;
  client.settle(request.cookie, protocol::Outcome::completed);
  server.settle(request.cookie, protocol::Outcome::completed);
}

}  // namespace holdfast::proxy
