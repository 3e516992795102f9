// What a server still shows of clients that had it before (protocol/traces): a statement that may look finds nothing of
// theirs.
//
// When a client gets the server, it is aligned without others' sequence values, or exchanged for one without their
// custom settings. Later, sequence values are discarded in front of the statement: by a Query of its own if no batch is
// open, for whose answer it waits, else by messages of the same batch. Custom settings can't be removed: the statement
// is refused.
#include <utility>

#include "protocol/client_errors.hpp"
#include "protocol/frontend.hpp"
#include "proxy/session/client_session.hpp"
#include "proxy/session/conversation.hpp"

namespace holdfast::proxy {

namespace client = protocol::client;
using protocol::Frame;
using protocol::Hidden;
using protocol::Origin;
using protocol::sql::Access;
using protocol::sql::Effect;
using protocol::sql::TransactionControl;
using protocol::sql::Verdict;

namespace {

constexpr std::string_view forgets = "DISCARD SEQUENCES";
constexpr std::string_view own_name = "hf_forget";  // of a statement and a portal; no statement of clients has it

}  // namespace

// ---- when a client gets the server ----------------------------------------------------------------------------------

// Whether the unit that was routed to the granted server, or what may follow it there, may ask for what others'
// sequences left. A block, a batch or a pinned session may ask later, when only this client's own values should be
// there.
bool ClientSession::sees_others_sequences() {
  if (!granted_->session.has_sequences_of_others()) return false;
  auto& catalogue = pool().catalogue();
  const auto hidden = catalogue.hidden();
  if (!has(hidden, Hidden::sequences)) return false;
  const auto& verdict = routing_->unit.verdict;
  const bool writes = verdict.access == Access::write;
  if (has(verdict.effects, protocol::sql::pinning) || logged_in_.identity.session_mode()) return true;
  if (has(hidden, Hidden::reads_look) || ((writes || begins_block()) && has(hidden, Hidden::writes_look))) return true;
  return (writes || begins_block()) && catalogue.asked_sequences.expected();
}

bool ClientSession::begins_block() const {
  const auto control = routing_->unit.verdict.control;
  return block_.state() == protocol::Block::State::deferred || control == TransactionControl::begin ||
         control == TransactionControl::begin_read_only;
}

// The same for custom settings of which its client has made none. Only a new connection is without others'.
bool ClientSession::sees_others_placeholders() {
  const auto& identity = logged_in_.identity;
  auto& server = granted_->session;
  if (!server.has_placeholders_of_others()) return false;
  for (const auto& parameter : identity.wanted.parameters()) {
    if (parameter.name.find('.') != std::string::npos) server.owns_placeholder(parameter.name);
  }
  if (!server.has_placeholders_of_others(custom_settings_first())) return false;
  const auto& verdict = routing_->unit.verdict;
  if (identity.session_mode() || has(verdict.effects, protocol::sql::pinning)) return true;
  auto& catalogue = pool().catalogue();
  if (has(verdict.effects, Effect::asks_setting) && asks_for_settings_of_others()) {
    catalogue.asked_settings.seen();
    return true;
  }
  if (verdict.access != Access::nothing && has(catalogue.hidden(), Hidden::asks_settings)) return true;
  return begins_block() && catalogue.asked_settings.expected();
}

// The text of the message at the front; empty if it can't be told.
std::string_view ClientSession::text_at_front() {
  auto probe = framer_;
  const Frame frame = probe.next(link_.received());
  if (frame.kind != Frame::Kind::start || !frame.last) return {};
  if (frame.tag == client::query) return protocol::parse_query(frame.body()).value_or(std::string_view());
  if (frame.tag == client::parse) {
    const auto parse = protocol::parse_parse(frame.body());
    return parse ? parse->sql : std::string_view();
  }
  if (frame.tag != client::bind) return {};
  const auto head = protocol::parse_bind_head(frame.body(), protocol::Extent::front);
  if (!head || !*head) return {};
  const auto found = statements_.find((*head)->statement);
  return found.statement != nullptr ? found.statement->text() : std::string_view();
}

protocol::sql::CustomNames ClientSession::custom_settings_first() {
  if (!has(routing_->unit.verdict.effects, Effect::custom_setting)) return {};
  return protocol::sql::custom_settings_made(text_at_front()).names;
}

bool ClientSession::asks_for_settings_of_others() {
  protocol::sql::CustomNames asked;
  // Of a batch only the first text is read.
  if (routing_->unit.judged) {
    asked = protocol::sql::custom_settings_asked(text_at_front());
  } else {
    asked.add_unknown();
  }
  return granted_->session.shows_placeholders_of_others(asked);
}

// ---- later ----------------------------------------------------------------------------------------------------------

bool Conversation::may_look(const Verdict& verdict) const {
  return has(verdict.effects, Effect::asks_setting) || may_look_at_sequences(verdict);
}

bool Conversation::may_look_at_sequences(const Verdict& verdict) const {
  const auto hidden = client_.identity.pool->catalogue().hidden();
  if (!has(hidden, Hidden::sequences) || verdict.access == Access::nothing) return false;
  if (has(verdict.effects, Effect::sequence | Effect::unknown_function | Effect::unparsed)) return true;
  return has(hidden, Hidden::reads_look) || (verdict.access == Access::write && has(hidden, Hidden::writes_look));
}

// In front of a Query, Bind or FunctionCall that may look. Nothing: it goes on.
std::optional<Conversation::Taken> Conversation::hide_others(const Frame& frame, const Verdict& verdict,
                                                             std::string_view text) {
  const auto& exchange = server_.exchange;
  if (exchange.skipping() || exchange.copy_waits_for_client()) return std::nullopt;
  if (has(verdict.effects, Effect::asks_setting) &&
      server_.shows_placeholders_of_others(protocol::sql::custom_settings_asked(text))) {
    client_.identity.pool->catalogue().asked_settings.seen();
    if (!exchange.open_batch()) {
      // Behind what is in flight its client may have no use for this server any more, and gets another one.
      if (!exchange.idle()) return Taken::wait;
      if (fails_anyway(verdict)) return std::nullopt;
    } else if (server_.settings_under_way() && exchange.answers_come()) {
      return Taken::wait;  // what it asks for may be about to be its own
    }
    return refuse(frame, protocol::Tell::settings_of_others);
  }
  if (!server_.has_sequences_of_others() || !may_look_at_sequences(verdict)) return std::nullopt;
  // VACUUM and its like must be the first in their batch; they look at nothing that a client would hear of.
  if (has(verdict.effects, Effect::commits_itself) && exchange.open_batch()) return std::nullopt;
  return forget_sequences(frame, verdict);
}

// The same for the Parse that begins a batch: once it is sent its client keeps the server.
bool Conversation::look_waits(const Frame& frame) const {
  const auto& exchange = server_.exchange;
  if (exchange.open_batch() || exchange.idle() || exchange.copy_waits_for_client() || !frame.last) return false;
  const auto parse = protocol::parse_parse(frame.body());
  if (!parse) return false;
  using Classifier = protocol::sql::Classifier;
  const auto answer = client_.identity.classifier->ask(parse->sql, Classifier::Patience::none);
  return answer.when == Classifier::Answer::When::now && has(answer.verdict->effects, Effect::asks_setting) &&
         server_.shows_placeholders_of_others(protocol::sql::custom_settings_asked(parse->sql));
}

// In a failed block nothing is seen, unless its end stands in front in the same string. Only while nothing is in
// flight.
bool Conversation::fails_anyway(const Verdict& verdict) const {
  return server_.exchange.transaction_status() == 'E' && verdict.statements == 1 &&
         verdict.control == TransactionControl::none && !has(verdict.effects, Effect::unparsed);
}

std::optional<Conversation::Taken> Conversation::forget_sequences(const Frame& frame, const Verdict& verdict) {
  auto& exchange = server_.exchange;
  if (forgetting_.cookie != 0) return forgetting_.in_batch ? std::nullopt : std::optional(Taken::wait);
  if (exchange.open_batch()) {
    forget_sequences_in_batch();
    return std::nullopt;
  }
  if (!exchange.idle()) return Taken::wait;
  if (exchange.transaction_status() == 'E') {
    if (fails_anyway(verdict)) return std::nullopt;
    return refuse(frame, protocol::Tell::in_failed_transaction);
  }
  // Nothing else makes it fail.
  if (std::exchange(forgetting_.failed, false)) return refuse(frame, protocol::Tell::canceled);
  forgetting_ = {.cookie = client_.statements.issue(), .awaited = true};
  server_.statements.drop_unnamed();
  announce({.tag = client::query, .origin = Origin::proxy, .cookie = forgetting_.cookie});
  protocol::write_query(client_.desk.to_server.writable(), forgets);
  return Taken::wait;
}

// An error in it fails the client's batch, and the client is told.
void Conversation::forget_sequences_in_batch() {
  auto& out = client_.desk.to_server.writable();
  const auto send = [this](char tag, std::uint32_t cookie) {
    announce({.tag = tag, .origin = Origin::proxy, .traits = protocol::Trait::repeatable, .cookie = cookie});
  };
  forgetting_ = {.cookie = client_.statements.issue(), .in_batch = true};
  protocol::write_close(out, {.kind = 'S', .name = own_name});  // left behind by one that failed
  send(client::close, 0);
  protocol::write_parse(out, own_name, forgets, {});
  send(client::parse, 0);
  protocol::write_bind(out, own_name, own_name);
  send(client::bind, 0);
  protocol::write_execute(out, own_name);
  send(client::execute, forgetting_.cookie);
  protocol::write_close(out, {.kind = 'P', .name = own_name});
  send(client::close, 0);
  protocol::write_close(out, {.kind = 'S', .name = own_name});
  send(client::close, 0);
}

// What goes out in place of this Query, Bind or FunctionCall fails there, and the client is told why in our words. In
// place of a Query goes another one: it ends its unit, and behind an error of the batch that it is in it is skipped, as
// the client's own would be.
Conversation::Taken Conversation::refuse(const Frame& frame, protocol::Tell why) {
  if (pending_errors_.full()) return Taken::wait;
  auto& out = client_.desk.to_server.writable();
  if (frame.tag == client::bind) {
    protocol::write_describe(out, {.kind = 'S', .name = "hf_0"});
    return fail(frame, client_.statements.issue(), protocol::told(why));
  }
  unit_.judged.reset();
  // A Query destroys the unnamed statement, also one that fails; a FunctionCall doesn't.
  auto cookie = frame.tag == client::query ? client_.statements.query().cookie : 0;
  if (cookie == 0) cookie = client_.statements.issue();
  server_.statements.drop_unnamed();
  const protocol::Request failing{
      .tag = client::query, .origin = Origin::failing, .traits = protocol::Trait::repeatable, .cookie = cookie};
  if (announce(failing) == protocol::Exchange::Fate::in_flight) pending_errors_.add(cookie, protocol::told(why));
  protocol::write_query(out, "hf_0");
  dropping_ = !frame.last;
  client_.statements.end_batch();
  server_.statements.end_batch();
  client_.block.portals().queried();
  unit_.open = forgetting_.in_batch = false;
  return Taken::taken;
}

}  // namespace holdfast::proxy
