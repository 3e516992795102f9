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

// With more than this unsent to a client, no more is taken from it.
constexpr std::size_t most_unsent = 64 * 1024;
// A client that sends messages without end and never a Sync: what is remembered of each is eight bytes.
constexpr std::size_t most_in_flight = 1'000'000;
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
    const bool taken_back = flush_requests();
    if (step == Step::leave) break;
    link_.keep_rest();
    unit_fresh_ = false;
    if (taken_back) continue;  // the unit is at the front again, for another server
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
        if (link_.watch().hung_up()) {  // it is told once, and that was before
          link_.close();
          break;
        }
        link_.watch().on_hangup(&ClientSession::on_hangup, this);
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
    if (link_.unsent() && link_.unsent_bytes() > most_unsent) return Step::go_on;
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

ClientSession::Step ClientSession::forward(const Frame& frame) {
  auto& exchange = server_->exchange;
  if (exchange.in_flight() > most_in_flight) {
    flush_requests();
    disconnect({sqlstate::program_limit_exceeded, "too many messages without a Sync"});
    return Step::leave;
  }
  // What a COPY takes belongs to the unit that began it, also when that has failed and it comes too late.
  const bool of_copy =
      frame.tag == client::copy_data || frame.tag == client::copy_done || frame.tag == client::copy_fail;
  const bool begins_unit = !unit_open_;
  if (begins_unit && !of_copy && frame.tag != client::terminate) {
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
      // Of several in flight the first has it.
      const bool running = deadline_.armed() && deadline_state_ == sqlstate::query_canceled && !exchange.idle();
      if (!running) worker_.reactor.deadlines().arm(deadline_, worker_.reactor.now() + settings_->query_timeout);
      deadline_state_ = sqlstate::query_canceled;
    } else if (deadline_.armed()) {
      deadline_.disarm();
    }
    if (begin_.deferred() && frame.tag != client::sync) send_begin();
  }
  switch (frame.tag) {
    case client::terminate: return Step::leave;
    case client::query: {
      const Step step = forward_query(frame, begins_unit && !exchange.open_batch());
      if (step != Step::go_on) {
        unit_open_ = false;
        framer_.put_back();
        return step;
      }
      break;
    }
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

// `alone`: no batch is open in front of it.
ClientSession::Step ClientSession::forward_query(const Frame& frame, bool alone) {
  Verdict verdict = protocol::sql::unseen_verdict;
  if (std::exchange(unit_.judged, false)) {
    verdict = unit_.verdict;  // the router has asked already
  } else if (frame.last) {
    if (const auto text = protocol::parse_query(frame.body())) verdict = classifier_->verdict(*text);
  }
  if (frame.last && has(verdict.effects, Effect::set | Effect::discard)) {
    if (const auto text = protocol::parse_query(frame.body())) note_reset(*text);
  }
  // In an open batch a Query ends the implicit transaction, which only the server can: there it says 26000.
  if (alone && frame.last && has(verdict.effects, Effect::sql_deallocate)) {
    if (const auto name = name_to_deallocate(frame, verdict)) {
      // Its answer comes behind those in flight, and says what they made of the transaction.
      if (!server_->exchange.idle()) return Step::wait_progress;
      if (const char status = server_->exchange.transaction_status(); status != 'E') {
        deallocate(*name, status);
        unit_open_ = false;
        if (deadline_.armed()) deadline_.disarm();
        server_idle(*server_);
        return Step::go_on;
      }
    }
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
  return Step::go_on;
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
      announce({.tag = client::describe, .origin = Origin::failing, .cookie = cookie});
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

// True: the server was dead, nothing of the unit has left, and it is at the front again.
bool ClientSession::flush_requests() {
  auto& composer = worker_.composer;
  if (composer.empty()) return false;
  if (server_ == nullptr) {
    composer.clear();
    return false;
  }
  const auto sent_before = server_->link.bytes_out;
  server_->sent_at = worker_.reactor.now();
  const bool sent = server_->link.send(composer.bytes());
  composer.clear();
  // Not one byte reached the server and the client's bytes are still here: take it back and find another.
  if (sent || !unit_fresh_ || server_->link.bytes_out != sent_before) return false;
  ServerLink& dead = *std::exchange(server_, nullptr);
  dead.client = nullptr;
  worker_.report(dead.home->pool.key.cluster, dead.home->member, health::Evidence::connection_lost);
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
  return true;
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
