#include "proxy/pool/member_pool.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "protocol/invariant.hpp"
#include "proxy/base/log.hpp"
#include "proxy/pool/canceller.hpp"
#include "proxy/pool/connector.hpp"
#include "proxy/pool/handover.hpp"
#include "proxy/pool/pool.hpp"
#include "proxy/pool/to_open.hpp"

namespace holdfast::proxy {

namespace {

// For a server whose client is gone: what it still runs doesn't end, although it is canceled once a second, or its answer
// to something is missing. Others wait for its place.
constexpr std::chrono::seconds longest_cleaning{30};

bool unusable(const health::MemberStatus& status) {
  return status.state == health::MemberState::fenced || status.state == health::MemberState::down ||
         status.state == health::MemberState::quarantined;
}

bool outdated(const ServerLink& server, const health::MemberStatus& status) {
  return unusable(status) || server.generation < status.generation;
}

}  // namespace

const char* name_of(ServerLink::State state) {
  switch (state) {
    case ServerLink::State::connecting: return "connecting";
    case ServerLink::State::idle: return "idle";
    case ServerLink::State::leased: return "leased";
    case ServerLink::State::cleaning: return "cleaning";
    case ServerLink::State::closed: return "closed";
  }
  return "?";
}

MemberPool::MemberPool(Pool& pool, health::MemberIndex member, std::shared_ptr<Permits> permits)
    : pool_(pool), member_(member), permits_(std::move(permits)), retry_(&MemberPool::retry, this) {}

MemberPool::~MemberPool() {
  permits_->unwant(&pool_.context().handover);
}

// ---- states of servers ----------------------------------------------------------------------------------------------

void MemberPool::enter(ServerLink& server, ServerLink::State state) {
  using State = ServerLink::State;
  server.state_ = state;
  switch (state) {
    case State::idle:
      server.since_ = pool_.context().reactor.now();
      idle_.push_front(server);
      break;
    case State::cleaning: server.since_ = pool_.context().reactor.now(); [[fallthrough]];
    case State::leased: busy_.push_back(server); break;
    case State::closed:
      server.close();  // its reader notices, and ends
      if (!server.listed()) break;
      busy_.push_back(server);
      break;
    case State::connecting: break;
  }
}

ServerLink* MemberPool::take_idle() {
  while (ServerLink* server = idle_.front()) {
    if (server->ready_for_others() && server->credentials == pool_.credentials_version()) return server;
    enter(*server, ServerLink::State::closed);
  }
  return nullptr;
}

ServerLease MemberPool::lease(ServerLink& server) {
  static_cast<void>(holds(!server.leased_, "a server is given to a client while another one has it"));
  enter(server, ServerLink::State::leased);
  server.leased_ = true;
  return ServerLease(server);
}

ServerLease MemberPool::lease_now() {
  if (!line_.empty()) return {};
  if (permits_->wanted()) offer_idle();  // a client that waits on another worker has waited longer than this one
  ServerLink* server = take_idle();
  return server != nullptr ? lease(*server) : ServerLease{};
}

void MemberPool::returned(ServerLink& server) {
  server.user = nullptr;
  server.leased_ = false;
  if (!server.link.open()) {
    server.let_go(pool_.context().reactor);  // its reader will end by itself, or has waited for this
    return;
  }
  if (server.session.unproven()) {
    const auto& context = pool_.context();
    if (const auto hidden = pool_.catalogue().known(context.reactor.now())) server.session.judge(*hidden);
  }
  if (server.ready_for_others()) {
    release(server);
    return;
  }
  enter(server, ServerLink::State::cleaning);
  server.cleaning_.emplace();
  clean(server);
}

// The audit has been answered: all pools of the database know.
void MemberPool::audit_ended(ServerLink& server, const protocol::Cleaning::Audit& audit) {
  const auto now = std::chrono::steady_clock::now();
  pool_.catalogue().learn(audit.hidden, server.audit_schema_, now, now - server.sent_at);
  tell_audit(server, audit.failure);
}

void MemberPool::tell_audit(ServerLink& server, const std::optional<Error>& failure) {
  const auto& context = pool_.context();
  context.counters.catalogue_audits.add();
  if (failure) context.counters.catalogue_audits_failed.add();
  const auto event = pool_.catalogue().audited(failure.has_value(), std::chrono::steady_clock::now());
  if (!event) return;
  const auto& key = pool_.key();
  // Behind a FATAL the connection ends: that is the reason, and not its end.
  const auto& state = server.last_word ? server.last_word->state : failure.value_or(Error{}).state;
  log_event(failure ? LogLevel::warning : LogLevel::info, name_of(*event),
            {{"cluster", key.cluster},
             {"member", pool_.member_name(member_)},
             {"database", key.database},
             {"user", key.user},
             {"sqlstate", failure ? std::string(state.view()) : std::string()},
             {"reason", failure ? failure->message : std::string()},
             {"effect", failure ? "servers are cleaned behind every client" : ""}});
}

void MemberPool::clean(ServerLink& server) {
  if (server.state_ != ServerLink::State::cleaning || !server.link.open()) return;
  using Step = protocol::Cleaning::Step;
  std::vector<std::byte> out;
  while (server.link.open() && !server.link.unsent()) {
    out.clear();
    const bool possible = server.cancel_next_ && server.can_be_canceled();
    const auto step =
        server.cleaning_->next(server.session, {.under_way = server.cancels_ > 0, .possible = possible}, out);
    if (const auto audit = server.cleaning_->take_audit()) audit_ended(server, *audit);
    switch (step) {
      case Step::wait: return;
      case Step::cancel: cancel_query(server); continue;
      case Step::send:
        server.sent_at = pool_.context().reactor.now();
        if (server.cleaning_->state() == protocol::Cleaning::State::auditing) {
          server.audit_schema_ = pool_.catalogue().schema();
        }
        server.link.send(out);
        continue;
      case Step::release:
        note_left_write(server);
        if (server.cleaning_->discarded()) pool_.context().counters.servers_cleaned.add();
        server.cleaning_.reset();
        if (server.ready_for_others()) {
          release(server);
        } else {
          enter(server, ServerLink::State::closed);
        }
        return;
      case Step::close: enter(server, ServerLink::State::closed); return;
    }
  }
  // It takes no more, and nobody would send the rest; or it is gone. What it runs would go on without its connection.
  const bool runs = server.link.open() && server.session.exchange.runs_for_client();
  if (runs && server.cancel_next_ && server.can_be_canceled()) cancel_query(server);
  enter(server, ServerLink::State::closed);
}

void MemberPool::note_left_write(ServerLink& server) {
  using Left = ServerLink::LeftWrite;
  const Left left = std::exchange(server.left_, Left::none);
  if (left == Left::none) return;
  const auto now = health::Clock::now();
  pool_.last_writes().wrote(now);
  if (left == Left::shared) pool_.last_writes().wrote_shared(now);
  const WriteInFlight ended = std::move(server.left_in_flight_);
}

void MemberPool::release(ServerLink& server) {
  const auto& context = pool_.context();
  const auto lifetime = pool_.settings().server_lifetime;
  const bool too_old = lifetime.count() > 0 && context.reactor.now() - server.connected_at > lifetime;
  // A connection that was being opened, or was on its way from another worker, while the member changed, was in no list
  // that member_changed() walks.
  const bool revoked = server.credentials != pool_.credentials_version();
  const auto* member = status();
  const bool late = member == nullptr || outdated(server, *member);
  if (too_old || late || revoked || permits_->too_many()) {
    enter(server, ServerLink::State::closed);
    return;
  }
  // "Longest waiting first" applies to the process: another worker's older waiter goes before ours.
  if (permits_->wanted() && hand_over(server)) return;
  if (Waiter* oldest = line_.front()) {
    give(server, *oldest);
    return;
  }
  enter(server, context.stopping ? ServerLink::State::closed : ServerLink::State::idle);
}

void MemberPool::give(ServerLink& server, Waiter& waiter) {
  waiter.settle(lease(server));
}

void MemberPool::ready(ServerLink& server) {
  busy_.push_back(server);
  if (server.ready_for_others()) {
    release(server);
  } else {
    enter(server, ServerLink::State::cleaning);
    server.cleaning_.emplace();
    clean(server);
  }
  open_more();
}

void MemberPool::gone(ServerLink& server) {
  note_left_write(server);
  if (server.cleaning_ && !pool_.context().stopping) {
    if (const auto audit = server.cleaning_->lost()) tell_audit(server, audit->failure);
  }
  server.close();
  server.state_ = ServerLink::State::closed;
  server.leave();
  if (!server.handed_over_) give_back(std::move(server.permit));
  open_more();
}

// ---- waiters --------------------------------------------------------------------------------------------------------

void MemberPool::wait(Waiter& waiter) {
  line_.push_back(waiter);
  waiter.stand_in_line(*this);
  open_more();
}

// A waiter has left the line, served or not.
void MemberPool::left() {
  if (permits_->wanted()) update_want();
}

std::optional<TimePoint> MemberPool::oldest_wait() const {
  const Waiter* oldest = line_.front();
  return oldest != nullptr ? std::optional(oldest->since()) : std::nullopt;
}

// Keeps this worker's entry among the wants up to date.
void MemberPool::update_want() {
  if (const auto since = oldest_wait()) {
    permits_->still_wants(&pool_.context().handover, *since);
  } else {
    permits_->unwant(&pool_.context().handover);
  }
}

std::size_t MemberPool::open_more() {
  if (line_.empty()) {
    left();
    return 0;
  }
  const auto& context = pool_.context();
  const auto* member = status();
  std::size_t opened = 0;
  while (to_open({.waiters = line_.size(),
                  .connecting = connecting_,
                  .backing_off = retry_.armed(),
                  .reachable = member != nullptr && !member->address.empty()}) > 0) {
    auto permit = Permit::try_take(permits_);
    if (!permit) {
      // The process has all the connections that it may have. The next worker to release one finds our want, in order
      // of waiting; other workers are asked for idle ones at once.
      if (permits_->want(&context.handover, line_.front()->since())) {
        context.handover.ask_others_for_idle(pool_.key(), member_);
      }
      return opened;
    }
    ++connecting_;
    ++opened;
    spawn(context.gate, connect_server(*this, std::move(permit)));
  }
  return opened;
}

void MemberPool::connect_succeeded() {
  if (holds(connecting_ > 0, "a connection was made that nobody asked for")) --connecting_;
  backoff_ = std::chrono::milliseconds{0};
  not_before_ = {};
}

void MemberPool::connect_failed(const Error& error, bool network, Permit permit) {
  if (holds(connecting_ > 0, "an attempt failed that nobody made")) --connecting_;
  give_back(std::move(permit));
  if (!network) {
    // The server refused this user or database; waiting won't help. But if it has too many connections (53300) and this
    // pool has some, the waiters will get those.
    const bool crowded = error.state == sqlstate::too_many_connections;
    if (!crowded || (busy_.empty() && idle_.empty())) fail_line(error);
  }
  backoff_ = backoff_.count() == 0 ? first_backoff : std::min(backoff_ * 2, longest_backoff);
  auto& reactor = pool_.context().reactor;
  if (!network) not_before_ = reactor.now() + backoff_;
  if (!line_.empty()) reactor.deadlines().arm(retry_, reactor.now() + backoff_);
}

void MemberPool::retry(void* self) {
  static_cast<MemberPool*>(self)->open_more();
}

void MemberPool::fail_line(const Error& error) {
  while (Waiter* waiter = line_.front()) waiter->settle(Waiter::NotLetIn{error});
}

bool MemberPool::lets_in() const {
  if (not_before_ == TimePoint{} || !busy_.empty() || !idle_.empty()) return true;
  return connecting_ == 0 && pool_.context().reactor.now() >= not_before_;
}

// ---- other workers --------------------------------------------------------------------------------------------------

bool MemberPool::hand_over(ServerLink& server) {
  // Bytes already received can't be handed over.
  if (!server.link.received().empty()) return false;
  auto& handover = pool_.context().handover;
  Handover* other = permits_->take_want(&handover, oldest_wait());
  if (other == nullptr) return false;
  server.handed_over_ = true;  // its permit goes with it
  handover.give(*other, server, std::move(server.permit));
  server.state_ = ServerLink::State::closed;
  busy_.push_back(server);
  return true;
}

// Returns a permit to the process, and offers it to the worker whose client has waited longest.
void MemberPool::give_back(Permit permit) {
  permit = Permit();
  if (permits_->wanted()) pool_.context().handover.offer_permit(permits_, pool_.key(), member_, oldest_wait());
}

void MemberPool::offer_idle() {
  while (permits_->wanted()) {
    ServerLink* server = take_idle();
    if (server == nullptr || !hand_over(*server)) return;
  }
}

// ---- the member's state, time ---------------------------------------------------------------------------------------

const health::MemberStatus* MemberPool::status() const {
  const auto& members = pool_.topology().members;
  return member_ < members.size() ? &members[member_] : nullptr;
}

void MemberPool::member_changed(const health::MemberStatus& status) {
  for (auto* list : {&idle_, &busy_}) {
    for (ServerLink* server = list->front(); server != nullptr;) {
      ServerLink* next = server->next();
      // Closing wakes the server's reader, which tells the client, if there is one.
      if (outdated(*server, status) && server->link.open()) server->close();
      server = next;
    }
  }
  if (!unusable(status)) {
    retry_.disarm();
    open_more();
  }
}

void MemberPool::close_idle(TimePoint older_than) {
  while (ServerLink* server = idle_.back()) {
    if (server->since_ > older_than) return;
    enter(*server, ServerLink::State::closed);
  }
}

void MemberPool::close_all() {
  for (auto* list : {&idle_, &busy_}) {
    for (ServerLink* server = list->front(); server != nullptr;) {
      ServerLink* next = server->next();
      server->close();
      server = next;
    }
  }
}

bool MemberPool::sweep(TimePoint now, std::chrono::milliseconds overdue_after) {
  bool overdue = false;
  for (ServerLink* server = busy_.front(); server != nullptr; server = server->next()) {
    if (server->state_ == ServerLink::State::cleaning && now - server->since_ > longest_cleaning) {
      const auto& exchange = server->session.exchange;
      log_event(LogLevel::warning, "cleaning_timed_out",
                {{"member", pool_.member_name(member_)},
                 {"pid", std::to_string(server->pid)},
                 {"in_flight", std::to_string(exchange.in_flight())},
                 {"transaction_status", std::string(1, exchange.transaction_status())}});
      server->close();
      continue;
    }
    if (server->session.exchange.idle()) continue;
    // No client needs the answer any more; a cancellation that arrived before the server had read the statement had no
    // effect (manual, 55.2.8): it is repeated.
    if (server->state_ == ServerLink::State::cleaning &&
        server->cleaning_->state() == protocol::Cleaning::State::draining) {
      cancel_query(*server);
    }
    if (now - server->sent_at > overdue_after) overdue = true;
  }
  return overdue;
}

}  // namespace holdfast::proxy
