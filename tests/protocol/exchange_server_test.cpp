// The exchange, and the model that it is tested against, beside a real PostgreSQL: both must say what it says.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <memory>
#include <random>

#include "protocol/frontend.hpp"
#include "tests/protocol/exchange_script.hpp"
#include "tests/support/postgres.hpp"
#include "tests/support/scripted_peer.hpp"

namespace holdfast::protocol::testing {
namespace {

using holdfast::testing::PeerConnection;
using holdfast::testing::PeerMessage;

// A message for a real server, and what the model knows of it.
struct Message {
  Operation operation;
  Out bytes;
};

Message make(Operation operation, Out bytes) {
  return {std::move(operation), std::move(bytes)};
}

template <typename Write>
Out written(Write write) {
  Out out;
  write(out);
  return out;
}
Out query(std::string_view sql) {
  return written([&](Out& out) { write_query(out, sql); });
}
Out bind(std::string_view statement) {
  return written([&](Out& out) { write_bind(out, "", statement); });
}
Out execute(int max_rows = 0) {
  return written([&](Out& out) { write_execute(out, "", max_rows); });
}
// int4div(numerator, denominator) as text: src/include/catalog/pg_proc.dat, oid 154.
Out divide(std::string_view numerator, std::string_view denominator) {
  return written([&](Out& out) {
    Writer writer(out);
    writer.begin(client::function_call).u32(154).u16(0).u16(2);
    for (const auto number : {numerator, denominator})
      writer.u32(static_cast<std::uint32_t>(number.size())).bytes(as_bytes(number));
    writer.u16(0).end();
  });
}

const Operation& operation(std::string_view name) {
  for (const Operation& operation : operations())
    if (operation.name == name) return operation;
  throw std::invalid_argument(std::string(name));
}

// Operations whose answers need a portal or a write before them bring it along.
std::vector<Message> messages_of(const Operation& op) {
  const std::string_view name = op.name;
  const auto table = [&] {
    switch (op.copy) {
      case CopyEnd::fails_unread: return "copy_before";
      case CopyEnd::fails_reading: return "copy_int";
      case CopyEnd::fails_at_done: return "copy_after";
      default: return "copy_ok";
    }
  };
  const auto after_bind = [&](std::string_view statement, Out bytes) {
    return std::vector{make(operation("B"), bind(statement)), make(op, std::move(bytes))};
  };
  if (name.starts_with("Qcopyin")) return {make(op, query(std::string("COPY ") + table() + " FROM STDIN"))};
  if (name.starts_with("Ecopyin")) return after_bind(table(), execute());
  if (name == "Q") return {make(op, query("SELECT generate_series(1, 2)"))};
  if (name == "Qempty") return {make(op, query(" "))};
  if (name == "Qtwo") return {make(op, query("SELECT 1; SET holdfast.x = 1"))};
  if (name == "Qfail" || name == "Qfailing") return {make(op, query("SELECT 1/0"))};
  if (name == "Qtwofail") return {make(op, query("SELECT 1; SELECT 1/(2 - g) FROM generate_series(1, 2) g"))};
  if (name == "Qproxy") return {make(op, query("SET holdfast.x = 2"))};
  if (name == "Qcopyout") return {make(op, query("COPY (SELECT generate_series(1, 2)) TO STDOUT"))};
  if (name == "P" || name == "Pproxy") return {make(op, written([](Out& out) { write_parse(out, "", "SELECT 1"); }))};
  if (name == "Pfail" || name == "Pproxyfail" || name == "Pfailing")
    return {make(op, written([](Out& out) { write_parse(out, "", "no such thing"); }))};
  if (name == "B") return {make(op, bind("rows"))};
  if (name == "Ds") return {make(op, written([](Out& out) { write_describe(out, {'S', "rows"}); }))};
  if (name == "Dn") return {make(op, written([](Out& out) { write_describe(out, {'S', "orphan"}); }))};
  if (name == "Dp") return after_bind("rows", written([](Out& out) { write_describe(out, {'P', ""}); }));
  if (name == "E") return after_bind("rows", execute());
  if (name == "Efail") return after_bind("fails", execute());
  if (name == "Epart") return after_bind("rows", execute(1));
  if (name == "Eempty") return after_bind("nothing", execute());
  if (name == "Ecopyout") return after_bind("copy_out", execute());
  if (name == "C") return {make(op, written([](Out& out) { write_close(out, {'S', "unheard of"}); }))};
  if (name == "S") return {make(op, written([](Out& out) { write_sync(out); }))};
  if (name == "Sfail") {
    auto batch = after_bind("orphan", execute());
    batch.back().operation = {"Eorphan", 'E', "C"};
    batch.push_back(make(op, written([](Out& out) { write_sync(out); })));
    return batch;
  }
  if (name == "H") return {make(op, written([](Out& out) { write_flush(out); }))};
  if (name == "F") return {make(op, divide("4", "2"))};
  if (name == "Ffail") return {make(op, divide("1", "0"))};
  if (name == "d") {
    return {make(op, written([](Out& out) {
                   Writer writer(out);
                   writer.begin(client::copy_data).bytes(as_bytes("x\n")).end();
                 }))};
  }
  if (name == "c") return {make(op, written([](Out& out) { Writer(out).begin(client::copy_done).end(); }))};
  if (name == "f") return {make(op, written([](Out& out) { write_copy_fail(out, "the client says so"); }))};
  return {};
}

class ExchangeServer : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = std::make_unique<holdfast::testing::Server>();
    server_->start();
    server_->exec(R"(
      CREATE TABLE copy_ok (v text); CREATE TABLE copy_int (v int);
      CREATE TABLE copy_before (v text); CREATE TABLE copy_after (v text);
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'refused'; END$$;
      CREATE TRIGGER t BEFORE INSERT ON copy_before FOR EACH STATEMENT EXECUTE FUNCTION refuse();
      CREATE TRIGGER t AFTER INSERT ON copy_after FOR EACH STATEMENT EXECUTE FUNCTION refuse();
      CREATE TABLE parent (id int PRIMARY KEY);
      CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);)");
  }
  static void TearDownTestSuite() { server_.reset(); }

  // A new session with the prepared statements that messages_of() names.
  static std::unique_ptr<PeerConnection> connect() {
    auto link = std::make_unique<PeerConnection>(holdfast::testing::connect_to(server_->port()));
    const int on = 1;
    ::setsockopt(link->fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    link->send(holdfast::testing::startup_bytes({{"user", "postgres"}, {"database", "app"}}));
    static_cast<void>(link->read_until('Z'));
    Out out;
    write_query(out, R"(
      PREPARE rows AS SELECT generate_series(1, 2);
      PREPARE fails AS SELECT 1/(2 - g) FROM generate_series(1, 2) g;
      PREPARE orphan AS INSERT INTO child VALUES (99);)");
    // COPY and the empty statement can be prepared by the protocol only.
    write_parse(out, "nothing", "");
    write_parse(out, "copy_out", "COPY (SELECT 1) TO STDOUT");
    for (const char* table : {"copy_ok", "copy_int", "copy_before", "copy_after"})
      write_parse(out, table, std::string("COPY ") + table + " FROM STDIN");
    write_sync(out);
    link->send(as_text(out));
    EXPECT_EQ(link->read_until('Z'), "CCCZ");
    EXPECT_EQ(link->read_until('Z'), "111111Z");
    return link;
  }

  static std::unique_ptr<holdfast::testing::Server> server_;
};
std::unique_ptr<holdfast::testing::Server> ExchangeServer::server_;

