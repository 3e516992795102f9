// What the client says: units are routed, frames are rewritten where they must be, and everything of one pass goes to
// the server in one send.
#include <algorithm>
#include <utility>

#include "protocol/backend.hpp"
#include "protocol/frontend.hpp"
#include "protocol/sql/reset.hpp"
#include "proxy/session/answers.hpp"
#include "proxy/session/client_session.hpp"
#include "proxy/session/local_replies.hpp"
#include "proxy/worker.hpp"

namespace holdfast::proxy {

namespace client = protocol::client;
using protocol::Frame;
using protocol::Origin;
using protocol::Trait;
using protocol::sql::Access;
using protocol::sql::Effect;
using protocol::sql::TransactionControl;
using protocol::sql::Verdict;

namespace {

// A batch that is longer is routed by what has been seen of it (as a write).
constexpr std::size_t longest_looked_at = 64 * 1024;
// A unit that is longer is not kept for sending it again.
constexpr std::size_t longest_replay = 16 * 1024;

Trait traits_of(const Verdict& verdict) {
  Trait traits = Trait::none;
  if (verdict.repeatable()) traits |= Trait::repeatable;
  switch (verdict.control) {
    case TransactionControl::begin:
    case TransactionControl::begin_read_only: traits |= Trait::begins | Trait::repeatable; break;
    case TransactionControl::commit:
    case TransactionControl::prepare_transaction: traits |= Trait::commits; break;
    case TransactionControl::rollback: traits |= Trait::rolls_back; break;
    case TransactionControl::none:
    case TransactionControl::savepoint:
    case TransactionControl::other: break;
  }
  const auto opaque = Effect::ddl | Effect::unknown_function | Effect::unparsed | Effect::database_ddl;
  if (has(verdict.effects, opaque)) traits |= Trait::commits_itself;
  if (verdict.returns_after_commit || has(verdict.effects, Effect::unparsed)) traits |= Trait::may_commit;
  return traits;
}

// Bind and Execute: does it name the unnamed portal?
bool is_unnamed_portal(const Frame& frame) {
  return !frame.body().empty() && frame.body()[0] == std::byte{0};
}

// Of a portal that may be one or the other.
Trait either(Trait a, Trait b) {
  if (a == b) return a;
  const auto control = Trait::begins | Trait::commits | Trait::rolls_back | Trait::may_commit;
  Trait traits = Trait::none;
  if (has(a, Trait::repeatable) && has(b, Trait::repeatable)) traits |= Trait::repeatable;
  if (has(a | b, Trait::commits_itself)) traits |= Trait::commits_itself;
  if (has(a | b, control)) traits |= Trait::may_commit;
  return traits;
}

}  // namespace

Task<> ClientSession::serve() {
  while (link_.open()) {
    if (link_.unsent() && !co_await link_.drain()) break;
    if (replay_now_) replay();
    const Step step = process();
    flush_requests();
    if (step == Step::leave) break;
    link_.keep_rest();
    unit_fresh_ = false;
    if (server_ != nullptr && server_->link.unsent()) {
      // The server takes no more for now; nor do we from the client. Its answers go on meanwhile.
      Link& busy = server_->link;
      co_await busy.drain();
      continue;
    }
    switch (step) {
      case Step::go_on: break;
      case Step::need_input: {
        if (link_.unsent() || replay_now_) break;
        if (leaving_ && (server_ == nullptr || (server_->exchange.may_release() && !unit_open_))) {
          disconnect({sqlstate::admin_shutdown, "terminating connection due to administrator command"});
          break;
        }
        arm_idle_deadline();
        if (!link_.may_receive()) co_await link_.watch().readable();
        if (link_.receive(wanted_bytes_) == Io::closed && link_.open()) {
          abandon_server();
          link_.close();
        }
        break;
      }
      case Step::need_server: {
        enqueue();
        co_await waiter_.settled_or_failed();
        worker_.counters.clients_waiting.subtract();
        worker_.counters.wait_microseconds.add(static_cast<std::uint64_t>(
            std::chrono::duration_cast<std::chrono::microseconds>(worker_.reactor.now() - waiter_.since).count()));
        if (!link_.open()) break;
        if (auto error = std::exchange(waiter_.error, std::nullopt)) refuse_unit(*error);
        break;
      }
      case Step::need_marks: {
        // Marks move by themselves: look again every slot of the wheel until the wait is over.
        waiter_.settled = false;
        worker_.reactor.deadlines().arm(waiter_.deadline, worker_.reactor.now() + DeadlineWheel::slot_width);
        co_await waiter_.settled_or_failed();
        waiter_.error.reset();
        break;
      }
      case Step::wait_progress: {
        Progress progress{*this};
        co_await progress;
        break;
      }
      case Step::leave: break;
    }
    if (server_ != nullptr && server_->settings != wanted_ && server_->exchange.idle() && !pinned() && link_.open()) {
      if (!co_await apply_settings()) continue;
    }
  }
  abandon_server();
}

ClientSession::Step ClientSession::process() {
  worker_.composer.clear();
  wanted_bytes_ = 0;
  for (;;) {
    if (!link_.open()) return Step::leave;  // an answer of our own found it broken
    if (link_.unsent() && link_.unsent_bytes() > longest_looked_at) return Step::go_on;
    if (lost_) {
      const Step step = process_lost();
      if (step != Step::go_on) return step;
      continue;
    }
    if (server_ != nullptr && !unit_open_ && framer_.at_boundary() && guessed_pin_on_replica()) {
      if (link_.received().empty() || leave_replica() == Step::need_input) return Step::need_input;
    }
    if (server_ == nullptr && framer_.at_boundary()) {
      if (link_.received().empty()) return Step::need_input;
      const Step step = begin_unit();
      if (step != Step::go_on) return step;
      if (server_ != nullptr && server_->settings != wanted_) return Step::go_on;  // serve() applies them first
      if (server_ == nullptr) continue;
    }
    const Frame frame = framer_.next(link_.received());
    switch (frame.kind) {
      case Frame::Kind::need_more: wanted_bytes_ = frame.wanted; return Step::need_input;
      case Frame::Kind::error:
        worker_.counters.protocol_errors.add();
        flush_requests();
        disconnect(framer_.error());
        return Step::leave;
      case Frame::Kind::more:
        if (!dropping_body_ && server_ != nullptr) worker_.composer.forward(frame.bytes);
        if (frame.last) dropping_body_ = false;
        remember(frame);
        link_.consume(frame.bytes.size());
        break;
      case Frame::Kind::start: {
        const Step step = forward(frame);
        if (step != Step::go_on) return step;
        break;
      }
    }
  }
}

// Decides where the unit at the front goes, and takes a server for it if one is idle.
ClientSession::Step ClientSession::begin_unit() {
  unit_ = look_ahead(link_.received(), framer_, statements_, *classifier_, longest_looked_at);
  if (unit_.shape == Unit::Shape::incomplete) {
    wanted_bytes_ = unit_.wanted;
    return Step::need_input;
  }
  if (unit_.shape == Unit::Shape::broken || !unit_.needs_server) return answer_alone();
  if (deadline_.armed()) deadline_.disarm();
  if (unit_.only_parses && answer_parses()) return Step::go_on;
  if (unit_.judged && answer_block()) return Step::go_on;

  const bool pins = has(unit_.verdict.effects, protocol::sql::pinning);
  const Route route = route_unit();
  replay_valid_ = unit_.verdict.repeatable() && unit_.verdict.control == TransactionControl::none && !pins;
  unit_start_ = link_.received();
  unit_fresh_ = true;
  switch (route.kind) {
    case Route::Kind::refused:
      refuse_unit({sqlstate::cannot_connect_now, "no replica can serve this session's reads now"});
      return Step::go_on;
    case Route::Kind::wait_for_marks:
      waited_for_marks_ = worker_.reactor.now() + DeadlineWheel::slot_width >= route.until;
      if (marks_until_ == TimePoint{}) {
        marks_until_ = route.until;
      } else if (worker_.reactor.now() >= marks_until_) {
        waited_for_marks_ = true;
        return Step::go_on;  // asked again, without waiting
      }
      return Step::need_marks;
    case Route::Kind::member: {
      const Step step = take_server(route.member, Waiter::Kind::read);
      worker_.counters.routed[static_cast<std::size_t>(route.reason)].add();
      return step;
    }
    case Route::Kind::primary: break;
  }
  worker_.counters.routed[static_cast<std::size_t>(route.reason)].add();
  const auto& topology = pool_->topology();
  if (!topology.primary) {
    target_primary_ = true;
    return Step::need_server;
  }
  return take_server(*topology.primary, Waiter::Kind::write);
}

Route ClientSession::route_unit() {
  if (force_primary_) return {.reason = RouteReason::learnt};
  const bool session_pool = settings_->pool_mode == config::PoolMode::session;
  if (session_pool && settings_->route == config::Route::automatic) return {.reason = RouteReason::session_state};
  const auto now = worker_.reactor.now();
  if (!begin_.held()) return choose_route(unit_, *settings_, *pool_, seen_, now, waited_for_marks_);
  Unit block = unit_;
  block.verdict = begin_.of_block(unit_.verdict, read_only_by_default());
  return choose_route(block, *settings_, *pool_, seen_, now, waited_for_marks_);
}

// default_transaction_read_only, as the session has it on the primary: what the client asked for at its start, or what
// is set for its role or database.
bool ClientSession::read_only_by_default() const {
  if (read_only_asked_) return *read_only_asked_;
  const auto primary = pool_->topology().primary;
  return primary && pool_->member(*primary).read_only_by_default;
}

// BEGIN waits for its first statement; a block that is still empty ends here as well. False: a server is needed.
bool ClientSession::answer_block() {
  const auto& verdict = unit_.verdict;
  auto& out = worker_.scratch_out;
  out.clear();
  if (begin_.held()) {
    if (!begin_.end(verdict, out)) return false;
  } else {
    if (verdict.holdable == protocol::sql::Holdable::no || settings_->pool_mode == config::PoolMode::session) {
      return false;
    }
    auto probe = framer_;
    const auto text = protocol::parse_query(probe.next(link_.received()).body());
    if (!text || !protocol::HeldBegin::may_hold(verdict, *text)) return false;
    begin_.hold(*text, verdict, out);
  }
  const Frame frame = framer_.next(link_.received());
  const auto understood = worker_.prepared.understand(frame, statements_);
  if (understood.cookie != 0) statements_.settle(understood.cookie, protocol::Outcome::completed);
  statements_.end_batch();
  link_.consume(frame.bytes.size());
  worker_.counters.units.add();
  link_.send(out);
  return true;
}

// Pinned to a replica by nothing but a function that nobody knows, called in a read-only block.
bool ClientSession::guessed_pin_on_replica() const {
  return pins_ == Effect::unknown_function && settings_->pool_mode == config::PoolMode::transaction &&
         settings_->route == config::Route::automatic && pool_->topology().primary != server_->home->member &&
         server_->exchange.may_release();
}

// A pin that is only a guess must not keep a session from writing: what needs the primary goes there, and the guess is
// dropped with the replica's server, which is cleaned. Reads stay where the function may have left something.
ClientSession::Step ClientSession::leave_replica() {
  const Unit next = look_ahead(link_.received(), framer_, statements_, *classifier_, longest_looked_at);
  if (next.shape == Unit::Shape::incomplete) {
    wanted_bytes_ = next.wanted;
    return Step::need_input;
  }
  if (next.shape == Unit::Shape::broken || !next.needs_server ||
      (next.verdict.access != Access::write && next.verdict.control != TransactionControl::begin)) {
    return Step::go_on;
  }
  ServerLink& server = *std::exchange(server_, nullptr);
  server.client = nullptr;
  pins_ = Effect::none;
  settle_down(server);
  return Step::go_on;
}

ClientSession::Step ClientSession::take_server(health::MemberIndex member, Waiter::Kind kind) {
  marks_until_ = {};
  waited_for_marks_ = false;
  auto& servers = pool_->member(member);
  // Whoever waits already goes first.
  if (servers.waiters.empty()) {
    if (ServerLink* server = servers.take_idle()) {
      server_given(*server);
      return Step::go_on;
    }
  }
  target_ = member;
  target_primary_ = kind == Waiter::Kind::write;
  return Step::need_server;
}

void ClientSession::enqueue() {
  waiter_.settled = false;
  waiter_.error.reset();
  waiter_.since = worker_.reactor.now();
  waiter_.kind = target_primary_ ? Waiter::Kind::write : Waiter::Kind::read;
  worker_.counters.clients_waiting.add();
  if (link_.watch().hung_up()) {  // it is told once, and that was before
    link_.close();
    waiter_.settled = true;
    return;
  }
  link_.watch().on_hangup(&ClientSession::on_hangup, this);
  worker_.reactor.deadlines().arm(waiter_.deadline, waiter_.since + settings_->wait_timeout);
  if (!target_primary_) {
    pool_->member(target_).wait(waiter_);
  } else if (!pool_->wait_for_primary(waiter_)) {
    waiter_.deadline.disarm();
    waiter_.settled = true;
    waiter_.error = Error{sqlstate::cannot_connect_now,
                          "there is no primary and too many clients wait for one already (hold_limit)"};
  }
}

// What a statement was parsed under: the catalogue of its pool's database, the user's rights and the session's
// settings.
std::uint64_t ClientSession::scope() const {
  return reinterpret_cast<std::uint64_t>(pool_) ^ (wanted_.identity() * 0x9e3779b97f4a7c15U);
}

// Prepares statements that servers of this scope have parsed before: no server is needed, which matters when all of
// them are inside transactions whose clients wait for this one (a driver with one thread).
bool ClientSession::answer_parses() {
  auto probe = framer_;
  std::size_t named = 0;
  for (auto rest = link_.received();;) {
    const Frame frame = probe.next(rest);
    if (frame.tag != client::parse) break;
    const auto parse = protocol::parse_parse(frame.body());
    const auto tail = frame.body().subspan(parse->name.size() + 1);
    if (!worker_.statements.intern(tail, parse->sql.size())->confirmed(scope())) return false;
    // A name in use, here or in this very batch, is 42P05 in its place: a server has to see it.
    if (!parse->name.empty() &&
        (++named > 1 || statements_.find(parse->name).verdict != protocol::ClientStatements::Verdict::unknown)) {
      return false;
    }
    rest = rest.subspan(frame.bytes.size());
  }
  auto& out = worker_.scratch_out;
  out.clear();
  for (;;) {
    const Frame frame = framer_.next(link_.received());
    if (frame.tag == client::parse) {
      const auto understood = worker_.prepared.understand(frame, statements_);
      if (understood.cookie != 0) statements_.settle(understood.cookie, protocol::Outcome::completed);
      protocol::write_parse_complete(out);
    } else {
      protocol::write_ready_for_query(out, begin_.status());
      statements_.end_batch();
    }
    link_.consume(frame.bytes.size());
    if (frame.tag == client::sync) break;
  }
  worker_.counters.units.add();
  link_.send(out);
  return true;
}

// Sync, Flush, Terminate and late CopyData of a client that has no server; and what is no protocol.
ClientSession::Step ClientSession::answer_alone() {
  const Frame frame = framer_.next(link_.received());
  if (frame.kind != Frame::Kind::start) {
    if (frame.kind == Frame::Kind::need_more) return Step::need_input;
    worker_.counters.protocol_errors.add();
    disconnect(framer_.error());
    return Step::leave;
  }
  link_.consume(frame.bytes.size());
  dropping_body_ = !frame.last;
  if (frame.tag == client::terminate) return Step::leave;
  if (frame.tag == client::sync) {
    auto& out = worker_.scratch_out;
    out.clear();
    protocol::write_ready_for_query(out, begin_.status());
    statements_.end_batch();
    link_.send(out);
  }
  return Step::go_on;
}

ClientSession::Step ClientSession::forward(const Frame& frame) {
  auto& exchange = server_->exchange;
  // What a COPY takes belongs to the unit that began it, also when that has failed and it comes too late.
  const bool of_copy =
      frame.tag == client::copy_data || frame.tag == client::copy_done || frame.tag == client::copy_fail;
  if (!unit_open_ && !of_copy && frame.tag != client::terminate) {
    // A further unit while the last one is in flight. On a replica it waits: it may be for somebody else.
    if (!exchange.idle()) {
      const bool on_primary = pool_->topology().primary == server_->home->member;
      // Behind a BEGIN of ours as well: until the server has it, nobody knows where this runs.
      const bool alone = (swallowing_unit_ || !on_primary) && exchange.transaction_status() == 'I' && !pinned();
      if (alone || begin_.sent()) {
        framer_.put_back();
        return Step::wait_progress;
      }
    }
    // What is kept to be sent again is one unit, the first on this server: never more than that.
    if (!replay_.empty()) replay_valid_ = false;
    unit_open_ = true;
    unit_delivered_ = false;
    unit_names_ = false;
    if (settings_->query_timeout.count() > 0) {
      worker_.reactor.deadlines().arm(deadline_, worker_.reactor.now() + settings_->query_timeout);
      deadline_state_ = sqlstate::query_canceled;
    } else if (deadline_.armed()) {
      deadline_.disarm();
    }
    if (begin_.held() && frame.tag != client::sync) send_begin();
  }
  switch (frame.tag) {
    case client::terminate: return Step::leave;
    case client::query: forward_query(frame); break;
    case client::parse:
    case client::bind:
    case client::describe:
    case client::close: {
      const Step step = forward_statement(frame);
      if (step != Step::go_on) {
        framer_.put_back();
        return step;
      }
      break;
    }
    case client::execute: {
      forward_plain(frame, is_unnamed_portal(frame) ? bound_traits_ : named_traits_.value_or(Trait::none));
      break;
    }
    case client::function_call:
      unit_writes_ = true;
      forward_plain(frame, Trait::commits_itself);
      unit_open_ = false;
      break;
    case client::sync:
      forward_plain(frame, Trait::none);
      inject_restore();
      statements_.end_batch();
      server_->statements.end_batch();
      unit_open_ = false;
      break;
    case client::flush:
    case client::copy_data:
    case client::copy_done:
    case client::copy_fail: forward_plain(frame, Trait::none); break;
    default:
      worker_.counters.protocol_errors.add();
      flush_requests();  // what the exchange was told of has to be sent
      disconnect({sqlstate::protocol_violation,
                  std::string("unexpected message ") + name_of(protocol::Direction::from_client, frame.tag)});
      return Step::leave;
  }
  remember(frame);
  link_.consume(frame.bytes.size());
  return Step::go_on;
}

// The BEGIN that was held back, in front of the block's first statement.
void ClientSession::send_begin() {
  server_->statements.drop_unnamed();
  const auto cookie = statements_.issue();
  begin_.send(cookie, worker_.composer.writable());
  announce({.tag = client::parse, .origin = Origin::proxy, .cookie = cookie});
  announce({.tag = client::bind, .origin = Origin::proxy, .cookie = cookie});
  announce(
      {.tag = client::execute, .origin = Origin::proxy, .traits = Trait::begins | Trait::repeatable, .cookie = cookie});
}

void ClientSession::forward_plain(const Frame& frame, Trait traits) {
  announce({.tag = frame.tag, .traits = traits});
  worker_.composer.forward(frame.bytes);
}

void ClientSession::announce(protocol::Request request) {
  settle_skipped(server_->exchange.sent(request), request.cookie);
  if (!server_->exchange.after().empty()) emit_due();
}

// A message behind one that failed, before the Sync: nothing comes of it.
void ClientSession::settle_skipped(protocol::Exchange::Fate fate, std::uint32_t cookie) {
  if (fate != protocol::Exchange::Fate::skipped || cookie == 0) return;
  statements_.settle(cookie, protocol::Outcome::skipped);
  server_->statements.settle(cookie, protocol::Outcome::skipped);
}

// What has to reach the server in front of this message, and the message's own rewritten head.
protocol::StatementPlan ClientSession::send_ahead(const protocol::StatementMessage& understood, const Frame& frame) {
  auto& out = worker_.scratch_out;
  out.clear();
  const auto plan = worker_.prepared.prepare(understood, frame, statements_, server_->statements, out);
  for (const auto& injected : plan.messages()) {
    announce({.tag = injected.tag, .origin = Origin::proxy, .cookie = injected.cookie});
  }
  if (!out.empty()) {
    auto& to = worker_.composer.writable();
    to.insert(to.end(), out.begin(), out.end());
  }
  return plan;
}

void ClientSession::forward_query(const Frame& frame) {
  Verdict verdict = protocol::sql::unseen_verdict;
  if (std::exchange(unit_.judged, false)) {
    verdict = unit_.verdict;  // the router has asked already
  } else if (frame.last) {
    if (const auto text = protocol::parse_query(frame.body())) verdict = classifier_->verdict(*text);
  }
  if (frame.last && has(verdict.effects, Effect::set | Effect::discard)) {
    if (const auto text = protocol::parse_query(frame.body())) note_reset(*text);
  }
  note_effects(verdict);
  // A simple Query destroys the unnamed statement, here and on the server.
  const auto cookie = statements_.query().cookie;
  server_->statements.drop_unnamed();
  announce({.tag = frame.tag, .traits = traits_of(verdict), .cookie = cookie});
  worker_.composer.forward(frame.bytes);
  if (frame.last) inject_restore();
  statements_.end_batch();
  server_->statements.end_batch();
  bound_traits_ = Trait::none;  // the unnamed portal is gone
  unit_open_ = false;
}

// Parse, Bind, Describe and Close: names are the client's, statements are shared.
ClientSession::Step ClientSession::forward_statement(const Frame& frame) {
  const auto understood = worker_.prepared.understand(frame, statements_);
  using Fault = protocol::StatementMessage::Fault;
  if (understood.fault == Fault::wait) return Step::wait_progress;
  if (frame.tag == client::close || (frame.tag == client::parse && understood.named)) unit_names_ = true;
  if (frame.tag == client::bind) {
    Verdict verdict = protocol::sql::unseen_verdict;
    if (understood.fault != Fault::none) verdict = {.access = Access::nothing};  // it fails: nothing is left behind
    if (understood.statement) {
      verdict = verdict_of(*understood.statement, *classifier_);
      if (has(verdict.effects, Effect::set | Effect::discard)) note_reset(understood.statement->text());
    }
    note_effects(verdict);
    const Trait traits = traits_of(verdict);
    if (is_unnamed_portal(frame)) {
      bound_traits_ = traits;
    } else {
      named_traits_ = named_traits_ ? either(*named_traits_, traits) : traits;
    }
    bound_ = verdict.control;
  }
  const auto plan = send_ahead(understood, frame);
  switch (plan.kind) {
    case protocol::StatementPlan::Kind::forward:
      announce({.tag = frame.tag, .cookie = understood.cookie});
      worker_.composer.forward(frame.bytes.subspan(plan.replaced));
      break;
    case protocol::StatementPlan::Kind::answer:
      settle_skipped(server_->exchange.answered_locally(frame.tag, understood.cookie), understood.cookie);
      if (!server_->exchange.after().empty()) emit_due();
      dropping_body_ = !frame.last;
      break;
    case protocol::StatementPlan::Kind::fail: {
      const auto cookie = understood.cookie != 0 ? understood.cookie : statements_.issue();
      doomed_.emplace_back(cookie, protocol::error_of(understood, frame.bytes));
      // What goes out in its stead is a Describe of a name that can't be.
      announce({.tag = client::describe, .origin = Origin::doomed, .cookie = cookie});
      dropping_body_ = !frame.last;
      break;
    }
  }
  return Step::go_on;
}

void ClientSession::note_effects(const Verdict& verdict) {
  if (verdict.access == Access::write) unit_writes_ = true;
  if (verdict.effects == Effect::none) return;
  if (has(verdict.effects, Effect::ddl)) unit_ddl_ = true;
  const auto pinning = static_cast<Effect>(static_cast<std::uint32_t>(verdict.effects) &
                                           static_cast<std::uint32_t>(protocol::sql::pinning));
  if (pinning != Effect::none) {
    if (!pinned()) {
      const auto bit = static_cast<std::size_t>(std::countr_zero(static_cast<std::uint32_t>(pinning)));
      worker_.counters.pins[std::min(bit, pin_reasons - 1)].add();
    }
    pins_ |= pinning;
    server_->dirt |= pinning;
  }
  // The shared server is not to suffer from what one client throws away: it is cleaned, and what it is believed to have
  // is forgotten.
  if (has(verdict.effects, Effect::discard | Effect::sql_deallocate)) {
    server_->dirt |= Effect::discard;
    server_->statements.doubt_all();
    unit_discards_ = true;
  }
}

// A client's RESET ends at what it asked for at its start, not at the server's default.
void ClientSession::note_reset(std::string_view sql) {
  if (wanted_.empty()) return;
  const auto name = protocol::sql::reset_setting(sql);
  if (!name.empty()) restore_ = protocol::restore_settings(wanted_, name);
}

// Behind the unit with the RESET, in the same write; a ROLLBACK undoes both.
void ClientSession::inject_restore() {
  if (restore_.empty()) return;
  server_->statements.drop_unnamed();
  announce({.tag = client::query, .origin = Origin::proxy});
  protocol::write_query(worker_.composer.writable(), restore_);
  restore_.clear();
}

void ClientSession::remember(const Frame& frame) {
  if (!replay_valid_) return;
  if (replay_.size() + frame.bytes.size() > longest_replay) {
    replay_valid_ = false;
    return;
  }
  replay_.insert(replay_.end(), frame.bytes.begin(), frame.bytes.end());
}

// The proxy's own answers whose turn has come.
void ClientSession::emit_due() {
  std::vector<std::byte> out;
  for (const auto& request : server_->exchange.after())
    append_local_reply(out, request, statements_, server_->statements);
  if (out.empty()) return;
  link_.send(out);
  unit_delivered_ = true;
  unit_fresh_ = false;
}

void ClientSession::flush_requests() {
  auto& composer = worker_.composer;
  if (composer.empty()) return;
  if (server_ == nullptr) {
    composer.clear();
    return;
  }
  const auto sent_before = server_->link.bytes_out;
  server_->sent_at = worker_.reactor.now();
  const bool sent = server_->link.send(composer.bytes());
  composer.clear();
  // Not one byte reached the server and the client's bytes are still here: take it back and find another.
  if (!sent && unit_fresh_ && server_->link.bytes_out == sent_before) {
    ServerLink& dead = *server_;
    server_ = nullptr;
    dead.client = nullptr;
    for (const auto& request : dead.exchange.on_server_lost().unanswered) {
      if (request.cookie != 0) statements_.settle(request.cookie, protocol::Outcome::skipped);
    }
    doomed_.clear();
    pins_ = Effect::none;  // a client without a server has none: what would have pinned it was not run
    link_.rewind(unit_start_);
    unit_open_ = false;
    dropping_body_ = false;
    framer_.put_back();
    begin_.take_back();
    worker_.counters.retries.add();
  }
}

ClientSession::Step ClientSession::process_lost() {
  const Frame frame = framer_.next(link_.received());
  switch (frame.kind) {
    case Frame::Kind::need_more: wanted_bytes_ = frame.wanted; return Step::need_input;
    case Frame::Kind::error:
      worker_.counters.protocol_errors.add();
      disconnect(framer_.error());
      return Step::leave;
    case Frame::Kind::more:
      if (frame.last) dropping_body_ = false;
      link_.consume(frame.bytes.size());
      return Step::go_on;
    case Frame::Kind::start: break;
  }
  if (frame.tag == client::terminate) return Step::leave;
  TransactionControl control = TransactionControl::none;
  if (frame.last && frame.tag == client::query) {
    if (const auto text = protocol::parse_query(frame.body())) {
      const auto& verdict = classifier_->verdict(*text);
      if (verdict.statements == 1) control = verdict.control;
    }
  } else if (frame.last && frame.tag == client::parse) {
    if (const auto parse = protocol::parse_parse(frame.body())) control = classifier_->verdict(parse->sql).control;
  } else if (frame.tag == client::bind) {
    const auto head = protocol::parse_bind_head(frame.body(), protocol::Extent::front);
    if (head && *head) {
      const auto found = statements_.find((*head)->statement);
      if (found.statement != nullptr) control = verdict_of(*found.statement, *classifier_).control;
    }
    bound_ = control;
  } else if (frame.tag == client::execute || frame.tag == client::describe) {
    control = bound_;
  }
  auto& out = worker_.scratch_out;
  out.clear();
  const auto step = lost_->client(frame.tag, frame.body(), control, out);
  // A ROLLBACK by the extended protocol is parsed and then bound; names that it closes are closed.
  if (!out.empty() && (static_cast<char>(out[0]) == protocol::server::parse_complete ||
                       static_cast<char>(out[0]) == protocol::server::close_complete)) {
    const auto understood = worker_.prepared.understand(frame, statements_);
    if (understood.cookie != 0) statements_.settle(understood.cookie, protocol::Outcome::completed);
  }
  if (!out.empty()) link_.send(out);
  if (step == protocol::LostTransaction::Step::hand_over) {
    framer_.put_back();
    lost_.reset();
    return Step::go_on;
  }
  link_.consume(frame.bytes.size());
  if (step == protocol::LostTransaction::Step::finished) {
    statements_.end_batch();
    lost_.reset();
    dropping_body_ = !frame.last;
  }
  return Step::go_on;
}

// Brings the server's session settings to the client's, before anything of the client's runs on it. Costs a round trip,
// only when the server served somebody with other settings before: sent along with the query, a failure would come too
// late.
Task<bool> ClientSession::apply_settings() {
  ServerLink& server = *server_;
  const auto sql = protocol::change_settings(server.settings, wanted_);
  if (sql.empty()) {
    server.settings = wanted_;
    if (logged_in_) tell_reported();
    co_return true;
  }
  server.setting_up = true;
  server.setup_error.reset();
  server.statements.drop_unnamed();
  server.exchange.sent({.tag = client::query, .origin = Origin::proxy});
  std::vector<std::byte> out;
  protocol::write_query(out, sql);
  server.sent_at = worker_.reactor.now();
  server.link.send(out);
  while (server_ == &server && !server.exchange.idle() && link_.open()) {
    Progress progress{*this};
    co_await progress;
  }
  if (server_ != &server) co_return false;  // lost: server_lost() has seen to the client
  if (!server.exchange.idle()) {
    abandon_server();  // the client is gone, and nobody knows which settings the server has
    co_return false;
  }
  server.setting_up = false;
  if (auto error = std::exchange(server.setup_error, std::nullopt)) {
    abandon_server();
    if (logged_in_) {
      refuse_unit(*error);
    } else {
      refuse(*error);
    }
    co_return false;
  }
  server.settings = wanted_;
  if (logged_in_) tell_reported();
  co_return true;
}

// Tells the client what this server reports otherwise than the last one did. Nothing is in flight.
void ClientSession::tell_reported() {
  if (told_ == server_->reported) return;
  std::vector<std::byte> out;
  protocol::difference(
      told_, server_->reported, protocol::RoleReports::keep,
      [&out](std::string_view name, std::string_view value) { protocol::write_parameter_status(out, name, value); });
  told_ = server_->reported;
  if (!out.empty()) link_.send(out);
}

void ClientSession::arm_idle_deadline() {
  if (deadline_.armed() || !logged_in_ || !link_.open()) return;
  if (server_ != nullptr && !server_->exchange.idle()) return;
  const char status = server_ != nullptr ? server_->exchange.transaction_status() : begin_.status();
  const bool in_transaction = status != 'I';
  const auto timeout = in_transaction ? settings_->idle_in_transaction_timeout : settings_->client_idle_timeout;
  if (timeout.count() == 0) return;
  deadline_state_ = in_transaction ? sqlstate::idle_in_transaction_session_timeout : sqlstate::idle_session_timeout;
  worker_.reactor.deadlines().arm(deadline_, worker_.reactor.now() + timeout);
}

}  // namespace holdfast::proxy
