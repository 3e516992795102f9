// Cleaning on a real PostgreSQL: a session that it releases is like a new one.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/protocol/cleaning_driver.hpp"
#include "tests/support/postgres.hpp"
#include "tests/support/scripted_peer.hpp"

namespace holdfast::protocol::testing {
namespace {

using holdfast::testing::PeerConnection;
using holdfast::testing::PeerMessage;
using sql::Effect;
using Step = Cleaning::Step;

// A session of a real server, which clients use and Cleaning tidies up.
class LiveSession {
 public:
  explicit LiveSession(int port) : port_(port), link_(holdfast::testing::connect_to(port)) {
    const int on = 1;
    ::setsockopt(link_.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    link_.send(holdfast::testing::startup_bytes({{"user", "postgres"}, {"database", "app"}}));
    for (PeerMessage message = link_.read_message(); message.type != 'Z'; message = link_.read_message())
      if (message.type == 'K') key_ = message.body;
  }

  // ---- a client
  void query(std::string_view sql) {
    Out bytes;
    write_query(bytes, sql);
    send("Q", bytes);
  }
  // Parse, Bind, Execute without a Sync.
  void batch(std::string_view sql) {
    Out bytes;
    write_parse(bytes, "", sql);
    write_bind(bytes, "", "");
    write_execute(bytes, "");
    send("PBE", bytes);
  }
  // A statement without a name, and nothing more.
  void parse(std::string_view sql) {
    Out bytes;
    write_parse(bytes, "", sql);
    send("P", bytes);
  }
  void close_statement(std::string_view name) {
    send("C", written([&](Out& bytes) { write_close(bytes, {.kind = 'S', .name = name}); }));
  }
  void sync() {
    send("S", written([](Out& bytes) { write_sync(bytes); }));
  }
  void flush() {
    send("H", written([](Out& bytes) { write_flush(bytes); }));
  }
  void copy_data(std::string_view data) {
    send("d", written([&](Out& bytes) { Writer(bytes).begin(client::copy_data).bytes(as_bytes(data)).end(); }));
  }
  // Until this message of the server's, included, has come.
  void read_until(char type) {
    while (read() != type) {
    }
  }
  // A whole simple Query.
  void run(std::string_view sql) {
    query(sql);
    read_until('Z');
  }

  // ---- when the client is gone
  Step clean(std::minstd_rand& random) {
    while (true) {
      const auto step = it.cleaning.next(it.session, it.cancels, out_);
      switch (step) {
        case Step::wait: read_some(random); break;
        case Step::send:
          sends += requests_of(out_) + "; ";
          link_.send(as_text(std::exchange(out_, {})));
          break;
        case Step::cancel: {
          ++cancelled;
          if (it.session.exchange.copy() == Copy::in) ++copies_cancelled;
          it.cancels = {.under_way = false, .possible = false};
          PeerConnection cancel(holdfast::testing::connect_to(port_));
          Out request;
          write_cancel_request(request, load_be<std::uint32_t>(as_bytes(key_).data()), as_bytes(key_).subspan(4));
          cancel.send(as_text(request));
          // The server closes when it has acted.
          static_cast<void>(cancel.read_until_end());
          break;
        }
        case Step::release:
        case Step::close: return step;
      }
      if (!it.good) return Step::close;
    }
  }

  // ---- what a stranger meets: rows of a Query, columns and rows set apart
  std::string look(std::string_view sql) {
    Out bytes;
    write_query(bytes, sql);
    link_.send(as_text(bytes));
    std::string text;
    for (PeerMessage message = link_.read_message(); message.type != 'Z'; message = link_.read_message()) {
      if (message.type == 'E') text += "E" + std::string(parse_error(as_bytes(message.body))->state.view());
      if (message.type != 'D') continue;
      Reader reader(as_bytes(message.body));
      for (auto columns = reader.u16(); columns > 0; --columns) {
        const auto size = reader.i32();
        text +=
            (size < 0 ? std::string("NULL") : std::string(as_text(reader.bytes(static_cast<std::size_t>(size))))) + "|";
      }
    }
    return text;
  }

  CleaningDriver it;
  std::string sends;
  std::string errors;  // that the server said while it was cleaned
  int cancelled = 0;
  int copies_cancelled = 0;  // while a COPY FROM waited for the client

 private:
  template <typename Write>
  static Out written(Write write) {
    Out bytes;
    write(bytes);
    return bytes;
  }
  void send(std::string_view tags, const Out& bytes) {
    it.sent(tags);
    link_.send(as_text(bytes));
  }
  char read() {
    const PeerMessage message = link_.read_message();
    it.receive(as_bytes(holdfast::testing::message_bytes(message.type, message.body)));
    return message.type;
  }
  // One message, in two pieces: it is asked between them as well.
  void read_some(std::minstd_rand& random) {
    // A cancel request that came before the server had read the statement did nothing: it is repeated, as a worker
    // does.
    pollfd waiting{link_.fd(), POLLIN, 0};
    if (::poll(&waiting, 1, 100) == 0 && cancelled < 100) {
      it.cancels.possible = true;
      return;
    }
    const PeerMessage message = link_.read_message();
    const std::string whole = holdfast::testing::message_bytes(message.type, message.body);
    const Bytes bytes = as_bytes(whole);
    if (message.type == 'E') {
      const auto error = parse_error(as_bytes(message.body));
      errors += std::string(error->state.view()) + " " + std::string(error->message) + "; ";
    }
    const std::size_t cut = random() % bytes.size();
    it.receive(bytes.first(cut));
    const auto between = it.cleaning.next(it.session, {.under_way = true}, out_);
    EXPECT_TRUE(out_.empty());
    EXPECT_NE(between, Step::release);
    it.receive(bytes.subspan(cut));
  }

  int port_;
  PeerConnection link_;
  std::string key_;  // body of BackendKeyData
  Out out_;
};

// What a session shows of itself and should not after it was cleaned.
constexpr std::string_view marks = R"(
  SELECT current_setting('work_mem'), current_setting('search_path'), current_setting('role'), current_user,
         session_user, current_setting('transaction_read_only'), current_setting('default_transaction_read_only'),
         to_regclass('pg_temp.scratch'), (SELECT count(*) FROM pg_prepared_statements),
         (SELECT count(*) FROM pg_cursors), (SELECT count(*) FROM pg_listening_channels()),
         (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
         coalesce(current_setting('app.tenant', true), ''), pg_current_xact_id_if_assigned())";

class CleaningServer : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = std::make_unique<holdfast::testing::Server>();
    server_->start();
    server_->exec("CREATE TABLE rows (v int); CREATE SEQUENCE numbers; CREATE ROLE other");
  }
  static void TearDownTestSuite() { server_.reset(); }
  void SetUp() override { server_->exec("TRUNCATE rows"); }

