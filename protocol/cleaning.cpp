#include "protocol/cleaning.hpp"

#include "protocol/backend.hpp"
#include "protocol/frontend.hpp"

namespace holdfast::protocol {

using sql::Effect;

namespace {

void write_failing_bind(std::vector<std::byte>& out) {
  Writer writer(out);
  writer.begin(client::bind).text("").text("").u16(2).u16(0).u16(0).u16(0).u16(0);
  writer.end();
}

}  // namespace

void Cleaning::run(ServerSession& server, std::string_view sql, std::vector<std::byte>& out) {
  server.statements.drop_unnamed();  // as any simple Query does
  server.exchange.sent({.tag = client::query, .origin = Origin::proxy});
  write_query(out, sql);
}

// COPY FROM and an open batch would wait for a client that is gone: ends them.
void Cleaning::end_what_runs(ServerSession& server, std::vector<std::byte>& out) {
  auto& exchange = server.exchange;
  if (!copy_ended_ && (exchange.copy() == Copy::in || exchange.copy() == Copy::both)) {
    copy_ended_ = true;
    exchange.sent({.tag = client::copy_fail, .origin = Origin::proxy});
    write_copy_fail(out, "the client is gone");
  }
  if (exchange.open_batch()) {
    // A Sync alone would commit what the client never asked to commit: the batch has to fail first. This Bind fails
    // whatever statement the client has left under whatever name: two formats for no parameter (exec_bind_message,
    // src/backend/tcop/postgres.c).
    exchange.sent({.tag = client::bind, .origin = Origin::failing});
    write_failing_bind(out);
    exchange.sent({.tag = client::sync, .origin = Origin::proxy});
    write_sync(out);
  }
}

void Cleaning::failed(Bytes body) {
  if (state_ != State::auditing) {
    failed_ = true;
    return;
  }
  const auto fields = parse_error(body);
  audit_failure_ = fields ? Error{.state = fields->state, .message = std::string(fields->message)} : fields.error();
}

std::optional<Cleaning::Audit> Cleaning::lost() const {
  if (state_ != State::auditing) return std::nullopt;
  return Audit{.failure = Error{sqlstate::connection_failure, "the connection ended before the answer"}};
}

Cleaning::Step Cleaning::next(ServerSession& server, Cancels cancels, std::vector<std::byte>& out) {
  auto& exchange = server.exchange;
  if (failed_ || exchange.broken() || server.owed() > 0 || has(server.dirt(), Effect::load)) return Step::close;
  // A statement of the client's runs. A COPY FROM is none: it ends by itself, as soon as it is told to.
  if (state_ == State::draining && exchange.runs_for_client() && !exchange.copy_waits_for_client() && !cancels.under_way &&
      (!canceled_ || cancels.possible)) {
    canceled_ = true;
    return Step::cancel;
  }
  const auto before = out.size();
  end_what_runs(server, out);
  if (out.size() > before) return Step::send;
  if (!exchange.idle()) return Step::wait;
  if (cancels.under_way) return Step::wait;  // it would hit what we send next
  if (exchange.transaction_status() != 'I') {
    if (state_ != State::draining) return Step::close;  // a ROLLBACK ends every block
    state_ = State::rolling_back;
    run(server, "ROLLBACK", out);
    return Step::send;
  }
  if (exchange.doubtful()) {
    if (state_ != State::draining) return Step::close;
    // CloseComplete comes behind every ReadyForQuery that may still be on its way: once it is here, no more can come.
    // An unknown name is no error (manual, 55.2.3).
    state_ = State::proving;
    exchange.sent({.tag = client::close, .origin = Origin::proxy});
    write_close(out, {.kind = 'S', .name = "hf_gone"});
    exchange.sent({.tag = client::sync, .origin = Origin::proxy});
    write_sync(out);
    return Step::send;
  }
  if (state_ == State::auditing) {
    if (!audit_failure_ && !audited_) {
      audit_failure_ = Error{sqlstate::protocol_violation, "the answer has not the form of the query's"};
    }
    finished_ = Audit{.hidden = audit_failure_ ? Hidden::anything : *audited_, .failure = std::move(audit_failure_)};
    server.judge(finished_->hidden);
  } else if (server.unproven()) {
    // Also if everything is discarded: custom settings stay behind.
    state_ = State::auditing;
    run(server, audit_query(), out);
    return Step::send;
  }
  if (state_ == State::discarding) {
    server.emptied();
    discarded_ = true;
  } else if (server.dirt() != Effect::none) {
    state_ = State::discarding;
    server.statements.doubt_all();
    run(server, "DISCARD ALL", out);
    return Step::send;
  }
  state_ = State::clean;
  return server.may_serve_others() ? Step::release : Step::close;
}

}  // namespace holdfast::protocol
