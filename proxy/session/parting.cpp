// What ends a session, a wait or a statement from outside: the client hangs up, cancels or is too slow; the process
// ends.
#include <optional>
#include <utility>

#include "protocol/backend.hpp"
#include "protocol/invariant.hpp"
#include "proxy/pool/canceller.hpp"
#include "proxy/session/client_session.hpp"

namespace holdfast::proxy {

using protocol::Tell;

namespace {

// How long a server waits for the rest of a message that it will ignore; then it is closed, and the client goes on.
constexpr std::chrono::seconds longest_rest{1};

// How much of what a client sent before it hung up is looked through for a Terminate.
constexpr std::size_t most_looked_through = 256 * 1024;

// The units in front of a Terminate; none: there is no Terminate.
std::optional<std::size_t> units_before_terminate(protocol::Bytes received, protocol::Framer framer) {
  namespace client = protocol::client;
  using Kind = protocol::Frame::Kind;
  std::size_t units = 0;
  for (;;) {
    const auto frame = framer.next(received);
    if (frame.kind == Kind::need_more || frame.kind == Kind::error) return std::nullopt;
    if (frame.kind == Kind::start && frame.tag == client::terminate) return units;
    const bool ends_unit = frame.tag == client::query || frame.tag == client::sync || frame.tag == client::function_call;
    if (frame.kind == Kind::start && ends_unit) ++units;
    received = received.subspan(frame.bytes.size());
  }
}

}  // namespace

void ClientSession::disconnect(Tell what, protocol::Arguments arguments) {
  disconnect(protocol::told(what, arguments));
}

void ClientSession::disconnect(const Error& error) {
  if (!link_.open()) return;
  flush_to_client();  // what was answered before it
  // In the middle of an answer it would be read as the rest of a row: then without a word.
  if (muted() || (linked_ && linked_->conversation.in_answer())) {
    hang_up();
    return;
  }
  std::vector<std::byte> out;
  protocol::write_error(out, {.severity = "FATAL", .state = error.state, .message = error.message, .hint = error.hint});
  link_.send(out);
  hang_up();
}

void ClientSession::hang_up() {
  context_.desk.to_server.clear();  // messages for a server that is given up
  if (linked_) unlink(Why::abandoned);
  link_.close();
}

// An invariant broke in a pass over this client's messages or its server's: neither is trusted any more.
void ClientSession::give_up_broken() {
  log(LogLevel::error, "invariant_broken", {{"invariants", std::to_string(broken_invariants.load())}});
  context_.desk.clear();
  if (linked_) linked_->lease->close();  // it is not cleaned either
  disconnect(Tell::broken_invariant);
}

// Called before waiting for anything but the client's bytes. False: the client has hung up already; the hook is called
// only once, so it would not be called again.
bool ClientSession::watch_for_hangup() {
  if (link_.watch().hung_up() && gone()) {
    link_.close();
    return false;
  }
  link_.watch().on_hangup(&ClientSession::on_hangup, this);
  return true;
}

// It waits with a unit that can have no effect.
bool ClientSession::waits_to_read() const {
  if (linked_ || !routing_ || block_.status() != 'I') return false;
  const auto& verdict = routing_->unit.verdict;
  const bool hides_a_write = has(pool().catalogue().hidden(), protocol::Hidden::reads_write);
  return verdict.repeatable() && verdict.control == protocol::sql::TransactionControl::none && !hides_a_write;
}

// The client has hung up. True: the connection just broke, or its last wish was a read. False: a Terminate is among what
// it sent before, or there is more of that than was looked through: it is read, to its end, when its turn has come.
bool ClientSession::gone() {
  if (muted()) return false;
  if (phase_ == Phase::last_answers) {
    if (linked_ ? !linked_->conversation.takes_effect() : waits_to_read()) return true;
    link_.mute();
    phase_ = Phase::parting;
    return false;
  }
  do {
    if (link_.receive(link_.received().size() + 1) == Io::ok) continue;
    link_.keep_rest();
    const auto units = units_before_terminate(link_.received(), framer_);
    if (!units || (*units <= 1 && waits_to_read())) return true;
    link_.mute();
    phase_ = Phase::parting;
    return false;
  } while (link_.received().size() < most_looked_through);
  link_.keep_rest();
  if (!link_.unsent()) return false;
  // It takes no answers: whatever else it has sent, nobody is to wait for that.
  link_.mute();
  phase_ = Phase::parting;
  return false;
}

void ClientSession::on_hangup(void* self) {
  auto& session = *static_cast<ClientSession*>(self);
  if (session.login_) {
    session.link_.close();
    session.login_->give_up();
    return;
  }
  const bool waits = session.wait_ || session.aligner_ || session.front_.being_read() || session.progress_.awaited() ||
                     session.blocked_;
  if (!waits || !session.gone()) return;
  if (session.blocked_) {
    session.hang_up();
    return;
  }
  session.link_.close();
  if (session.wait_) {
    session.wait_->settle(Waiter::AskAgain{});
  } else if (session.aligner_) {
    session.aligner_->give_up();
  } else if (session.front_.being_read()) {
    session.front_.give_up();
  } else {
    session.progress_.notify(session.context_.reactor);
  }
}

void ClientSession::wake() {
  if (!progress_.notify(context_.reactor)) link_.watch().wake_reader();
}

// A message that has begun must make progress. False: there is none, or something else has a deadline.
bool ClientSession::arm_message_clock() {
  const auto timeout = settings().message_timeout;
  const auto idle = block_.status() != 'I' ? settings().idle_in_transaction_timeout : settings().client_idle_timeout;
  if (idle.count() > 0 && idle <= timeout) return false;  // its deadline comes first
  const bool runs = clock_.runs(ClientClock::Kind::message);
  if (timeout.count() == 0 || !link_.open() || (clock_.runs() && !runs)) return false;
  if (!Intake::in_message(framer_, link_.received())) {
    if (runs) clock_.disarm();
    return false;
  }
  if (runs && !intake_.progressed()) return true;
  intake_.mark();
  clock_.arm(ClientClock::Kind::message, timeout);
  return true;
}

std::size_t ClientSession::sheddable() const {
  const bool idle_memory = link_.open() && !login_ && !aligner_ && !front_.being_read();
  return idle_memory && link_.kept_memory() > Blocks::size ? link_.kept_memory() : 0;
}

void ClientSession::shed() {
  log(LogLevel::warning, "message_refused", {{"bytes", std::to_string(link_.kept_memory())}});
  if (wait_) {
    wait_->settle(protocol::told(Tell::too_much_received));
    return;
  }
  disconnect(Tell::too_much_received);
  link_.forget_received();
  wake();
}

// For whom the client's silence counts, and how long it may last.
void ClientSession::time_silence() {
  if (muted()) return;
  const bool begun = !framer_.at_boundary() || !link_.received().empty();
  const bool rest = linked_ && linked_->conversation.waits_for_rest();
  if (begun && !rest && arm_message_clock()) return;
  if ((rest || !begun) && clock_.runs(ClientClock::Kind::message)) clock_.disarm();
  if (!link_.open() || (linked_ && !linked_->lease->session.exchange.idle())) return;
  // All that it has sent of a batch is answered: its silence isn't the statement's time.
  const bool in_batch = linked_ && linked_->conversation.unit_open();
  if (in_batch && clock_.runs(ClientClock::Kind::query)) clock_.disarm();
  if (clock_.runs()) return;
  // The statement has ended, but the server still waits for the rest of a message that it will ignore, and so can't
  // serve others.
  if (rest) {
    clock_.arm(ClientClock::Kind::rest, longest_rest);
    return;
  }
  const bool in_transaction = in_batch || block_.in_transaction();
  const auto timeout = in_transaction ? settings().idle_in_transaction_timeout : settings().client_idle_timeout;
  if (timeout.count() == 0) return;
  clock_.arm(in_transaction ? ClientClock::Kind::in_transaction : ClientClock::Kind::idle, timeout);
}

void ClientSession::on_deadline(void* self) {
  auto& session = *static_cast<ClientSession*>(self);
  switch (session.clock_.kind()) {
    case ClientClock::Kind::none: return;
    case ClientClock::Kind::log_in:
      session.link_.close();  // PostgreSQL closes without a message when authentication takes too long
      if (session.login_) session.login_->too_late();
      return;
    case ClientClock::Kind::query:
      if (session.linked_) cancel_query(*session.linked_->lease);
      return;
    case ClientClock::Kind::rest:
      if (session.linked_) session.unlink(Why::abandoned);
      break;
    case ClientClock::Kind::batch: break;  // what has come of it is routed now
    case ClientClock::Kind::message: session.disconnect(Tell::message_too_slow); break;
    case ClientClock::Kind::in_transaction: session.disconnect(Tell::idle_in_transaction); break;
    case ClientClock::Kind::idle: session.disconnect(Tell::idle_session); break;
  }
  session.wake();
}

void ClientSession::cancel() {
  context_.counters.cancels.add();
  if (wait_) {
    wait_->settle(protocol::told(Tell::canceled));
  } else if (aligner_) {
    aligner_->cancel();
  } else if (linked_ && !linked_->lease->session.exchange.idle()) {
    cancel_query(*linked_->lease);
  }
}

void ClientSession::shut_down(bool at_once) {
  const bool logged_in = phase_ != Phase::log_in;
  if (phase_ == Phase::serving) phase_ = Phase::leaving;
  if (!logged_in) {
    link_.close();
    if (login_) login_->give_up();
  } else if (at_once) {
    disconnect(Tell::shutting_down);
    if (wait_) wait_->settle(Waiter::AskAgain{});
    if (aligner_) aligner_->give_up();
    front_.give_up();
    wake();
  } else if (linked_ ? linked_->conversation.at_rest()  // pinned, or in session mode, and idle
                     : !wait_ && !aligner_ && !front_.being_read() && framer_.at_boundary() && link_.received().empty()) {
    disconnect(Tell::shutting_down);
    wake();
  }
}

void ClientSession::reconfigure() {
  if (login_) {
    login_->reconfigure();
  } else if (logged_in_.identity.pool != nullptr) {
    logged_in_.identity.configure(*context_.runtime, context_.tables);
    statements_.set_scope(logged_in_.identity.scope);
  }
}

}  // namespace holdfast::proxy
