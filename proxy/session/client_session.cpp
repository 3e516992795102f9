#include "proxy/session/client_session.hpp"

#include <algorithm>
#include <utility>

#include "protocol/backend.hpp"
#include "protocol/frontend.hpp"
#include "protocol/invariant.hpp"
#include "proxy/base/log.hpp"
#include "proxy/session/sessions.hpp"

namespace holdfast::proxy {

namespace client = protocol::client;
using protocol::Frame;
using protocol::Tell;
using protocol::sql::TransactionControl;

namespace {

// While more bytes than this are put out for a client, no more messages are taken from it until they are sent.
constexpr std::size_t most_unsent = 64 * 1024;

protocol::Framer::Limits limits_of(const Runtime& runtime) {
  const auto longest = std::min<std::uint64_t>(runtime.config.limits.statement_memory, protocol::max_message_length);
  return {.whole_limit = static_cast<std::uint32_t>(longest)};
}

}  // namespace

ClientSession::ClientSession(SessionContext& context, std::uint64_t id, const Accepted& accepted)
    : context_(context),
      name_{id, accepted.peer},
      counted_(context.counters.clients),
      framer_(protocol::Direction::from_client, limits_of(*context.runtime)),
      clock_(context.reactor, &ClientSession::on_deadline, this),
      listener_(accepted.listener),
      statements_(context.tables.pending, {.bytes = context.runtime->config.limits.prepared_memory_per_client}),
      facts_{.identity = logged_in_.identity,
             .statements = statements_,
             .block = block_,
             .told = logged_in_.told,
             .tables = context.tables,
             .desk = context.desk,
             .counters = context.counters} {}

Task<> ClientSession::run(int fd) {
  if (link_.attach(context_.reactor, fd)) {
    clock_.arm(ClientClock::Kind::log_in, context_.runtime->config.auth.login_timeout);
    login_ = std::make_unique<ClientLogin>(context_, link_, name_, listener_, clock_);
    link_.watch().on_hangup(&ClientSession::on_hangup, this);
    const bool good = co_await login_->run();
    logged_in_ = std::move(login_->result());
    if (login_->failed()) context_.counters.logins_failed.add();
    login_.reset();
    clock_.disarm();
    if (good) {
      statements_.set_scope(logged_in_.identity.scope);
      if (phase_ == Phase::log_in) phase_ = Phase::serving;
      log(LogLevel::debug, "client_connected",
          {{"user", logged_in_.identity.user}, {"database", logged_in_.identity.database}});
      co_await serve();
      log(LogLevel::debug, "client_disconnected", {});
    }
  }
  clock_.disarm();
  if (logged_in_.cancel_key) context_.shared.cancel_keys.remove(*logged_in_.cancel_key);
  if (linked_) unlink(Why::abandoned);
  link_.close();
  co_await link_.quiet();
  context_.sessions.ended(name_.session);
}

void ClientSession::log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) const {
  if (!logs(level)) return;
  std::vector<LogField> all{{"session", std::to_string(name_.session)}, {"peer", name_.peer}};
  all.insert(all.end(), fields);
  log_event(level, event, all.data(), all.size());
}

Task<> ClientSession::serve() {
  while (link_.open()) {
    if (link_.unsent() && !muted()) {
      if (!watch_for_hangup()) break;
      blocked_ = true;
      const bool sent = co_await link_.drain();
      blocked_ = false;
      if (!sent) break;
    }
    const Step step = pass();
    if (step == Step::leave || !link_.open()) break;
    // It is not the client that is waited for.
    if (step != Step::need_input && clock_.runs(ClientClock::Kind::message)) clock_.disarm();
    if (linked_ && linked_->lease->link.unsent()) {
      // Back-pressure: the server takes no more for now, so no more is read from the client. Its answers still pass.
      ServerLink& busy = *linked_->lease;
      if (clock_.runs(ClientClock::Kind::message)) clock_.disarm();
      if (!watch_for_hangup()) break;
      blocked_ = true;
      co_await busy.link.drain();
      blocked_ = false;
      if (linked_ && &*linked_->lease == &busy) unlink_if_done();
      continue;
    }
    // Everything that a query may wait for is awaited in place: a coroutine's frame would be an allocation per query.
    switch (step) {
      case Step::go_on:
      case Step::take_message:
      case Step::leave: break;
      case Step::need_input:
        if (!wants_input()) break;
        if (!link_.may_receive()) {
          co_await link_.watch().readable();
          budget_.renew();
        }
        receive();
        break;
      case Step::need_server:
      case Step::need_marks:
      case Step::need_pause:
        if (!begin_wait(step)) break;
        {
          auto outcome = co_await wait_->ended();
          end_wait(std::move(outcome));
        }
        break;
      case Step::need_settings: co_await align(); break;
      case Step::need_verdict:
        if (!watch_for_hangup()) break;
        co_await front_.reading().done();
        front_.finish(*logged_in_.identity.classifier);
        budget_.renew();
        break;
      case Step::wait_progress:
        if (watch_for_hangup()) co_await progress_.next();
        break;
      case Step::next_turn:
        co_await context_.reactor.next_turn();
        budget_.renew();
        carried_over_ = true;
        break;
    }
  }
}

