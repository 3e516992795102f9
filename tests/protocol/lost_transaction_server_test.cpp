// LostTransaction beside a real PostgreSQL in a failed transaction block: a client must not see a difference.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <random>

#include "protocol/frontend.hpp"
#include "protocol/lost_transaction.hpp"
#include "tests/protocol/wire_text.hpp"
#include "tests/support/postgres.hpp"
#include "tests/support/scripted_peer.hpp"

namespace holdfast::protocol::testing {
namespace {

using holdfast::testing::PeerConnection;
using sql::TransactionControl;

struct Statement {
  const char* name;  // of the prepared statement
  const char* sql;
  TransactionControl control;
};
constexpr Statement statements[] = {
    {"sel", "SELECT 1", TransactionControl::none},
    {"rb", "ROLLBACK", TransactionControl::rollback},
    {"co", "COMMIT", TransactionControl::commit},
    {"pt", "PREPARE TRANSACTION 'x'", TransactionControl::prepare_transaction},
};

// A session in a failed block.
std::unique_ptr<PeerConnection> connect(const holdfast::testing::Server& server) {
  auto link = std::make_unique<PeerConnection>(holdfast::testing::connect_to(server.port()));
  const int on = 1;
  ::setsockopt(link->fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  link->send(holdfast::testing::startup_bytes({{"user", "postgres"}, {"database", "app"}}));
  static_cast<void>(link->read_until('Z'));
  Out out;
  for (const Statement& statement : statements) write_parse(out, statement.name, statement.sql);
  write_sync(out);
  link->send(as_text(out));
  EXPECT_EQ(link->read_until('Z'), "1111Z");
  return link;
}

void fail_block(PeerConnection& link) {
  Out out;
  write_query(out, "BEGIN; SELECT 1/0");
  link.send(as_text(out));
  EXPECT_EQ(link.read_until('Z'), "CEZ");
}

TEST(LostTransactionServer, answers_as_postgresql_does_in_a_failed_block) {
  holdfast::testing::Server server;
  server.start();
  std::minstd_rand random(5);
  auto link = connect(server);
  const Loss loss{.outcome = Loss::Outcome::rolled_back,
                  .units = {{.tag = 'Q', .error_owed = false, .status = 'E'}},
                  .status_before = 'T',
                  .status_after = 'E'};
  int ended = 0;
  for (int round = 0; round < 300; ++round) {
    fail_block(*link);
    LostTransaction machine(loss);
    Out ours;
    machine.begin(ours);
    ours.clear();
    Out bytes;
    std::string script;
    auto step = LostTransaction::Step::answered;
    // What the client says goes into `bytes` for PostgreSQL, and to the machine.
    const auto say = [&](char tag, const Statement& statement, auto write) {
      Out message;
      write(message);
      script += tag + std::string(statement.name) + " ";
      step = machine.client(tag, Bytes(message).subspan(header_size), statement.control, ours);
      if (step != LostTransaction::Step::hand_over) bytes.insert(bytes.end(), message.begin(), message.end());
    };
    for (int left = 12; left > 0 && step == LostTransaction::Step::answered; --left) {
      const Statement& it = statements[random() % 3 == 0 ? random() % std::size(statements) : 0];
      switch (random() % 8) {
        case 0: say('Q', it, [&](Out& out) { write_query(out, it.sql); }); break;
        case 1: say('Q', statements[0], [&](Out& out) { write_query(out, " "); }); break;
        case 2: say('P', it, [&](Out& out) { write_parse(out, "", it.sql); }); break;
        case 3:
          say('B', it, [&](Out& out) { write_bind(out, "", it.name); });
          say('D', it, [&](Out& out) { write_describe(out, {'P', ""}); });
          say('E', it, [&](Out& out) { write_execute(out, ""); });
          break;
        case 4: say('D', it, [&](Out& out) { write_describe(out, {'S', it.name}); }); break;
        case 5: say('C', it, [&](Out& out) { write_close(out, {'S', "unheard of"}); }); break;
        case 6:
          say('c', it, [&](Out& out) { Writer(out).begin(client::copy_done).end(); });
          say('H', it, [&](Out& out) { write_flush(out); });
          break;
        default: say('S', it, [&](Out& out) { write_sync(out); });
      }
    }
    if (step == LostTransaction::Step::answered) {
      say('S', statements[0], [&](Out& out) { write_sync(out); });
      if (!machine.finished()) say('Q', statements[1], [&](Out& out) { write_query(out, "ROLLBACK"); });
    }
    ASSERT_TRUE(machine.finished()) << script;
    if (step == LostTransaction::Step::finished) ++ended;

    // The answers of PostgreSQL, up to a query of ours behind them.
    write_sync(bytes);
    write_query(bytes, "SELECT 'end'");
    link->send(as_text(bytes));
    Out theirs;
    while (true) {
      const auto message = link->read_message();
      if (message.type == server::row_description) break;
      const std::string whole = holdfast::testing::message_bytes(message.type, message.body);
      const auto span = as_bytes(whole);
      if (message.type != server::notice_response) theirs.insert(theirs.end(), span.begin(), span.end());
    }
    static_cast<void>(link->read_until('Z'));
    // Our Sync's answer is the last of theirs.
    ASSERT_EQ(text_of(ours) + (ours.empty() ? "ZI" : " ZI"), text_of(theirs)) << script;
  }
  EXPECT_GT(ended, 100);
}

}  // namespace
}  // namespace holdfast::protocol::testing
