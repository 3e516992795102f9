// A client that says goodbye: what it sent in front of its Terminate is finished, as PostgreSQL does with what it has
// received, although the client is gone, and answered if it listens. One that just breaks off is cancelled. Each statement waits for a lock until the
// proxy has seen the client go.
#include <gtest/gtest.h>

#include <ostream>

#include "tests/support/certificates.hpp"
#include "tests/support/endpoint.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

const std::string goodbye = message_bytes('X');

class GoodbyeBase : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
    server_->exec("CREATE TABLE kept (a int); GRANT ALL ON kept TO app");
  }
  static void TearDownTestSuite() { delete server_; }
  GoodbyeBase() { server_->exec("TRUNCATE kept"); }

  void start(const std::string& pool = "size: 2, wait_timeout: 20s, hold_timeout: 20s") {
    const auto certificates = shared_certificates();
    proxy_.emplace(endpoint({.members = member_yaml(*server_),
                             .workers = 1,
                             .listen_tls = "tls: { mode: allow, certificate: \"" + certificates.server.string() +
                                           "\", key: \"" + certificates.server_key.string() + "\" }",
                             .pool = pool}));
  }
  static Connection locked() {
    auto gatekeeper = server_->connect("postgres");
    gatekeeper.exec("BEGIN; LOCK TABLE kept IN EXCLUSIVE MODE");
    return gatekeeper;
  }
  static void wait_for_lock() {
    ASSERT_TRUE(wait_until(
        10s, [] { return server_->scalar("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1"; }));
  }
  // A round trip of another client on the same worker: what came before it has been seen.
  void pass_a_turn() const { static_cast<void>(wire::log_in(proxy_->port())); }
  // The rows, once no session of the client is left.
  [[nodiscard]] std::string rows_in_the_end() const {
    EXPECT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_clients") == 0; }));
    EXPECT_TRUE(wait_until(10s, [&] {
      return server_->scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'") == "0";
    }));
    return server_->scalar("SELECT coalesce(string_agg(a::text, ' ' ORDER BY a), 'none') FROM kept");
  }

  static Server* server_;
  std::optional<Holdfast> proxy_;
};
Server* GoodbyeBase::server_ = nullptr;

struct Work {
  friend void PrintTo(const Work& work, std::ostream* out) { *out << work.name; }
  const char* name;
  std::string bytes;
  const char* rows;  // in the end
};

class Goodbye : public GoodbyeBase, public ::testing::WithParamInterface<Work> {};

TEST_P(Goodbye, behind_work_lets_it_finish) {
  start();
  auto gatekeeper = locked();
  auto peer = wire::log_in(proxy_->port());
  peer->send(GetParam().bytes + goodbye);
  peer->close();
  wait_for_lock();
  pass_a_turn();
  gatekeeper.exec("COMMIT");
  EXPECT_EQ(rows_in_the_end(), GetParam().rows);
}

const std::string insert = wire::query("INSERT INTO kept VALUES (1)");
const std::string batch = wire::parse("", "INSERT INTO kept VALUES (2)") + wire::bind("") + wire::execute();

INSTANTIATE_TEST_SUITE_P(
    All, Goodbye,
    ::testing::Values(
        Work{"query", insert, "1"}, Work{"batch", batch + wire::sync(), "2"},
        Work{"several_units", insert + batch + wire::sync() + wire::query("INSERT INTO kept VALUES (3)"), "1 2 3"},
        Work{"block_with_its_commit", wire::query("BEGIN") + insert + wire::query("COMMIT"), "1"},
        // … and without its end: rolled back, also by PostgreSQL.
        Work{"block_without_its_commit", wire::query("BEGIN") + insert, "none"},
        Work{"batch_without_its_sync_behind_a_query", insert + batch, "1"},
        Work{"copy", wire::query("COPY kept FROM STDIN") + wire::copy_data("4\n") + wire::copy_done(), "4"},
        Work{"copy_without_its_end", insert + wire::query("COPY kept FROM STDIN") + wire::copy_data("4\n"), "1"},
        Work{"pinned_session", wire::query("SET application_name = 'x'") + insert, "1"},
        Work{"read_behind_a_write", insert + wire::query("SELECT a FROM kept"), "1"}),
    [](const auto& work) { return std::string(work.param.name); });

class Goodbyes : public GoodbyeBase {};

TEST_F(Goodbyes, without_a_terminate_the_work_is_cancelled) {
  start();
  auto gatekeeper = locked();
  auto peer = wire::log_in(proxy_->port());
  peer->send(insert);
  wait_for_lock();
  peer->close();
  EXPECT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_clients") == 0; }));
  EXPECT_EQ(rows_in_the_end(), "none");
  gatekeeper.exec("COMMIT");
  EXPECT_EQ(rows_in_the_end(), "none");
}

TEST_F(Goodbyes, half_a_terminate_is_none) {
  start();
  auto gatekeeper = locked();
  auto peer = wire::log_in(proxy_->port());
  peer->send(insert + goodbye.substr(0, 3));
  peer->close();
  EXPECT_EQ(rows_in_the_end(), "none");
  gatekeeper.exec("COMMIT");
  EXPECT_EQ(rows_in_the_end(), "none");
}

