// A client that says goodbye: what it sent in front of its Terminate is finished, as PostgreSQL does with what it has
// received, although the client is gone, and answered if it listens. One that just breaks off is cancelled. Each statement waits for a lock until the
// proxy has seen the client go.
#include <gtest/gtest.h>

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
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

  // Each message in words, without the place in PostgreSQL's source.
  static std::vector<std::string> messages_of(std::string_view stream) {
    std::vector<std::string> messages;
    while (stream.size() >= 5) {
      std::size_t length = 0;
      for (int i = 1; i < 5; ++i) length = length * 256 + static_cast<unsigned char>(stream[i]);
      auto body = stream.substr(5, length - 4);
      auto& text = messages.emplace_back(1, stream[0]);
      stream.remove_prefix(std::min(stream.size(), length + 1));
      if (text != "E" && text != "N") {
        text += body;
        continue;
      }
      for (; body.size() > 1; body.remove_prefix(body.find('\0') + 1)) {
        if (body[0] != 'F' && body[0] != 'L' && body[0] != 'R')
          text += " " + std::string(body.substr(0, body.find('\0')));
      }
    }
    return messages;
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
  wait_for_lock();
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

// It reads nothing more, and says so by closing its side: nobody waits for its socket, whoever is blocked there.
class NeverReads : public GoodbyeBase, public ::testing::WithParamInterface<Work> {};

TEST_P(NeverReads, gives_its_server_back) {
  start("size: 1, wait_timeout: 20s");
  for (const bool late : {false, true}) {
    SCOPED_TRACE(late ? "leaves when its server is blocked" : "leaves at once");
    server_->exec("TRUNCATE kept");
    auto peer = wire::log_in(proxy_->port());
    peer->send(GetParam().bytes + (late ? "" : goodbye));
    ASSERT_TRUE(wait_until(10s, [] {
      return server_->scalar("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite'") == "1";
    }));
    if (late) peer->send(goodbye);
    peer->shutdown_write();
    EXPECT_EQ(rows_in_the_end(), GetParam().rows);
    auto next = wire::log_in(proxy_->port());
    next->send(wire::query("SELECT 'next'"));
    EXPECT_EQ(wire::read_value(*next), "next");
    next->send(goodbye);
    next->expect_end();
  }
  EXPECT_EQ(proxy_->metric("holdfast_servers_closed_total"), 0);
}

std::string times(int count, const std::string& bytes) {
  std::string all;
  for (; count > 0; --count) all += bytes;
  return all;
}
const std::string too_much = wire::query("SELECT g, repeat('x', 1000) FROM generate_series(1, 100000) g");

INSTANTIATE_TEST_SUITE_P(
    All, NeverReads,
    ::testing::Values(Work{"a_read", too_much, "none"},
                      Work{"a_read_between_writes", insert + too_much + insert, "1 1"},
                      Work{"a_read_in_a_batch",
                           wire::parse("", "SELECT g, repeat('x', 1000) FROM generate_series(1, 100000) g") +
                               wire::bind("") + wire::execute() + wire::sync() + insert,
                           "1"},
                      Work{"a_block", wire::query("BEGIN") + insert + too_much, "none"},
                      Work{"a_copy",
                           insert + wire::query("COPY (SELECT g, repeat('x', 1000) FROM generate_series(1, "
                                                "100000) g) TO STDOUT"),
                           "1"},
                      // More than is looked through for the Terminate.
                      Work{"much_behind_it", too_much + times(1'000, wire::query("SELECT 1 --" + std::string(300, '-'))) + insert, "1"}),
    [](const auto& work) { return std::string(work.param.name); });

// The same without a Terminate, and over TLS.
TEST_F(Goodbyes, without_one_who_never_reads_gives_its_server_back) {
  start("size: 1, wait_timeout: 20s");
  auto peer = wire::log_in(proxy_->port());
  peer->send(insert + too_much + insert);
  ASSERT_TRUE(wait_until(10s, [] {
    return server_->scalar("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite'") == "1";
  }));
  peer->shutdown_write();
  EXPECT_TRUE(rows_in_the_end().starts_with("1"));
  Connection tls(proxy_->conninfo() + " sslmode=require");
  tls.ask("SELECT g, repeat('x', 1000) FROM generate_series(1, 100000) g");
  ASSERT_TRUE(wait_until(10s, [] {
    return server_->scalar("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite'") == "1";
  }));
  ::shutdown(PQsocket(tls.raw()), SHUT_WR);
  EXPECT_TRUE(rows_in_the_end().starts_with("1"));
}

// What has come to this port from this peer, and wasn't read (proc(5), /proc/net/tcp).
std::size_t bytes_left_lying(int port, const PeerConnection& peer) {
  sockaddr_in own{};
  socklen_t size = sizeof own;
  ::getsockname(peer.fd(), reinterpret_cast<sockaddr*>(&own), &size);
  std::ifstream table("/proc/net/tcp");
  for (std::string line; std::getline(table, line);) {
    unsigned local = 0;
    unsigned remote = 0;
    unsigned long unread = 0;
    const int fields = std::sscanf(line.c_str(), "%*d: %*8x:%4x %*8x:%4x %*2x %*8x:%8lx", &local, &remote, &unread);
    if (fields == 3 && local == static_cast<unsigned>(port) && remote == ntohs(own.sin_port)) return unread;
  }
  return 0;
}

// The server takes no more: it sleeps in front of all that its client has sent before it broke off.
TEST_F(Goodbyes, without_one_whose_server_is_busy_cancel_what_runs) {
  start("size: 1, wait_timeout: 20s");
  auto peer = wire::log_in(proxy_->port());
  peer->send(wire::query("SELECT pg_sleep(60)"));
  ASSERT_TRUE(wait_until(10s, [] {
    return server_->scalar("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1";
  }));
  // Until the worker leaves it lying, although it has had its turns.
  const auto more = times(10, wire::query("SELECT '" + std::string(10'000, 'x') + "'"));
  ASSERT_TRUE(wait_until(30s, [&] {
    peer->send(more);
    for (int turns = 0; turns < 3; ++turns) pass_a_turn();
    return bytes_left_lying(proxy_->port(), *peer) > 0;
  }));
  peer->reset();
  EXPECT_EQ(rows_in_the_end(), "none");
}

// What PostgreSQL says of a Terminate where none belongs, and in front of it.
TEST_F(Goodbyes, are_answered_as_postgresql_answers_them) {
  start("size: 1");
  const std::string copy = "COPY kept FROM STDIN";
  const auto run = [](const std::string& sql) { return wire::parse("", sql) + wire::bind("") + wire::execute(); };
  for (const auto& bytes :
       {wire::query(copy) + wire::copy_data("1\n"), wire::query(copy) + wire::copy_data("1\n2"),
        run(copy) + wire::copy_data("1\n"), run(copy) + wire::sync() + wire::copy_data("1\n"),
        wire::query("BEGIN") + wire::query(copy) + wire::copy_data("1\n"), wire::query(copy) + wire::copy_data("x\n"),
        wire::query(copy) + wire::copy_data("1\n") + wire::copy_done() + wire::copy_data("2\n"), run("SELECT 1/0"),
        insert + run("SELECT 1/0"), run("SELECT 1"), run("SELECT 1") + wire::flush(), wire::parse("s", "SELECT 1"),
        wire::parse("s", "SELEC 1"), run("DO $$BEGIN RAISE NOTICE 'noted'; END$$"),
        insert + run("INSERT INTO kept VALUES (2)"), wire::query("BEGIN") + run("INSERT INTO kept VALUES (2)"),
        wire::query("BEGIN") + run("SELECT 1/0")}) {
    server_->exec("TRUNCATE kept");
    const auto heard = [&](int port) {
      auto peer = wire::log_in(port);
      peer->send(bytes + goodbye);
      std::string text;
      for (const auto& message : messages_of(peer->read_until_end())) text += message + "\n";
      return text + "rows: " + rows_in_the_end();
    };
    const auto wanted = heard(server_->port());
    server_->exec("TRUNCATE kept");
    EXPECT_EQ(heard(proxy_->port()), wanted) << ::testing::PrintToString(bytes);
  }
  // A Sync in front of the data leaves in doubt how many ReadyForQuery will come, and behind a DO nobody knows which
  // custom settings the server shows.
  EXPECT_LE(proxy_->metric("holdfast_servers_closed_total").value_or(9), 2);
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
