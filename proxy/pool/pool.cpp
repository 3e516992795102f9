#include "proxy/pool/pool.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

#include "proxy/pool/connector.hpp"
#include "proxy/session/client_session.hpp"
#include "proxy/worker.hpp"

namespace holdfast::proxy {

const char* name_of(ServerState state) {
  switch (state) {
    case ServerState::connecting: return "connecting";
    case ServerState::idle: return "idle";
    case ServerState::active: return "active";
    case ServerState::draining: return "draining";
    case ServerState::cleaning: return "cleaning";
    case ServerState::closed: return "closed";
  }
  return "?";
}

namespace {

bool unusable(const health::MemberStatus& status) {
  return status.state == health::MemberState::fenced || status.state == health::MemberState::down ||
         status.state == health::MemberState::quarantined;
}

bool outdated(const ServerLink& server, const health::MemberStatus& status) {
  return unusable(status) || server.generation < status.generation;
}

}  // namespace

// ---- MemberPool -----------------------------------------------------------------------------------------------------

MemberPool::MemberPool(Pool& owner, health::MemberIndex index, std::shared_ptr<Permits> shared)
    : pool(owner), member(index), permits(std::move(shared)), retry_(&MemberPool::retry, this) {}

MemberPool::~MemberPool() {
  permits->unwant(&pool.worker);
}

ServerLink* MemberPool::take_idle() {
  while (ServerLink* server = idle.front()) {
    active.push_back(*server);
    if (server->reusable() && server->credentials == pool.credentials_version) return server;
    server->link.close();  // its reader sees it and cleans up
  }
  return nullptr;
}

void MemberPool::wait(Waiter& waiter) {
  waiters.push_back(waiter);
  open_more();
}

void MemberPool::open_more() {
  if (waiters.empty()) {
    permits->unwant(&pool.worker);
    return;
  }
  if (retry_.armed()) return;  // backing off
  const auto& topology = pool.topology();
  if (member >= topology.members.size() || topology.members[member].address.empty()) return;
  while (connecting < std::min<std::size_t>(waiters.size(), most_connecting)) {
    if (!permits->try_take()) {
      // The process has all it may have. Whoever releases one next finds us in order of waiting; those that lie idle on
      // other workers are asked for at once.
      if (permits->want(&pool.worker, waiters.front()->since)) pool.worker.ask_others_for_idle(pool.key, member);
      return;
    }
    ++connecting;
    spawn(pool.worker.gate, connect_server(*this));
  }
}

void MemberPool::give(ServerLink& server, Waiter& waiter) {
  waiter.leave();
  waiter.deadline.disarm();
  active.push_back(server);
  server.state = ServerState::active;
  waiter.session->server_given(server);
  waiter.settled = true;
  if (auto handle = std::exchange(waiter.handle, {})) pool.worker.reactor.schedule(handle);
}

bool MemberPool::hand_over(ServerLink& server) {
  std::optional<TimePoint> own;
  if (!waiters.empty()) own = waiters.front()->since;
  // The beginning of a message that came already can't go along.
  if (!server.link.received().empty()) return false;
  Worker* other = permits->take_want(&pool.worker, own);
  if (other == nullptr) return false;
  pool.worker.hand_over(*other, server);
  return true;
}

void MemberPool::release(ServerLink& server) {
  server.client = nullptr;
  const auto now = pool.worker.reactor.now();
  const bool too_old =
      pool.settings.server_lifetime.count() > 0 && now - server.connected_at > pool.settings.server_lifetime;
  // A connection that was being made, or was on its way from another worker, while the member changed is in no list
  // that member_changed() sees.
  const bool revoked = server.credentials != pool.credentials_version;
  const bool late = outdated(server, pool.topology().members[member]);
  if (!server.reusable() || too_old || late || revoked || permits->too_many() || pool.worker.stopping()) {
    server.link.close();
    return;
  }
  // "Longest waiting first" holds for the process: another worker's older waiter goes before ours.
  if (permits->wanted() && hand_over(server)) return;
  if (Waiter* oldest = waiters.front()) {
    give(server, *oldest);
    return;
  }
  server.state = ServerState::idle;
  server.idle_since = now;
  idle.push_front(server);
}

void MemberPool::ready(ServerLink& server) {
  backoff_ = std::chrono::milliseconds{0};
  active.push_back(server);
  release(server);
  open_more();
}

void MemberPool::gone(ServerLink& server) {
  server.leave();
  if (!server.handed_over) give_back_permit();
  open_more();
}

// Another worker that waits longer than anybody here may open a connection now.
void MemberPool::give_back_permit() {
  permits->give_back();
  std::optional<TimePoint> own;
  if (!waiters.empty()) own = waiters.front()->since;
  pool.worker.tell_permit(permits, pool.key, member, own);
}

void MemberPool::offer_idle() {
  while (permits->wanted()) {
    ServerLink* server = take_idle();
    if (server == nullptr) return;
    if (!hand_over(*server)) {
      release(*server);
      return;
    }
  }
}

void MemberPool::member_changed(const health::MemberStatus& status) {
  for (auto* list : {&idle, &active}) {
    for (ServerLink* server = list->front(); server != nullptr;) {
      ServerLink* next = server->next();
      // Closing wakes the coroutine that reads it: that tells the client, if there is one.
      if (outdated(*server, status) && server->state != ServerState::closed) server->link.close();
      server = next;
    }
  }
  if (!unusable(status)) {
    retry_.disarm();
    open_more();
  }
}

void MemberPool::close_idle(TimePoint older_than) {
  while (ServerLink* server = idle.back()) {
    if (server->idle_since > older_than) return;
    active.push_back(*server);
    server->link.close();
  }
}

void MemberPool::give_up_waiters(List<Waiter>& line) {
  while (Waiter* waiter = waiters.front()) line.push_back(*waiter);
  permits->unwant(&pool.worker);
}

void MemberPool::fail_waiters(const Error& error) {
  while (Waiter* waiter = waiters.front()) {
    waiter->leave();
    waiter->deadline.disarm();
    waiter->error = error;
    waiter->settled = true;
    if (auto handle = std::exchange(waiter->handle, {})) pool.worker.reactor.schedule(handle);
  }
}

void MemberPool::connect_failed(const Error& error, bool network) {
  give_back_permit();
  if (!network) {
    // The server said no to this user or database; waiting makes it no better. With servers at work it may be a matter
    // of numbers (53300): the waiters get those.
    const bool crowded = error.state == sqlstate::too_many_connections;
    if (!crowded || (active.empty() && idle.empty())) fail_waiters(error);
  }
  backoff_ = backoff_.count() == 0 ? first_backoff : std::min(backoff_ * 2, longest_backoff);
  if (!waiters.empty()) pool.worker.reactor.deadlines().arm(retry_, pool.worker.reactor.now() + backoff_);
}

void MemberPool::retry(void* self) {
  static_cast<MemberPool*>(self)->open_more();
}

namespace {

bool same(const Pool::Credentials& a, const Pool::Credentials& b) {
  if (a.index() != b.index()) return false;
  if (const auto* password = std::get_if<protocol::LoginRequest::Password>(&a)) {
    return password->text == std::get<protocol::LoginRequest::Password>(b).text;
  }
  if (const auto* keys = std::get_if<protocol::scram::Keys>(&a)) return *keys == std::get<protocol::scram::Keys>(b);
  return true;
}

std::atomic<std::uint64_t> next_pool_id{1};  // NOLINT: ids are the process's

}  // namespace

// ---- Pool -----------------------------------------------------------------------------------------------------------

Pool::Pool(Worker& owner, PoolKey pool_key, const config::EffectiveSettings& effective)
    : worker(owner),
      key(std::move(pool_key)),
      id(next_pool_id.fetch_add(1, std::memory_order_relaxed)),
      settings(effective),
      topology_(owner.topology(key.cluster)) {}

MemberPool& Pool::member(health::MemberIndex index) {
  while (members.size() <= index) {
    const auto next = static_cast<health::MemberIndex>(members.size());
    const auto& status = topology_->members[next];
    members.push_back(
        std::make_unique<MemberPool>(*this, next, worker.permit_book().find(key, status.name, settings.pool_size)));
  }
  return *members[index];
}

void Pool::topology_changed(health::TopologyPtr topology) {
  const auto before = std::exchange(topology_, std::move(topology));
  if (before->epoch != topology_->epoch) welcomes_.clear();
  for (auto& pool : members) {
    if (pool->member >= topology_->members.size()) continue;
    const auto& status = topology_->members[pool->member];
    const bool primary = topology_->primary == pool->member;
    // Who waits for a member that can't serve him any more starts over: writers in the line for a primary, readers by
    // asking the router again.
    const bool serves_reads = primary || status.accepts_reads;
    List<Waiter> moved;
    for (Waiter* waiter = pool->waiters.front(); waiter != nullptr;) {
      Waiter* next = waiter->next();
      const bool stays = waiter->kind == Waiter::Kind::write ? primary : serves_reads;
      if (!stays) moved.push_back(*waiter);
      waiter = next;
    }
    while (Waiter* waiter = moved.front()) {
      if (waiter->kind == Waiter::Kind::write) {
        held_.push_back(*waiter);
        worker.hold_places().take();  // it waits already: the limit is for those who come now
        waiter->session->hold_began();
      } else {
        waiter->leave();
        waiter->deadline.disarm();
        waiter->settled = true;  // without a server and without an error: ask again
        if (auto handle = std::exchange(waiter->handle, {})) worker.reactor.schedule(handle);
      }
    }
    pool->member_changed(status);
  }
  if (topology_->primary) primary_available();
}

void Pool::primary_available() {
  auto& primary = member(*topology_->primary);
  if (held_.empty()) return;
  // Servers that lie idle there are given out at once; the rest stand in line. Oldest first, both ways.
  while (Waiter* waiter = held_.front()) {
    waiter->leave();
    waiter->session->hold_ended();
    primary.waiters.push_back(*waiter);
  }
  while (!primary.waiters.empty()) {
    ServerLink* server = primary.take_idle();
    if (server == nullptr) break;
    primary.release(*server);
  }
  primary.open_more();
}

void Pool::reconfigure(const config::Config& config) {
  // What belongs to a pool is asked of its database and user; the listener makes no difference to servers.
  const auto* database = config.find_database(key.database);
  for (const auto& candidate : config.databases) {
    if (candidate.cluster == key.cluster && candidate.database == key.database) database = &candidate;
  }
  settings = config.effective(config.listeners.front(), database, config.find_user(key.user));
  for (auto& pool : members) {
    pool->permits->set_limit(settings.pool_size);
    pool->open_more();
  }
}

void Pool::set_credentials(Credentials fresh) {
  // What a log-in by trust leaves is nothing to replace known keys with.
  if (std::holds_alternative<std::monostate>(fresh) || same(credentials, fresh)) return;
  credentials = std::move(fresh);
  ++credentials_version;
}

std::optional<protocol::ReportedRef> Pool::find_welcome(const protocol::SettingsRef& wanted) {
  for (const auto& [known, reported] : welcomes_) {
    if (known == wanted) return reported;
  }
  const auto elsewhere = worker.shared.welcomes.find(key, wanted.parameters(), topology_->epoch);
  if (!elsewhere) return std::nullopt;
  protocol::ReportedRef reported;
  for (const auto& parameter : *elsewhere) {
    auto with = worker.reported.with(reported, parameter.name, parameter.value);
    if (!with) return std::nullopt;
    reported = std::move(*with);
  }
  keep_welcome(wanted, reported);
  return reported;
}

void Pool::remember_welcome(const protocol::SettingsRef& wanted, const protocol::ReportedRef& reported) {
  keep_welcome(wanted, reported);
  worker.shared.welcomes.remember(key, wanted.parameters(), topology_->epoch, reported.parameters());
}

void Pool::keep_welcome(const protocol::SettingsRef& wanted, const protocol::ReportedRef& reported) {
  if (welcomes_.size() >= welcomes_kept) welcomes_.erase(welcomes_.begin());
  welcomes_.emplace_back(wanted, reported);
}

void Pool::waiter_left() {
  for (auto& pool : members) {
    if (pool->waiters.empty()) pool->permits->unwant(&worker);
  }
}

bool Pool::unused() const {
  if (sessions > 0 || !held_.empty()) return false;
  return std::ranges::all_of(members, [](const auto& member) {
    return member->idle.empty() && member->active.empty() && member->waiters.empty() && member->connecting == 0;
  });
}

std::uint64_t Pool::version_of(const Credentials& theirs) const {
  // A log-in by trust knows none.
  const bool unknown =
      std::holds_alternative<std::monostate>(theirs) || std::holds_alternative<std::monostate>(credentials);
  return unknown || same(credentials, theirs) ? credentials_version : credentials_version - 1;
}

bool Pool::wait_for_primary(Waiter& waiter) {
  if (topology_->primary) {
    member(*topology_->primary).wait(waiter);
    return true;
  }
  if (!worker.hold_places().try_take()) return false;
  held_.push_back(waiter);
  waiter.session->hold_began();
  return true;
}

void Pool::sweep(TimePoint now) {
  if (settings.server_idle_timeout.count() == 0) return;
  for (auto& pool : members) pool->close_idle(now - settings.server_idle_timeout);
}

void Pool::close_all() {
  for (auto& pool : members) {
    for (auto* list : {&pool->idle, &pool->active}) {
      for (ServerLink* server = list->front(); server != nullptr;) {
        ServerLink* next = server->next();
        server->link.close();
        server = next;
      }
    }
  }
}

}  // namespace holdfast::proxy