// False: there is something to do before waiting for more of the client's bytes.
bool ClientSession::wants_input() {
  if (link_.unsent()) return false;
  if (phase_ == Phase::leaving && (!linked_ || linked_->conversation.at_rest())) {
    disconnect(Tell::shutting_down);
    return false;
  }
  arm_idle_clock();
  return true;
}

void ClientSession::receive() {
  const auto before = link_.received().size();
  if (link_.receive(wanted_bytes_) == Io::closed && link_.open()) {
    hang_up();
    return;
  }
  const auto more = link_.received().size() - before;
  budget_.spend_bytes(more);
  intake_.received(more, context_.reactor.now());
  if (context_.reactor.blocks().large() > context_.runtime->config.limits.receive_memory) [[unlikely]]
    context_.sessions.shed();
}

bool ClientSession::begin_wait(Step step) {
  if (!watch_for_hangup()) return false;
  wait_.emplace(context_.reactor, context_.counters, pool(), routing_->kind,
                Waiter::Limits{.wait = settings().wait_timeout, .hold = settings().hold_timeout});
  if (step == Step::need_marks) {
    wait_->for_marks();
  } else if (step == Step::need_pause) {
    wait_->sleep(routing_->attempts.repeats.due());
  } else if (routing_->kind == Waiter::Kind::write) {
    pool().wait_for_primary(*wait_);
  } else {
    pool().member(routing_->member).wait(*wait_);
  }
  if (routing_->looks_for_replica) wait_->look_elsewhere(&ClientSession::replica_is_fresh, this);
  return true;
}

void ClientSession::end_wait(Waiter::Outcome outcome) {
  wait_.reset();
  if (!link_.open()) return;
  if (muted() && std::holds_alternative<Error>(outcome)) {
    hang_up();  // nobody is there to be told, nor to ask again
    return;
  }
  if (const auto* refused = std::get_if<Waiter::NotLetIn>(&outcome)) {
    if (!goes_to_primary_instead()) {
      refuse_unit(refused->error);
      flush_to_client();
    }
  } else if (const auto* error = std::get_if<Error>(&outcome)) {
    refuse_unit(*error);
    flush_to_client();
  } else if (auto* lease = std::get_if<ServerLease>(&outcome)) {
    granted_ = std::move(*lease);
  }
}

Task<> ClientSession::align() {
  if (!watch_for_hangup()) co_return;
  const auto sequences = routing_->forgets_sequences ? Aligner::Sequences::forget : Aligner::Sequences::keep;
  aligner_ = std::make_unique<Aligner>(pool().context(), std::move(granted_), logged_in_.identity.wanted, sequences);
  const auto end = co_await aligner_->run();
  granted_ = aligner_->take_lease();
  std::optional<Error> error;
  if (end == Aligner::End::lost) routing_->attempts.repeats.unsent(context_.reactor.now());
  if (end == Aligner::End::refused) error = aligner_->error();
  if (end == Aligner::End::canceled) error = protocol::told(Tell::canceled);
  aligner_.reset();
  if (!error || !link_.open()) co_return;
  if (end == Aligner::End::refused && goes_to_primary_instead()) co_return;
  refuse_unit(*error);
  flush_to_client();
}

