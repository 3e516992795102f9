// A BEGIN that waits for its first statement shows in nothing: every script is run on PostgreSQL itself and through
// Holdfast, and the answers are compared. And what becomes of such a block when there is no server for it.
#include <gtest/gtest.h>

#include <thread>

#include "tests/support/endpoint.hpp"
#include "tests/support/tcp_relay.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

class Block : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
    server_->exec("CREATE TABLE b (v int); GRANT ALL ON b TO app");
  }
  static void TearDownTestSuite() { delete server_; }
  static Holdfast proxy(const std::string& pool = "size: 2") {
    return Holdfast(endpoint({.members = member_yaml(*server_), .workers = 1, .pool = pool}));
  }

  // How a statement is sent: by the simple protocol, by PQexecParams, or prepared, described and then executed.
  enum class Way { simple, extended, prepared };
  struct Step {
    std::string sql;
    Way way = Way::simple;
  };

  static std::string describe(PGconn* connection, PGresult* result) {
    std::string text = PQresStatus(PQresultStatus(result));
    if (const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE); state != nullptr) text += " "s + state;
    text += " "s + PQcmdStatus(result);
    if (PQntuples(result) > 0) text += " "s + PQgetvalue(result, 0, 0);
    PQclear(result);
    static constexpr const char* states[] = {"idle", "active", "in block", "failed block", "unknown"};
    return text + " -> " + states[PQtransactionStatus(connection)] + "\n";
  }
  static std::string transcript(Connection& client, const std::vector<Step>& steps) {
    std::string text;
    int number = 0;
    auto* raw = client.raw();
    for (const auto& step : steps) {
      text += step.sql + ": ";
      const auto name = "s" + std::to_string(number++);
      switch (step.way) {
        case Way::simple: text += describe(raw, PQexec(raw, step.sql.c_str())); break;
        case Way::extended:
          text += describe(raw, PQexecParams(raw, step.sql.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0));
          break;
        case Way::prepared:
          text += describe(raw, PQprepare(raw, name.c_str(), step.sql.c_str(), 0, nullptr));
          text += describe(raw, PQdescribePrepared(raw, name.c_str()));
          text += describe(raw, PQexecPrepared(raw, name.c_str(), 0, nullptr, nullptr, nullptr, 0));
          break;
      }
    }
    for (const auto& notice : client.notices()) text += notice;
    return text;
  }

  static Server* server_;
};
Server* Block::server_ = nullptr;

TEST_F(Block, answers_as_postgresql_does) {
  const std::vector<std::vector<Step>> scripts = {
      {{"BEGIN"}, {"SELECT 1"}, {"COMMIT"}},
      {{"BEGIN"}, {"COMMIT"}, {"SELECT 1"}},
      {{"BEGIN"}, {"ROLLBACK"}, {"COMMIT"}},
      {{"START TRANSACTION"}, {"END"}, {"ABORT"}},
      {{"BEGIN"}, {"COMMIT AND CHAIN"}, {"SELECT 1"}, {"ROLLBACK"}},
      {{"BEGIN"}, {"ROLLBACK AND CHAIN"}, {"INSERT INTO b VALUES (1)"}, {"ROLLBACK"}},
      {{"BEGIN"}, {"BEGIN"}, {"SELECT 1"}, {"COMMIT"}},
      {{"BEGIN"}, {"no statement at all"}, {"SELECT 1"}, {"COMMIT"}, {"SELECT 1"}},
      {{"BEGIN"}, {"SELECT no_such_column"}, {"INSERT INTO b VALUES (1)"}, {"ROLLBACK"}, {"SELECT 1"}},
      {{"BEGIN"}, {""}, {"-- nothing"}, {"COMMIT"}},
      {{"BEGIN"}, {"VACUUM b"}, {"ROLLBACK"}},
      {{"BEGIN"}, {"SELECT 1; SELECT 2"}, {"COMMIT; SELECT 3"}, {"SELECT 4"}},
      {{"BEGIN"}, {"SELECT 1; COMMIT; SELECT 2"}, {"ROLLBACK"}},
      {{"BEGIN ISOLATION LEVEL REPEATABLE READ"}, {"SHOW transaction_isolation"}, {"COMMIT"}},
      {{"BEGIN READ ONLY"}, {"INSERT INTO b VALUES (1)"}, {"ROLLBACK"}},
      {{"BEGIN READ ONLY"}, {"SET TRANSACTION READ WRITE"}, {"INSERT INTO b VALUES (1)"}, {"ROLLBACK"}},
      {{"BEGIN"}, {"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"}, {"SHOW transaction_isolation"}, {"COMMIT"}},
      {{"BEGIN"}, {"SELECT 1"}, {"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"}, {"COMMIT"}},
      {{"BEGIN"}, {"SAVEPOINT a"}, {"SELECT 1/0"}, {"ROLLBACK TO a"}, {"SELECT 1"}, {"COMMIT"}},
      {{"BEGIN"}, {"ROLLBACK TO nowhere"}, {"ROLLBACK"}},
      {{"BEGIN"}, {"DECLARE c CURSOR FOR SELECT 5"}, {"FETCH c"}, {"COMMIT"}},
      {{"BEGIN"}, {"INSERT INTO b VALUES (2)"}, {"COMMIT"}, {"SELECT count(*) FROM b WHERE v = 2"}, {"DELETE FROM b"}},
      {{"BEGIN"}, {"SELECT now() = transaction_timestamp()"}, {"SELECT now() < clock_timestamp()"}, {"COMMIT"}},
      // The extended protocol behind it, and by it.
      {{"BEGIN"}, {"SELECT 1", Way::extended}, {"COMMIT", Way::extended}},
      {{"BEGIN"}, {"SELECT 1", Way::prepared}, {"ROLLBACK", Way::prepared}},
      {{"BEGIN"}, {"no statement", Way::extended}, {"SELECT 1", Way::extended}, {"ROLLBACK", Way::extended}},
      {{"BEGIN"}, {"SELECT no_such", Way::prepared}, {"ROLLBACK"}},
      {{"BEGIN", Way::extended}, {"SELECT 1", Way::extended}, {"COMMIT", Way::extended}},
      {{"BEGIN", Way::extended}, {"SELECT 1/0", Way::extended}, {"SELECT 1"}, {"ROLLBACK", Way::extended}},
      {{"BEGIN", Way::prepared}, {"INSERT INTO b VALUES (1)", Way::prepared}, {"ROLLBACK", Way::prepared}},
      {{"BEGIN", Way::extended}, {"COMMIT", Way::extended}, {"BEGIN", Way::prepared}, {"ROLLBACK", Way::prepared}},
      {{"BEGIN", Way::extended}, {"SET TRANSACTION READ ONLY", Way::extended}, {"INSERT INTO b VALUES (1)"}, {"ABORT"}},
  };
  const auto through = proxy();
  for (const auto& script : scripts) {
    Connection direct(server_->conninfo());
    auto proxied = through.connect();
    EXPECT_EQ(transcript(proxied, script), transcript(direct, script));
  }
}