  // A session like a new one, and nothing of the client's has been committed.
  void expect_clean(LiveSession& session, const std::string& what) {
    LiveSession fresh(server_->port());
    EXPECT_EQ(session.look(marks), fresh.look(marks)) << what;
    EXPECT_EQ(session.look("SELECT lastval()"), "E55000") << what;
    EXPECT_EQ(session.look("EXECUTE mine"), "E26000") << what;
    EXPECT_EQ(server_->scalar("SELECT count(*) FROM rows"), "0") << what;
    EXPECT_EQ(session.look("SELECT 1"), "1|") << what;
  }

  std::minstd_rand random{31};
  static std::unique_ptr<holdfast::testing::Server> server_;
};
std::unique_ptr<holdfast::testing::Server> CleaningServer::server_;

// Each thing that a client may leave behind.
struct Left {
  const char* name;
  Effect effect;
  const char* sql;
  bool harmless = true;  // other statements work behind it as before
};
constexpr Left left_behind[] = {
    {"a setting", Effect::set, "SET work_mem = '7MB'"},
    {"a search path", Effect::set, "SET search_path = nowhere", false},
    {"a setting of an application", Effect::set, "SET app.tenant = 'one'"},
    {"a read-only session", Effect::set, "SET default_transaction_read_only = on", false},
    {"a role", Effect::role, "SET ROLE other", false},
    {"a session authorization", Effect::role, "SET SESSION AUTHORIZATION app", false},
    {"a temporary table", Effect::temp_object, "CREATE TEMP TABLE scratch (v int)"},
    {"a prepared statement", Effect::sql_prepare, "PREPARE mine AS SELECT 1"},
    {"an advisory lock", Effect::advisory_lock, "SELECT pg_advisory_lock(42)"},
    {"a held cursor", Effect::hold_cursor, "DECLARE c CURSOR WITH HOLD FOR SELECT 1"},
    {"a channel", Effect::listen, "LISTEN news"},
    {"a sequence", Effect::sequence, "SELECT nextval('numbers')"},
};

TEST_F(CleaningServer, nothing_that_a_client_left_behind_is_there_for_the_next) {
  LiveSession session(server_->port());
  for (const Left& left : left_behind) {
    session.run(left.sql);
    ASSERT_EQ(session.it.session.exchange.transaction_status(), 'I') << left.name;
    if (left.effect != Effect::sequence) {
      LiveSession fresh(server_->port());
      ASSERT_NE(session.look(marks), fresh.look(marks)) << left.name << ": it would not be seen";
    }
    session.it.session.soil(left.effect);
    session.sends.clear();
    session.it.cleaning = {};
    ASSERT_EQ(session.clean(random), Step::release) << left.name;
    EXPECT_EQ(session.sends, "Q:DISCARD ALL; ") << left.name;
    EXPECT_TRUE(session.it.cleaning.discarded());
    expect_clean(session, left.name);
  }
}

TEST_F(CleaningServer, all_of_it_at_once_in_an_open_block_is_gone_as_well) {
  for (const bool failed : {false, true}) {
    LiveSession session(server_->port());
    for (const Left& left : left_behind) {
      if (!left.harmless) continue;
      session.run(left.sql);
      session.it.session.soil(left.effect);
    }
    session.run("BEGIN; INSERT INTO rows VALUES (1); DECLARE d CURSOR FOR SELECT 1; SET LOCAL work_mem = '9MB'");
    if (failed) session.run("SELECT 1/0");
    ASSERT_EQ(session.it.session.exchange.transaction_status(), failed ? 'E' : 'T');
    ASSERT_EQ(session.clean(random), Step::release);
    EXPECT_EQ(session.sends, "Q:ROLLBACK; Q:DISCARD ALL; ");
    expect_clean(session, failed ? "failed" : "open");
  }
}

TEST_F(CleaningServer, statements_of_the_protocol_are_gone_when_it_discards) {
  LiveSession session(server_->port());
  session.batch("SELECT 1");
  session.sync();
  session.read_until('Z');
  session.it.session.soil(Effect::discard);
  ASSERT_EQ(session.clean(random), Step::release);
  expect_clean(session, "protocol");
}

TEST_F(CleaningServer, an_open_block_is_rolled_back_and_its_locks_are_free) {
  LiveSession session(server_->port());
  session.run("BEGIN; INSERT INTO rows VALUES (1); SELECT pg_advisory_xact_lock(7); LOCK rows");
  ASSERT_EQ(session.clean(random), Step::release);
  EXPECT_EQ(session.sends, "Q:ROLLBACK; ");
  expect_clean(session, "block");
}

TEST_F(CleaningServer, an_open_batch_is_never_committed) {
  for (const bool in_block : {false, true}) {
    LiveSession session(server_->port());
    if (in_block) session.run("BEGIN");
    session.batch("INSERT INTO rows VALUES (1)");
    session.flush();
    session.read_until('C');
    ASSERT_EQ(session.clean(random), Step::release);
    EXPECT_EQ(session.sends, in_block ? "B S; Q:ROLLBACK; " : "B S; ");
    expect_clean(session, "batch");
  }
}

TEST_F(CleaningServer, a_batch_that_had_failed_is_ended) {
  LiveSession session(server_->port());
  session.batch("INSERT INTO rows VALUES (1)");
  session.batch("SELECT 1/0");
  session.batch("INSERT INTO rows VALUES (2)");
  session.read_until('E');
  ASSERT_EQ(session.clean(random), Step::release);
  expect_clean(session, "failed batch");
}

// What a client may have left for the Bind that fails its batch: the names of PREPARE and of Parse are one, and a
// client chooses those of PREPARE; and the unnamed statement is what it likes.
TEST_F(CleaningServer, an_open_batch_is_not_committed_whatever_statements_the_client_prepared) {
  const std::string wrong = "08P01 bind message has 2 parameter formats but 0 parameters; ";
  struct Prepared {
    const char* unnamed;  // empty: there is none
    std::string error;
  };
  const Prepared cases[] = {
      {"SELECT 1", wrong},
      {"SELECT $1::int", wrong},
      {"SELECT $1::int, $2::int", wrong},
      {"INSERT INTO rows VALUES (2)", wrong},
      {"COMMIT", wrong},
      {"ROLLBACK", wrong},
      {"", "26000 unnamed prepared statement does not exist; "},
  };
  for (const bool in_block : {false, true}) {
    for (const auto& [unnamed, error] : cases) {
      SCOPED_TRACE(std::string(unnamed) + (in_block ? ", in a block" : ""));
      LiveSession session(server_->port());
      session.run("PREPARE hf_gone AS SELECT 1");
      session.it.session.soil(Effect::sql_prepare);
      if (in_block) session.run("BEGIN");
      session.batch("INSERT INTO rows VALUES (1)");
      *unnamed == '\0' ? session.close_statement("") : session.parse(unnamed);
      session.flush();
      session.read_until(*unnamed == '\0' ? '3' : 'C');
      if (*unnamed != '\0') session.read_until('1');
      ASSERT_EQ(session.clean(random), Step::release);
      EXPECT_EQ(session.sends, in_block ? "B S; Q:ROLLBACK; Q:DISCARD ALL; " : "B S; Q:DISCARD ALL; ");
      EXPECT_EQ(session.errors, error);
      EXPECT_EQ(session.cancelled, 0);
      expect_clean(session, unnamed);
    }
  }
}

// Nobody sees it: nothing is said before the batch has ended.
TEST_F(CleaningServer, a_batch_that_would_run_for_an_hour_is_cancelled_and_not_committed) {
  for (const bool in_block : {false, true}) {
    LiveSession session(server_->port());
    if (in_block) session.run("BEGIN");
    session.batch("INSERT INTO rows VALUES (1)");
    session.batch("SELECT pg_sleep(3600)");
    ASSERT_EQ(session.clean(random), Step::release);
    EXPECT_GE(session.cancelled, 1);
    EXPECT_EQ(session.sends, in_block ? "B S; Q:ROLLBACK; " : "B S; ");
    expect_clean(session, "batch");
  }
}

TEST_F(CleaningServer, a_copy_from_the_client_is_given_up) {
  for (const bool in_block : {false, true}) {
    LiveSession session(server_->port());
    if (in_block) session.run("BEGIN");
    session.query("COPY rows FROM STDIN");
    session.read_until('G');
    session.copy_data("1\n2\n");
    ASSERT_EQ(session.clean(random), Step::release);
    EXPECT_EQ(session.sends, in_block ? "f; Q:ROLLBACK; " : "f; ");
    EXPECT_EQ(session.copies_cancelled, 0) << "it ends by itself";
    expect_clean(session, "copy");
  }
}

TEST_F(CleaningServer, a_copy_of_a_batch_is_given_up) {
  LiveSession session(server_->port());
  session.batch("COPY rows FROM STDIN");
  session.flush();
  session.read_until('G');
  session.copy_data("1\n");
  ASSERT_EQ(session.clean(random), Step::release);
  EXPECT_EQ(session.sends, "f B S; ");
  EXPECT_EQ(session.copies_cancelled, 0) << "it ends by itself";
  expect_clean(session, "copy of a batch");
}

// CopyGetData reads over a Sync; behind a COPY that failed before it got there the Sync is answered. Either way the
// connection is kept.
TEST_F(CleaningServer, a_copy_with_a_sync_in_the_midst_is_given_up_and_the_doubt_settled) {
  for (const bool in_block : {false, true}) {
    for (const bool answered : {false, true}) {
      SCOPED_TRACE(std::string(in_block ? "in a block" : "") + (answered ? ", answered" : ", read over"));
      LiveSession session(server_->port());
      if (in_block) session.run("BEGIN");
      session.query("COPY rows FROM STDIN");
      session.read_until('G');
      session.copy_data(answered ? "nonsense\n" : "1\n");
      session.sync();
      ASSERT_EQ(session.clean(random), Step::release);
      EXPECT_EQ(session.sends, in_block ? "f; Q:ROLLBACK; " : "f; C S; ");
      EXPECT_EQ(session.copies_cancelled, 0);
      expect_clean(session, "copy with a Sync");
    }
  }
}

TEST_F(CleaningServer, what_settles_a_doubt_takes_no_error_though_nothing_has_its_name_or_something_has) {
  for (const bool prepared : {false, true}) {
    LiveSession session(server_->port());
    if (prepared) session.run("PREPARE hf_gone AS SELECT 1");
    session.query("COPY rows FROM STDIN");
    session.read_until('G');
    session.sync();
    if (prepared) session.it.session.soil(Effect::sql_prepare);
    ASSERT_EQ(session.clean(random), Step::release);
    EXPECT_EQ(session.sends, prepared ? "f; C S; Q:DISCARD ALL; " : "f; C S; ");
    EXPECT_TRUE(session.errors.starts_with("57014 ")) << session.errors;
    EXPECT_EQ(std::ranges::count(session.errors, ';'), 1) << "that of the COPY: " << session.errors;
    expect_clean(session, "doubt");
  }
}

TEST_F(CleaningServer, a_copy_of_a_batch_whose_sync_was_swallowed_is_closed) {
  LiveSession session(server_->port());
  session.batch("COPY rows FROM STDIN");
  session.sync();
  session.read_until('G');
  session.copy_data("1\n");
  ASSERT_EQ(session.clean(random), Step::close);
  EXPECT_EQ(server_->scalar("SELECT count(*) FROM rows"), "0");
}

TEST_F(CleaningServer, a_query_that_would_run_for_an_hour_is_cancelled) {
  for (const bool in_block : {false, true}) {
    LiveSession session(server_->port());
    if (in_block) session.run("BEGIN; INSERT INTO rows VALUES (1)");
    session.query("SELECT pg_sleep(3600)");
    ASSERT_EQ(session.clean(random), Step::release);
    EXPECT_GE(session.cancelled, 1);
    EXPECT_EQ(session.sends, in_block ? "Q:ROLLBACK; " : "");
    expect_clean(session, "query");
  }
}

TEST_F(CleaningServer, queries_that_were_sent_ahead_are_cancelled_one_by_one) {
  LiveSession session(server_->port());
  session.query("SELECT pg_sleep(3600)");
  session.query("SELECT pg_sleep(3600)");
  session.batch("SELECT pg_sleep(3600)");
  session.sync();
  ASSERT_EQ(session.clean(random), Step::release);
  EXPECT_GE(session.cancelled, 3);
  expect_clean(session, "queries");
}

// A client leaves anywhere in a random conversation.
TEST_F(CleaningServer, whatever_a_client_left_a_released_session_is_like_a_new_one) {
  int released = 0;
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(round);
    LiveSession session(server_->port());
    std::string script;
    const auto note = [&](const char* what) { script += std::string(what) + " "; };
    if (random() % 2 == 0) session.run("BEGIN");
    for (auto count = random() % 4; count > 0; --count) {
      const Left& left = left_behind[random() % std::size(left_behind)];
      if (!left.harmless) continue;
      note(left.sql);
      session.query(left.sql);
      session.it.session.soil(left.effect);
      if (random() % 2 == 0) session.read_until('Z');
    }
    switch (random() % 8) {
      case 0: break;
      case 1:
        note("sleep");
        session.query("SELECT pg_sleep(3600)");
        break;
      case 2:
        note("batch");
        session.batch("INSERT INTO rows VALUES (1)");
        session.flush();
        break;
      case 3:
        note("failed batch");
        session.batch("SELECT 1/0");
        break;
      case 4:
        note("rows");
        session.query("SELECT generate_series(1, 20000)");
        break;
      case 5:
        note("batch that sleeps");
        session.batch("INSERT INTO rows VALUES (1)");
        session.batch("SELECT pg_sleep(3600)");
        break;
      case 6:
        if (!session.it.session.exchange.idle()) break;
        note("copy with a Sync");
        session.query("COPY rows FROM STDIN");
        session.read_until('G');
        if (random() % 2 == 0) session.copy_data("nonsense\n");
        session.sync();
        break;
      default:
        if (!session.it.session.exchange.idle()) break;
        note("copy");
        session.query("COPY rows FROM STDIN");
        session.read_until('G');
    }
    ASSERT_EQ(session.clean(random), Step::release) << script << session.sends;
    ++released;
    expect_clean(session, script + session.sends);
    if (HasFailure()) break;
  }
  EXPECT_EQ(released, 60);
}

}  // namespace
}  // namespace holdfast::protocol::testing