// The member doesn't let the user in, or refuses the client's settings. A standby may not have heard yet of the
// database, the role, or what a setting names; the primary says what is true. True: the unit is routed there.
bool ClientSession::goes_to_primary_instead() {
  if (routing_->kind != Waiter::Kind::read || settings().route == config::Route::replica) return false;
  routing_->force_primary = true;
  return true;
}

// Processes what has come from the client, then sends once to each side.
ClientSession::Step ClientSession::pass() {
  const InvariantWatch watch;
  wanted_bytes_ = 0;
  Step step = process();
  if (flush_to_server()) step = Step::go_on;  // the unit is at the front again, for another server
  settle_aftermath();
  flush_to_client();
  if (unlink_if_done() && step != Step::leave) step = Step::go_on;
  link_.keep_rest();
  if (watch.broken()) [[unlikely]] {
    give_up_broken();
    return Step::leave;
  }
  return step;
}

void ClientSession::note_vintage() {
  context_.tables.vintage = {.schema = pool().catalogue().schema(), .at = context_.reactor.now()};
}

ClientSession::Step ClientSession::process() {
  if (!link_.received().empty()) clock_.active();
  note_vintage();
  if (linked_) linked_->conversation.runs_on(role());
  auto& classifier = *logged_in_.identity.classifier;
  // Those that were put off have a share of their own: the next turn's events can't use it up.
  classifier.turn(2 * context_.reactor.now().time_since_epoch().count() + (carried_over_ ? 1 : 0));
  carried_over_ = false;
  std::optional<protocol::sql::Classifier::Known> known;
  if (front_.read()) [[unlikely]]
    front_.tell(known, classifier, framer_, link_.received());
  for (;;) {
    if (!link_.open()) return Step::leave;
    if (front_.being_read()) return Step::need_verdict;
    if (!muted() && (link_.unsent() || context_.desk.to_client.size() > most_unsent)) return Step::go_on;
    if (budget_.spent()) return Step::next_turn;
    if (linked_ && !linked_->lease->link.open()) return Step::wait_progress;  // it has ended: its reader says how
    if (link_.received().empty()) return Step::need_input;
    if (!linked_ || !linked_->conversation.unit_open()) {
      const Step step = between_units();
      if (step == Step::go_on) continue;
      if (step != Step::take_message) return step;
    }
    const Frame frame = framer_.next(link_.received());
    switch (frame.kind) {
      case Frame::Kind::need_more: wanted_bytes_ = frame.wanted; return Step::need_input;
      case Frame::Kind::error:
        context_.counters.protocol_errors.add();
        flush_to_server();
        disconnect(framer_.error());
        return Step::leave;
      case Frame::Kind::more:
        // If the message's beginning went to a server that is gone, its rest is dropped.
        if (linked_) linked_->conversation.more_from_client(frame, framer_);
        consume(frame.bytes.size());
        break;
      case Frame::Kind::start: {
        const Step step = take(frame);
        if (step != Step::go_on) return step;
        break;
      }
    }
  }
}

// What comes before the message at the front, of which something is there: `take_message` if it goes to the server of
// linked_, or is the rest of one whose server is gone.
ClientSession::Step ClientSession::between_units() {
  if (block_.lost()) return answer_lost();
  if (!linked_) return framer_.at_boundary() ? get_server() : Step::take_message;
  Step step = Step::go_on;
  if (guessed_pin_on_replica()) {
    step = leave_replica();
  } else if (block_.may_move() && block_on_replica()) {
    step = move_block();
  }
  return step == Step::go_on && linked_ ? Step::take_message : step;
}

// The statement at the front takes too long to be judged here.
ClientSession::Step ClientSession::read_elsewhere() {
  front_.begin(context_.reactor, context_.parse_service, *logged_in_.identity.classifier);
  return Step::need_verdict;
}

void ClientSession::consume(std::size_t count) {
  link_.consume(count);
  front_.moved();
}

