// The server's side of a conversation.
#include <utility>

#include "protocol/backend.hpp"
#include "protocol/client_errors.hpp"
#include "protocol/frontend.hpp"
#include "protocol/server_names.hpp"
#include "proxy/session/conversation.hpp"

namespace holdfast::proxy {

namespace tag = protocol::server;
using protocol::Frame;
using protocol::Origin;
using protocol::Reply;

// A message that changes what is in flight.
bool Conversation::answered(const Frame& frame) {
  if (unreplicated_.stuck(frame.tag)) [[unlikely]]
    return false;
  if (frame.tag == tag::error_response && client_.block.owns(server_.exchange.oldest().cookie)) {
    const auto fields = protocol::parse_error(frame.body());
    if (fields && !fields->ends_session()) {
      // The server refused the deferred BEGIN (most likely it was canceled): the server is closed, and the client is
      // told this error instead of an answer to its statement.
      client_.block.begin_refused({fields->state, std::string(fields->message)});
      return false;
    }
  }
  const Reply reply = server_.exchange.step(frame.tag, frame.body());
  const bool any_due = server_.exchange.any_due();
  if (any_due) [[unlikely]] {
    for (const auto& request : server_.exchange.before()) local(request);
  }
  switch (reply.action) {
    case Reply::Action::forward:
      if (frame.tag == tag::error_response) {
        if (!error(frame, reply)) return false;
        break;
      }
      if (frame.tag == tag::command_complete && dropping_names_ != 0) note_completed(frame);
      if (frame.tag == tag::ready_for_query && restore_.query != 0 && reply.request.cookie == restore_.unit) {
        restore_.ready = server_.exchange.transaction_status();
        pass(frame, false);
        break;
      }
      pass(frame, !replay_.swallowing() && goodbye_ != Goodbye::said);
      break;
    case Reply::Action::swallow:
      pass(frame, false);
      if (frame.tag == tag::ready_for_query && restore_.ready != 0) restored();
      break;
    case Reply::Action::replace: replace(reply.request.cookie); break;
    case Reply::Action::async:
      if (frame.tag == tag::notice_response) {
        notice(frame);
      } else {
        pass(frame, true);
      }
      break;
    case Reply::Action::fatal:
    case Reply::Action::unexpected: return false;
  }
  if (reply.finished || reply.failed) {
    settle(reply);
    const bool parsed = reply.finished && reply.request.tag == protocol::client::parse;
    if (parsed && reply.request.origin == Origin::client) ++unit_.parsed;
  }
  if (any_due) [[unlikely]] {
    const auto due = server_.exchange.after();
    if (in_answer()) {
      postponed_.insert(postponed_.end(), due.begin(), due.end());
    } else {
      for (const auto& request : due) local(request);
    }
  }
  if (frame.tag == tag::ready_for_query && reply.request.origin == Origin::client) unit_answered();
  if (goodbye_ == Goodbye::batch_ends) [[unlikely]]
    note_flush(frame.tag);
  return true;
}

// What PostgreSQL flushes by itself: errors and notices (send_message_to_frontend, utils/error/elog.c), that it waits
// for data (ReceiveCopyBegin, commands/copyfrom.c), and the end of a unit.
void Conversation::note_flush(char message) {
  const bool flushes = message == tag::error_response || message == tag::notice_response ||
                       message == tag::copy_in_response || message == tag::ready_for_query;
  if (flushes) flushed_ = client_.desk.to_client.size();
}

// A DISCARD ALL or DEALLOCATE may have completed. It isn't undone by a ROLLBACK.
void Conversation::note_completed(const Frame& frame) {
  using protocol::Discarded;
  const auto what = protocol::discarded_by(frame.body());
  if (what == Discarded::nothing) return;
  server_.statements.doubt_all();
  if (what == Discarded::one_statement) return;
  client_.statements.deallocate_all();
  if (what == Discarded::everything) pins_.discarded();
}

void Conversation::more_from_server(const Frame& frame) {
  if (forwarding_) client_.desk.to_client.forward(frame.bytes);
  if (!frame.last || postponed_.empty()) return;
  for (const auto& request : postponed_) local(request);
  postponed_.clear();
}

void Conversation::delivered() {
  replay_.delivered();
  // Part of an answer may tell of a commit long before the ReadyForQuery does.
  if (unit_.writes) note_written();
  told_ = false;
}

// Puts out an answer of the proxy's own, in its turn, to a message that no server needs to see.
void Conversation::local(const protocol::Request& request) {
  auto& out = client_.desk.to_client.writable();
  if (request.tag == protocol::client::parse) {
    if (!unreplicated_.hides(tag::parse_complete)) protocol::write_parse_complete(out);
    ++unit_.parsed;
  } else if (!unreplicated_.hides(tag::close_complete)) {
    protocol::write_close_complete(out);
  }
  if (request.cookie == 0) return;
  client_.statements.settle(request.cookie, protocol::Outcome::completed);
  server_.statements.settle(request.cookie, protocol::Outcome::completed);
}

// The client's settings are back: it is told what holds now, and that its unit has ended.
void Conversation::restored() {
  const char status = std::exchange(restore_, {}).ready;
  resets_.ended(server_.exchange.transaction_status());
  // In a failed block a DISCARD ALL in front of it would show: the client is told when its settings are back.
  if (status != 'E') tell_reported();
  protocol::write_ready_for_query(client_.desk.to_client.writable(), status);
}

void Conversation::settle(const Reply& reply) {
  server_.settle(reply, [this](std::uint32_t cookie, protocol::Outcome outcome) {
    if (outcome == protocol::Outcome::skipped) pending_errors_.drop(cookie);
    client_.statements.settle(cookie, outcome);
    if (cookie == restore_.query && outcome == protocol::Outcome::skipped) restore_skipped();  // with its unit
    if (cookie == dropping_names_) dropping_names_ = 0;
    if (cookie == copying_) copying_ = 0;
    if (cookie == forgetting_.cookie) {
      forgetting_.cookie = 0;
      forgetting_.failed = forgetting_.awaited && outcome == protocol::Outcome::failed;
      if (outcome == protocol::Outcome::completed) server_.forgot_sequences();
    }
  });
}

void Conversation::parameter_reported() {
  static_cast<void>(server_.exchange.received(tag::parameter_status, {}));
  if (server_.exchange.any_due()) {
    for (const auto& request : server_.exchange.before()) local(request);
  }
  tell_reported();
}

void Conversation::tell_difference() {
  // What a RESET leads to is reported before and after the settings are restored: only what holds in the end is told.
  if (restore_.query != 0) [[unlikely]] {
    const auto oldest = server_.exchange.oldest().cookie;
    if (oldest == restore_.unit || oldest == restore_.query) return;
  }
  protocol::difference(client_.told, server_.reported, protocol::RoleReports::keep,
                       [this](std::string_view name, std::string_view value) {
                         protocol::write_parameter_status(client_.desk.to_client.writable(), name, value);
                       });
  client_.told = server_.reported;
  told_ = true;
  // From here on its texts can't be read: they count as unseen, with what was sent behind the SET.
  const auto* encoding = server_.reported.find("client_encoding");
  if (!client_.identity.blind && encoding != nullptr && !protocol::sql::is_ascii_transparent(*encoding)) {
    note_effects(protocol::sql::unseen_verdict);
  }
}

// An ErrorResponse for the client. False: the server must be closed.
bool Conversation::error(const Frame& frame, const Reply& reply) {
  const auto fields = protocol::parse_error(frame.body());
  if (!fields) return false;
  if (unreplicated_.hides(frame.tag)) {
    pass(frame, false);
    return true;
  }
  const protocol::Refusal refusal{.state = fields->state,
                                  .by_primary = role_ == Role::primary,
                                  .replicas_only = client_.identity.settings->route == config::Route::replica,
                                  .status = server_.exchange.transaction_status(),
                                  .begins_again = client_.block.may_run_again(),
                                  .awaits_sync = server_.exchange.skipping(),
                                  .passed_on = told_ || (unit_.closes && !client_.desk.to_client.empty())};
  // "cached plan must not change result type": the client will prepare the same text again. Drivers look at the routine
  // as well; other features that are not supported have the same SQLSTATE.
  const bool of_plan = reply.request.tag == protocol::client::bind || reply.request.tag == protocol::client::execute ||
                       reply.request.tag == protocol::client::describe;
  const bool stale =
      of_plan && fields->state == sqlstate::feature_not_supported && fields->routine == "RevalidateCachedQuery";
  if (stale) aftermath_.any = aftermath_.plans_expired = true;
  if (replay_.refused(refusal)) {
    client_.desk.to_client.clear();  // RowDescription and the like, not sent yet
    if (refusal.teaches() && !stale) learn_needs_primary();
    forwarding_ = false;
    return true;
  }
  const bool of_sequence = unit_.asks_sequence && !client_.identity.session_mode() &&
                           fields->state == sqlstate::object_not_in_prerequisite_state;
  if (of_sequence && fields->hint.empty()) {
    forwarding_ = false;
    protocol::write_error(client_.desk.to_client.writable(),
                          {.severity = fields->severity_nonlocal,
                           .state = fields->state,
                           .message = fields->message,
                           .hint = "The server connection may have changed since the INSERT: ask within its transaction, "
                                   "or use INSERT ... RETURNING."});
    return true;
  }
  if (tell_terminated(frame, *fields)) return true;
  const char answers = reply.request.tag;
  if (!tell_own_name(frame, *fields, answers)) pass(frame, true);
  return true;
}

// The COPY that was made to fail has failed, if not for another reason.
bool Conversation::tell_terminated(const Frame& frame, const protocol::ErrorFields& fields) {
  if (goodbye_ != Goodbye::copy_fails) return false;
  const bool by_us = fields.state == sqlstate::query_canceled && fields.routine == "CopyGetData";
  goodbye_ = by_us ? Goodbye::said : Goodbye::none;
  if (!by_us) return false;
  forwarding_ = false;
  const auto error = protocol::told(protocol::Tell::unexpected_in_copy, {"58"});
  protocol::write_retold(client_.desk.to_client.writable(), frame.tag, frame.body(), error.message, error.state.view());
  return true;
}

// An error or a notice that quotes a statement's name on its server. False: it doesn't.
bool Conversation::tell_own_name(const Frame& frame, const protocol::ErrorFields& fields, char answers) {
  const auto quoted = protocol::quoted_name(fields, answers);
  if (!quoted) return false;
  forwarding_ = false;
  std::string message(fields.message);
  message.replace(quoted->at, quoted->size, client_.statements.name_of(quoted->id));
  protocol::write_retold(client_.desk.to_client.writable(), frame.tag, frame.body(), message);
  return true;
}

// A NoticeResponse. It is the client's, unless the unit that it is about runs again.
void Conversation::notice(const Frame& frame) {
  const auto fields = protocol::parse_error(frame.last ? frame.body() : protocol::Bytes{});
  if (!fields || !protocol::Unreplicated::says(*fields)) {
    const bool shown = fields && !replay_.swallowing() && !unreplicated_.hides(frame.tag);
    if (shown && tell_own_name(frame, *fields, server_.exchange.oldest().tag)) return;
    return pass(frame, !replay_.swallowing());
  }
  forwarding_ = false;
  if (!unreplicated_.canceled()) return;
  aftermath_.any = aftermath_.unreplicated = true;
  protocol::write_told(client_.desk.to_client.writable(), protocol::Tell::commit_unreplicated);
}

void Conversation::replace(std::uint32_t cookie) {
  forwarding_ = false;
  if (const auto error = pending_errors_.take(cookie); error && !unreplicated_.hides(tag::error_response)) {
    protocol::write_error(client_.desk.to_client.writable(),
                          {.state = error->state, .message = error->message, .hint = error->hint});
  }
}

// A ReadyForQuery for the client was passed on.
void Conversation::unit_answered() {
  const char status = server_.exchange.transaction_status();
  const bool more = server_.exchange.expects();  // of the client's: what we sent behind the unit is not counted
  if (!replay_.swallowing()) ++aftermath_.units;
  unreplicated_.ready();
  aftermath_.any = true;
  if (unit_.writes) note_written();
  if (replay_.swallowing()) {
    take_back_refused();
  } else {
    client_.block.ready(status, !more);
  }
  pins_.ready(status, more);
  if (status != 'I') return;
  if (unit_.ddl) {
    aftermath_.schema_changed = true;
    aftermath_.shared_schema_changed |= unit_.ddl_shared;
    unit_.ddl = more;
    unit_.ddl_shared &= more;
  }
  if (unit_.may_be_ddl) {
    aftermath_.may_have_changed_schema = true;
    unit_.may_be_ddl = more;
  }
  // With further units in flight the mark is theirs as well.
  if (!more) unit_.writes = unit_.writes_shared = false;
}

void Conversation::note_written() {
  aftermath_.any = aftermath_.wrote = true;
  if (unit_.writes_shared) aftermath_.wrote_shared = true;
}

bool Conversation::may_end() const {
  // The refusal of a block's first statement leaves the standby in a failed block, which the cleaning ends.
  if (replay_.swallowing()) return unit_.refusal_read && server_.framer.at_boundary() && server_.owed() == 0;
  return at_rest() && !pinned() && !forgetting_.awaited &&
         goodbye_ != Goodbye::said;  // it has no more to say, but its client must be told
}

// A standby refused the unit, which runs again from its beginning: undoes what it has done to the client's block and
// names. All of it is settled.
void Conversation::take_back_refused() {
  unit_.refusal_read = true;
  client_.block.take_back();
  protocol::Framer framer(protocol::Direction::from_client);
  // Parse messages succeed in their order: those behind the first `parsed` were never run.
  for (protocol::Bytes rest = replay_.bytes(); !rest.empty() && unit_.parsed > 0;) {
    const auto frame = framer.next(rest);
    if (frame.kind != Frame::Kind::start || !frame.last) return;
    rest = rest.subspan(frame.bytes.size());
    if (frame.tag != protocol::client::parse) continue;
    --unit_.parsed;
    const auto parse = protocol::parse_parse(frame.body());
    if (!parse || parse->name.empty()) continue;
    client_.statements.settle(client_.statements.close(parse->name).cookie, protocol::Outcome::completed);
  }
}

void Conversation::learn_needs_primary() {
  protocol::Framer framer(protocol::Direction::from_client);
  auto& classifier = *client_.identity.classifier;
  for (protocol::Bytes rest = replay_.bytes(); !rest.empty();) {
    const auto frame = framer.next(rest);
    if (frame.kind != Frame::Kind::start || !frame.last) return;
    rest = rest.subspan(frame.bytes.size());
    if (frame.tag == protocol::client::query) {
      if (const auto sql = protocol::parse_query(frame.body())) classifier.learn_needs_primary(*sql);
    } else if (frame.tag == protocol::client::parse) {
      if (const auto parse = protocol::parse_parse(frame.body())) classifier.learn_needs_primary(parse->sql);
    } else if (frame.tag == protocol::client::bind) {
      const auto head = protocol::parse_bind_head(frame.body(), protocol::Extent::whole);
      if (!head || !*head) return;
      if (auto found = client_.statements.find((*head)->statement); found.statement != nullptr) {
        classifier.learn_needs_primary(found.statement->text());
      }
    }
  }
}

}  // namespace holdfast::proxy
