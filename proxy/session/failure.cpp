// When it goes wrong: servers that are lost, units that can't be served, clients that leave, cancel or are shut out.
// What clients are told is decided here and nowhere else.
#include <utility>

#include "protocol/backend.hpp"
#include "protocol/frontend.hpp"
#include "proxy/admin/log.hpp"
#include "proxy/pool/canceller.hpp"
#include "proxy/session/answers.hpp"
#include "proxy/session/client_session.hpp"
#include "proxy/worker.hpp"

namespace holdfast::proxy {

using protocol::Loss;
using protocol::sql::Effect;

void ClientSession::server_given(ServerLink& server) {
  server_ = &server;
  server.client = this;
  server.state = ServerState::active;
  server.statements.set_scope(scope());
  unit_open_ = false;
  unit_writes_ = false;
  swallowing_unit_ = false;
  force_primary_ = false;
  restore_.clear();  // of a unit that came to nothing
  named_traits_.reset();
  replay_.clear();
  // What waits behind the unit counts as part of its answer only from here on.
  unit_delivered_ = false;
  if (logged_in_ && server.settings == wanted_) tell_reported();
}

void ClientSession::deliver(protocol::Bytes bytes) {
  link_.send(bytes);  // a broken client is noticed by its own coroutine
}

bool ClientSession::backlog() const {
  return link_.open() && link_.unsent();
}

Task<bool> ClientSession::drain() {
  return link_.drain();
}

void ClientSession::wake() {
  if (auto handle = std::exchange(progress_, {})) {
    worker_.reactor.schedule(handle);
  } else {
    link_.watch().wake_reader();
  }
}

// A ReadyForQuery of the client's went by.
void ClientSession::unit_answered(char status) {
  worker_.counters.units.add();
  if (unit_writes_) note_write();
  const auto& topology = pool_->topology();
  // Not the turn's moment: what was answered during a turn may be younger than its beginning. Without replicas nobody
  // asks; should some be added, none is fresh enough for what was read before.
  seen_.last_read = topology.members.size() > 1 ? health::Clock::now() : TimePoint::max();
  if (topology.primary == server_->home->member) {
    seen_.last_replica.reset();
  } else {
    seen_.last_replica = server_->home->member;
    seen_.replica_life = topology.freshness->life(server_->home->member);
  }
  begin_.answered();
  if (status == 'I' && server_->exchange.idle()) named_traits_.reset();  // portals end with their transaction
  // With further units in flight the marks are theirs as well.
  if (status == 'I' && server_->exchange.idle()) {
    unit_writes_ = false;
    doomed_.clear();
  }
  if (unit_discards_) {
    // With more in flight the names and pins may be younger than what was thrown away: then they stay, for good.
    unit_discards_ = server_->exchange.expects();
    const bool names = std::exchange(names_discarded_, false) && !unit_discards_;
    const bool all = std::exchange(all_discarded_, false) && !unit_discards_;
    if (names && statements_.settled()) statements_.deallocate_all();
    if (all && status == 'I') pins_ = Effect::none;
  }
  if (status == 'I' && unit_ddl_) {
    unit_ddl_ = !server_->exchange.idle();
    worker_.schema_changed();
  }
  if (settings_->query_timeout.count() > 0 && server_->exchange.expects()) {
    worker_.reactor.deadlines().arm(deadline_, worker_.reactor.now() + settings_->query_timeout);  // the next one's
    deadline_state_ = sqlstate::query_canceled;
  } else if (deadline_.armed() && !unit_open_) {
    deadline_.disarm();
  }
  if (status != 'I' && !unit_open_) arm_idle_deadline();
}

// A statement that throws session state away has run. The shared server is cleaned when it is released; here the
// client's own names go, and with DISCARD ALL the reasons for its pin.
void ClientSession::command_completed(std::string_view tag) {
  if (tag == "DISCARD ALL") all_discarded_ = true;
  if (tag == "DISCARD ALL" || tag == "DEALLOCATE ALL") names_discarded_ = true;
}

// Something was written, or may have been.
void ClientSession::note_write() {
  const auto now = health::Clock::now();
  seen_.last_write = now;
  if (settings_->read_consistency != config::ReadConsistency::global) return;
  const auto count = now.time_since_epoch().count();
  auto& newest = worker_.shared.last_write;
  auto known = newest.load(std::memory_order_relaxed);
  while (known < count && !newest.compare_exchange_weak(known, count, std::memory_order_acq_rel)) {
  }
}

void ClientSession::server_idle(ServerLink& server) {
  if (progress_) wake();
  if (server_ != &server || server.setting_up || !logged_in_) return;
  if (!server.exchange.may_release() || unit_open_ || server.link.unsent() || !server.framer.at_boundary()) {
    if (!unit_open_) arm_idle_deadline();
    return;
  }
  const bool keeps = pinned() || settings_->pool_mode == config::PoolMode::session;
  const bool again = std::exchange(swallowing_unit_, false);
  if (keeps && !again) {
    arm_idle_deadline();
    if (leaving_) wake();
    return;
  }
  if (server.cancels > 0) {
    // A cancel request is on its way: until its connection is closed it could hit whoever comes next.
    server_ = nullptr;
    server.client = nullptr;
    settle_down(server);
  } else {
    server_ = nullptr;
    server.client = nullptr;
    if (server.dirt == Effect::none) {
      server.home->release(server);
    } else {
      settle_down(server);
    }
  }
  doomed_.clear();
  if (again) {
    replay_now_ = true;
    force_primary_ = true;
    worker_.counters.retries.add();
    wake();
  } else if (link_.unsent() || leaving_) {
    wake();  // the client's coroutine sends the rest, or says goodbye
  }
  arm_idle_deadline();
}

// The unit that was in flight comes again, in front of whatever the client has sent since.
void ClientSession::replay() {
  replay_now_ = false;
  replay_valid_ = false;
  link_.unread(replay_);
  replay_.clear();
  statements_.end_batch();
}

// A standby refused the unit in flight: its texts hide what they do, and go to the primary from now on.
void ClientSession::learn_needs_primary() {
  protocol::Framer framer(protocol::Direction::from_client);
  for (protocol::Bytes rest = replay_; !rest.empty();) {
    const auto frame = framer.next(rest);
    if (frame.kind != protocol::Frame::Kind::start || !frame.last) return;
    rest = rest.subspan(frame.bytes.size());
    if (frame.tag == protocol::client::query) {
      if (const auto sql = protocol::parse_query(frame.body())) classifier_->learn_needs_primary(*sql);
    } else if (frame.tag == protocol::client::parse) {
      if (const auto parse = protocol::parse_parse(frame.body())) classifier_->learn_needs_primary(parse->sql);
    } else if (frame.tag == protocol::client::bind) {
      const auto head = protocol::parse_bind_head(frame.body(), protocol::Extent::whole);
      if (!head || !*head) return;
      if (auto found = statements_.find((*head)->statement); found.statement != nullptr) {
        classifier_->learn_needs_primary(found.statement->text());
        found.statement->forget_verdict();
      }
    }
  }
}

// Whatever is said now would be read as the rest of a row. PostgreSQL too ends without a word where it dies in
// mid-message.
void ClientSession::answer_cut() {
  worker_.counters.lost_cut.add();
  log_event(LogLevel::warning, "answer_cut", *this, {});
  link_.close();
}

void ClientSession::server_lost(ServerLink& server) {
  const auto loss = server.exchange.on_server_lost();
  // Whoever is told that nobody knows will look: on a member that would show it.
  if (std::exchange(unit_writes_, false)) note_write();
  server_ = nullptr;
  server.client = nullptr;
  const bool mid_message = !framer_.at_boundary() && !dropping_body_;
  if (mid_message) dropping_body_ = true;
  for (const auto& request : loss.unanswered) {
    if (request.cookie != 0) statements_.settle(request.cookie, protocol::Outcome::skipped);
  }
  doomed_.clear();
  const bool setting_up = std::exchange(server.setting_up, false);
  unit_open_ = false;
  if (!link_.open()) {
    wake();
    return;
  }
  if (setting_up || !logged_in_) {
    // Nothing of the client's has been sent: it stays in front, and another server is found.
    wake();
    return;
  }
  const bool refused_before = std::exchange(swallowing_unit_, false);
  if (pinned() || settings_->pool_mode == config::PoolMode::session) {
    // The session's state died with the server; to go on would be a lie.
    worker_.counters.lost_pinned.add();
    log_event(
        LogLevel::warning, "session_lost", *this,
        {{"member", pool_->topology().members[server.home->member].name}, {"pins", std::string(pin_reason(pins_))}});
    disconnect({sqlstate::admin_shutdown,
                "terminating connection because the server that held this session's state was lost"});
    wake();
    return;
  }
  const auto begin_error = std::exchange(begin_error_, std::nullopt);
  const bool again = replay_valid_ && !mid_message && !unit_delivered_ && !begin_error &&
                     (loss.outcome == Loss::Outcome::repeatable || refused_before);
  if (again) {
    begin_.take_back();
    replay_now_ = true;
    worker_.counters.retries.add();
  } else if (loss.outcome == Loss::Outcome::nothing_in_flight && loss.status_before == 'I' && loss.units.empty() &&
             !loss.open_batch) {
    // Idle between two units: there is nothing to tell.
  } else {
    begin_.answered();
    tell_loss(loss, begin_error.value_or(protocol::error_of(loss)));
  }
  replay_valid_ = replay_valid_ && again;
  wake();
}

// The server refused the BEGIN that was held back (it was cancelled, most likely): its connection goes, and the client
// is told so in place of an answer to its statement.
void ClientSession::begin_refused(const Error& error) {
  begin_error_ = error;
}

void ClientSession::tell_loss(const Loss& loss, const Error& error) {
  if (loss.outcome == Loss::Outcome::unknown) {
    worker_.counters.lost_unknown.add();
  } else {
    worker_.counters.lost_rolled_back.add();
  }
  log_event(LogLevel::info, "answer_lost", *this,
            {{"outcome", name_of(loss.outcome)}, {"sqlstate", std::string(error.state.view())}});
  lost_.emplace(loss, error);
  auto& out = worker_.scratch_out;
  out.clear();
  const auto step = lost_->begin(out);
  if (!out.empty()) link_.send(out);
  if (step == protocol::LostTransaction::Step::finished) lost_.reset();
}

// The unit at the front can't be served: it is answered with an error, the connection stays.
void ClientSession::refuse_unit(const Error& error) {
  marks_until_ = {};
  waited_for_marks_ = false;
  force_primary_ = false;
  auto& out = worker_.scratch_out;
  out.clear();
  // A block whose first statement fails is a failed block.
  Loss loss;
  loss.status_after = begin_.deferred() ? 'E' : 'I';
  begin_.abandon();
  if (unit_.answered_alone) {
    const auto frame = framer_.next(link_.received());
    link_.consume(frame.bytes.size());
    dropping_body_ = !frame.last;
    loss.units.push_back({.tag = frame.tag, .status = loss.status_after});
  } else {
    loss.open_batch = true;
    loss.batch_error_owed = true;
  }
  lost_.emplace(loss, error);
  const auto step = lost_->begin(out);
  if (!out.empty()) link_.send(out);
  if (step == protocol::LostTransaction::Step::finished) lost_.reset();
}

void ClientSession::disconnect(const Error& error) {
  if (!link_.open()) return;
  auto& out = worker_.scratch_out;
  out.clear();
  protocol::write_error(out, {.severity = "FATAL", .state = error.state, .message = error.message});
  link_.send(out);
  abandon_server();
  link_.close();
}

// The client goes; its server has to be brought back into order without it.
void ClientSession::abandon_server() {
  if (server_ == nullptr) return;
  ServerLink& server = *std::exchange(server_, nullptr);
  server.client = nullptr;
  const bool mid_message = !framer_.at_boundary() && !dropping_body_;
  if (mid_message || server.link.unsent()) {
    // Half a message went out; nobody can end it.
    server.link.close();
    return;
  }
  // Settings in flight: nobody knows which the server has.
  if (std::exchange(server.setting_up, false)) server.dirt |= Effect::discard;
  if (!server.exchange.idle()) cancel_query(server);
  settle_down(server);
}

void ClientSession::hold_began() {
  held_ = true;
  worker_.counters.clients_held.add();
  worker_.counters.holds.add();
  worker_.reactor.deadlines().arm(waiter_.deadline, waiter_.since + settings_->hold_timeout);
}

void ClientSession::hold_ended() {
  hold_over();
  worker_.reactor.deadlines().arm(waiter_.deadline, worker_.reactor.now() + settings_->wait_timeout);
}

void ClientSession::settle_wait(std::optional<Error> error) {
  waiter_.leave();
  waiter_.deadline.disarm();
  hold_over();
  if (pool_ != nullptr) pool_->waiter_left();
  waiter_.error = std::move(error);
  waiter_.settled = true;
  if (auto handle = std::exchange(waiter_.handle, {})) worker_.reactor.schedule(handle);
}

void ClientSession::hold_over() {
  if (!std::exchange(held_, false)) return;
  worker_.counters.clients_held.subtract();
  worker_.hold_places().give_back();
}

void ClientSession::on_hangup(void* self) {
  auto& session = *static_cast<ClientSession*>(self);
  if (session.waiter_.listed()) {
    session.link_.close();
    session.settle_wait(std::nullopt);
  } else if (session.progress_ && session.logged_in_) {
    session.link_.close();
    session.wake();
  }
}

void ClientSession::on_wait_deadline(void* self) {
  auto& session = *static_cast<ClientSession*>(self);
  if (!session.waiter_.listed()) {  // waits for marks
    session.waiter_.settled = true;
    if (auto handle = std::exchange(session.waiter_.handle, {})) session.worker_.reactor.schedule(handle);
    return;
  }
  const auto& pool = *session.pool_;
  if (session.held_) {
    session.worker_.counters.holds_timed_out.add();
    const auto& why = pool.topology().why_no_primary;
    session.settle_wait(
        Error{sqlstate::cannot_connect_now, "there has been no primary for " +
                                                std::to_string(session.settings_->hold_timeout.count()) +
                                                " ms (hold_timeout)" + (why.empty() ? std::string() : ": " + why)});
    return;
  }
  session.worker_.counters.waits_timed_out.add();
  session.settle_wait(
      Error{sqlstate::too_many_connections,
            "no server connection became free within " + std::to_string(session.settings_->wait_timeout.count()) +
                " ms (wait_timeout; pool.size is " + std::to_string(session.settings_->pool_size) + ")"});
}

void ClientSession::on_deadline(void* self) {
  auto& session = *static_cast<ClientSession*>(self);
  const auto state = session.deadline_state_;
  if (!session.logged_in_) {
    session.link_.close();  // PostgreSQL closes without a word when authentication takes too long
    if (session.waiter_.listed()) session.settle_wait(std::nullopt);
    if (session.progress_) session.wake();
    return;
  }
  if (state == sqlstate::query_canceled) {
    if (session.server_ != nullptr) cancel_query(*session.server_);
  } else if (state == sqlstate::idle_in_transaction_session_timeout) {
    session.disconnect({state, "terminating connection due to idle-in-transaction timeout"});
  } else {
    session.disconnect({state, "terminating connection due to idle-session timeout"});
  }
}

void ClientSession::cancel() {
  worker_.counters.cancels.add();
  if (waiter_.listed()) {
    settle_wait(Error{sqlstate::query_canceled, "canceling statement due to user request"});
  } else if (server_ != nullptr && server_->setting_up) {
    cancel_asked_ = true;  // the settings take effect all the same: they are the next client's business as well
  } else if (server_ != nullptr && !server_->exchange.idle()) {
    cancel_query(*server_);
  }
}

void ClientSession::shut_down(bool at_once) {
  leaving_ = true;
  const Error bye{sqlstate::admin_shutdown, "terminating connection due to administrator command"};
  if (at_once || !logged_in_) {
    if (logged_in_) {
      disconnect(bye);
    } else {
      link_.close();
    }
    if (waiter_.listed()) settle_wait(std::nullopt);
    wake();
    return;
  }
  if (server_ == nullptr && !waiter_.listed() && framer_.at_boundary() && link_.received().empty()) {
    disconnect(bye);
    wake();
  } else if (server_ != nullptr && server_->exchange.may_release() && !unit_open_) {
    disconnect(bye);  // pinned, or in session mode, and idle
    wake();
  }
}

}  // namespace holdfast::proxy
