// Sends a cancel request for what a server connection runs, over a connection of its own (manual, 55.2.8).
#pragma once

namespace holdfast::proxy {

class ServerLink;

// The server is not reused until the cancel connection is closed (ServerLink::being_canceled): a late cancellation must
// not hit the next client's statement. One at a time for each server. Failures are logged; success shows only in the
// statement's own error.
void cancel_query(ServerLink& server);

}  // namespace holdfast::proxy
