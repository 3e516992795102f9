// Asks a server to cancel what it runs for one of its connections: on a connection of its own (manual, 55.2.8).
#pragma once

namespace holdfast::proxy {

class ServerLink;

// Until the cancel connection is closed the server is not reused (ServerLink::being_canceled): a late cancellation must
// not hit the next client's statement. One at a time for each server. Failures are logged; the server's answer, if any,
// is the statement's own error.
void cancel_query(ServerLink& server);

}  // namespace holdfast::proxy
