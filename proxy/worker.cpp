#include "proxy/worker.hpp"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "proxy/admin/log.hpp"
#include "proxy/pool/canceller.hpp"
#include "proxy/session/answers.hpp"
#include "proxy/session/client_session.hpp"

namespace holdfast::proxy {

namespace {
constexpr std::chrono::seconds sweep_interval{1};
// What a standby refused is asked of one again after so long: a view may have changed elsewhere.
constexpr std::chrono::minutes learnt_for{10};
// An answer that is overdue by this makes the monitor look at the member.
constexpr std::chrono::milliseconds overdue_after{1000};
}  // namespace

// A connection on its way from one worker to another: what is left of a ServerLink without its worker's tables.
struct Worker::HandedOver {
  Link::Baggage baggage;
  std::uint32_t pid = 0;
  std::vector<std::byte> secret;
  std::vector<protocol::Parameter> reported;
  bool has_settings = false;
  bool has_statements = false;
  std::uint64_t generation = 0;
  Pool::Credentials credentials;     // that it was opened with
  std::shared_ptr<Permits> permits;  // of which it has one
  TimePoint connected_at{};
};

Worker::Worker(Shared& everybody, std::uint32_t index, RuntimePtr runtime,
               std::map<std::string, health::TopologyPtr> topologies)
    : shared(everybody),
      number(index),
      statements(index),
      prepared(statements),
      runtime_(std::move(runtime)),
      topologies_(std::move(topologies)),
      sweep_(&Worker::on_sweep, this) {}

Worker::~Worker() {
  join();
}

void Worker::start() {
  thread_ = std::thread([this] { run(); });
}

void Worker::join() {
  if (thread_.joinable()) thread_.join();
}

void Worker::run() {
  const std::string name = "worker-" + std::to_string(number);
  ::pthread_setname_np(::pthread_self(), name.c_str());
  reactor.deadlines().arm(sweep_, reactor.now() + sweep_interval);
  reactor.run();
  finished_.store(true, std::memory_order_release);
}

void Worker::accept(Accepted accepted) {
  reactor.post([this, accepted = std::move(accepted)] {
    if (stopping_) {
      ::close(accepted.fd);
      return;
    }
    const auto id = shared.next_session.fetch_add(1, std::memory_order_relaxed);
    auto session = std::make_unique<ClientSession>(*this, id, accepted);
    auto& running = *session;
    sessions_.emplace(id, std::move(session));
    counters.clients.add();
    counters.clients_accepted.add();
    spawn(gate, running.run(accepted.fd));
  });
}

void Worker::remove(ClientSession& session) {
  counters.clients.subtract();
  // Its coroutine is still on the stack: it goes when the loop is back.
  reactor.post([this, id = session.id()] {
    sessions_.erase(id);
    finish_if_done();
  });
}

ClientSession* Worker::find_session(std::uint64_t id) {
  const auto found = sessions_.find(id);
  return found == sessions_.end() ? nullptr : found->second.get();
}

void Worker::publish(health::TopologyPtr topology) {
  reactor.post([this, topology = std::move(topology)] {
    topologies_[topology->cluster] = topology;
    for (auto& [key, pool] : pools_) {
      if (key.cluster == topology->cluster) pool->topology_changed(topology);
    }
  });
}

void Worker::publish(RuntimePtr runtime) {
  reactor.post([this, runtime = std::move(runtime)] {
    runtime_ = runtime;
    effective_.clear();
    for (auto& [id, session] : sessions_) session->refresh_settings();
    for (auto& [key, pool] : pools_) pool->reconfigure(runtime_->config);
  });
}

void Worker::cancel(std::uint64_t session) {
  reactor.post([this, session] {
    if (auto* found = find_session(session)) found->cancel();
  });
}

void Worker::stop(bool at_once) {
  reactor.post([this, at_once] {
    stopping_ = true;
    for (auto& [id, session] : sessions_) session->shut_down(at_once);
    if (at_once) {
      for (auto& [key, pool] : pools_) pool->close_all();
    }
    finish_if_done();
  });
}

void Worker::finish_if_done() {
  if (!stopping_ || !sessions_.empty()) return;
  for (auto& [key, pool] : pools_) pool->close_all();
  // Servers' coroutines end in this turn or the next; the loop stops when none is left.
  if (gate.inside() == 0) {
    reactor.stop();
  } else {
    reactor.deadlines().arm(sweep_, reactor.now() + DeadlineWheel::slot_width);
  }
}

health::TopologyPtr Worker::topology(const std::string& cluster) const {
  const auto found = topologies_.find(cluster);
  return found == topologies_.end() ? std::make_shared<const health::Topology>() : found->second;
}

Pool& Worker::pool(const PoolKey& key, const config::EffectiveSettings& effective) {
  auto& pool = pools_[key];
  if (!pool) {
    pool = std::make_unique<Pool>(*this, key, effective);
    counters.pools.add();
  }
  return *pool;
}

protocol::sql::Classifier& Worker::classifier(const std::vector<std::string>& read_functions) {
  auto& classifier = classifiers_[read_functions];
  if (!classifier) {
    protocol::sql::Classifier::Options options;
    options.cache_bytes = runtime_->config.limits.statement_cache;
    options.longest_text = runtime_->config.limits.statement_memory;
    options.read_functions = read_functions;
    classifier = std::make_unique<protocol::sql::Classifier>(options);
  }
  return *classifier;
}

protocol::sql::Classifier& Worker::blind_classifier() {
  if (!blind_) {
    blind_ = std::make_unique<protocol::sql::Classifier>(
        protocol::sql::Classifier::Options{.cache_bytes = 0, .longest_text = 0, .read_functions = {}});
  }
  return *blind_;
}

std::shared_ptr<const config::EffectiveSettings> Worker::effective_settings(const config::Listener& listener,
                                                                            const config::Database* database,
                                                                            const config::User* user) {
  auto effective = runtime_->config.effective(listener, database, user);
  for (const auto& known : effective_) {
    if (*known == effective) return known;
  }
  effective_.push_back(std::make_shared<const config::EffectiveSettings>(std::move(effective)));
  return effective_.back();
}

void Worker::report(const std::string& cluster, health::MemberIndex member, health::Evidence evidence) {
  if (!stopping_) shared.report(cluster, member, evidence);
}

void Worker::schema_changed() {
  for (const auto& worker : *siblings_) {
    if (worker.get() == this) {
      statements.forget_verdicts();
      for (auto& [functions, classifier] : classifiers_) classifier->forget_learnt();
    } else {
      worker->reactor.post([other = worker.get()] {
        other->statements.forget_verdicts();
        for (auto& [functions, classifier] : other->classifiers_) classifier->forget_learnt();
      });
    }
  }
}

void Worker::plans_changed() {
  for (const auto& worker : *siblings_) {
    if (worker.get() == this) {
      statements.expire_all();
    } else {
      worker->reactor.post([other = worker.get()] { other->statements.expire_all(); });
    }
  }
}

void Worker::ask_others_for_idle(const PoolKey& key, health::MemberIndex member) {
  for (const auto& worker : *siblings_) {
    if (worker.get() == this) continue;
    worker->reactor.post([other = worker.get(), key, member] {
      if (auto* pool = other->find_member(key, member)) pool->offer_idle();
    });
  }
}

// Nobody may wait there any more when it hears of it: then the next one is told.
void Worker::tell_permit(const std::shared_ptr<Permits>& permits, const PoolKey& key, health::MemberIndex member,
                         std::optional<TimePoint> own) {
  if (!permits->wanted()) return;
  Worker* other = permits->take_want(this, own);
  if (other == nullptr) return;
  other->reactor.post([other, permits, key, member] {
    auto* pool = other->find_member(key, member);
    if (pool != nullptr && !pool->waiters.empty()) {
      pool->open_more();
    } else {
      other->tell_permit(permits, key, member, std::nullopt);
    }
  });
}

// None: there is no such pool here, or this worker has not heard of the member yet.
MemberPool* Worker::find_member(const PoolKey& key, health::MemberIndex member) {
  const auto found = pools_.find(key);
  if (found == pools_.end() || member >= found->second->topology().members.size()) return nullptr;
  return &found->second->member(member);
}

void Worker::hand_over(Worker& other, ServerLink& server) {
  HandedOver handed;
  handed.pid = server.pid;
  handed.secret = server.secret;
  handed.generation = server.generation;
  handed.connected_at = server.connected_at;
  handed.has_settings = !server.settings.empty();
  handed.has_statements = server.statements.size() > 0;
  for (const auto& parameter : server.reported.parameters()) handed.reported.push_back(parameter);
  handed.credentials = server.home->pool.credentials;
  handed.permits = server.home->permits;
  handed.baggage = server.link.detach();
  server.state = ServerState::closed;
  server.handed_over = true;  // its permit goes with it
  server.link.watch().wake_reader();
  counters.handovers.add();
  auto shared_baggage = std::make_shared<HandedOver>(std::move(handed));
  other.reactor.post([&other, key = server.home->pool.key, member = server.home->member, shared_baggage] {
    other.adopt(key, member, std::move(*shared_baggage));
  });
}

void Worker::adopt(const PoolKey& key, health::MemberIndex member, HandedOver handed) {
  const auto found = pools_.find(key);
  if (found == pools_.end()) {
    ::close(handed.baggage.fd);
    handed.permits->give_back();
    tell_permit(handed.permits, key, member, std::nullopt);
    return;
  }
  auto& home = found->second->member(member);
  auto server = std::make_unique<ServerLink>(home, pending, runtime_->config.limits.prepared_per_server);
  server->pid = handed.pid;
  server->secret = std::move(handed.secret);
  server->generation = handed.generation;
  server->credentials = found->second->version_of(handed.credentials);
  server->connected_at = handed.connected_at;
  for (const auto& parameter : handed.reported) {
    if (auto with = reported.with(server->reported, parameter.name, parameter.value)) {
      server->reported = std::move(*with);
    }
  }
  // Names and settings are kept in each worker's own tables: the server is emptied on arrival.
  if (handed.has_settings || handed.has_statements) server->dirt = protocol::sql::Effect::discard;
  server->exchange.reset();
  if (!server->link.attach_baggage(reactor, std::move(handed.baggage))) {
    home.give_back_permit();
    return;
  }
  counters.servers.add();
  auto& fresh = *server;
  home.active.push_back(fresh);
  fresh.state = ServerState::draining;
  // Before anybody reads from it: the connection may have ended on its way, and its reader takes the link along.
  settle_down(fresh);
  spawn(gate, serve_answers(std::move(server)));
  home.open_more();  // who still waits wants another: the wish was taken off the list with this one
}

void Worker::on_sweep(void* self) {
  static_cast<Worker*>(self)->sweep();
}

void Worker::sweep() {
  if (stopping_) {
    finish_if_done();
    return;
  }
  const auto now = reactor.now();
  for (auto& [key, pool] : pools_) {
    pool->sweep(now);
    for (auto& member : pool->members) {
      bool overdue = false;
      for (ServerLink* server = member->active.front(); server != nullptr; server = server->next()) {
        if (server->exchange.idle()) continue;
        // Nobody waits for it any more; a cancellation that came before the server had read the statement did nothing
        // (manual, 55.2.8): once more.
        if (server->state == ServerState::draining) cancel_query(*server);
        if (now - server->sent_at > overdue_after) overdue = true;
      }
      if (overdue) report(key.cluster, member->member, health::Evidence::answer_overdue);
    }
  }
  if (now - learnt_since_ > learnt_for) {
    learnt_since_ = now;
    statements.forget_verdicts();
    for (auto& [functions, classifier] : classifiers_) classifier->forget_learnt();
  }
  counters.pools.subtract(std::erase_if(pools_, [](const auto& entry) { return entry.second->unused(); }));
  reactor.deadlines().arm(sweep_, now + sweep_interval);
}

}  // namespace holdfast::proxy