TEST_F(Block, the_unnamed_statement_goes_with_a_begin) {
  const auto through = proxy();
  for (const auto& conninfo : {server_->conninfo(), through.conninfo()}) {
    Connection client(conninfo);
    PQclear(PQprepare(client.raw(), "", "SELECT 7", 0, nullptr));
    PQclear(PQexec(client.raw(), "BEGIN"));
    PGresult* result = PQexecPrepared(client.raw(), "", 0, nullptr, nullptr, nullptr, 0);
    EXPECT_STREQ(PQresultErrorField(result, PG_DIAG_SQLSTATE), "26000");
    PQclear(result);
    EXPECT_EQ(PQtransactionStatus(client.raw()), PQTRANS_INERROR);
  }
}

TEST_F(Block, takes_no_server_before_its_first_statement) {
  const auto through = proxy("size: 1, wait_timeout: 200ms");
  auto thinking = through.connect();
  thinking.exec("BEGIN");
  EXPECT_EQ(PQtransactionStatus(thinking.raw()), PQTRANS_INTRANS);
  auto other = through.connect();
  other.exec("INSERT INTO b VALUES (3)");
  EXPECT_EQ(thinking.scalar("SELECT count(*) FROM b WHERE v = 3"), "1");
  EXPECT_EQ(sqlstate_of([&] { other.exec("SELECT 1 FOR UPDATE"); }), "53300") << "now it has the only one";
  thinking.exec("DELETE FROM b");
  thinking.exec("COMMIT");
  other.exec("SELECT 1 FOR UPDATE");
}

// There is no server: the block has failed, as if the statement had.
TEST_F(Block, whose_first_statement_can_not_run_has_failed) {
  const auto through = proxy("size: 1, wait_timeout: 100ms");
  auto busy = through.connect();
  busy.exec("BEGIN");
  busy.exec("SELECT 1");
  for (const auto way : {Way::simple, Way::extended}) {
    auto client = through.connect();
    client.exec("BEGIN");
    EXPECT_EQ(transcript(client, {{"INSERT INTO b VALUES (4)", way}}),
              "INSERT INTO b VALUES (4): PGRES_FATAL_ERROR 53300  -> failed block\n");
    EXPECT_EQ(transcript(client, {{"INSERT INTO b VALUES (4)", way}}),
              "INSERT INTO b VALUES (4): PGRES_FATAL_ERROR 25P02  -> failed block\n");
    EXPECT_EQ(transcript(client, {{"COMMIT", way}}), "COMMIT: PGRES_COMMAND_OK ROLLBACK -> idle\n");
  }
  busy.exec("COMMIT");
  EXPECT_EQ(server_->scalar("SELECT count(*) FROM b WHERE v = 4"), "0");
}

