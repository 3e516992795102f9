// A client whose server is gone in the middle of its transaction: LostTransaction answers in the server's place.
#include <utility>

#include "protocol/backend.hpp"
#include "protocol/frontend.hpp"
#include "proxy/session/client_session.hpp"
#include "proxy/worker.hpp"

namespace holdfast::proxy {

namespace client = protocol::client;
using protocol::Frame;
using protocol::Origin;
using protocol::sql::Access;
using protocol::sql::Effect;
using protocol::sql::TransactionControl;

ClientSession::Step ClientSession::process_lost() {
  const Frame frame = framer_.next(link_.received());
  switch (frame.kind) {
    case Frame::Kind::need_more: wanted_bytes_ = frame.wanted; return Step::need_input;
    case Frame::Kind::error:
      worker_.counters.protocol_errors.add();
      disconnect(framer_.error());
      return Step::leave;
    case Frame::Kind::more:
      if (frame.last) dropping_body_ = false;
      link_.consume(frame.bytes.size());
      return Step::go_on;
    case Frame::Kind::start: break;
  }
  if (frame.tag == client::terminate) return Step::leave;
  TransactionControl control = TransactionControl::none;
  if (frame.last && frame.tag == client::query) {
    if (const auto text = protocol::parse_query(frame.body())) {
      const auto& verdict = classifier_->verdict(*text);
      if (verdict.statements == 1) control = verdict.control;
    }
  } else if (frame.last && frame.tag == client::parse) {
    if (const auto parse = protocol::parse_parse(frame.body())) control = classifier_->verdict(parse->sql).control;
  } else if (frame.tag == client::bind) {
    const auto head = protocol::parse_bind_head(frame.body(), protocol::Extent::front);
    if (head && *head) {
      const auto found = statements_.find((*head)->statement);
      if (found.statement != nullptr) control = verdict_of(*found.statement, *classifier_).control;
    }
    bound_ = control;
  } else if (frame.tag == client::execute || frame.tag == client::describe) {
    control = bound_;
  }
  auto& out = worker_.scratch_out;
  out.clear();
  const auto step = lost_->client(frame.tag, frame.body(), control, out);
  // A ROLLBACK by the extended protocol is parsed and then bound; names that it closes are closed.
  if (!out.empty() && (static_cast<char>(out[0]) == protocol::server::parse_complete ||
                       static_cast<char>(out[0]) == protocol::server::close_complete)) {
    const auto understood = worker_.prepared.understand(frame, statements_);
    if (understood.cookie != 0) statements_.settle(understood.cookie, protocol::Outcome::completed);
  }
  if (!out.empty()) link_.send(out);
  if (step == protocol::LostTransaction::Step::hand_over) {
    framer_.put_back();
    lost_.reset();
    return Step::go_on;
  }
  link_.consume(frame.bytes.size());
  if (step == protocol::LostTransaction::Step::finished) {
    statements_.end_batch();
    lost_.reset();
    dropping_body_ = !frame.last;
  }
  return Step::go_on;
}

}  // namespace holdfast::proxy
