// Asks a server to cancel what it runs for one of its connections: on a connection of its own (manual, 55.2.8).
#pragma once

#include "proxy/pool/server_link.hpp"

namespace holdfast::proxy {

// Until the cancel connection is closed `server.cancels` keeps the server from being reused: a late cancellation must
// not hit the next client's statement. Failures are logged; the server's answer, if any, is the statement's own error.
void cancel_query(ServerLink& server);

}  // namespace holdfast::proxy
