#include "protocol/lost_transaction.hpp"

#include <algorithm>
#include <string_view>

#include "protocol/backend.hpp"
#include "protocol/client_errors.hpp"
#include "protocol/message.hpp"

namespace holdfast::protocol {
namespace {

using sql::TransactionControl;

// IsTransactionExitStmt() (src/backend/tcop/postgres.c) without ROLLBACK TO: savepoints are gone with the server.
bool ends_block(TransactionControl control) {
  return control == TransactionControl::commit || control == TransactionControl::rollback ||
         control == TransactionControl::prepare_transaction;
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// ROLLBACK AND CHAIN begins a new transaction, which needs a server: here it ends nothing. A false positive (NO CHAIN,
// a comment) costs the client a plain ROLLBACK.
bool mentions_chain(std::string_view text) {
  constexpr std::string_view word = "chain";
  return std::ranges::search(text, word, [](char a, char b) { return lower(a) == b; }).begin() != text.end();
}

// The text of a Query, or of a Parse behind the statement's name.
std::string_view text_of(char tag, Bytes body) {
  Reader reader(body);
  if (tag == client::parse) reader.text();
  return reader.text();
}

bool is_empty_query(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\f;") == std::string_view::npos;
}

void write_aborted(Out& out) {
  write_told(out, Tell::in_failed_transaction);
}

void write_no_parameters(Out& out) {
  Writer writer(out);
  writer.begin(server::parameter_description).u16(0);
  writer.end();
}

}  // namespace

Error error_of(const Loss& loss) {
  return told(loss.outcome == Loss::Outcome::unknown ? Tell::outcome_unknown : Tell::rolled_back);
}

LostTransaction::LostTransaction(const Loss& loss, Error error, Message message)
    : error_(std::move(error)),
      units_(loss.units),
      batch_(loss.batch),
      state_(message == Message::half ? State::mid_message : State::untold),
      status_(loss.status_after) {}

LostTransaction::Step LostTransaction::begin(std::vector<std::byte>& out) {
  return state_ == State::mid_message ? Step::answered : pay(out);
}

LostTransaction::Step LostTransaction::rest_came(std::vector<std::byte>& out) {
  return state_ == State::mid_message ? pay(out) : Step::answered;
}

// Appends what the client waits for.
LostTransaction::Step LostTransaction::pay(std::vector<std::byte>& out) {
  for (const Loss::Unit& unit : units_) {
    if (unit.error_owed) write_loss(out);
    write_ready_for_query(out, unit.status);
  }
  // A client that got an answer knows of the loss. One that waits for nothing learns it with its next message.
  state_ = units_.empty() ? State::untold : State::failed;
  switch (batch_) {
    case Loss::Batch::none: break;
    case Loss::Batch::owed: write_loss(out); [[fallthrough]];
    case Loss::Batch::failed: state_ = State::skipping; return Step::answered;
    case Loss::Batch::answered: state_ = State::untold; return Step::answered;
  }
  if (status_ == 'I') {
    state_ = State::finished;
    return Step::finished;
  }
  return Step::answered;
}

LostTransaction::Step LostTransaction::client(char tag, Bytes body, TransactionControl control,
                                              std::vector<std::byte>& out) {
  if (state_ == State::finished) return Step::hand_over;
  if ((tag == client::query || tag == client::parse) && mentions_chain(text_of(tag, body)))
    control = TransactionControl::other;
  switch (tag) {
    // Copy messages are ignored outside copy mode; a Flush has nothing to flush.
    case client::copy_data:
    case client::copy_done:
    case client::copy_fail:
    case client::flush: return Step::answered;
    case client::sync: return sync(out);
    default: break;
  }
  if (state_ == State::skipping) return Step::answered;
  if (state_ == State::over) {
    state_ = State::finished;
    return Step::hand_over;
  }
  switch (tag) {
    case client::query: return query(body, control, out);
    case client::function_call: tell(out); return ready(out);
    default: return extended(tag, body, control, out);
  }
}

LostTransaction::Step LostTransaction::query(Bytes body, TransactionControl control, std::vector<std::byte>& out) {
  // Behind a Flush, outside a block: even a ROLLBACK has its statements in front of it.
  if (ends_block(control) && status_ != 'I') {
    // "ROLLBACK" in answer to a COMMIT is easily taken for success: a client that has not been told yet gets the error.
    if (state_ == State::untold && control != TransactionControl::rollback)
      tell(out);
    else
      write_command_complete(out, "ROLLBACK");
    status_ = 'I';
    return ready(out);
  }
  const bool untold_batch = state_ == State::untold && batch_ != Loss::Batch::none;
  if (is_empty_query(text_of(client::query, body)) && !untold_batch)
    write_empty_query_response(out);
  else
    tell(out);
  return ready(out);
}

// Accepts only what ends the block, as exec_parse_message(), exec_bind_message() and exec_describe_*_message() do in a
// failed one.
LostTransaction::Step LostTransaction::extended(char tag, Bytes body, TransactionControl control,
                                                std::vector<std::byte>& out) {
  if (status_ == 'I') return fail_batch(out);
  if (tag == client::close) {
    write_close_complete(out);
    return Step::answered;
  }
  if (!ends_block(control)) return fail_batch(out);
  switch (tag) {
    case client::parse: write_parse_complete(out); return Step::answered;
    case client::bind: write_bind_complete(out); return Step::answered;
    case client::describe:
      if (!body.empty() && static_cast<char>(body.front()) == 'S') write_no_parameters(out);
      write_no_data(out);
      return Step::answered;
    default: return execute(control, out);
  }
}

LostTransaction::Step LostTransaction::execute(TransactionControl control, std::vector<std::byte>& out) {
  status_ = 'I';
  if (state_ == State::untold && control != TransactionControl::rollback) return fail_batch(out);
  write_command_complete(out, "ROLLBACK");
  state_ = State::over;
  return Step::answered;
}

LostTransaction::Step LostTransaction::sync(std::vector<std::byte>& out) {
  // What a batch did is lost. A Sync by itself, in a block, tells the client nothing of the loss.
  if (state_ == State::untold && batch_ != Loss::Batch::none) tell(out);
  if (state_ == State::skipping) state_ = State::failed;
  return ready(out);
}

// Ends a unit, and with it the batch.
LostTransaction::Step LostTransaction::ready(std::vector<std::byte>& out) {
  write_ready_for_query(out, status_);
  batch_ = Loss::Batch::none;
  if (status_ != 'I') return Step::answered;
  state_ = State::finished;
  return Step::finished;
}

LostTransaction::Step LostTransaction::fail_batch(std::vector<std::byte>& out) {
  tell(out);
  state_ = State::skipping;
  return Step::answered;
}

// The first time the error itself, later 25P02: the block has failed.
void LostTransaction::tell(std::vector<std::byte>& out) {
  if (state_ == State::untold) {
    write_loss(out);
    state_ = State::failed;
  } else {
    write_aborted(out);
  }
}

void LostTransaction::write_loss(std::vector<std::byte>& out) const {
  write_error(out, {.state = error_.state, .message = error_.message, .hint = error_.hint});
}

}  // namespace holdfast::protocol
