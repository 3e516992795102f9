// The client's side of a conversation; statements.cpp has the messages that name statements, answers.cpp the server's
// side.
#include "proxy/session/conversation.hpp"

#include <algorithm>
#include <bit>
#include <utility>

#include "protocol/backend.hpp"
#include "protocol/client_errors.hpp"
#include "protocol/frontend.hpp"
#include "proxy/session/local_answers.hpp"

namespace holdfast::proxy {

namespace client = protocol::client;
using protocol::Frame;
using protocol::Origin;
using protocol::Portals;
using protocol::Replay;
using protocol::Trait;
using protocol::sql::Access;
using protocol::sql::Effect;
using protocol::sql::TransactionControl;
using protocol::sql::Verdict;

namespace {

// A bound for a client that sends messages without end and never a Sync: eight bytes are kept for each, and a few
// hundred more for a Parse or a Close that names a statement.
constexpr std::size_t most_in_flight = 1'000'000;

// What begins no unit: a COPY's messages belong to the unit that began it, also when that has failed and they come too
// late; a Flush belongs to the batch that is open, if any, unless it fails.
bool begins_nothing(const Frame& frame) {
  return frame.tag == client::copy_data || frame.tag == client::copy_done || frame.tag == client::copy_fail ||
         (frame.tag == client::flush && frame.length == protocol::empty_length);
}

// A Parse, Bind, Describe or Close that concerns a statement.
bool names_statement(const Frame& frame) {
  if (frame.tag == client::parse || frame.tag == client::bind) return true;
  const bool either = frame.tag == client::describe || frame.tag == client::close;
  return either && !frame.body().empty() && frame.body()[0] == std::byte{'S'};
}

}  // namespace

Conversation::Conversation(const ClientFacts& client, protocol::ServerSession& server)
    : client_(client), server_(server), replay_(client.tables.buffers) {
  server_.statements.begin_link(client_.tables.vintage);
  client_.block.linked();
}

Conversation::~Conversation() {
  client_.statements.set_altered(false);
}

void Conversation::expect(const Unit& unit) {
  const auto& verdict = unit.verdict;
  const bool read = verdict.repeatable() && verdict.control == TransactionControl::none && !hides_a_write(verdict);
  may_repeat_ = read ? Replay::Repeatable::yes : Replay::Repeatable::no;
  if (unit.judged) unit_.judged = verdict;
  told_ = false;  // parameters told before the unit are not part of its answer
}

bool Conversation::reads_may_write() const {
  return has(client_.identity.pool->catalogue().hidden(), protocol::Hidden::reads_write);
}

Conversation::Taken Conversation::from_client(const Frame& frame, const protocol::Framer& framer) {
  auto& exchange = server_.exchange;
  if (exchange.in_flight() > most_in_flight) return Taken::too_many;
  if (frame.tag == client::query && frame.last && !unit_.judged) {
    if (const Taken judged = judge(frame); judged != Taken::taken) return judged;
  }
  if (dropping_names_ != 0 && names_statement(frame)) [[unlikely]]
    return wait_for_names();
  const bool begins = !unit_.open;
  if (begins && !begins_nothing(frame)) {
    if (restore_.query != 0) return Taken::wait;  // what is reported now would not be told
    if (replay_.swallowing() || (!exchange.idle() && must_wait())) return Taken::wait;
    begin_unit(frame.tag);
  } else if (exchange.idle()) {
    limit_time();  // it goes on behind a Flush
  }
  dropping_ = false;
  Taken taken = Taken::taken;
  switch (frame.tag) {
    case client::query: taken = query(frame, begins && !exchange.open_batch()); break;
    case client::parse:
    case client::bind:
    case client::describe:
    case client::close: taken = statement(frame); break;
    case client::execute:
      announce_run({.tag = frame.tag, .traits = client_.block.portals().of(Portals::named_in(frame.body()))});
      client_.desk.to_server.forward(frame.bytes);
      break;
    case client::function_call:
      if (const auto verdict = protocol::verdict_of_call(frame); may_show_others(verdict)) [[unlikely]] {
        if (const auto hidden = hide_others(frame, verdict, {})) {
          taken = *hidden;
          break;
        }
      }
      note_effects(protocol::verdict_of_call(frame));
      plain(frame, Trait::commits_itself);
      unit_.open = false;
      break;
    case client::sync:
      if (frame.length != protocol::empty_length) [[unlikely]] {
        taken = malformed_sync(frame);
        if (taken == Taken::wait) break;
      } else if (resets_.due()) [[unlikely]] {
        restore_.unit = client_.statements.issue();
        announce({.tag = frame.tag, .cookie = restore_.unit});
        client_.desk.to_server.forward(frame.bytes);
        inject_restore(Behind::sync);
      } else {
        plain(frame, Trait::none);
      }
      client_.statements.end_batch();
      server_.statements.end_batch();
      unit_.open = false;
      forgetting_.in_batch = false;
      break;
    case client::copy_done:
    case client::copy_fail: copying_ = 0; [[fallthrough]];
    case client::copy_data: plain(frame, Trait::none); break;
    case client::flush:
      if (frame.length == protocol::empty_length) {
        unit_.flushes = true;
        plain(frame, Trait::none);
      } else {
        taken = malformed_flush(frame);
      }
      break;
    default: return Taken::unknown;
  }
  if (taken != Taken::taken) {
    if (begins) unit_.open = false;
    return taken;
  }
  forgetting_.awaited = false;
  replay_.record(frame.bytes);
  if (!frame.last) server_.owes(dropping_ ? 0 : framer.remaining());
  return taken;
}

void Conversation::more_from_client(const Frame& frame, const protocol::Framer& framer) {
  replay_.record(frame.bytes);
  if (dropping_) {
    if (frame.last) dropping_ = false;
    return;
  }
  client_.desk.to_server.forward(frame.bytes);
  server_.owes(framer.remaining());
}

// Whether a unit must wait while the last one is in flight. On a replica it waits: it may be for another member, and
// after a refusal it must be possible to send the one unit again. It also waits behind a deferred BEGIN: until that is
// answered, it is unknown whether the unit would run inside the block. What disturbs a COPY ends it.
bool Conversation::must_wait() const {
  if (server_.exchange.copy_waits_for_client()) return false;
  const bool alone = role_ == Role::replica && server_.exchange.transaction_status() == 'I' && !pinned();
  return alone || client_.block.state() == protocol::Block::State::opening;
}

void Conversation::begin_unit(char tag) {
  replay_.began(may_repeat_);
  unit_.open = true;
  unit_.closes = unit_.flushes = false;
  unit_.asks_sequence = false;
  unit_.parsed = 0;
  limit_time();
  if (client_.block.state() != protocol::Block::State::deferred || tag == client::sync) return;
  // Sends the deferred BEGIN in front of the block's first statement.
  server_.statements.drop_unnamed();
  const auto cookie = client_.statements.issue();
  const auto opening = client_.block.open(cookie, client_.desk.to_server.writable());
  Trait traits = Trait::begins | Trait::repeatable;
  for (std::size_t i = 0; i < opening.statements; ++i, traits = Trait::repeatable) {
    announce({.tag = client::parse, .origin = Origin::proxy, .cookie = cookie});
    announce({.tag = client::bind, .origin = Origin::proxy, .cookie = cookie});
    announce({.tag = client::execute, .origin = Origin::proxy, .traits = traits, .cookie = cookie});
    announce({.tag = client::close, .origin = Origin::proxy, .cookie = cookie});
  }
  if (opening.snapshot) announce({.tag = client::parse, .origin = Origin::proxy, .cookie = cookie});
  if (!opening.fails) return;
  announce({.tag = client::describe, .origin = Origin::proxy});
  announce({.tag = client::sync, .origin = Origin::proxy});
}

void Conversation::limit_time() {
  if (client_.identity.settings->query_timeout.count() > 0) aftermath_.any = aftermath_.began = true;
}

void Conversation::plain(const Frame& frame, Trait traits) {
  announce({.tag = frame.tag, .traits = traits});
  client_.desk.to_server.forward(frame.bytes);
}

// A Query or an Execute; what it may change for the messages behind it is known until it is settled.
void Conversation::announce_run(protocol::Request request) {
  const bool followed = has(request.traits, Trait::drops_names | Trait::copies_in);
  if (followed && request.cookie == 0) request.cookie = client_.statements.issue();
  if (announce(request) == protocol::Exchange::Fate::skipped || !followed) return;
  if (has(request.traits, Trait::copies_in)) copying_ = request.cookie;
  if (!has(request.traits, Trait::drops_names)) return;
  dropping_names_ = request.cookie;
  flushes_drop_ = request.tag == client::execute;
}

protocol::Exchange::Fate Conversation::announce(const protocol::Request& request) {
  const auto fate = server_.exchange.sent(request);
  if (fate == protocol::Exchange::Fate::skipped) settle_skipped(request.cookie);
  if (server_.exchange.any_due()) local_answers_due();
  return fate;
}

// A message between one that failed and the Sync has no effect: settles its operation as skipped.
void Conversation::settle_skipped(std::uint32_t cookie) {
  if (cookie == 0) return;
  client_.statements.settle(cookie, protocol::Outcome::skipped);
  server_.statements.settle(cookie, protocol::Outcome::skipped);
}

// Puts out the proxy's own answers whose turn has come.
void Conversation::local_answers_due() {
  const auto due = server_.exchange.after();
  if (in_answer()) {
    // In the middle of a message of the server's nothing else may be said. It isn't waited for: the backend may keep
    // its rest until it has read more.
    postponed_.insert(postponed_.end(), due.begin(), due.end());
  } else {
    for (const auto& request : due) local(request);
  }
  replay_.delivered();
}

// Has the text of a Query judged before anything is done with it; its verdict is mostly known from routing.
Conversation::Taken Conversation::judge(const Frame& frame) {
  const auto text = protocol::parse_query(frame.body());
  if (!text) return Taken::taken;
  using Classifier = protocol::sql::Classifier;
  const auto answer = client_.identity.classifier->ask(*text, Classifier::Patience::any);
  if (answer.when == Classifier::Answer::When::later) return Taken::later;
  if (answer.when == Classifier::Answer::When::elsewhere) return Taken::elsewhere;
  unit_.judged = *answer.verdict;
  return Taken::taken;
}

// `alone`: no batch is open in front of it.
Conversation::Taken Conversation::query(const Frame& frame, bool alone) {
  Verdict verdict = protocol::sql::unseen_verdict;
  if (unit_.judged) verdict = *std::exchange(unit_.judged, std::nullopt);
  judge_as_it_runs(verdict);
  if (may_show_others(verdict)) [[unlikely]] {
    const auto text = protocol::parse_query(frame.last ? frame.body() : protocol::Bytes{});
    if (const auto hidden = hide_others(frame, verdict, text.value_or(std::string_view()))) {
      if (*hidden == Taken::wait && frame.last) unit_.judged = verdict;
      return *hidden;
    }
  }
  if (!resets_.none()) [[unlikely]]
    resets_.followed(verdict, client_.identity.wanted);
  if (frame.last && has(verdict.effects, Effect::set | Effect::role | Effect::discard | Effect::sql_deallocate)) {
    // In an open batch a Query ends the implicit transaction, which only the server can do: the server answers 26000.
    const bool waits = !server_.exchange.copy_waits_for_client();  // else it ends the COPY, and the session
    if (alone && waits && has(verdict.effects, Effect::sql_deallocate) &&
        names_parsed(frame, verdict, client_.statements)) {
      // Its answer must follow those in flight, and its status depends on them.
      if (!server_.exchange.idle() || in_answer()) {
        unit_.judged = verdict;
        return Taken::wait;
      }
      if (deallocate(frame, verdict)) return Taken::taken;
    }
    const bool fails = server_.exchange.idle() && fails_anyway(verdict);  // and there is nothing to put back
    if (const auto text = protocol::parse_query(frame.body()); text && !fails) {
      const auto as = alone ? protocol::Resets::As::query : protocol::Resets::As::in_batch;
      resets_.runs(*text, verdict, as, client_.identity.wanted);
    }
  }
  if (verdict.makes_read_only) [[unlikely]] {
    if (const auto text = protocol::parse_query(frame.body())) client_.block.makes_read_only(*text);
  }
  if (frame.last && has(verdict.effects, Effect::custom_setting)) {
    const auto text = protocol::parse_query(frame.body());
    note_effects(verdict, text ? &*text : nullptr);
  } else {
    note_effects(verdict);
  }
  // A simple Query destroys the unnamed statement, here and on the server.
  auto cookie = client_.statements.query().cookie;
  if (frame.last && resets_.due()) {
    if (cookie == 0) cookie = client_.statements.issue();
    restore_.unit = cookie;
  }
  server_.statements.drop_unnamed();
  announce_run({.tag = frame.tag, .traits = protocol::traits_of(verdict), .cookie = cookie});
  client_.desk.to_server.forward(frame.bytes);
  if (frame.last && resets_.due()) inject_restore(Behind::query);
  client_.statements.end_batch();
  server_.statements.end_batch();
  client_.block.portals().queried();
  unit_.open = forgetting_.in_batch = false;
  return Taken::taken;
}

void Conversation::may_write() {
  unit_.writes = true;
  if (!writing_) writing_ = WriteInFlight(client_.identity.pool->last_writes());
}

// A statement with this verdict goes to the server.
void Conversation::note_effects(const Verdict& verdict, const std::string_view* text) {
  if (verdict.effects != Effect::none) [[unlikely]]
    return note_more_effects(verdict, text);
  if (verdict.may_change()) may_write();
  server_.runs(verdict);
  client_.block.runs(verdict);
}

void Conversation::note_more_effects(Verdict verdict, const std::string_view* text) {
  if (verdict.may_change()) may_write();
  if (verdict.may_change_shared()) unit_.writes_shared = true;
  if (text != nullptr && has(verdict.effects, Effect::custom_setting)) [[unlikely]] {
    const auto made = protocol::sql::custom_settings_made(*text);
    // An application's own settings don't say how a text is read.
    if (made.whole && !made.others) verdict.effects = protocol::sql::without(verdict.effects, Effect::local_setting);
    server_.runs(verdict, &made);
  } else {
    server_.runs(verdict);
  }
  client_.block.runs(verdict);
  if (has(verdict.effects, Effect::sequence)) {
    unit_.asks_sequence = true;
    client_.identity.pool->catalogue().asked_sequences.seen();
  }
  // Nobody knows what a DO does, nor what newer versions of PostgreSQL call DDL.
  if (verdict.may_change_shared()) unit_.may_be_ddl = true;
  if (has(verdict.effects, Effect::set | Effect::local_setting | Effect::unknown_function | Effect::unparsed)) {
    path_in_doubt_ = true;
  }
  if (has(verdict.effects, Effect::ddl)) {
    unit_.ddl = true;
    if (verdict.may_change_shared()) unit_.ddl_shared = true;
    // With pg_temp in front of the search_path, CREATE TABLE makes a temporary one.
    if (path_in_doubt_ || client_.identity.path_is_temporary) verdict.effects |= Effect::temp_object;
  }
  if (has(verdict.effects, protocol::sql::altering)) {
    client_.statements.set_altered(true);
    server_.statements.alter();
  }
  const bool before = pins_.any();
  const Effect pinning = pins_.note(verdict.effects);
  if (pinning != Effect::none) {
    if (!before) {
      const auto bit = static_cast<std::size_t>(std::countr_zero(static_cast<std::uint32_t>(pinning)));
      client_.counters.pins[std::min(bit, pin_reasons - 1)].add();
    }
    server_.soil(pinning);
  }
  // DISCARD and DEALLOCATE also affect what other clients have on the shared server: it is cleaned before it serves
  // others.
  if (has(verdict.effects, Effect::discard | Effect::sql_deallocate)) server_.soil(Effect::discard);
}

// Restores the client's settings behind the unit with the RESET, in the same write; a ROLLBACK undoes both. The unit's
// ReadyForQuery waits for it: the client is told the outcome of both, and in front of that.
void Conversation::inject_restore(Behind unit) {
  const auto sql = resets_.take();
  server_.statements.drop_unnamed();
  restore_.query = client_.statements.issue();
  const auto ours = [this](char tag, std::uint32_t cookie) {
    return announce({.tag = tag, .origin = Origin::proxy, .traits = Trait::repeatable, .cookie = cookie});
  };
  auto& out = client_.desk.to_server.writable();
  if (unit == Behind::query) {
    if (ours(client::query, restore_.query) == protocol::Exchange::Fate::skipped) restore_skipped();
    protocol::write_query(out, sql);
    return;
  }
  // In a block the client's unnamed portal lives on, which a Query would destroy.
  constexpr std::string_view portal = "hf_restore";
  for (const char tag : {client::parse, client::bind, client::execute, client::close}) ours(tag, 0);
  ours(client::sync, restore_.query);
  protocol::write_parse(out, "", sql);
  protocol::write_bind(out, portal, "");
  protocol::write_execute(out, portal);
  protocol::write_close(out, {.kind = 'P', .name = portal});
  protocol::write_sync(out);
}

void Conversation::terminate() {
  const auto& exchange = server_.exchange;
  if (goodbye_ == Goodbye::copy_fails || goodbye_ == Goodbye::said) return;
  if (exchange.copy() == protocol::Copy::in && exchange.copy_waits_for_client()) {
    goodbye_ = Goodbye::copy_fails;
    announce({.tag = client::copy_fail});
    protocol::write_copy_fail(client_.desk.to_server.writable(), "the client has terminated");
  } else if (goodbye_ == Goodbye::none && exchange.open_batch() && !exchange.idle() && !exchange.answers_come()) {
    goodbye_ = Goodbye::batch_ends;
    flushed_ = client_.desk.to_client.size();  // of what is in front of it
    announce({.tag = client::flush, .origin = Origin::proxy});
    protocol::write_flush(client_.desk.to_server.writable());
  }
}

void Conversation::restore_skipped() {
  restore_ = {};
  resets_.ended(server_.exchange.transaction_status());
}

void Conversation::take_back() {
  for (const auto& request : server_.exchange.on_server_lost().unanswered) {
    if (request.cookie != 0) client_.statements.settle(request.cookie, protocol::Outcome::skipped);
  }
  client_.block.take_back();
}

protocol::Loss Conversation::server_lost(bool cut) {
  auto loss = server_.exchange.on_server_lost();
  if (restore_.ready != 0) {  // its unit was answered
    protocol::write_ready_for_query(client_.desk.to_client.writable(), std::exchange(restore_, {}).ready);
  }
  // A client told 08007 will check the outcome: this counts as a write, so that the check reads a member that shows it.
  if (unit_.writes) note_written();
  for (const auto& request : loss.unanswered) {
    if (request.cookie != 0) client_.statements.settle(request.cookie, protocol::Outcome::skipped);
  }
  const bool swallowed = replay_.swallowing();
  replay_.lost(loss, cut);
  if (swallowed && replay_.again() == Replay::Again::on_primary) take_back_refused();
  return loss;
}

}  // namespace holdfast::proxy