// … if it stays to listen: also what can have no effect, and however much it is.
TEST_F(Goodbyes, of_one_who_listens_are_answered) {
  start();
  const auto read = wire::parse("", "SELECT 1") + wire::bind("") + wire::execute() + wire::sync();
  for (const auto& [bytes, answers] : std::vector<std::pair<std::string, std::string>>{
           {wire::query("SELECT 1"), "TDCZ"},
           {read + wire::query("BEGIN") + insert, "12DCZCZCZ"},
           {wire::query("SELECT 1/0") + insert + read, "EZCZ12DCZ"},
           {insert + wire::query("SELECT g, repeat('x', 1000) FROM generate_series(1, 5000) g"),
            "CZT" + std::string(5000, 'D') + "CZ"}}) {
    auto peer = wire::log_in(proxy_->port());
    peer->send(bytes + goodbye);
    std::string heard;
    for (const char ready : answers)
      if (ready == 'Z') heard += peer->read_until('Z');
    EXPECT_EQ(heard, answers);
    peer->expect_end();
  }
  EXPECT_EQ(rows_in_the_end(), "1 1");
}

// It goes in the middle of its answers: what takes effect is finished.
TEST_F(Goodbyes, of_one_who_stops_listening_finish_its_work) {
  start();
  const auto much = wire::query("SELECT g, repeat('x', 1000) FROM generate_series(1, 50000) g");
  for (const bool reset : {false, true}) {
    server_->exec("TRUNCATE kept");
    auto peer = wire::log_in(proxy_->port());
    peer->send(insert + much + insert + goodbye);
    ASSERT_EQ(peer->read_until('Z'), "CZ");
    if (reset)
      peer->reset();
    else
      peer->close();
    EXPECT_EQ(rows_in_the_end(), "1 1");
  }
}

// A read ends when its client stops waiting for it.
TEST_F(Goodbyes, of_reads_end_them_when_their_client_hangs_up) {
  start("size: 1, wait_timeout: 20s");
  auto peer = wire::log_in(proxy_->port());
  peer->send(wire::query("SELECT pg_sleep(60)") + goodbye);
  ASSERT_TRUE(wait_until(10s, [] {
    return server_->scalar("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1";
  }));
  peer->close();
  EXPECT_EQ(rows_in_the_end(), "none");
}

// libpq's PQfinish() sends it and closes.
TEST_F(Goodbyes, over_tls_and_by_libpq) {
  start();
  auto gatekeeper = locked();
  {
    Connection client(proxy_->conninfo() + " sslmode=require");
    client.ask("INSERT INTO kept VALUES (1)");
  }
  wait_for_lock();
  pass_a_turn();
  gatekeeper.exec("COMMIT");
  EXPECT_EQ(rows_in_the_end(), "1");
}

// The client is gone before its statement has a server.
TEST_F(Goodbyes, while_the_work_waits_for_a_server) {
  start("size: 1, wait_timeout: 20s");
  auto busy = proxy_->connect();
  busy.exec("BEGIN; SELECT 1 FROM kept");
  auto peer = wire::log_in(proxy_->port());
  peer->send(insert + wire::query("INSERT INTO kept VALUES (2)") + goodbye);
  peer->close();
  ASSERT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_clients_waiting") == 1; }));
  busy.exec("COMMIT");
  EXPECT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_clients") == 1; }));
  EXPECT_EQ(server_->scalar("SELECT string_agg(a::text, ' ') FROM kept"), "1 2");
}

TEST_F(Goodbyes, without_one_who_waits_for_a_server_leaves_the_line) {
  start("size: 1, wait_timeout: 20s");
  auto busy = proxy_->connect();
  busy.exec("BEGIN; SELECT 1 FROM kept");
  auto peer = wire::log_in(proxy_->port());
  peer->send(insert);
  ASSERT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_clients_waiting") == 1; }));
  peer->close();
  EXPECT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_clients") == 1; }));
  busy.exec("COMMIT");
  EXPECT_EQ(server_->scalar("SELECT count(*) FROM kept"), "0");
}

// A read that nobody waits for takes no server from those who do, and none for long.
TEST_F(Goodbyes, of_reads_end_them) {
  start("size: 1, wait_timeout: 20s");
  auto busy = wire::log_in(proxy_->port());
  busy->send(wire::query("SELECT pg_sleep(60)"));
  ASSERT_TRUE(wait_until(10s, [] {
    return server_->scalar("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1";
  }));
  for (const auto& bytes : {wire::query("SELECT a FROM kept"),
                            wire::parse("", "SELECT a FROM kept") + wire::bind("") + wire::execute() + wire::sync()}) {
    auto peer = wire::log_in(proxy_->port());
    peer->send(bytes + goodbye);
    peer->close();
    EXPECT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_clients") == 1; }));
  }
  busy->send(goodbye);
  busy->close();
  EXPECT_EQ(rows_in_the_end(), "none");
}

// … or while there is no primary.
TEST_F(Goodbyes, while_the_work_is_held) {
  start();
  auto peer = wire::log_in(proxy_->port());
  server_->stop();
  ASSERT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_cluster_has_primary{cluster=\"main\"}") == 0; }));
  peer->send(insert + goodbye);
  peer->close();
  ASSERT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_clients_held") == 1; }));
  server_->start();
  EXPECT_EQ(rows_in_the_end(), "1");
}

TEST_F(Goodbyes, of_work_that_gets_no_server_end_with_its_deadline) {
  start("size: 2, hold_timeout: 500ms");
  auto peer = wire::log_in(proxy_->port());
  server_->stop();
  ASSERT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_cluster_has_primary{cluster=\"main\"}") == 0; }));
  peer->send(insert + insert + insert + goodbye);
  peer->close();
  EXPECT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_holds_timed_out_total") == 1; }));
  EXPECT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_clients") == 0; }));
  server_->start();
  EXPECT_EQ(rows_in_the_end(), "none");
}

}  // namespace
}  // namespace holdfast::testing
