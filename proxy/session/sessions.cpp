#include "proxy/session/sessions.hpp"

#include <unistd.h>

#include <utility>

#include "proxy/session/client_session.hpp"

namespace holdfast::proxy {

Sessions::Sessions(SessionContext& context) : context_(context) {}

Sessions::~Sessions() = default;

void Sessions::begin(const Accepted& accepted) {
  if (context_.stopping) {
    ::close(accepted.fd);
    return;
  }
  const auto id = context_.shared.next_session.fetch_add(1, std::memory_order_relaxed);
  auto session = std::make_unique<ClientSession>(context_, id, accepted);
  auto& running = *session;
  sessions_.emplace(id, std::move(session));
  context_.counters.clients_accepted.add();
  spawn(context_.gate, running.run(accepted.fd));
}

void Sessions::ended(std::uint64_t id) {
  // Its coroutine is still on the stack: it is destroyed when control is back in the loop.
  context_.reactor.post([this, id] {
    sessions_.erase(id);
    if (done_) done_();
  });
}

void Sessions::cancel(std::uint64_t session) {
  context_.reactor.post([this, session] {
    const auto found = sessions_.find(session);
    if (found != sessions_.end()) found->second->cancel();
  });
}

void Sessions::stop(bool at_once, std::function<void()> done) {
  done_ = std::move(done);
  for (auto& [id, session] : sessions_) session->shut_down(at_once);
}

void Sessions::reconfigure() {
  context_.tables.forget_effective();
  for (auto& [id, session] : sessions_) session->reconfigure();
}

void Sessions::shed() {
  ClientSession* oldest = nullptr;
  for (const auto& [id, session] : sessions_) {
    if (session->sheddable() == 0) continue;
    if (oldest == nullptr || session->last_received() < oldest->last_received()) oldest = session.get();
  }
  if (oldest != nullptr) oldest->shed();
}

void Sessions::everywhere(const std::function<void(Tables&)>& what) {
  for (Sessions* worker : all_) {
    if (worker == this) {
      what(context_.tables);
    } else {
      worker->context_.reactor.post([worker, what] { what(worker->context_.tables); });
    }
  }
}

void Sessions::schema_changed(const PoolKey& pool, bool shared) {
  auto& catalogues = context_.pools.shared().catalogues;
  // Clusters may have servers in common.
  for (const auto& cluster : context_.runtime->config.sharing_servers_with(pool.cluster)) {
    if (shared) {
      catalogues.changed(cluster);
    } else {
      catalogues.changed(cluster, pool.database);
    }
    auto pools = shared ? PoolKey::all_of(cluster) : PoolKey::all_of(cluster, pool.database);
    everywhere([pools = std::move(pools)](Tables& tables) { tables.forget_verdicts(pools); });
  }
}

void Sessions::plans_expired(const PoolKey& pool) {
  for (const auto& cluster : context_.runtime->config.sharing_servers_with(pool.cluster)) {
    everywhere([database = PoolKey::all_of(cluster, pool.database)](Tables& tables) { tables.expire_plans(database); });
  }
}

}  // namespace holdfast::proxy
