// What servers say: one coroutine per server connection, always reading, whoever it serves.
#pragma once

#include <memory>

#include "proxy/io/task.hpp"
#include "proxy/pool/server_link.hpp"

namespace holdfast::proxy {

// Reads answers until the connection ends, passes them to the client it serves, and gives the server back to its pool
// when nothing is in flight. Owns the link: it is destroyed when this ends.
Task<> serve_answers(std::unique_ptr<ServerLink> server);

// The server lost its client, or was left in a state that nobody may inherit: finishes what is in flight, rolls back,
// discards, and releases; closes it if that can't be. Call it again after every pass.
void settle_down(ServerLink& server);

}  // namespace holdfast::proxy
