#include "proxy/session/local_answers.hpp"

#include "protocol/backend.hpp"
#include "protocol/frontend.hpp"
#include "protocol/sql/literals.hpp"
#include "protocol/sql/reset.hpp"

namespace holdfast::proxy {

namespace client = protocol::client;
using protocol::ClientStatements;
using protocol::Frame;
using protocol::sql::Effect;

std::optional<std::string> names_parsed(const Frame& frame, const protocol::sql::Verdict& verdict,
                                        const ClientStatements& statements) {
  if (verdict.statements != 1) return std::nullopt;
  const auto text = protocol::parse_query(frame.body());
  auto name = text ? protocol::sql::deallocated_name(*text) : std::nullopt;
  if (!name || statements.find(*name).answer == ClientStatements::Answer::unknown) return std::nullopt;
  return name;
}

void answer_deallocate(const std::string& name, char status, ClientStatements& statements,
                       std::vector<std::byte>& out) {
  for (const auto cookie : {statements.query().cookie, statements.close(name).cookie}) {
    if (cookie != 0) statements.settle(cookie, protocol::Outcome::completed);
  }
  statements.end_batch();
  protocol::write_command_complete(out, "DEALLOCATE");
  protocol::write_ready_for_query(out, status);
}

std::size_t LocalAnswers::answer(const Unit& unit, protocol::Bytes received) {
  std::size_t consumed = 0;
  if (unit.only_parses) consumed = parses(received);
  if (consumed == 0 && unit.judged) consumed = block(unit, received);
  if (consumed == 0 && unit.judged && has(unit.verdict.effects, Effect::sql_deallocate)) {
    consumed = deallocate(unit, received);
  }
  if (consumed > 0) client_.counters.units.add();
  return consumed;
}

void LocalAnswers::sync() {
  protocol::write_ready_for_query(client_.desk.to_client.writable(), client_.block.status());
  client_.statements.end_batch();
}

// A BEGIN is deferred to its block's first statement; a block that is still empty is ended here as well.
std::size_t LocalAnswers::block(const Unit& unit, protocol::Bytes received) {
  const auto& verdict = unit.verdict;
  auto& block = client_.block;
  if (block.state() == protocol::Block::State::deferred) {
    if (!block.end(verdict, client_.desk.to_client.writable())) return 0;
  } else {
    if (verdict.deferrable == protocol::sql::Deferrable::no || client_.identity.session_mode()) return 0;
    auto probe = framer_;
    const auto text = protocol::parse_query(probe.next(received).body());
    if (!text || !block.defer(*text, verdict, client_.desk.to_client.writable())) return 0;
  }
  const Frame frame = framer_.next(received);
  const auto understood = client_.tables.prepared.understand(frame, client_.statements);
  if (understood.cookie != 0) client_.statements.settle(understood.cookie, protocol::Outcome::completed);
  client_.statements.end_batch();
  return frame.bytes.size();
}

std::size_t LocalAnswers::deallocate(const Unit& unit, protocol::Bytes received) {
  auto probe = framer_;
  const auto name = names_parsed(probe.next(received), unit.verdict, client_.statements);
  if (!name) return 0;
  answer_deallocate(*name, client_.block.status(), client_.statements, client_.desk.to_client.writable());
  return framer_.next(received).bytes.size();
}

// Whether servers of this scope have parsed every text before, and all names are free.
bool LocalAnswers::all_known(protocol::Bytes received) const {
  auto probe = framer_;
  std::size_t named = 0;
  for (;;) {
    const Frame frame = probe.next(received);
    if (frame.tag != client::parse) return true;
    const auto parse = protocol::parse_parse(frame.body());
    const auto tail = frame.body().subspan(parse->name.size() + 1);
    if (protocol::sql::reads_the_clock(parse->sql)) return false;
    const auto statement = client_.tables.statements.intern(tail, parse->sql.size(), client_.statements.scope());
    if (!statement->confirmed(client_.tables.vintage)) return false;
    // A name in use, here or in this very batch, is 42P05 in its place, and one too many 54000: a server has to see it.
    if (!parse->name.empty() && (++named > 1 || 
                                 !client_.statements.has_room(parse->name, *statement,
                                                              client_.tables.prepared.most_named()) ||
                                 client_.statements.find(parse->name).answer != ClientStatements::Answer::unknown)) {
      return false;
    }
    received = received.subspan(frame.bytes.size());
  }
}

// Prepares statements that servers of this scope have parsed before: needs no server, which matters when all servers
// are in transactions whose clients wait for this one (a driver with one thread).
std::size_t LocalAnswers::parses(protocol::Bytes received) {
  if (!all_known(received)) return 0;
  auto& out = client_.desk.to_client.writable();
  for (std::size_t consumed = 0;;) {
    const Frame frame = framer_.next(received.subspan(consumed));
    consumed += frame.bytes.size();
    if (frame.tag != client::parse) {
      sync();
      return consumed;
    }
    const auto understood = client_.tables.prepared.understand(frame, client_.statements);
    if (understood.cookie != 0) client_.statements.settle(understood.cookie, protocol::Outcome::completed);
    protocol::write_parse_complete(out);
  }
}

}  // namespace holdfast::proxy
