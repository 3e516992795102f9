// A client and its server: from link() to unlink(), the only two functions that link and unlink them.
#include <utility>

#include "protocol/backend.hpp"
#include "protocol/invariant.hpp"
#include "proxy/base/log.hpp"
#include "proxy/pool/server_reader.hpp"
#include "proxy/session/client_session.hpp"
#include "proxy/session/sessions.hpp"

namespace holdfast::proxy {

namespace tag = protocol::server;
using protocol::Frame;
using protocol::Loss;
using protocol::Replay;
using protocol::Tell;

// The granted server has the client's settings; the unit that needs it is at the front.
void ClientSession::link() {
  if (!holds(!linked_, "a client that has a server gets another one")) unlink(Why::abandoned);
  linked_.emplace(std::move(granted_), facts_);
  linked_->attempts = routing_->attempts;
  if (const auto reason = linked_->attempts.repeats.goes_out()) {
    const bool unsent = *reason == protocol::Repeats::Reason::unsent;
    context_.counters.repeats[static_cast<std::size_t>(unsent ? RepeatReason::unsent : RepeatReason::lost)].add();
  }
  linked_->lease->user = this;
  // A session that lasts as long as its client may do anything: it is always cleaned.
  if (logged_in_.identity.session_mode()) linked_->lease->session.soil(protocol::sql::Effect::discard);
  linked_->conversation.runs_on(role());
  linked_->conversation.tell_reported();
  linked_->conversation.expect(routing_->unit);
  routing_.reset();
}

// Everything that the client had on this server ends with the conversation; the lease gives the server back.
void ClientSession::unlink(Why why) {
  auto& conversation = linked_->conversation;
  const auto& replay = conversation.replay();
  switch (why) {
    case Why::finished:
    case Why::lost:
      if (replay.again() == Replay::Again::no || !link_.open()) break;
      link_.unread(replay.bytes());
      front_.moved();
      statements_.end_batch();
      routing_.emplace().attempts = linked_->attempts;
      if (replay.again() != Replay::Again::on_primary) break;
      context_.counters.repeats[static_cast<std::size_t>(RepeatReason::refused)].add();
      routing_->force_primary = true;
      break;
    case Why::taken_back:
      front_.moved();
      conversation.take_back();
      routing_.emplace().attempts = linked_->attempts;
      routing_->attempts.repeats.unsent(context_.reactor.now());
      if (!replay.passing().empty()) link_.rewind(replay.passing());
      link_.unread(replay.bytes());  // of earlier passes, in which nothing was sent
      framer_.put_back();
      break;
    case Why::abandoned:
      // What it left running on its server may still write, and ends while that is cleaned.
      if (conversation.may_still_write()) {
        note_write(conversation.may_change_shared());
        linked_->lease->leaves_write(conversation.may_change_shared(), conversation.take_write());
      }
      break;
  }
  linked_->lease->user = nullptr;
  linked_.reset();
  if (clock_.runs()) clock_.disarm();  // its deadline concerned this server
}

// Asked after every pass, of either side: what the client needed the server for is done. True: its unit is at the front
// again, for another server.
bool ClientSession::unlink_if_done() {
  if (!linked_ || !linked_->conversation.may_end() || linked_->lease->link.unsent()) return false;
  if (!linked_->lease->link.received().empty()) return false;  // half a notice: the next client has no use for its rest
  const bool again = linked_->conversation.replay().again() != Replay::Again::no;
  unlink(Why::finished);
  if (again || link_.unsent() || phase_ == Phase::leaving)
    wake();  // its coroutine goes on, sends the rest, or says goodbye
  return again;
}

Conversation::Role ClientSession::role() const {
  const bool primary = pool().topology().primary == linked_->lease->home->member();
  return primary ? Conversation::Role::primary : Conversation::Role::replica;
}

// True: the server was dead, nothing of the unit was sent, and the unit is at the front again.
bool ClientSession::flush_to_server() {
  auto& out = context_.desk.to_server;
  if (out.empty() && linked_) linked_->conversation.pass_ended();
  if (out.empty() || !holds(linked_.has_value(), "there is something for a server that the client has not")) {
    out.clear();
    return false;
  }
  ServerLink& server = *linked_->lease;
  server.sent_at = context_.reactor.now();
  const Sent sent = server.link.send(out.bytes());
  out.clear();
  if (sent == Sent::untouched && linked_->conversation.may_take_back()) {
    pool().context().report(pool().key().cluster, server.home->member(), health::Evidence::connection_lost);
    unlink(Why::taken_back);
    return true;
  }
  linked_->conversation.sent();
  return false;
}

void ClientSession::flush_to_client() {
  auto& out = context_.desk.to_client;
  if (out.empty()) return;
  if (phase_ < Phase::last_answers) [[likely]]
    link_.send(out.bytes());
  else
    flush_last_answers();
  out.clear();
}

// A Terminate has come.
void ClientSession::flush_last_answers() {
  if (muted()) return;
  const auto bytes = context_.desk.to_client.bytes();
  if (!linked_ || !linked_->conversation.keeps_answers()) {
    if (!unflushed_.empty()) link_.send(std::exchange(unflushed_, {}));
    link_.send(bytes);
    return;
  }
  const auto flushed = linked_->conversation.take_flushed();
  const auto first = bytes.first(flushed);
  unflushed_.insert(unflushed_.end(), first.begin(), first.end());
  // PostgreSQL's buffer has this size (pqcomm.c).
  constexpr std::size_t buffer = 8192;
  const auto rest = bytes.subspan(flushed);
  const bool full = unflushed_.size() + rest.size() > buffer;
  if (full) unflushed_.insert(unflushed_.end(), rest.begin(), rest.end());
  if (flushed > 0 || full) {
    link_.send(unflushed_);
    unflushed_.clear();
  }
  if (!full) unflushed_.insert(unflushed_.end(), rest.begin(), rest.end());
}

// ---- the server's answers, in its reader's coroutine ----------------------------------------------------------------

Pass ClientSession::answers(ServerLink& server) {
  const InvariantWatch watch;
  auto& desk = context_.desk;
  linked_->conversation.runs_on(role());
  Pass pass = read_frames(
      server, [this, &server](const Frame& frame) { return from_server(server, frame); },
      [this](const Frame& frame) { linked_->conversation.more_from_server(frame); });
  const bool delivered = !desk.to_client.empty();
  if (delivered) {
    context_.counters.bytes_to_clients.add(desk.to_client.bytes().size());
    linked_->conversation.delivered();
  }
  settle_aftermath();
  flush_to_client();  // if the client's connection is broken, its own coroutine notices
  if (watch.broken()) [[unlikely]] {
    give_up_broken();
    wake();
    return {.good = false};
  }
  if (!pass.good) return pass;
  progress_.notify(context_.reactor);
  unlink_if_done();
  arm_idle_clock();
  if (linked_ && phase_ == Phase::leaving && linked_->conversation.at_rest()) wake();
  // Back-pressure: nothing more is read for a slow client until it has taken this. Others are served meanwhile.
  if (delivered && linked_ && link_.open() && link_.unsent() && !muted()) pass.behind = &link_;
  return pass;
}

bool ClientSession::from_server(ServerLink& server, const Frame& frame) {
  auto& conversation = linked_->conversation;
  switch (frame.tag) {
    case tag::parameter_status:
      if (!note_parameter(pool().context(), server, frame)) return false;
      conversation.parameter_reported();
      return true;
    case tag::notice_response:
      if (note_evidence(pool().context(), server, frame)) return true;  // a shutdown: not for the client
      break;
    case tag::error_response: note_evidence(pool().context(), server, frame); break;
    case tag::ready_for_query: server.unit_ended(); break;
    default: break;
  }
  return conversation.from_server(frame);
}

// Carries out what happened in a pass that concerns more than the conversation.
void ClientSession::carry_out_aftermath() {
  const auto& conversation = linked_->conversation;
  const auto after = linked_->conversation.take_aftermath();
  const auto timeout = settings().query_timeout;
  const auto& exchange = linked_->lease->session.exchange;
  // With several units in flight the timeout runs for the oldest.
  if (after.began && timeout.count() > 0 && !clock_.runs(ClientClock::Kind::query)) {
    clock_.arm(ClientClock::Kind::query, timeout);
  }
  if (after.wrote) {
    note_write(after.wrote_shared);
    linked_->conversation.writes_noted();
  }
  if (after.unreplicated) [[unlikely]] {
    context_.counters.commits_unreplicated.add();
    log(LogLevel::warning, "commit_unreplicated",
        {{"user", logged_in_.identity.user},
         {"database", logged_in_.identity.database},
         {"member", pool().member_name(linked_->lease->home->member())}});
  }
  if (after.schema_changed) context_.sessions.schema_changed(pool().key(), after.shared_schema_changed);
  if (after.may_have_changed_schema) pool().catalogue().may_have_changed(context_.reactor.now());
  if (after.plans_expired) context_.sessions.plans_expired(pool().key());
  if (after.units == 0) return;
  context_.counters.units.add(after.units);
  const auto& topology = pool().topology();
  const auto member = linked_->lease->home->member();
  // Read the clock, not the loop's cached time: the answer may be newer than that. Without replicas the value is
  // unused; if some are added, none of them is fresh enough for what was read before.
  seen_.last_read = topology.members.size() > 1 ? health::Clock::now() : TimePoint::max();
  if (topology.primary == member) {
    seen_.last_replica.reset();
  } else {
    seen_.last_replica = member;
    seen_.replica_life = topology.freshness->life(member);
  }
  if (timeout.count() > 0 && exchange.expects()) {
    clock_.arm(ClientClock::Kind::query, timeout);  // for the next unit
  } else if (clock_.runs() && !conversation.unit_open()) {
    clock_.disarm();
  }
}

// A unit has written, or may have; its client has not been told yet. `shared`: what all databases share.
void ClientSession::note_write(bool shared) {
  const auto now = health::Clock::now();
  seen_.last_write = now;
  pool().last_writes().wrote(now);
  if (shared) pool().last_writes().wrote_shared(now);
}

// ---- the server's end -----------------------------------------------------------------------------------------------

void ClientSession::server_lost(ServerLink& server) {
  auto& conversation = linked_->conversation;
  const bool answer_cut = conversation.in_answer();
  const bool keeps = conversation.pinned();
  const bool alone = server.ended_alone();
  const auto pins = conversation.pins().reasons();
  const auto begin_error = block_.take_begin_error();
  const auto before = conversation.replay().state();
  // Somebody ended a session that was in the pool, as this client took it: it may have another one.
  const bool untouched = before == Replay::State::unsent;
  const bool cut = !framer_.at_boundary() || begin_error || keeps || answer_cut || (alone && !untouched);
  const Loss loss = conversation.server_lost(cut);
  flush_to_client();
  settle_aftermath();
  const bool again = conversation.replay().again() != Replay::Again::no;
  const bool concerned = keeps || loss.outcome != Loss::Outcome::nothing_in_flight || loss.status_before != 'I' ||
                         !loss.units.empty() || loss.batch != Loss::Batch::none;
  const auto member = pool().member_name(server.home->member());
  if (again) {
    block_.take_back();
    note_attempt(server, before);
  }
  unlink(Why::lost);
  if (answer_cut) {
    // Anything sent now would be read as the rest of a row. PostgreSQL, too, closes without a message when it dies in
    // the middle of one.
    context_.counters.lost_cut.add();
    log(LogLevel::warning, "answer_cut", {});
    link_.close();
  } else if (!link_.open() || again || !concerned) {
    // The client is gone, the unit runs again, or the client had no more use for this server: nothing is to be told.
  } else if (alone) {
    pass_on(*server.last_word);
  } else if (keeps) {
    // The session's state was lost with the server: going on would pretend that it still exists.
    context_.counters.lost_pinned.add();
    log(LogLevel::warning, "session_lost", {{"member", member}, {"pins", std::string(pin_reason(pins))}});
    disconnect(Tell::session_lost);
  } else {
    tell_loss(loss, begin_error.value_or(protocol::error_of(loss)));
  }
  wake();
}

// The unit goes out again: what its server, now lost, had of it.
void ClientSession::note_attempt(ServerLink& server, Replay::State before) {
  auto& attempts = linked_->attempts;
  const auto now = context_.reactor.now();
  if (before == Replay::State::unsent) attempts.repeats.unsent(now);
  if (before != Replay::State::recording) return;
  using Crash = protocol::Repeats::Crash;
  const bool crash = server.last_word && server.last_word->of_crash();
  attempts.repeats.lost(now, crash ? Crash::seen : Crash::none);
  attempts.lost_on = server.home->member();
  // Without a word: if its process crashed, the postmaster takes no sessions for a moment.
  if (!server.last_word) server.home->postmaster().watch_for_crash(now + protocol::Repeats::pause);
}

// The server lives and has ended this session alone: the client's ends with it, as it would without a proxy.
void ClientSession::pass_on(const protocol::LastWord& word) {
  context_.counters.sessions_ended.add();
  log(LogLevel::info, "session_ended", {{"sqlstate", std::string(word.state.view())}});
  if (!muted()) link_.send(word.message);
  hang_up();
}

void ClientSession::tell_loss(const Loss& loss, const Error& error) {
  (loss.outcome == Loss::Outcome::unknown ? context_.counters.lost_unknown : context_.counters.lost_rolled_back).add();
  log(LogLevel::info, "answer_lost",
      {{"outcome", name_of(loss.outcome)}, {"sqlstate", std::string(error.state.view())}});
  std::vector<std::byte> out;
  block_.lose(loss, error, message(), out);
  if (!out.empty() && !muted()) link_.send(out);
}

// Whether the client is in the middle of a message.
protocol::LostTransaction::Message ClientSession::message() const {
  using Message = protocol::LostTransaction::Message;
  return framer_.at_boundary() ? Message::whole : Message::half;
}

}  // namespace holdfast::proxy
