// The loss of a server as its client sees it on the wire: told in the place where its driver looks, and nothing while it
// waits for nothing. protocol/told_of_loss_test has all states; here they meet the session, in both of its coroutines.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>

#include <ostream>

#include "tests/support/endpoint.hpp"
#include "tests/support/tcp_relay.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

class LossBase : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
    server_->exec("CREATE TABLE kept (a int); GRANT ALL ON kept TO app");
  }
  static void TearDownTestSuite() { delete server_; }
  LossBase() : relay_(server_->port()) {
    server_->exec("TRUNCATE kept");
    proxy_.emplace(
        endpoint({.members = "      - { name: pg1, host: 127.0.0.1, port: " + std::to_string(relay_.port()) + " }\n",
                  .workers = 1,
                  .pool = "size: 4"}));
  }
  [[nodiscard]] double lost() const {
    double sum = 0;
    for (const char* state : {"40001", "08007"}) {
      sum += proxy_->metric("holdfast_answers_lost_total{sqlstate=\"" + std::string(state) + "\"}").value_or(0);
    }
    return sum;
  }
  // The servers' connections are reset, while the servers live. Returns when the worker has done with it.
  void lose_server() {
    const double before = lost();
    relay_.reset_all();
    ASSERT_TRUE(wait_until(10s, [&] { return lost() > before; })) << proxy_->log();
    auto next = wire::log_in(proxy_->port());
    next->send(wire::query("SELECT 'next'"));
    EXPECT_EQ(wire::read_value(*next), "next");
  }
  static bool hears_something(const PeerConnection& peer) {
    pollfd entry{.fd = peer.fd(), .events = POLLIN, .revents = 0};
    return ::poll(&entry, 1, 0) > 0;
  }
  // The types of the messages up to ReadyForQuery, an ErrorResponse as its SQLSTATE, and the status: "40001 ZI".
  static std::string answer(PeerConnection& peer) {
    std::string text;
    for (;;) {
      const auto message = peer.read_message();
      if (message.type == 'E') {
        text += wire::sqlstate(message) + " ";
      } else {
        text += message.type;
      }
      if (message.type == 'Z') return text + message.body;
    }
  }

  static Server* server_;
  TcpRelay relay_;
  std::optional<Holdfast> proxy_;
};
Server* LossBase::server_ = nullptr;

const std::string insert = wire::parse("", "INSERT INTO kept VALUES (1)") + wire::bind("") + wire::execute();

struct Silence {
  friend void PrintTo(const Silence& row, std::ostream* out) { *out << row.name; }
  const char* name;
  std::string before;  // sent and answered before the server is lost
  int completed;       // how many CommandCompletes answer it
  std::string next;    // what the client says behind it
  const char* answer;
};

class Silent : public LossBase, public ::testing::WithParamInterface<Silence> {};

// Told while it is silent, libpq takes the error for a notice, and the bare ReadyForQuery behind its Sync for success.
TEST_P(Silent, client_is_told_when_it_speaks) {
  auto peer = wire::log_in(proxy_->port());
  peer->send(GetParam().before);
  for (int left = GetParam().completed; left > 0;) {
    const char type = peer->read_message().type;
    if (type == 'C') --left;
  }
  if (!GetParam().before.ends_with(wire::flush())) static_cast<void>(peer->read_until('Z'));
  lose_server();
  EXPECT_FALSE(hears_something(*peer));
  peer->send(GetParam().next);
  EXPECT_EQ(answer(*peer), GetParam().answer);
  EXPECT_EQ(server_->scalar("SELECT count(*) FROM kept"), "0");
  for (const char* sql : {"ROLLBACK", "INSERT INTO kept VALUES (2)"}) {
    peer->send(wire::query(sql));
    static_cast<void>(peer->read_until('Z'));
  }
  EXPECT_EQ(server_->scalar("SELECT string_agg(a::text, ' ') FROM kept"), "2") << "the session goes on";
}