// The server is lost while the first statement runs. A write is told 40001 and its block has failed; a read goes
// again on another server, BEGIN and all, and nobody notices.
TEST_F(Block, whose_server_dies_under_its_first_statement) {
  TcpRelay relay(server_->port());
  const Holdfast through(
      endpoint({.members = "      - { name: pg1, host: 127.0.0.1, port: " + std::to_string(relay.port()) + " }\n",
                .workers = 1,
                .pool = "size: 2"}));
  // The sessions that wait for such a thing are lost to the proxy, and end.
  const auto lose_who_waits_for = [&relay](const std::string& what) {
    const std::string those = " FROM pg_stat_activity WHERE usename = 'app' AND " + what;
    ASSERT_TRUE(wait_until(10s, [&] { return server_->scalar("SELECT count(*)" + those) == "1"; }));
    relay.reset_all();
    server_->exec("SELECT pg_terminate_backend(pid, 5000)" + those);
  };
  Connection holder(server_->conninfo("postgres"));
  holder.exec("SELECT pg_advisory_lock(42)");
  auto client = through.connect();
  client.exec("BEGIN");
  std::thread killer([&] { lose_who_waits_for("wait_event = 'advisory'"); });
  EXPECT_EQ(transcript(client, {{"INSERT INTO b SELECT 5 FROM pg_advisory_xact_lock(42)"}}),
            "INSERT INTO b SELECT 5 FROM pg_advisory_xact_lock(42): PGRES_FATAL_ERROR 40001  -> failed block\n");
  killer.join();
  EXPECT_EQ(transcript(client, {{"SELECT 1"}, {"ROLLBACK"}, {"SELECT 1"}}),
            "SELECT 1: PGRES_FATAL_ERROR 25P02  -> failed block\nROLLBACK: PGRES_COMMAND_OK ROLLBACK -> idle\n"
            "SELECT 1: PGRES_TUPLES_OK SELECT 1 1 -> idle\n");
  EXPECT_EQ(server_->scalar("SELECT count(*) FROM b WHERE v = 5"), "0");

  // A read that is known to be one waits for a lock on its table.
  holder.exec("BEGIN");
  holder.exec("LOCK TABLE b IN ACCESS EXCLUSIVE MODE");
  client.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
  std::thread second([&] {
    lose_who_waits_for("wait_event_type = 'Lock'");
    holder.exec("COMMIT");
  });
  EXPECT_EQ(transcript(client, {{"SELECT count(*) FROM b WHERE v = 5"}, {"SHOW transaction_isolation"}}),
            "SELECT count(*) FROM b WHERE v = 5: PGRES_TUPLES_OK SELECT 1 0 -> in block\n"
            "SHOW transaction_isolation: PGRES_TUPLES_OK SHOW repeatable read -> in block\n");
  second.join();
  client.exec("COMMIT");
}

// The first statement is cancelled wherever it is: what comes behind it does not run outside its block.
TEST_F(Block, cancelled_statements_never_leave_their_block) {
  const auto through = proxy("size: 4");
  std::atomic<bool> stop = false;
  auto client = through.connect();
  const std::unique_ptr<PGcancel, decltype(&PQfreeCancel)> cancel(PQgetCancel(client.raw()), &PQfreeCancel);
  std::thread canceller([&] {
    char error[256];
    while (!stop) PQcancel(cancel.get(), error, sizeof error);
  });
  int cancelled = 0;
  for (int i = 0; i < 300; ++i) {
    EXPECT_EQ(transcript(client, {{"BEGIN"}}), "BEGIN: PGRES_COMMAND_OK BEGIN -> in block\n");
    PGresult* result = PQexec(client.raw(), "INSERT INTO b VALUES (6)");
    const bool done = PQresultStatus(result) == PGRES_COMMAND_OK;
    cancelled += !done;
    if (!done) {
      EXPECT_STREQ(PQresultErrorField(result, PG_DIAG_SQLSTATE), "57014");
    }
    PQclear(result);
    EXPECT_EQ(PQtransactionStatus(client.raw()), done ? PQTRANS_INTRANS : PQTRANS_INERROR);
    // The ROLLBACK may be cancelled as well.
    while (PQtransactionStatus(client.raw()) != PQTRANS_IDLE) PQclear(PQexec(client.raw(), "ROLLBACK"));
  }
  stop = true;
  canceller.join();
  EXPECT_GT(cancelled, 0);
  EXPECT_EQ(server_->scalar("SELECT count(*) FROM b WHERE v = 6"), "0");
}

}  // namespace
}  // namespace holdfast::testing
