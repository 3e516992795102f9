#include "protocol/cleaning.hpp"

#include "protocol/frontend.hpp"

namespace holdfast::protocol {

using sql::Effect;

void Cleaning::run(ServerSession& server, std::string_view sql, std::vector<std::byte>& out) {
  server.statements.drop_unnamed();  // as any simple Query does
  server.exchange.sent({.tag = client::query, .origin = Origin::proxy});
  write_query(out, sql);
}

// COPY FROM and an open batch wait for the client; it is gone.
void Cleaning::end_what_runs(ServerSession& server, std::vector<std::byte>& out) {
  auto& exchange = server.exchange;
  if (!copy_ended_ && (exchange.copy() == Copy::in || exchange.copy() == Copy::both)) {
    copy_ended_ = true;
    exchange.sent({.tag = client::copy_fail, .origin = Origin::proxy});
    write_copy_fail(out, "the client is gone");
  }
  if (exchange.open_batch()) {
    // A Sync alone would commit what the client never asked to commit: the batch has to fail first. No portal of a
    // client's statement has this name: "hf_gone" is no number.
    constexpr std::string_view nothing = "hf_gone";
    exchange.sent({.tag = client::bind, .origin = Origin::failing});
    write_bind(out, "", nothing);
    exchange.sent({.tag = client::sync, .origin = Origin::proxy});
    write_sync(out);
  }
}

Cleaning::Step Cleaning::next(ServerSession& server, Cancels cancels, std::vector<std::byte>& out) {
  auto& exchange = server.exchange;
  if (failed_ || exchange.broken() || server.owed() > 0 || has(server.dirt(), Effect::load)) return Step::close;
  const auto before = out.size();
  end_what_runs(server, out);
  if (out.size() > before) return Step::send;
  if (!exchange.idle()) {
    if (state_ != State::draining || cancels.under_way || (canceled_ && !cancels.possible)) return Step::wait;
    canceled_ = true;
    return Step::cancel;
  }
  if (cancels.under_way) return Step::wait;  // it would hit what we send next
  if (exchange.transaction_status() != 'I') {
    if (state_ != State::draining) return Step::close;  // a ROLLBACK ends every block
    state_ = State::rolling_back;
    run(server, "ROLLBACK", out);
    return Step::send;
  }
  if (exchange.doubtful()) {
    if (state_ != State::draining) return Step::close;
    // CloseComplete comes behind every ReadyForQuery that still may: once it is here, none does. An unknown name is no
    // error (manual, 55.2.3).
    state_ = State::proving;
    exchange.sent({.tag = client::close, .origin = Origin::proxy});
    write_close(out, {.kind = 'S', .name = "hf_gone"});
    exchange.sent({.tag = client::sync, .origin = Origin::proxy});
    write_sync(out);
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