ClientSession::Step ClientSession::take(const Frame& frame) {
  if (frame.tag == client::terminate) return part();
  auto& conversation = linked_->conversation;
  switch (conversation.from_client(frame, framer_)) {
    case Conversation::Taken::taken: break;
    case Conversation::Taken::wait: framer_.put_back(); return Step::wait_progress;
    case Conversation::Taken::later: framer_.put_back(); return Step::next_turn;
    case Conversation::Taken::elsewhere: framer_.put_back(); return read_elsewhere();
    case Conversation::Taken::too_many:
      flush_to_server();
      disconnect(Tell::too_many_messages);
      return Step::leave;
    case Conversation::Taken::unknown:
      context_.counters.protocol_errors.add();
      flush_to_server();  // messages that were announced to the exchange must be sent
      disconnect(Tell::unexpected_message, {name_of(protocol::Direction::from_client, frame.tag)});
      return Step::leave;
  }
  budget_.spend_message();
  consume(frame.bytes.size());
  return Step::go_on;
}

// PostgreSQL runs and answers what it has received in front of a Terminate. Here, what can have no effect is canceled
// if nobody listens any more: a proven read, a block that stays open, a batch without its Sync.
ClientSession::Step ClientSession::part() {
  auto& conversation = linked_->conversation;
  const bool listens = phase_ != Phase::parting && !link_.watch().hung_up();
  if (listens) conversation.terminate();
  if (conversation.copy_was_terminated()) {
    disconnect(Tell::synchronization_lost);
    return Step::leave;
  }
  if (!conversation.takes_effect() && !(listens && conversation.answers_come())) return Step::leave;
  // If it goes without listening to the end, what takes effect is finished all the same.
  if (listens) link_.outlive_peer();
  phase_ = listens ? Phase::last_answers : Phase::parting;
  framer_.put_back();
  return Step::wait_progress;
}

// For a client whose server was lost in the middle of its transaction: the block answers instead of the server.
ClientSession::Step ClientSession::answer_lost() {
  const Frame frame = framer_.next(link_.received());
  switch (frame.kind) {
    case Frame::Kind::need_more: wanted_bytes_ = frame.wanted; return Step::need_input;
    case Frame::Kind::error:
      context_.counters.protocol_errors.add();
      disconnect(framer_.error());
      return Step::leave;
    case Frame::Kind::more:
      consume(frame.bytes.size());
      if (frame.last) block_.rest_came(context_.desk.to_client.writable());
      return Step::go_on;
    case Frame::Kind::start: break;
  }
  if (frame.tag == client::terminate) return Step::leave;
  auto& classifier = *logged_in_.identity.classifier;
  TransactionControl control = TransactionControl::none;
  if (frame.last && frame.tag == client::query) {
    if (const auto text = protocol::parse_query(frame.body())) {
      const auto& verdict = classifier.verdict(*text);
      if (verdict.statements == 1) control = verdict.control;
    }
  } else if (frame.last && frame.tag == client::parse) {
    if (const auto parse = protocol::parse_parse(frame.body())) control = classifier.verdict(parse->sql).control;
  } else if (frame.tag == client::bind) {
    const auto head = protocol::parse_bind_head(frame.body(), protocol::Extent::front);
    if (head && *head) {
      const auto found = statements_.find((*head)->statement);
      if (found.statement != nullptr) control = verdict_of(*found.statement, classifier).control;
    }
  }
  auto& out = context_.desk.scratch;
  out.clear();
  const auto step = block_.answer(frame.tag, frame.body(), control, out);
  // A Parse or Close that was answered here takes effect on the client's names: a ROLLBACK by the extended protocol is
  // parsed and then bound.
  if (!out.empty() && (static_cast<char>(out[0]) == protocol::server::parse_complete ||
                       static_cast<char>(out[0]) == protocol::server::close_complete)) {
    const auto understood = context_.tables.prepared.understand(frame, statements_);
    if (understood.cookie != 0) statements_.settle(understood.cookie, protocol::Outcome::completed);
  }
  auto& to_client = context_.desk.to_client.writable();
  to_client.insert(to_client.end(), out.begin(), out.end());
  if (step == protocol::LostTransaction::Step::hand_over) {
    framer_.put_back();
    return Step::go_on;
  }
  budget_.spend_message();
  consume(frame.bytes.size());
  if (step == protocol::LostTransaction::Step::finished) statements_.end_batch();
  return Step::go_on;
}

}  // namespace holdfast::proxy
