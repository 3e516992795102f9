// The messages of a client that name statements, and those that can't be sent as they are: what goes out in their
// place.
#include <utility>

#include "protocol/client_errors.hpp"
#include "protocol/frontend.hpp"
#include "proxy/session/conversation.hpp"
#include "proxy/session/local_answers.hpp"

namespace holdfast::proxy {

namespace client = protocol::client;
using protocol::Frame;
using protocol::Origin;
using protocol::sql::Access;
using protocol::sql::Effect;
using protocol::sql::TransactionControl;
using protocol::sql::Verdict;

// Takes a Parse, Bind, Describe or Close: names are the client's, statements are shared.
Conversation::Taken Conversation::statement(const Frame& frame) {
  if (pending_errors_.full()) return Taken::wait;
  if (frame.tag == client::parse && server_.shows_others() && look_waits(frame)) [[unlikely]]
    return Taken::wait;
  const auto understood = client_.tables.prepared.understand(frame, client_.statements);
  if (understood.fault == protocol::StatementMessage::Fault::wait) return Taken::wait;
  if (frame.tag == client::bind && understood.statement && server_.shows_others()) {
    auto& statement = *understood.statement;
    const Verdict verdict = verdict_of(statement, *client_.identity.classifier);
    if (may_show_others(verdict)) [[unlikely]] {
      if (const auto hidden = hide_others(frame, verdict, statement.text())) return *hidden;
    }
  }
  if (frame.tag == client::close) unit_.closes = true;
  if (frame.tag == client::bind) bound(frame, understood);
  if (frame.tag == client::parse && role_ == Role::replica && client_.block.status() != 'I' && understood.statement) {
    client_.block.parses(verdict_of(*understood.statement, *client_.identity.classifier));
  }
  const auto plan = send_ahead(understood, frame);
  switch (plan.kind) {
    case protocol::StatementPlan::Kind::forward:
      announce({.tag = frame.tag, .cookie = understood.cookie});
      client_.desk.to_server.forward(frame.bytes.subspan(plan.replaced));
      break;
    case protocol::StatementPlan::Kind::answer:
      if (refused_in_failed_block(frame, understood)) {
        client_.desk.scratch.clear();
        protocol::write_describe(client_.desk.to_server.writable(), {.kind = 'S', .name = "hf_0"});
        return fail(frame, understood.cookie, protocol::told(protocol::Tell::in_failed_transaction));
      }
      if (server_.exchange.answered_locally(frame.tag, understood.cookie) == protocol::Exchange::Fate::skipped) {
        settle_skipped(understood.cookie);
      }
      if (server_.exchange.any_due()) local_answers_due();
      dropping_ = !frame.last;
      break;
    case protocol::StatementPlan::Kind::fail: {
      const auto cookie = understood.cookie != 0 ? understood.cookie : client_.statements.issue();
      return fail(frame, cookie, protocol::error_of(understood, frame.bytes));
    }
  }
  return Taken::taken;
}

// Puts out what must reach the server in front of this message, and the message's own rewritten head.
protocol::StatementPlan Conversation::send_ahead(const protocol::StatementMessage& understood, const Frame& frame) {
  auto& to_server = client_.desk.to_server;
  auto& prepared = client_.tables.prepared;
  // With a named statement the head is rewritten, so it goes to its final place at once. Otherwise there is mostly
  // nothing to write, and bytes that are forwarded unchanged need not be copied.
  auto& out = understood.named ? to_server.writable() : client_.desk.scratch;
  if (!understood.named) out.clear();
  // What doesn't belong into a COPY must be seen by its server, which ends the session.
  using Answerer = protocol::Prepared::Answerer;
  const auto answerer = copying_ != 0 ? Answerer::server : Answerer::here;
  const auto plan = prepared.prepare(understood, frame, client_.statements, server_.statements, out, answerer);
  for (const auto& injected : plan.messages()) {
    announce({.tag = injected.tag, .origin = Origin::proxy, .cookie = injected.cookie});
  }
  if (!understood.named && !out.empty()) {
    auto& to = to_server.writable();
    to.insert(to.end(), out.begin(), out.end());
  }
  return plan;
}

// A known Parse in a failed block: as exec_parse_message (src/backend/tcop/postgres.c) refuses all but the block's end.
bool Conversation::refused_in_failed_block(const Frame& frame, const protocol::StatementMessage& understood) const {
  // What is answered here changes no status.
  const bool failed = server_.exchange.transaction_status() == 'E' && server_.exchange.oldest().tag == 0;
  if (frame.tag != client::parse || !failed) return false;
  const auto control = verdict_of(*understood.statement, *client_.identity.classifier).control;
  return control != TransactionControl::commit && control != TransactionControl::rollback;
}

void Conversation::bound(const Frame& frame, const protocol::StatementMessage& understood) {
  Verdict verdict = protocol::sql::unseen_verdict;
  if (understood.fault != protocol::StatementMessage::Fault::none) {
    verdict = {.access = Access::nothing};  // it fails: it leaves nothing behind
  }
  if (understood.statement) {
    verdict = verdict_of(*understood.statement, *client_.identity.classifier);
    judge_as_it_runs(verdict);
    if (verdict.control == TransactionControl::begin || verdict.control == TransactionControl::begin_read_only) {
      client_.block.passes(understood.statement->text(), verdict);
    }
    if (verdict.makes_read_only) client_.block.makes_read_only(understood.statement->text());
    if (!resets_.none()) [[unlikely]]
      resets_.followed(verdict, client_.identity.wanted);
    if (has(verdict.effects, Effect::set | Effect::role | Effect::discard)) {
      resets_.runs(understood.statement->text(), verdict, protocol::Resets::As::in_batch, client_.identity.wanted);
    }
  }
  if (understood.statement && has(verdict.effects, Effect::custom_setting)) {
    const auto text = understood.statement->text();
    note_effects(verdict, understood.statement->opaque() ? nullptr : &text);
  } else {
    note_effects(verdict);
  }
  client_.block.portals().bind(protocol::Portals::named_in(frame.body()), verdict);
}

// Answers a DEALLOCATE in SQL of a name that was made by Parse; nothing is in flight. False: the server must answer.
bool Conversation::deallocate(const Frame& frame, const Verdict& verdict) {
  const char status = server_.exchange.transaction_status();
  const auto name = names_parsed(frame, verdict, client_.statements);
  if (status == 'E' || !name) return false;
  answer_deallocate(*name, status, client_.statements, client_.desk.to_client.writable());
  replay_.delivered();
  unit_.open = false;
  client_.counters.units.add();
  aftermath_.began = false;  // and has ended: no deadline is needed
  return true;
}

// What goes out instead is a Describe of a name that can't be: the server fails there, and the client is told why in
// our words. Behind an error it is skipped, as the client's own message would be.
Conversation::Taken Conversation::fail(const Frame& frame, std::uint32_t cookie, Error error) {
  const auto fate = announce({.tag = client::describe, .origin = Origin::failing, .cookie = cookie});
  if (fate == protocol::Exchange::Fate::in_flight) pending_errors_.add(cookie, std::move(error));
  dropping_ = !frame.last;
  return Taken::taken;
}

// A Flush with a body. PostgreSQL reports an error and skips until the Sync, unless a COPY FROM reads it, which ignores
// it (PostgresMain, src/backend/tcop/postgres.c; CopyGetData, src/backend/commands/copyfromparse.c). No other message
// fails that has no answer: as it is sent, the error would belong to whoever is served next.
Conversation::Taken Conversation::malformed_flush(const Frame& frame) {
  if (reads_copy()) {
    announce({.tag = client::flush});
    protocol::write_flush(client_.desk.to_server.writable());
    dropping_ = !frame.last;
    return Taken::taken;
  }
  if (pending_errors_.full()) return Taken::wait;
  return fail_here(frame);
}

// A Sync with a body, which is an error as well, behind which the transaction is rolled back.
Conversation::Taken Conversation::malformed_sync(const Frame& frame) {
  if (pending_errors_.full()) return Taken::wait;
  if (!reads_copy()) static_cast<void>(fail_here(frame));
  announce({.tag = client::sync});
  protocol::write_sync(client_.desk.to_server.writable());
  dropping_ = !frame.last;
  return Taken::taken;
}

bool Conversation::reads_copy() const {
  return copying_ != 0 || server_.exchange.copy_waits_for_client();
}

Conversation::Taken Conversation::fail_here(const Frame& frame) {
  protocol::write_describe(client_.desk.to_server.writable(), {.kind = 'S', .name = "hf_0"});
  return fail(frame, client_.statements.issue(), protocol::told(protocol::Tell::malformed_message));
}

// Which names there are is known when a DISCARD ALL or DEALLOCATE is answered. Within a batch the server keeps that
// answer until it is asked for it.
Conversation::Taken Conversation::wait_for_names() {
  if (std::exchange(flushes_drop_, false) && unit_.open) {
    announce({.tag = client::flush, .origin = Origin::proxy});
    protocol::write_flush(client_.desk.to_server.writable());
  }
  return Taken::wait;
}

}  // namespace holdfast::proxy
