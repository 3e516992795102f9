#include "proxy/pool/canceller.hpp"

#include <utility>

#include "protocol/frontend.hpp"
#include "proxy/admin/log.hpp"
#include "proxy/pool/connector.hpp"
#include "proxy/pool/pool.hpp"
#include "proxy/session/answers.hpp"
#include "proxy/session/client_session.hpp"
#include "proxy/worker.hpp"

namespace holdfast::proxy {
namespace {

constexpr std::chrono::seconds longest_cancel{5};

void close_link(void* link) {
  static_cast<Link*>(link)->close();
}

// PostgreSQL takes a CancelRequest without TLS also where pg_hba.conf has hostssl only; libpq 15 sends it so.
Task<> send_cancel(ServerLink& server) {
  Worker& worker = server.home->pool.worker;
  const auto& member = server.home->pool.topology().members[server.home->member];
  const std::string address = member.address;
  const auto port = member.port;
  Link link;
  Deadline deadline(&close_link, &link);
  worker.reactor.deadlines().arm(deadline, worker.reactor.now() + longest_cancel);
  auto connected = co_await connect_socket(worker.reactor, link, address, port);
  if (connected) {
    std::vector<std::byte> out;
    protocol::write_cancel_request(out, server.pid, server.secret);
    link.send(out);
    // The server closes when it has acted. Only then can the cancellation hit nobody else.
    while (link.open()) {
      if (!link.may_receive()) co_await link.watch().readable();
      if (link.receive() == Io::closed) break;
      link.consume(link.received().size());
    }
  } else {
    log_event(LogLevel::warning, "cancel_failed", {{"reason", connected.error().message}});
  }
  deadline.disarm();
  link.close();
  co_await link.quiet();
  if (--server.cancels > 0) co_return;
  if (server.farewell) {
    worker.reactor.schedule(std::exchange(server.farewell, {}));
  } else if (server.client != nullptr) {
    server.client->server_idle(server);
  } else if (server.state == ServerState::draining || server.state == ServerState::cleaning) {
    settle_down(server);
  }
}

}  // namespace

void cancel_query(ServerLink& server) {
  if (server.pid == 0 || server.secret.empty() || server.cancels > 0 || !server.link.open()) return;
  server.cancel_next = false;
  ++server.cancels;
  spawn(server.home->pool.worker.gate, send_cancel(server));
}

}  // namespace holdfast::proxy