INSTANTIATE_TEST_SUITE_P(
    All, Silent,
    ::testing::Values(Silence{"behind_a_flush", insert + wire::flush(), 1, wire::sync(), "40001 ZI"},
                      Silence{"behind_a_flush_and_flushes_again", insert + wire::flush(), 1,
                              wire::flush() + wire::sync(), "40001 ZI"},
                      Silence{"behind_a_flush_and_goes_on", insert + wire::flush(), 1, insert + wire::sync(),
                              "40001 ZI"},
                      Silence{"behind_a_flush_and_asks_simply", insert + wire::flush(), 1, wire::query("SELECT 1"),
                              "40001 ZI"},
                      Silence{"behind_a_flush_in_a_block",
                              wire::query("BEGIN") + wire::query("SELECT 1") + insert + wire::flush(), 3,
                              wire::sync(), "40001 ZE"},
                      Silence{"in_a_block", wire::query("BEGIN") + wire::query("INSERT INTO kept VALUES (1)"), 2,
                              wire::query("COMMIT"), "40001 ZI"}),
    [](const auto& row) { return std::string(row.param.name); });

// A client in the middle of a message isn't listening either.
class Loss : public LossBase {};

TEST_F(Loss, is_told_behind_the_message_that_was_half_sent) {
  auto peer = wire::log_in(proxy_->port());
  peer->send(wire::query("BEGIN"));
  EXPECT_EQ(answer(*peer), "CZT");
  peer->send(wire::query("INSERT INTO kept VALUES (1)"));
  EXPECT_EQ(answer(*peer), "CZT");
  // Longer than what is routed as a whole: its beginning goes to the server.
  const std::string half = wire::query("SELECT '" + std::string(200'000, 'x') + "'");
  peer->send(half.substr(0, 150'000));
  ASSERT_TRUE(wait_until(10s, [&] {
    return server_->scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state LIKE 'idle in%'") ==
           "1";
  }));
  lose_server();
  EXPECT_FALSE(hears_something(*peer));
  peer->send(half.substr(150'000));
  EXPECT_EQ(answer(*peer), "40001 ZE");
  peer->send(wire::query("ROLLBACK"));
  EXPECT_EQ(answer(*peer), "CZI");
}

TEST_F(Loss, behind_an_answer_that_was_owed_is_told_at_once_and_not_again) {
  auto peer = wire::log_in(proxy_->port());
  auto gate = server_->connect("postgres");
  gate.exec("BEGIN; LOCK TABLE kept");
  peer->send(insert + wire::flush());
  ASSERT_TRUE(wait_until(10s, [&] {
    return server_->scalar("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1";
  }));
  relay_.reset_all();
  EXPECT_EQ(wire::read_error(*peer), "40001");
  gate.exec("ROLLBACK");
  peer->send(wire::sync());
  EXPECT_EQ(answer(*peer), "ZI");
}

struct InBlock {
  friend void PrintTo(const InBlock& row, std::ostream* out) { *out << row.name; }
  const char* name;
  std::string before;  // with a ReadyForQuery for each unit
  int units;
  std::string lost;
  const char* answer;
};

// What can't have been committed is told so, and what may have been never is.
class LostBlock : public LossBase, public ::testing::WithParamInterface<InBlock> {};

TEST_P(LostBlock, is_told_by_what_it_may_have_committed) {
  auto peer = wire::log_in(proxy_->port());
  peer->send(GetParam().before);
  for (int left = GetParam().units; left > 0; --left) static_cast<void>(peer->read_until('Z'));
  auto gate = server_->connect("postgres");
  gate.exec("BEGIN; LOCK TABLE kept IN EXCLUSIVE MODE");
  peer->send(GetParam().lost);
  ASSERT_TRUE(wait_until(10s, [&] {
    return server_->scalar("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1";
  }));
  relay_.reset_all();
  EXPECT_EQ(answer(*peer), GetParam().answer);
  gate.exec("ROLLBACK");
}

INSTANTIATE_TEST_SUITE_P(
    All, LostBlock,
    ::testing::Values(
        InBlock{"a_string_that_begins_it", {}, 0, wire::query("BEGIN; INSERT INTO kept VALUES (1)"), "40001 ZE"},
        InBlock{"a_string_that_undoes_it", {}, 0, wire::query("BEGIN; INSERT INTO kept VALUES (1); ROLLBACK"), "40001 ZI"},
        InBlock{"a_string_with_savepoints", wire::query("BEGIN") + wire::query("SELECT 1"), 2,
                wire::query("SAVEPOINT a; INSERT INTO kept VALUES (1); RELEASE a"), "40001 ZE"},
        InBlock{"a_batch_that_begins_it", {}, 0,
                wire::parse("", "BEGIN") + wire::bind("") + wire::execute() + insert + wire::sync(), "40001 ZE"},
        InBlock{"a_string_that_commits_it", {}, 0, wire::query("BEGIN; INSERT INTO kept VALUES (1); COMMIT"), "08007 ZI"},
        InBlock{"a_string_that_commits_it_and_begins_another", {}, 0,
                wire::query("BEGIN; INSERT INTO kept VALUES (1); COMMIT; BEGIN"), "08007 ZE"},
        InBlock{"a_string_that_chains", {}, 0,
                wire::query("BEGIN; INSERT INTO kept VALUES (1); COMMIT AND CHAIN; SELECT 1"), "08007 ZE"},
        InBlock{"a_string_of_writes", {}, 0, wire::query("INSERT INTO kept VALUES (1); SELECT 1"), "08007 ZI"}),
    [](const auto& row) { return std::string(row.param.name); });

class LostRead : public LossBase, public ::testing::WithParamInterface<bool> {
 protected:
  [[nodiscard]] static std::string read() {
    const std::string sql = "SELECT pg_sleep(60)";
    return GetParam() ? wire::parse("", sql) + wire::bind("") + wire::execute() + wire::sync() : wire::query(sql);
  }
  // One session runs it, and is lost to the proxy.
  void lose_reader() {
    const std::string sleepers = " FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    ASSERT_TRUE(wait_until(10s, [&] { return server_->scalar("SELECT count(*)" + sleepers) == "1"; }));
    relay_.reset_all();
    server_->exec("SELECT pg_terminate_backend(pid, 5000)" + sleepers);
  }
  [[nodiscard]] double repeats() const {
    return proxy_->metric("holdfast_retries_total{reason=\"lost\"}").value_or(-1);
  }
};

// It may be what kills its servers.
TEST_P(LostRead, runs_once_more_and_no_more) {
  auto peer = wire::log_in(proxy_->port());
  peer->send(read());
  lose_reader();
  lose_reader();
  EXPECT_EQ(answer(*peer), "40001 ZI");
  EXPECT_EQ(repeats(), 1.0);
  peer->send(wire::query("SELECT 1"));
  EXPECT_EQ(answer(*peer), "TDCZI");
}

TEST_P(LostRead, in_a_block_that_it_begins_is_told_as_there) {
  auto peer = wire::log_in(proxy_->port());
  peer->send(wire::query("BEGIN"));
  EXPECT_EQ(answer(*peer), "CZT");
  peer->send(read());
  lose_reader();
  lose_reader();
  EXPECT_EQ(answer(*peer), "40001 ZE");
  EXPECT_EQ(repeats(), 1.0);
  peer->send(wire::query("ROLLBACK"));
  EXPECT_EQ(answer(*peer), "CZI");
}

// Its own session crashes: the postmaster takes none for a moment.
TEST_P(LostRead, that_crashes_its_server_is_not_repeated) {
  auto peer = wire::log_in(proxy_->port());
  peer->send(read());
  std::string pid;
  ASSERT_TRUE(wait_until(10s, [&] {
    pid = server_->scalar(
        "SELECT coalesce(string_agg(pid::text, ','), '') FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    return !pid.empty();
  }));
  ASSERT_EQ(::kill(std::stoi(pid), SIGKILL), 0);
  EXPECT_EQ(answer(*peer), "57P02 ZI");
  EXPECT_EQ(repeats(), 0.0);
  EXPECT_EQ(proxy_->metric("holdfast_answers_lost_total{sqlstate=\"57P02\"}"), 1.0);
  peer->send(wire::query("SELECT 1"));
  EXPECT_EQ(answer(*peer), "TDCZI");
}

INSTANTIATE_TEST_SUITE_P(All, LostRead, ::testing::Bool(),
                         [](const auto& extended) { return extended.param ? "extended" : "simple"; });

}  // namespace
}  // namespace holdfast::testing
