#include "protocol/prepared.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

#include "protocol/client_errors.hpp"
#include "protocol/invariant.hpp"
#include "protocol/message.hpp"
#include "protocol/sql/literals.hpp"

namespace holdfast::protocol {

namespace {

// How many statements may be closed for one that is added: more than one, so that a list over its limit shrinks again.
constexpr std::size_t victims_at_once = 6;
// What the names of one client may take while the table has no more room: enough for those that have few.
constexpr std::size_t most_named_when_full = 64U << 10;

void inject(StatementPlan& plan, char tag, std::uint32_t cookie) {
  if (!holds(plan.injected_count < plan.injected.size(), "a plan injects more messages than it has room for")) return;
  plan.injected[plan.injected_count++] = {.tag = tag, .cookie = cookie};
}

void write_close(std::vector<std::byte>& out, const Statement& statement) {
  Writer writer(out);
  writer.begin(client::close).letter('S').text(ServerName(statement.id()).view());
  writer.end();
}

void write_parse(std::vector<std::byte>& out, std::string_view name, const Statement& statement) {
  Writer writer(out);
  writer.begin(client::parse).text(name).bytes(statement.parse_tail());
  writer.end();
}

// The head of a client's message with the statement's name replaced; its length includes the rest, which follows
// unchanged.
void write_head(std::vector<std::byte>& out, const StatementMessage& request, const Frame& frame,
                std::string_view name) {
  const Bytes front = frame.bytes.subspan(header_size, request.name_at - header_size);
  const std::size_t old_size = request.name_end - request.name_at;
  const auto length = static_cast<std::uint32_t>(frame.length - old_size + name.size() + 1);
  // In one piece: it is written for every Bind.
  const std::size_t at = out.size();
  out.resize(at + header_size + front.size() + name.size() + 1);
  std::byte* to = out.data() + at;
  to[0] = static_cast<std::byte>(frame.tag);
  store_be(to + 1, length);
  to = std::ranges::copy(front, to + header_size).out;
  to = std::ranges::copy(as_bytes(name), to).out;
  *to = std::byte{0};
}

// A message that fails as the client's would, inside the same transaction: no statement has id 0.
void write_failing(std::vector<std::byte>& out, char tag) {
  Writer writer(out);
  if (tag == client::bind) {
    writer.begin(client::bind).text({}).text(ServerName(0).view()).u16(0).u16(0).u16(0);
  } else {
    writer.begin(client::describe).letter('S').text(ServerName(0).view());
  }
  writer.end();
}

StatementPlan fail_plan(const Frame& frame) {
  return {.kind = StatementPlan::Kind::fail, .replaced = static_cast<std::uint32_t>(frame.bytes.size())};
}
StatementPlan fail_plan(const Frame& frame, std::vector<std::byte>& out) {
  write_failing(out, frame.tag);
  return fail_plan(frame);
}

StatementPlan answer_plan(const Frame& frame, char tag) {
  return {.kind = StatementPlan::Kind::answer,
          .answer_tag = tag,
          .replaced = static_cast<std::uint32_t>(frame.bytes.size())};
}

StatementMessage::Fault fault_of(ClientStatements::Answer answer) {
  using Answer = ClientStatements::Answer;
  switch (answer) {
    case Answer::ok: return StatementMessage::Fault::none;
    case Answer::duplicate: return StatementMessage::Fault::duplicate;
    case Answer::unknown: return StatementMessage::Fault::unknown;
    case Answer::too_many: return StatementMessage::Fault::too_many;
    case Answer::wait: return StatementMessage::Fault::wait;
  }
  return StatementMessage::Fault::malformed;
}

// Reads the statement's name at the reader's position; records where it stands in the frame.
std::string_view read_name(Reader& reader, const Frame& frame, StatementMessage& request) {
  request.name_at = static_cast<std::uint32_t>(frame.bytes.size() - reader.remaining());
  const std::string_view name = reader.text();
  request.name_end = static_cast<std::uint32_t>(frame.bytes.size() - reader.remaining());
  request.named = !name.empty();
  if (!reader.ok()) {
    // Only the head of a message in pieces is seen: a name that doesn't end within it is too long.
    request.fault = frame.last ? StatementMessage::Fault::malformed : StatementMessage::Fault::too_many;
    request.name_end = request.name_at;
  } else if (frame.length > max_message_length - sizeof(ServerName)) {
    request.fault = StatementMessage::Fault::too_many;  // no room for a longer name
  }
  return name;
}

}  // namespace

ServerName::ServerName(std::uint64_t id) {
  constexpr std::string_view prefix = "hf_";
  prefix.copy(text.data(), prefix.size());
  const auto end = std::to_chars(text.data() + prefix.size(), text.data() + text.size(), id).ptr;
  size = static_cast<std::uint8_t>(end - text.data());
}

Error error_of(const StatementMessage& request, Bytes frame) {
  using Fault = StatementMessage::Fault;
  std::string statement = "unnamed prepared statement";
  if (request.named) {
    const auto name = frame.subspan(request.name_at, request.name_end - request.name_at - 1);
    statement = "prepared statement \"" + std::string(as_text(name)) + "\"";
  }
  switch (request.fault) {
    case Fault::duplicate: return told(Tell::statement_exists, {statement});
    case Fault::unknown: return told(Tell::statement_unknown, {statement});
    case Fault::too_many: return told(Tell::too_many_statements);
    case Fault::malformed: return told(Tell::malformed_message);
    case Fault::none:
    case Fault::wait: break;
  }
  // Without a fault of the message itself, only an opaque statement fails.
  return told(Tell::statement_too_long, {statement});
}

std::size_t Prepared::most_named() const {
  return table_.full() ? most_named_when_full : ~std::size_t{0};
}

StatementMessage Prepared::understand(const Frame& frame, ClientStatements& client) {
  switch (frame.tag) {
    case client::parse: return understand_parse(frame, client);
    case client::bind:
    case client::describe: return understand_use(frame, client);
    case client::close: return understand_close(frame, client);
    case client::query: return {.kind = StatementMessage::Kind::query, .cookie = client.query().cookie};
    case client::sync: client.end_batch(); return {.kind = StatementMessage::Kind::sync};
    default: return {};
  }
}

StatementMessage Prepared::understand_parse(const Frame& frame, ClientStatements& client) {
  StatementMessage request{.kind = StatementMessage::Kind::parse};
  Reader reader(frame.body());
  const std::string_view name = read_name(reader, frame, request);
  if (request.fault != StatementMessage::Fault::none) return request;
  StatementRef statement;
  if (frame.last) {
    const Bytes tail = frame.bytes.subspan(request.name_end);
    const std::string_view text = reader.text();
    const std::size_t types = reader.u16();
    reader.bytes(types * sizeof(std::uint32_t));
    if (!reader.complete()) {
      request.fault = StatementMessage::Fault::malformed;
      return request;
    }
    const bool own = client.altered() || sql::reads_the_clock(text);
    statement = own ? table_.make_own(tail, text.size()) : table_.intern(tail, text.size(), client.scope());
  } else {
    statement = table_.make_opaque();
  }
  const auto change = client.parse(name, statement, most_named());
  request.fault = fault_of(change.answer);
  request.cookie = change.cookie;
  const bool judged = request.fault == StatementMessage::Fault::none || request.fault == StatementMessage::Fault::duplicate;
  if (judged) request.statement = std::move(statement);
  return request;
}

StatementMessage Prepared::understand_use(const Frame& frame, ClientStatements& client) {
  StatementMessage request{.kind = frame.tag == client::bind ? StatementMessage::Kind::bind
                                                             : StatementMessage::Kind::describe};
  Reader reader(frame.body());
  if (frame.tag == client::bind) {
    reader.text();  // the portal; if it doesn't end, neither does the name behind it
  } else if (reader.letter() != 'S') {
    return {};  // it describes a portal
  }
  const std::string_view name = read_name(reader, frame, request);
  if (request.fault != StatementMessage::Fault::none) return request;
  const auto found = client.find(name);
  request.fault = fault_of(found.answer);
  request.statement = StatementRef(found.statement);
  return request;
}

StatementMessage Prepared::understand_close(const Frame& frame, ClientStatements& client) {
  StatementMessage request{.kind = StatementMessage::Kind::close};
  Reader reader(frame.body());
  if (reader.letter() != 'S') return {};
  const std::string_view name = read_name(reader, frame, request);
  if (request.fault != StatementMessage::Fault::none) return request;
  request.cookie = client.close(name).cookie;
  return request;
}

bool Prepared::shared(const StatementMessage& request) const {
  if (request.named) return true;
  return options_.unnamed == UnnamedStatements::shared && request.statement->repeated() && !request.statement->opaque();
}

StatementPlan Prepared::prepare(const StatementMessage& request, const Frame& frame, ClientStatements& client,
                                ServerStatements& server, std::vector<std::byte>& out, Answerer answerer) {
  if (request.fault == StatementMessage::Fault::duplicate) return prepare_repeated(request, frame, client, server, out);
  if (request.fault != StatementMessage::Fault::none) return fail_plan(frame, out);
  switch (request.kind) {
    case StatementMessage::Kind::parse: return prepare_parse(request, frame, client, server, out, answerer);
    case StatementMessage::Kind::bind:
    case StatementMessage::Kind::describe: return prepare_use(request, frame, client, server, out);
    case StatementMessage::Kind::close:
      if (answerer == Answerer::here) return answer_plan(frame, server::close_complete);
      write_head(out, request, frame, ServerName(0).view());
      return {.replaced = request.name_end};
    case StatementMessage::Kind::query: server.drop_unnamed(); return {};
    case StatementMessage::Kind::sync: server.end_batch(); return {};
    case StatementMessage::Kind::other: return {};
  }
  return {};
}

StatementPlan Prepared::prepare_parse(const StatementMessage& request, const Frame& frame, ClientStatements& client,
                                      ServerStatements& server, std::vector<std::byte>& out, Answerer answerer) {
  if (!shared(request)) {
    server.load_unnamed(request.statement, request.cookie);
    return {};
  }
  StatementPlan plan;
  // What a Parse finds depends on today's catalogue: an earlier one speaks for it only as long as it is fresh.
  const bool will_do = answerer == Answerer::here && server.fresh(*request.statement);
  const auto trust = will_do ? Trust::known : Trust::nothing;
  if (!make_room(*request.statement, trust, plan, client, server, out)) {
    return answer_plan(frame, server::parse_complete);
  }
  server.add(request.statement, request.cookie);
  write_head(out, request, frame, ServerName(request.statement->id()).view());
  plan.replaced = request.name_end;
  return plan;
}

// A Parse of a name in use. PostgreSQL looks for the name last (StorePreparedStatement in exec_parse_message,
// tcop/postgres.c): what else is wrong with the text, or with the moment, comes first. So the text is parsed under its
// own name, and only if that succeeds it fails for the client's.
StatementPlan Prepared::prepare_repeated(const StatementMessage& request, const Frame& frame, ClientStatements& client,
                                         ServerStatements& server, std::vector<std::byte>& out) {
  StatementPlan plan = fail_plan(frame);
  // Of a long message only the beginning is here: nothing can be put behind it.
  if (frame.last) {
    make_room(*request.statement, Trust::nothing, plan, client, server, out);
    const std::uint32_t cookie = client.issue();
    Writer writer(out);
    writer.begin(client::parse).text(ServerName(request.statement->id()).view());
    writer.bytes(frame.bytes.subspan(request.name_end)).end();
    inject(plan, client::parse, cookie);
    server.add(request.statement, cookie);
  }
  write_failing(out, frame.tag);
  return plan;
}

StatementPlan Prepared::prepare_use(const StatementMessage& request, const Frame& frame, ClientStatements& client,
                                    ServerStatements& server, std::vector<std::byte>& out) {
  Statement& statement = *request.statement;
  StatementPlan plan;
  if (!shared(request)) {
    if (server.has_unnamed(statement)) return plan;
    if (statement.opaque()) return fail_plan(frame, out);
    const std::uint32_t cookie = client.issue();
    write_parse(out, {}, statement);
    inject(plan, client::parse, cookie);
    server.load_unnamed(request.statement, cookie);
    return plan;
  }
  const ServerName name(statement.id());
  if (statement.opaque()) {
    if (server.use(statement) != ServerStatements::Presence::known) return fail_plan(frame, out);
  } else if (make_room(statement, Trust::known, plan, client, server, out)) {
    const std::uint32_t cookie = client.issue();
    write_parse(out, name.view(), statement);
    inject(plan, client::parse, cookie);
    server.add(request.statement, cookie);
  }
  write_head(out, request, frame, name.view());
  plan.replaced = request.name_end;
  return plan;
}

// True if the statement must be parsed. Then whatever is in its way is closed: itself if it is stale, and others if
// there are too many.
bool Prepared::make_room(Statement& statement, Trust trust, StatementPlan& plan, ClientStatements& client,
                         ServerStatements& server, std::vector<std::byte>& out) {
  const auto presence = server.use(statement);
  const bool known = presence == ServerStatements::Presence::known;
  if (known && trust == Trust::known) return false;
  const auto close = [&](const Statement& which) {
    const std::uint32_t cookie = client.issue();
    write_close(out, which);
    inject(plan, client::close, cookie);
    server.remove(which, cookie);
  };
  if (known || presence == ServerStatements::Presence::stale) close(statement);
  for (std::size_t i = 0; i < victims_at_once; ++i) {
    if (const Statement* victim = server.victim(); victim != nullptr) close(*victim);
  }
  return true;
}

}  // namespace holdfast::protocol