bool readable(const PeerConnection& link) {
  pollfd waiting{link.fd(), POLLIN, 0};
  return ::poll(&waiting, 1, 0) > 0;
}

// A script on a real session, fed to the exchange as it comes.
class LiveScript {
 public:
  LiveScript(PeerConnection& link, std::minstd_rand& random) : link_(link), random_(random) {}

  void send(const Operation& op) {
    for (const Message& message : messages_of(op)) {
      if (ended()) return;
      player_.send(message.operation);
      unsent_ += as_text(message.bytes);
      // Sent together, or with a look at the answers between: both orders are met.
      if (random_() % 4 == 0) flush();
      while (random_() % 2 == 0 && readable(link_) && !done()) receive();
    }
  }
  // Ends a copy that is on, ends the batch, and proves by a last query that nothing else comes.
  std::string finish() {
    if (player_.model().copying()) send(operation("f"));
    send(operation("S"));
    send(operation("Q"));
    try {
      flush();
      while (!done()) receive();
    } catch (const holdfast::testing::ScriptError&) {
      // A server that ends with bytes unread resets the connection, and what it said last may be lost.
      if (!player_.model().ended()) throw;
      return player_.fault();
    }
    player_.check_quiet();
    if (!ended() && player_.fault().empty() && readable(link_))
      return "more than the model answers: " + std::string(1, link_.read_message().type) + player_.text();
    return player_.fault();
  }
  [[nodiscard]] bool ended() const { return player_.model().ended() || player_.broken(); }
  [[nodiscard]] bool may_release() { return player_.exchange().may_release(); }

 private:
  [[nodiscard]] bool done() { return !player_.fault().empty() || !player_.can_receive(); }
  void flush() { link_.send(std::exchange(unsent_, {})); }
  void receive() {
    flush();
    const PeerMessage message = link_.read_message();
    if (message.type == server::notice_response) {
      EXPECT_EQ(player_.exchange().received(message.type, {}).action, Reply::Action::async);
      return;
    }
    player_.receive(message.type, as_bytes(message.body));
  }

  PeerConnection& link_;
  std::minstd_rand& random_;
  ScriptPlayer player_;
  std::string unsent_;
};

TEST_F(ExchangeServer, agrees_with_postgresql_on_random_pipelines) {
  std::vector<const Operation*> usable;
  for (const Operation& op : operations())
    if (!op.local && op.block == 0) usable.push_back(&op);
  std::minstd_rand random(11);
  auto link = connect();
  int failures = 0;
  for (int round = 0; round < 1500 && failures < 5; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    LiveScript script(*link, random);
    const bool copies = round % 3 == 0;
    for (auto left = 2 + random() % 12; left > 0; --left) {
      const Operation* next = usable[random() % usable.size()];
      if (!copies && next->copy != CopyEnd::none) continue;
      script.send(*next);
      if (script.ended()) break;
    }
    const std::string fault = script.finish();
    if (!fault.empty()) {
      ADD_FAILURE() << fault;
      ++failures;
    }
    if (!fault.empty() || script.ended()) link = connect();
  }
}

}  // namespace
}  // namespace holdfast::protocol::testing
