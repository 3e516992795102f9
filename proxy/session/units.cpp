// Where each unit goes: what is looked at before its first byte is forwarded, what needs no server, and the wait for
// one.
#include <utility>

#include "protocol/backend.hpp"
#include "protocol/frontend.hpp"
#include "protocol/sql/reset.hpp"
#include "proxy/session/answers.hpp"
#include "proxy/session/client_session.hpp"
#include "proxy/worker.hpp"

namespace holdfast::proxy {

namespace client = protocol::client;
using protocol::Frame;
using protocol::Origin;
using protocol::sql::Access;
using protocol::sql::Effect;
using protocol::sql::TransactionControl;

namespace {

// A batch that is longer is routed by what has been seen of it (as a write).
constexpr std::size_t longest_looked_at = 64 * 1024;

}  // namespace

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
  if (unit_.judged && (answer_block() || answer_deallocate())) return Step::go_on;

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
  if (!begin_.deferred()) return choose_route(unit_, *settings_, *pool_, seen_, now, waited_for_marks_);
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
  if (begin_.deferred()) {
    if (!begin_.end(verdict, out)) return false;
  } else {
    if (verdict.deferrable == protocol::sql::Deferrable::no || settings_->pool_mode == config::PoolMode::session) {
      return false;
    }
    auto probe = framer_;
    const auto text = protocol::parse_query(probe.next(link_.received()).body());
    if (!text || !protocol::DeferredBegin::may_defer(verdict, *text)) return false;
    begin_.defer(*text, verdict, out);
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

// DEALLOCATE in SQL of a name that was made by Parse: the two share their names (DBD::Pg, PDO and postgres_fdw count on
// it), and only the proxy knows this one.
std::optional<std::string> ClientSession::name_to_deallocate(const Frame& frame,
                                                             const protocol::sql::Verdict& verdict) {
  if (verdict.statements != 1) return std::nullopt;
  const auto text = protocol::parse_query(frame.body());
  auto name = text ? protocol::sql::deallocated_name(*text) : std::nullopt;
  if (!name || statements_.find(*name).answer == protocol::ClientStatements::Answer::unknown) return std::nullopt;
  return name;
}

void ClientSession::deallocate(const std::string& name, char status) {
  for (const auto cookie : {statements_.query().cookie, statements_.close(name).cookie}) {
    if (cookie != 0) statements_.settle(cookie, protocol::Outcome::completed);
  }
  statements_.end_batch();
  auto& out = worker_.scratch_out;
  out.clear();
  protocol::write_command_complete(out, "DEALLOCATE");
  protocol::write_ready_for_query(out, status);
  worker_.counters.units.add();
  link_.send(out);
}

bool ClientSession::answer_deallocate() {
  if (!has(unit_.verdict.effects, Effect::sql_deallocate)) return false;
  auto probe = framer_;
  const auto name = name_to_deallocate(probe.next(link_.received()), unit_.verdict);
  if (!name) return false;
  link_.consume(framer_.next(link_.received()).bytes.size());
  deallocate(*name, begin_.status());
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
  return pool_->id ^ (wanted_.identity() * 0x9e3779b97f4a7c15U);
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
        (++named > 1 || statements_.find(parse->name).answer != protocol::ClientStatements::Answer::unknown)) {
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

}  // namespace holdfast::proxy
