#include "proxy/pool/canceller.hpp"

#include <utility>

#include "protocol/frontend.hpp"
#include "protocol/invariant.hpp"
#include "proxy/base/log.hpp"
#include "proxy/pool/connector.hpp"
#include "proxy/pool/pool.hpp"

namespace holdfast::proxy {
namespace {

constexpr std::chrono::seconds longest_cancel{5};

void close_link(void* link) {
  static_cast<Link*>(link)->close();
}

}  // namespace

class CancelRequest {
 public:
  static void begin(ServerLink& server) {
    if (!server.can_be_canceled() || server.cancels_ > 0 || !server.link.open()) return;
    server.cancel_next_ = false;
    ++server.cancels_;
    auto& context = server.home->pool().context();
    spawn(context.gate, send(context, server));
  }

 private:
  // PostgreSQL takes a CancelRequest without TLS even where pg_hba.conf has only hostssl; libpq 15 sends it that way.
  // The member's pool may be gone when this ends, but not the server's link: its reader waits for this.
  static Task<> send(PoolContext& context, ServerLink& server) {
    const auto& member = server.home->pool().topology().members[server.home->member()];
    const std::string address = member.address;
    const auto port = member.port;
    Link link;
    Deadline deadline(&close_link, &link);
    context.reactor.deadlines().arm(deadline, context.reactor.now() + longest_cancel);
    auto connected = co_await connect_socket(context.reactor, link, address, port);
    if (connected) {
      std::vector<std::byte> out;
      protocol::write_cancel_request(out, server.pid, server.secret);
      link.send(out);
      // The server closes when it has acted. Only then can the cancellation hit no other statement.
      while (link.open()) {
        if (!link.may_receive()) co_await link.watch().readable();
        if (link.receive() == Io::closed) break;
        link.consume(link.received().size());
      }
    } else {
      log_event(LogLevel::warning, "cancel_failed", {{"reason", connected.error().error.message}});
    }
    deadline.disarm();
    link.close();
    co_await link.quiet();
    if (holds(server.cancels_ > 0, "a cancel request ended that never began")) --server.cancels_;
    if (server.link.open()) {
      server.home->clean(server);  // the cleaning may have waited for this
    } else {
      server.let_go(context.reactor);
    }
  }
};

void cancel_query(ServerLink& server) {
  CancelRequest::begin(server);
}

}  // namespace holdfast::proxy
