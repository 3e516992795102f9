// Where each unit goes: what is decided before its first byte is forwarded, and what needs no server.
#include <utility>

#include "protocol/backend.hpp"
#include "protocol/frontend.hpp"
#include "proxy/session/client_session.hpp"
#include "proxy/session/local_answers.hpp"

namespace holdfast::proxy {

namespace client = protocol::client;
using protocol::Frame;
using protocol::Hidden;
using protocol::Tell;
using protocol::sql::Access;
using protocol::sql::Effect;
using protocol::sql::TransactionControl;

namespace {

// A unit whose end is not within so many bytes is routed as a write.
constexpr std::size_t longest_looked_at = 64 * 1024;

MemberPool& member_of(const void* pool, health::MemberIndex member) {
  return const_cast<Pool*>(static_cast<const Pool*>(pool))->member(member);  // NOLINT: made on first use
}
// How long the end of a batch is waited for before its beginning goes to the primary.
constexpr auto batch_patience = 2 * DeadlineWheel::slot_width;

std::size_t load_of(const void* pool, health::MemberIndex member) {
  return member_of(pool, member).load();
}
bool lets_in(const void* pool, health::MemberIndex member) {
  return member_of(pool, member).lets_in();
}

}  // namespace

// For the unit at the front.
ClientSession::Step ClientSession::get_server() {
  // It may have ended on its way here, when nobody was there to be told.
  if (granted_ && !granted_->link.open()) granted_ = ServerLease();
  if (!granted_) {
    const Step step = begin_unit();
    if (step != Step::go_on || !granted_) return step;
  }
  granted_->session.serves(name_.session);
  routing_->forgets_sequences = false;
  if (granted_->session.shows_others()) {
    if (sees_others_placeholders()) {
      granted_->session.give_up();
      granted_ = ServerLease();
      return Step::go_on;
    }
    routing_->forgets_sequences = sees_others_sequences();
  }
  const bool aligned = granted_->session.settings == logged_in_.identity.wanted;
  if (!aligned || routing_->forgets_sequences) return Step::need_settings;
  link();
  return Step::take_message;
}

// Decides where the unit at the front goes, and leases a server for it if one is idle.
ClientSession::Step ClientSession::begin_unit() {
  if (!routing_) routing_.emplace();
  auto& unit = routing_->unit;
  unit = look_ahead(link_.received(), framer_, statements_, *logged_in_.identity.classifier, longest_looked_at,
                    front_.patience());
  if (unit.shape == Unit::Shape::later) return Step::next_turn;
  if (unit.shape == Unit::Shape::elsewhere) return read_elsewhere();
  if (unit.shape == Unit::Shape::incomplete) {
    if (!unit.begun || !clock_.expired(ClientClock::Kind::batch)) {
      if (unit.begun && !clock_.runs()) clock_.arm(ClientClock::Kind::batch, batch_patience);
      wanted_bytes_ = unit.wanted;
      routing_.reset();
      return Step::need_input;
    }
    // Its client may be waiting for an error, which PostgreSQL sends without being asked.
    unit.shape = Unit::Shape::decided;
    unit.verdict.access = Access::write;
  }
  clock_.forget(ClientClock::Kind::batch);
  if (unit.shape == Unit::Shape::broken || !unit.needs_server) {
    routing_.reset();
    return answer_alone();
  }
  if (unit.only_parses || unit.judged) {
    if (const auto done = LocalAnswers(facts_, framer_).answer(unit, link_.received()); done > 0) {
      consume(done);
      budget_.spend_message();
      routing_.reset();
      return Step::go_on;
    }
  }
  return route();
}

ClientSession::Step ClientSession::route() {
  if (routing_->attempts.repeats.any()) [[unlikely]] {
    const Step step = repeat();
    if (step != Step::go_on || !routing_) return step;
  }
  const Route route = choose();
  const auto& topology = pool().topology();
  want_marks(route);
  routing_->looks_for_replica = route.kind == Route::Kind::primary && route.wants_marks;
  const auto now = context_.reactor.now();
  switch (route.kind) {
    case Route::Kind::refused: refuse_unit(protocol::told(Tell::no_replica)); return Step::go_on;
    case Route::Kind::wait_for_marks:
      routing_->has_waited = now + DeadlineWheel::slot_width >= route.until;
      if (!routing_->marks_until) {
        routing_->marks_until = route.until;
      } else if (now >= *routing_->marks_until) {
        routing_->has_waited = true;
        return Step::go_on;  // it is routed again, without waiting
      }
      return Step::need_marks;
    case Route::Kind::member: {
      const Step step = grant(route.member, Waiter::Kind::read);
      pool().last_replica = route.member;
      context_.counters.routed[static_cast<std::size_t>(route.reason)].add();
      return step;
    }
    case Route::Kind::primary: break;
  }
  context_.counters.routed[static_cast<std::size_t>(route.reason)].add();
  if (topology.primary) return grant(*topology.primary, Waiter::Kind::write);
  routing_->kind = Waiter::Kind::write;
  return Step::need_server;
}

// The unit was with a server before: may it go out again, and now?
ClientSession::Step ClientSession::repeat() {
  using Next = protocol::Repeats::Next;
  using Crash = protocol::Repeats::Crash;
  const auto& attempts = routing_->attempts;
  const auto lost_at = attempts.repeats.lost_at();
  // Another worker may have seen the crash before this one saw its server end.
  const auto& crashes = pool().context().shared.crashes;
  const bool crash =
      lost_at && crashes.since(pool().key().cluster, attempts.lost_on, *lost_at - protocol::Repeats::pause);
  Counter* lost = nullptr;
  Tell what = Tell::rolled_back;
  const auto hold = settings().hold_timeout;
  switch (attempts.repeats.next(context_.reactor.now(), hold, crash ? Crash::seen : Crash::none)) {
    case Next::send: return Step::go_on;
    case Next::wait: return Step::need_pause;
    case Next::given_up:
      refuse_unit(protocol::told(Tell::no_server_takes, {std::to_string(hold.count())}));
      return Step::go_on;
    case Next::lost_again: lost = &context_.counters.lost_rolled_back; break;
    case Next::crashed:
      lost = &context_.counters.lost_crashed;
      what = Tell::server_crashed;
      break;
  }
  lost->add();
  const auto error = protocol::told(what);
  log(LogLevel::warning, "read_not_repeated",
      {{"member", pool().member_name(attempts.lost_on)}, {"sqlstate", std::string(error.state.view())}});
  refuse_unit(error);
  return Step::go_on;
}

Route ClientSession::choose() const {
  if (routing_->force_primary) return {.reason = RouteReason::learnt};
  const auto& identity = logged_in_.identity;
  if (identity.session_mode() && settings().route == config::Route::automatic) {
    return {.reason = RouteReason::session_state};
  }
  const bool in_block = block_.state() == protocol::Block::State::deferred;
  const auto& first = routing_->unit.verdict;
  const auto block = in_block ? block_.judged(first, read_only_by_default()) : protocol::sql::Verdict{};
  if (pool().topology().members.size() > 1 && has(pool().catalogue().hidden(), Hidden::reads_lock)) [[unlikely]] {
    // A lock that a view takes on a standby would keep nobody out. Explicit words decide otherwise; and where nothing
    // is known yet, without a primary the standbys must be asked.
    const auto hint = in_block ? block.hint : first.hint;
    const bool automatic = settings().route == config::Route::automatic;
    const bool known = pool().topology().primary || pool().catalogue().hidden() != Hidden::anything;
    if (automatic && known && hint != protocol::sql::Hint::replica) return {.reason = RouteReason::session_state};
  }
  const auto global = settings().read_consistency == config::ReadConsistency::global;
  const bool in_flight = global && pool().last_writes().in_flight();  // before the last write is looked at
  return choose_route({.verdict = in_block ? block : first,
                       .settings = settings(),
                       .topology = pool().topology(),
                       .seen = seen_,
                       .now = context_.reactor.now(),
                       .last_write_anywhere = global ? pool().last_writes().last() : TimePoint{},
                       .write_in_flight = in_flight,
                       .begins_for_good = begins_for_good(),
                       .has_waited = routing_->has_waited,
                       .loads = {.of_what = &pool(), .ask = &load_of, .lets_in = &lets_in},
                       .last_replica = pool().last_replica});
}

void ClientSession::want_marks(const Route& route) {
  if (route.wants_marks && pool().topology().freshness->want(route.wanted)) {
    pool().context().shared.want_marks(pool().key().cluster);
  }
}

// Asked while a read, for which no replica was fresh enough, waits for a server of the primary or for a primary: a
// replica may be fresh before its turn comes.
bool ClientSession::replica_is_fresh(void* self) {
  auto& session = *static_cast<ClientSession*>(self);
  const Route route = session.choose();
  session.want_marks(route);
  return route.kind == Route::Kind::member;
}

// default_transaction_read_only, as the session has it on the primary: what the client asked for at start-up, else what
// the primary reports for its role and database.
bool ClientSession::read_only_by_default() const {
  if (logged_in_.identity.read_only_asked) return *logged_in_.identity.read_only_asked;
  const auto primary = pool().topology().primary;
  return primary && pool().member(*primary).read_only_by_default();
}

// Whether the unit begins a block that a standby must not have, since the block could not begin again on the primary
// when something comes that is the primary's (see Block): one with a snapshot for all its statements, or with anything
// in it that would be lost.
bool ClientSession::begins_for_good() const {
  using Isolation = protocol::sql::Isolation;
  const auto& unit = routing_->unit;
  const auto& verdict = unit.verdict;
  const bool deferred = block_.state() == protocol::Block::State::deferred;
  const bool begins =
      verdict.control == TransactionControl::begin || verdict.control == TransactionControl::begin_read_only;
  // A string with a block of its own leaves it open if it says so, and failed if one of its statements fails.
  if (!deferred && !begins) return verdict.chains || verdict.returns_after_commit;
  if (unit.keeps_portal || unit.hides_begin || !block_.stays_plain(verdict)) return true;
  const auto isolation = block_.judged(verdict, false).isolation;
  if (isolation != Isolation::unsaid) return isolation == Isolation::one_snapshot;
  const auto& asked = logged_in_.identity.snapshot_asked;
  return asked ? *asked : pool().catalogue().may_default_to_one_snapshot();
}

ClientSession::Step ClientSession::grant(health::MemberIndex member, Waiter::Kind kind) {
  routing_->member = member;
  routing_->kind = kind;
  granted_ = pool().member(member).lease_now();
  return granted_ ? Step::go_on : Step::need_server;
}

// Pinned to a replica only by an unknown function, to which a hint has sent it.
bool ClientSession::guessed_pin_on_replica() const {
  const auto& conversation = linked_->conversation;
  return conversation.pins().guessed() && framer_.at_boundary() && !conversation.unit_open() &&
         linked_->lease->session.exchange.transaction_status() == 'I' && role() == Conversation::Role::replica &&
         settings().pool_mode == config::PoolMode::transaction && settings().route == config::Route::automatic;
}

// A pin that is only a guess must not keep a session from writing: what is no plain read is routed anew, and the pin is
// dropped with the replica's server, which is cleaned. Reads stay where the function may have left something.
ClientSession::Step ClientSession::leave_replica() {
  const Unit next =
      look_ahead(link_.received(), framer_, statements_, *logged_in_.identity.classifier, longest_looked_at);
  const bool idle = linked_->lease->session.exchange.idle();
  if (next.shape == Unit::Shape::incomplete) {
    if (!idle) return Step::wait_progress;
    wanted_bytes_ = next.wanted;
    return Step::need_input;
  }
  const auto& verdict = next.verdict;
  const bool reads = verdict.access != Access::write && verdict.effects == Effect::none &&
                     verdict.control == TransactionControl::none && !verdict.chains;
  if (reads || next.shape == Unit::Shape::broken || !next.needs_server) return Step::go_on;
  if (!idle) return Step::wait_progress;
  unlink(Why::abandoned);
  return Step::go_on;
}

bool ClientSession::block_on_replica() const {
  const auto& conversation = linked_->conversation;
  return framer_.at_boundary() && !conversation.unit_open() && !conversation.pinned() &&
         role() == Conversation::Role::replica && settings().route == config::Route::automatic;
}

// A read-only block runs on a replica as long as it only reads. What leaves something in the session or in the block,
// asks which server this is, or is a standby's to refuse, runs on the primary, and the rest of the block with it.
ClientSession::Step ClientSession::move_block() {
  const Unit next =
      look_ahead(link_.received(), framer_, statements_, *logged_in_.identity.classifier, longest_looked_at);
  const bool incomplete = next.shape == Unit::Shape::incomplete;
  // The end of the block may be in flight, behind which there is nothing to be moved.
  const bool idle = linked_->lease->session.exchange.idle();
  if (incomplete && !idle) return Step::wait_progress;
  if (incomplete && !(next.begun && clock_.expired(ClientClock::Kind::batch))) {
    if (next.begun && !clock_.runs()) clock_.arm(ClientClock::Kind::batch, batch_patience);
    wanted_bytes_ = next.wanted;
    return Step::need_input;
  }
  clock_.forget(ClientClock::Kind::batch);
  const bool refused = idle && block_.refuses(next.verdict);
  const bool plain = !next.keeps_portal && block_.stays_plain(next.verdict);
  const bool stays = !incomplete && (!next.binds || plain || refused);
  if (!next.needs_server || next.shape == Unit::Shape::broken) return Step::go_on;
  if (stays) {
    if (idle && block_.may_run_again()) linked_->conversation.expect_next(next);
    return Step::go_on;
  }
  if (!idle) return Step::wait_progress;
  unlink(Why::abandoned);
  block_.move();
  routing_.emplace().force_primary = true;
  return Step::go_on;
}

// Answers or drops Sync, Flush, Terminate and late CopyData of a client without a server, and refuses what breaks the
// protocol.
ClientSession::Step ClientSession::answer_alone() {
  const Frame frame = framer_.next(link_.received());
  if (frame.kind != Frame::Kind::start) {
    if (frame.kind == Frame::Kind::need_more) return Step::need_input;
    context_.counters.protocol_errors.add();
    disconnect(framer_.error());
    return Step::leave;
  }
  budget_.spend_message();
  consume(frame.bytes.size());
  if (frame.tag == client::terminate) return Step::leave;
  if (frame.tag == client::sync) LocalAnswers(facts_, framer_).sync();
  return Step::go_on;
}

// The unit at the front can't be served: it is answered with an error, the connection stays.
void ClientSession::refuse_unit(const Error& error) {
  const auto unit = std::exchange(routing_, std::nullopt)->unit;
  // A block whose first statement fails is a failed block.
  protocol::Loss loss;
  loss.status_after = block_.state() == protocol::Block::State::deferred ? 'E' : 'I';
  block_.abandon();
  if (unit.answered_alone) {
    const auto frame = framer_.next(link_.received());
    consume(frame.bytes.size());
    loss.units.push_back({.tag = frame.tag, .status = loss.status_after});
  } else {
    loss.batch = protocol::Loss::Batch::owed;
  }
  budget_.spend_message();
  block_.lose(loss, error, message(), context_.desk.to_client.writable());
}

}  // namespace holdfast::proxy
