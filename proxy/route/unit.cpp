#include "proxy/route/unit.hpp"

#include <algorithm>
#include <string_view>

#include "protocol/deferred_begin.hpp"
#include "protocol/frontend.hpp"
#include "protocol/message.hpp"
#include "protocol/portals.hpp"

namespace holdfast::proxy {

using protocol::DeferredBegin;
using protocol::Frame;
using protocol::sql::Access;
using protocol::sql::Classifier;
using protocol::sql::TransactionControl;
using protocol::sql::Verdict;

namespace {

// An Execute that may leave rows in its portal for the next one.
bool limits_rows(const Frame& frame) {
  const auto body = frame.body();
  return body.size() < 5 || protocol::load_be<std::uint32_t>(body.data() + body.size() - 4) != 0;
}

bool begins(const Verdict& verdict) {
  return verdict.control == TransactionControl::begin || verdict.control == TransactionControl::begin_read_only;
}

}  // namespace

const Verdict& verdict_of(protocol::Statement& statement, protocol::sql::Classifier& classifier) {
  if (classifier.blind()) return protocol::sql::unseen_verdict;
  if (!statement.verdict_known(classifier.epoch())) {
    statement.set_verdict(statement.opaque() ? protocol::sql::unseen_verdict : classifier.verdict(statement.text()),
                          classifier.epoch());
  }
  return statement.verdict();
}

void unite(Verdict& into, const Verdict& next) {
  // The control of a batch's first statement stays: BEGIN READ ONLY and what follows. Any other mixture goes to the
  // primary.
  if (into.control == TransactionControl::none) {
    into.control = next.control;
  } else if (next.control != TransactionControl::none && next.control != into.control) {
    into.returns_after_commit = true;
    into.access = Access::write;
  }
  const bool changes = into.may_change() || next.may_change();
  into.access = std::max(into.access, next.access);
  into.only_asks = into.access == Access::write && !changes;
  into.effects |= next.effects;
  into.copy_from_client |= next.copy_from_client;
  into.returns_after_commit |= next.returns_after_commit;
  into.makes_read_only |= next.makes_read_only;
  into.bends_block |= next.bends_block;
  into.chains |= next.chains;
  into.isolation = std::max(into.isolation, next.isolation);
  if (next.hint == protocol::sql::Hint::primary || into.hint == protocol::sql::Hint::none) into.hint = next.hint;
  into.statements = static_cast<std::uint16_t>(into.statements + next.statements);
}

Unit look_ahead(protocol::Bytes received, const protocol::Framer& framer, const protocol::ClientStatements& statements,
                protocol::sql::Classifier& classifier, std::size_t limit, Classifier::Patience patience) {
  Unit unit;
  unit.verdict = {.access = Access::nothing, .statements = 0};
  unit.needs_server = false;
  auto probe = framer;
  bool parses = false;
  bool parses_unnamed = false;
  bool others = false;
  bool waits_to_run = false;  // a portal that was bound and not executed
  std::size_t seen = 0;
  const auto decided = [&unit] {
    unit.shape = Unit::Shape::decided;
    return unit;
  };
  const auto write = [&unit, &decided] {
    unit.needs_server = unit.binds = true;
    unit.verdict.access = Access::write;
    return decided();
  };
  // Null: the unit is put off, and its shape says until when.
  const auto judge = [&](std::string_view text, Classifier::Patience most) {
    const auto answer = classifier.ask(text, std::min(patience, most));
    if (answer.when == Classifier::Answer::When::later) unit.shape = Unit::Shape::later;
    if (answer.when == Classifier::Answer::When::elsewhere) unit.shape = Unit::Shape::elsewhere;
    return answer.verdict;
  };
  for (;;) {
    const Frame frame = probe.next(received.subspan(seen));
    if (frame.kind == Frame::Kind::error) {
      unit.shape = Unit::Shape::broken;
      return unit;
    }
    namespace client = protocol::client;
    // These belong to nothing: their COPY has failed, or there is nothing to flush. The session drops them.
    if (!unit.needs_server && frame.kind == Frame::Kind::start &&
        (frame.tag == client::copy_data || frame.tag == client::copy_done || frame.tag == client::copy_fail ||
         (frame.tag == client::flush && frame.length == protocol::empty_length))) {
      return decided();
    }
    if (frame.kind == Frame::Kind::need_more || (frame.kind == Frame::Kind::start && !frame.last)) {
      unit.answered_alone = seen == 0 && (frame.tag == client::query || frame.tag == client::function_call);
      const std::size_t wanted = frame.kind == Frame::Kind::start ? std::size_t{frame.length} + 1 : frame.wanted;
      // A message or a batch that is longer than the limit streams to the primary.
      if (seen > limit || (frame.kind == Frame::Kind::start && wanted > limit)) return write();
      unit.wanted = seen + wanted;
      unit.begun = seen > 0 && unit.needs_server;
      return unit;
    }
    if (frame.tag == client::parse) {
      parses = true;
    } else if (frame.tag != client::sync) {
      others = true;
    }
    switch (frame.tag) {
      case client::query: {
        unit.answered_alone = seen == 0;
        const auto query = protocol::parse_query(frame.body());
        if (!query) return write();
        unit.needs_server = unit.binds = true;
        const Verdict* verdict = judge(*query, Classifier::Patience::any);
        if (verdict == nullptr) return unit;
        unit.hides_begin |= begins(*verdict);
        if (seen == 0) {
          unit.judged = true;
          unit.verdict = *verdict;
        } else {
          unite(unit.verdict, *verdict);
        }
        return decided();
      }
      case client::parse: {
        unit.needs_server = true;
        const auto parse = protocol::parse_parse(frame.body());
        if (!parse) return write();
        parses_unnamed |= parse->name.empty();
        const Verdict* verdict = judge(parse->sql, Classifier::Patience::by_shape);
        if (verdict == nullptr) return unit;
        unit.hides_begin |= begins(*verdict) && parse->sql.size() > DeferredBegin::longest_text;
        unite(unit.verdict, *verdict);
        break;
      }
      case client::bind: {
        unit.needs_server = unit.binds = true;
        const auto bind = protocol::parse_bind_head(frame.body(), protocol::Extent::whole);
        if (!bind || !*bind) return write();
        unit.keeps_portal |= protocol::Portals::named_in(frame.body()) == protocol::Portals::Name::named;
        waits_to_run = true;
        // The unnamed statement is the one parsed in this batch.
        if (parses_unnamed && (*bind)->statement.empty()) break;
        const auto found = statements.find((*bind)->statement);
        // A name that the batch itself defines was judged at its Parse; an unknown one fails anywhere.
        if (found.answer == protocol::ClientStatements::Answer::ok && found.statement != nullptr) {
          const bool known = found.statement->verdict_known(classifier.epoch());
          if (!known && !found.statement->opaque() && !classifier.blind()) {
            const Verdict* verdict = judge(found.statement->text(), Classifier::Patience::by_shape);
            if (verdict == nullptr) return unit;
            found.statement->set_verdict(*verdict, classifier.epoch());
          }
          const Verdict& verdict = verdict_of(*found.statement, classifier);
          unit.hides_begin |= begins(verdict) && found.statement->text().size() > DeferredBegin::longest_text;
          unite(unit.verdict, verdict);
        } else if (found.answer == protocol::ClientStatements::Answer::wait) {
          return write();
        }
        break;
      }
      case client::execute:
        unit.needs_server = true;
        unit.keeps_portal |= limits_rows(frame);
        waits_to_run = false;
        break;
      case client::function_call:
        unit.answered_alone = seen == 0;
        unit.verdict.effects |= protocol::verdict_of_call(frame).effects;
        return write();
      case client::sync:
        if (frame.length != protocol::empty_length) return write();  // an error, which only a server can make
        unit.only_parses = parses && !others;
        unit.keeps_portal |= waits_to_run;
        return decided();
      case client::flush:
        // What follows the answers belongs to the same batch, and may be anything.
        return write();
      case client::terminate: return decided();
      case client::password: return write();  // unexpected here: the session tells the client
      default: unit.needs_server = true; break;
    }
    // A batch of Parse messages alone may be answered without a server: for those the end must be seen.
    if (unit.verdict.access == Access::write && others) return decided();
    seen += frame.bytes.size();
  }
}

}  // namespace holdfast::proxy
