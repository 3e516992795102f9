// Servers are shared, never exceeded, never dirty: limits over two workers, order of waiting, cancellation, clients
// that vanish at every stage.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include <map>
#include <thread>

#include "tests/support/endpoint.hpp"
#include "tests/support/scripted_peer.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

class Pools : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
    server_->exec("CREATE TABLE t (id int); GRANT ALL ON t TO app");
  }
  static void TearDownTestSuite() { delete server_; }

  static HoldfastOptions pool(const std::string& text) {
    return endpoint({.members = member_yaml(*server_), .pool = text});
  }
  static int servers() {
    return std::stoi(server_->scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND backend_type = 'client backend'"));
  }
  // No server connection is left in a transaction or at work, no lock is held.
  static bool all_clean() {
    return server_->scalar(
               "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND backend_type = "
               "'client backend' AND state <> 'idle'") == "0" &&
           server_->scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0";
  }
  static void begin(Connection& client, const std::string& sql) {
    ASSERT_EQ(PQsendQuery(client.raw(), sql.c_str()), 1);
  }
  static std::string finish(Connection& client) {
    std::string value;
    std::optional<SqlError> error;
    while (PGresult* result = PQgetResult(client.raw())) {
      try {
        const auto rows = checked_rows(result, client.raw());
        if (!rows.empty() && !rows[0].empty()) value = rows[0][0].value_or("");
      } catch (const SqlError& failed) {
        error = failed;
      }
    }
    if (error) throw *error;
    return value;
  }
  static void cancel(Connection& client) {
    const std::unique_ptr<PGcancel, decltype(&PQfreeCancel)> request(PQgetCancel(client.raw()), PQfreeCancel);
    std::array<char, 256> error{};
    EXPECT_EQ(PQcancel(request.get(), error.data(), error.size()), 1) << error.data();
  }

  static Server* server_;
};
Server* Pools::server_ = nullptr;

TEST_F(Pools, size_is_the_processes_over_all_workers) {
  const Holdfast proxy(pool("size: 3"));
  std::atomic<bool> over = false;
  int most = 0;
  std::thread watcher([&] {
    auto watch = server_->connect("postgres");
    while (!over) {
      most = std::max(most, std::stoi(watch.scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND "
                                                   "backend_type = 'client backend'")));
    }
  });
  std::vector<std::thread> threads;
  std::atomic<int> answers = 0;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&, i] {
      auto client = proxy.connect();
      for (int j = 0; j < 100; ++j) {
        client.exec("BEGIN");
        client.exec("SELECT 1");  // takes the server
        if (client.scalar("SELECT " + std::to_string(i)) == std::to_string(i)) ++answers;
        client.exec("COMMIT");
      }
    });
  }
  for (auto& thread : threads) thread.join();
  over = true;
  watcher.join();
  EXPECT_EQ(answers, 1600);
  EXPECT_EQ(most, 3);
}

// Waiters of both workers, one after the other in line: the one server serves them in that order.
TEST_F(Pools, longest_waiting_goes_first_over_all_workers) {
  const Holdfast proxy(pool("size: 1"));
  server_->exec("TRUNCATE t");
  server_->exec("CREATE SEQUENCE IF NOT EXISTS turns; ALTER SEQUENCE turns RESTART; GRANT ALL ON turns TO app");
  std::vector<Connection> waiting;
  for (int i = 0; i < 12; ++i) waiting.push_back(proxy.connect());
  auto busy = proxy.connect();
  busy.exec("BEGIN");
  busy.exec("SELECT 1");  // takes the server
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    begin(waiting[i], "SELECT nextval('turns')");
    ASSERT_TRUE(wait_until(5s, [&] { return proxy.metric("holdfast_clients_waiting") == static_cast<double>(i + 1); }));
  }
  busy.exec("COMMIT");
  for (std::size_t i = 0; i < waiting.size(); ++i) EXPECT_EQ(finish(waiting[i]), std::to_string(i + 1));
}

TEST_F(Pools, waiting_ends_with_53300_and_the_client_goes_on) {
  const Holdfast proxy(pool("size: 1, wait_timeout: 300ms"));
  auto waiting = proxy.connect();
  auto busy = proxy.connect();
  busy.exec("BEGIN");
  busy.exec("SELECT 1");  // takes the server
  EXPECT_EQ(sqlstate_of([&] { waiting.exec("SELECT 1"); }), "53300");
  EXPECT_EQ(sqlstate_of([&] { waiting.rows("SELECT $1::int", {"1"}); }), "53300");
  busy.exec("COMMIT");
  EXPECT_EQ(waiting.scalar("SELECT 1"), "1");
  EXPECT_EQ(proxy.metric("holdfast_waits_timed_out_total"), 2);
}

TEST_F(Pools, a_running_statement_is_cancelled_and_its_server_reused) {
  const Holdfast proxy(pool("size: 1"));
  auto client = proxy.connect();
  auto next = proxy.connect();
  for (int i = 0; i < 10; ++i) {
    begin(client, "SELECT pg_sleep(60)");
    ASSERT_TRUE(wait_until(5s, [&] {
      return server_->scalar(
                 "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)' AND state = "
                 "'active'") == "1";
    }));
    cancel(client);
    EXPECT_EQ(sqlstate_of([&] { finish(client); }), "57014");
    // Late or not, it must not hit who comes next.
    for (int j = 0; j < 3; ++j) EXPECT_EQ(next.scalar("SELECT pg_sleep(0.005)::text"), "");
    EXPECT_EQ(client.scalar("SELECT 1"), "1");
  }
  EXPECT_EQ(proxy.metric("holdfast_servers_opened_total"), 1);
}

TEST_F(Pools, a_waiting_client_is_cancelled_and_nobody_else) {
  const Holdfast proxy(pool("size: 1"));
  auto waiting = proxy.connect();
  auto busy = proxy.connect();
  busy.exec("BEGIN");
  busy.exec("SELECT 1");  // takes the server
  begin(busy, "SELECT pg_sleep(0.5)");
  begin(waiting, "SELECT 2");
  ASSERT_TRUE(wait_until(5s, [&] { return proxy.metric("holdfast_clients_waiting") == 1; }));
  cancel(waiting);
  EXPECT_EQ(sqlstate_of([&] { finish(waiting); }), "57014");
  finish(busy);
  busy.exec("COMMIT");
  EXPECT_EQ(waiting.scalar("SELECT 3"), "3");
}

TEST_F(Pools, cancels_of_one_client_never_hit_another) {
  const Holdfast proxy(pool("size: 2"));
  std::atomic<bool> over = false;
  std::atomic<int> hit = 0;
  std::atomic<int> done = 0;
  std::vector<std::thread> innocents;
  for (int i = 0; i < 4; ++i) {
    innocents.emplace_back([&] {
      auto client = proxy.connect();
      while (!over) {
        if (!sqlstate_of([&] { client.exec("SELECT pg_sleep(0.001)"); }).empty()) ++hit;
        ++done;
      }
    });
  }
  auto victim = proxy.connect();
  std::map<std::string, int> outcomes;
  for (int i = 0; i < 200 || (done < 500 && i < 100000); ++i) {
    begin(victim, "SELECT pg_sleep(0.001), " + std::to_string(i));
    cancel(victim);  // before, while or after it runs
    std::string value;
    const auto state = sqlstate_of([&] {
      const auto rows = victim.answer();
      value = rows.at(0).at(1).value_or("");
    });
    ++outcomes[state];
    // Cancelled or not, it is this statement's own answer and the only one.
    if (state.empty()) {
      ASSERT_EQ(value, std::to_string(i));
    }
  }
  over = true;
  for (auto& thread : innocents) thread.join();
  EXPECT_EQ(hit, 0);
  EXPECT_GT(done, 100);
  EXPECT_GT(outcomes["57014"], 0) << "no cancel struck: the test shows nothing";
  outcomes.erase("57014");
  outcomes.erase("");
  EXPECT_THAT(outcomes, ::testing::IsEmpty()) << "the victim was told something else";
  EXPECT_EQ(victim.scalar("SELECT 1"), "1");
}

TEST_F(Pools, query_timeout_cancels_in_the_server) {
  const Holdfast proxy(endpoint({.members = member_yaml(*server_),
                                 .pool = "size: 1",
                                 .more = "timeouts: { query: 200ms, idle_in_transaction: 300ms }\n"}));
  auto client = proxy.connect();
  EXPECT_EQ(sqlstate_of([&] { client.exec("SELECT pg_sleep(60)"); }), "57014");
  EXPECT_EQ(client.scalar("SELECT 1"), "1");
  client.exec("BEGIN");
  client.exec("SELECT 1");  // takes the server
  client.exec("INSERT INTO t VALUES (77)");
  ASSERT_TRUE(wait_until(5s, [&] { return PQconsumeInput(client.raw()) == 0 || !client.alive(); }));
  EXPECT_EQ(server_->scalar("SELECT count(*) FROM t WHERE id = 77"), "0");
  EXPECT_TRUE(wait_until(5s, [&] { return all_clean(); }));
}

// Every server is in use: whoever brings settings that some worker has seen is let in all the same, on any worker.
TEST_F(Pools, log_ins_need_no_free_server_on_any_worker) {
  const Holdfast proxy(
      endpoint({.members = member_yaml(*server_), .workers = 2, .pool = "size: 1, wait_timeout: 10s"}));
  auto busy = proxy.connect();
  busy.exec("BEGIN");
  busy.exec("SELECT 1");  // takes the server
  std::vector<Connection> others;
  for (int i = 0; i < 8; ++i) others.push_back(proxy.connect());
  EXPECT_EQ(others.front().parameter("server_encoding"), busy.parameter("server_encoding"));
  busy.exec("COMMIT");
  for (auto& other : others) EXPECT_EQ(other.scalar("SELECT 1"), "1");
}

// A log-in whose settings are new needs a server to try them on. A client that leaves while it waits for one keeps no
// place in the line and none among the clients, however long others may wait.
TEST_F(Pools, clients_that_leave_while_their_log_in_waits_are_forgotten_at_once) {
  const Holdfast proxy(endpoint({.members = member_yaml(*server_),
                                 .pool = "size: 1, wait_timeout: 5m",
                                 .auth = "method: trust, login_timeout: 5m"}));
  auto busy = proxy.connect();
  busy.exec("BEGIN");
  busy.exec("SELECT 1");  // takes the server
  std::vector<std::unique_ptr<PeerConnection>> leaving;
  for (int i = 1; i <= 6; ++i) {
    leaving.push_back(std::make_unique<PeerConnection>(connect_to(proxy.port())));
    leaving.back()->send(
        startup_bytes({{"user", "app"}, {"database", "app"}, {"options", "-c work_mem=" + std::to_string(i) + "MB"}}));
    ASSERT_TRUE(wait_until(5s, [&] { return proxy.metric("holdfast_clients_waiting") == i; }));
  }
  EXPECT_EQ(proxy.metric("holdfast_clients"), 7);
  for (std::size_t i = 0; i < leaving.size(); ++i) {
    if (i % 2 == 0) {
      leaving[i]->close();
    } else {
      leaving[i]->reset();
    }
  }
  EXPECT_TRUE(wait_until(10s, [&] { return proxy.metric("holdfast_clients_waiting") == 0; }));
  EXPECT_TRUE(wait_until(10s, [&] { return proxy.metric("holdfast_clients") == 1; }));
  busy.exec("COMMIT");
  EXPECT_EQ(proxy.connect().scalar("SELECT 1"), "1");
}

// Who waits on one worker gives up; a permit that comes back is not lost on it, but wakes who waits on another.
TEST_F(Pools, permits_find_those_who_still_wait) {
  const Holdfast proxy(
      endpoint({.members = member_yaml(*server_), .workers = 3, .pool = "size: 1, wait_timeout: 30s"}));
  std::vector<Connection> clients;
  for (int i = 0; i < 9; ++i) clients.push_back(proxy.connect());
  for (int round = 0; round < 3; ++round) {
    auto busy = proxy.connect();
    busy.exec("BEGIN");
    busy.exec("SELECT 1");  // takes the server
    std::vector<Connection> leaving;
    for (int i = 0; i < 6; ++i) leaving.push_back(proxy.connect());
    for (auto& client : leaving) ASSERT_EQ(PQsendQuery(client.raw(), "SELECT 1"), 1);
    ASSERT_TRUE(wait_until(5s, [&] { return proxy.metric("holdfast_clients_waiting") == 6.0; }));
    for (auto& client : clients) ASSERT_EQ(PQsendQuery(client.raw(), "SELECT 2"), 1);
    ASSERT_TRUE(wait_until(5s, [&] { return proxy.metric("holdfast_clients_waiting") == 15.0; }));
    leaving.clear();
    ASSERT_TRUE(wait_until(5s, [&] { return proxy.metric("holdfast_clients_waiting") == 9.0; }));
    server_->exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
    const auto deadline = std::chrono::steady_clock::now() + 10s;
    for (auto& client : clients) {
      auto rows = checked_rows(PQgetResult(client.raw()), client.raw());
      EXPECT_EQ(rows[0][0], "2");
      PQclear(PQgetResult(client.raw()));
    }
    EXPECT_LT(std::chrono::steady_clock::now(), deadline) << "somebody was woken by his deadline only";
  }
}

// A waiter that was served by its own worker no longer counts in the line of the process: no server leaves the worker
// of the client that has waited longest for a client that has waited less.
TEST_F(Pools, the_wait_of_a_client_that_was_served_takes_no_server_from_another_worker) {
  const Holdfast proxy(
      endpoint({.members = member_yaml(*server_), .workers = 2, .pool = "size: 2, wait_timeout: 30s"}));
  // A new client goes to the worker that has fewer, the first one when they have the same number.
  auto busy_here = proxy.connect();
  auto busy_there = proxy.connect();
  auto first_here = proxy.connect();
  auto first_there = proxy.connect();
  auto second_here = proxy.connect();
  for (auto* busy : {&busy_here, &busy_there}) {
    busy->exec("BEGIN");
    busy->exec("SELECT 1");  // takes a server of its worker's
  }
  double waiting = 0;
  for (auto* waiter : {&first_here, &first_there, &second_here}) {
    waiter->exec("BEGIN");
    waiter->ask("SELECT 'served'");
    ASSERT_TRUE(wait_until(5s, [&] { return proxy.metric("holdfast_clients_waiting") == waiting + 1; }));
    ++waiting;
  }
  busy_here.exec("COMMIT");
  ASSERT_TRUE(first_here.answered(10s));
  EXPECT_EQ(proxy.metric("holdfast_server_handovers_total"), 0) << "they are not on the workers that the test assumes";
  busy_there.exec("COMMIT");
  // Now the one that has waited longest is on the worker whose server this is; both winners keep theirs.
  EXPECT_TRUE(first_there.answered(5s)) << "a younger waiter of another worker went first";
  EXPECT_EQ(proxy.metric("holdfast_server_handovers_total"), 0) << "the server was offered to a younger waiter first";
  EXPECT_FALSE(second_here.answered(0ms));
  for (auto* winner : {&first_here, &first_there}) {
    EXPECT_EQ(winner->answer().at(0).at(0), "served");
    winner->exec("COMMIT");
  }
  EXPECT_EQ(second_here.answer().at(0).at(0), "served");
}

// A server ended while the proxy looked away: the send fails as a whole (on a Unix socket it does; over TCP and TLS see
// server_reset_test.cpp), and the statement runs on another one, at once.
TEST_F(Pools, a_statement_for_a_dead_server_goes_to_another) {
  const Holdfast proxy(endpoint({.members = "      - { name: pg1, host: \"" + server_->socket_folder().string() +
                                            "\", port: " + std::to_string(server_->port()) + " }\n",
                                 .workers = 1,
                                 .pool = "size: 2"}));
  auto client = proxy.connect();
  EXPECT_EQ(client.scalar("SELECT 42"), "42");
  // The database's first statement: its server is asked for hidden code, and is idle after that.
  ASSERT_TRUE(wait_until(10s, [&] { return proxy.metric("holdfast_catalogue_audits_total") == 1; }));
  ASSERT_TRUE(halt(proxy.pid()));
  ASSERT_EQ(PQsendQuery(client.raw(), "SELECT 43"), 1);
  server_->exec("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'app'");
  ASSERT_EQ(::kill(proxy.pid(), SIGCONT), 0);
  EXPECT_EQ(client.answer().at(0).at(0), "43");
  EXPECT_EQ(proxy.metric("holdfast_retries_total{reason=\"unsent\"}"), 1)
      << "the server was not dead when the statement was sent";
}

// The database can't be asked for hidden code: its servers are cleaned, and the log says why, once.
TEST_F(Pools, an_audit_that_fails_is_told_once) {
  const auto count = [](const std::string& log, const std::string& event) {
    std::size_t found = 0;
    for (auto at = log.find(event); at != std::string::npos; at = log.find(event, at + 1)) ++found;
    return found;
  };
  server_->exec("GRANT CREATE ON SCHEMA public TO app; REVOKE SELECT ON pg_catalog.pg_proc FROM PUBLIC");
  const Holdfast proxy(pool("size: 2, wait_timeout: 10s"));
  const auto failed = [&] { return proxy.metric("holdfast_catalogue_audits_failed_total").value_or(0); };
  auto client = proxy.connect();
  for (int i = 1; i <= 3; ++i) {
    client.exec("CREATE TABLE passing (a int); DROP TABLE passing");  // everything that was known is old
    ASSERT_TRUE(wait_until(10s, [&] { return failed() >= i; })) << i;
  }
  EXPECT_TRUE(wait_until(10s, [&] { return proxy.metric("holdfast_servers_cleaned_total") >= 3; }));
  server_->exec("GRANT SELECT ON pg_catalog.pg_proc TO PUBLIC");
  client.exec("CREATE TABLE passing (a int); DROP TABLE passing");
  ASSERT_TRUE(proxy.wait_log("catalogue_audit_succeeded"));
  const auto log = proxy.log();
  EXPECT_EQ(count(log, "catalogue_audit_failed"), 1U) << log;
  EXPECT_EQ(count(log, "catalogue_audit_succeeded"), 1U) << log;
  const auto line = log.substr(log.find("catalogue_audit_failed"));
  EXPECT_TRUE(line.starts_with("catalogue_audit_failed cluster=main member=pg1 database=app user=app sqlstate=42501 "
                               "reason=\"permission denied for table pg_proc\""))
      << line.substr(0, line.find('\n'));
}

std::string parse(const std::string& name, const std::string& sql) {
  return message_bytes('P', name + '\0' + sql + "\0\0\0"s);
}
std::string bind(const std::string& name) {
  return message_bytes('B', "\0"s + name + "\0\0\0\0\0\0\0"s);
}
const std::string execute = message_bytes('E', "\0\0\0\0\0"s);
std::string query(const std::string& sql) {
  return message_bytes('Q', sql + '\0');
}

// What a client has sent when its connection ends. Logged in before unless `login` is off.
struct Stage {
  friend void PrintTo(const Stage& stage, std::ostream* out) { *out << stage.name; }
  const char* name;
  std::string bytes;
  bool login = true;
  bool whole = true;  // the server stays usable: nothing of a message is missing
};

class Vanishing : public Pools, public ::testing::WithParamInterface<Stage> {};

TEST_P(Vanishing, clients_leave_their_server_clean_and_reusable) {
  const auto& stage = GetParam();
  server_->exec("TRUNCATE t");
  const Holdfast proxy(pool("size: 2, wait_timeout: 10s"));
  auto bystander = proxy.connect();
  EXPECT_EQ(bystander.scalar("SELECT 1"), "1");
  const auto good_start = startup_bytes({{"user", "app"}, {"database", "app"}});
  for (int i = 0; i < 12; ++i) {
    PeerConnection client(connect_to(proxy.port()));
    if (stage.login) {
      client.send(good_start);
      static_cast<void>(client.read_until('Z'));
    }
    if (!stage.bytes.empty()) client.send(stage.bytes);
    // A third of them once the server is at work on it, the rest at once: by FIN, by RST.
    if (i % 3 == 0 && stage.login) {
      static_cast<void>(wait_until(100ms, [] {
        return server_->scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'") !=
               "0";
      }));
    }
    if (i % 2 == 0) {
      client.reset();
    } else {
      client.close();
    }
  }
  EXPECT_TRUE(wait_until(10s, [&] { return proxy.metric("holdfast_clients") == 1; }));
  EXPECT_TRUE(wait_until(10s, [&] { return all_clean(); }));
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(bystander.scalar("SELECT count(*) FROM t WHERE id = 99"), "0");
    EXPECT_EQ(bystander.rows("SELECT $1::text", {"x"})[0][0], "x");
  }
  EXPECT_EQ(proxy.metric("holdfast_clients_waiting"), 0);
  EXPECT_LE(servers(), 2);
  if (stage.whole) {
    EXPECT_LE(proxy.metric("holdfast_servers_opened_total"), 2);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, Vanishing,
    ::testing::Values(
        Stage{"before_a_byte", "", false}, Stage{"in_the_start_up_packet", "\0\0\0\x20\0\x03"s, false},
        Stage{"after_the_start_up_packet",
              startup_bytes({{"user", "app"}, {"database", "app"}, {"DateStyle", "german"}}), false},
        Stage{"idle", ""}, Stage{"in_a_query", query("SELECT pg_sleep(30)")},
        Stage{"in_a_transaction", query("BEGIN; INSERT INTO t VALUES (99)")},
        Stage{"in_a_failed_transaction", query("BEGIN") + query("SELECT 1/0")},
        Stage{"in_a_batch", parse("", "INSERT INTO t VALUES (99)") + bind("") + execute},
        Stage{"in_a_flushed_batch", parse("a", "INSERT INTO t VALUES (99)") + bind("a") + execute + message_bytes('H')},
        Stage{"in_a_failed_batch", parse("", "SELECT 1/0") + bind("") + execute},
        Stage{"in_a_pipeline", parse("p", "SELECT pg_sleep(0.2)") + bind("p") + execute + message_bytes('S') +
                                   bind("p") + execute + message_bytes('S') + query("SELECT pg_sleep(30)")},
        Stage{"in_copy_in", query("COPY t FROM STDIN") + message_bytes('d', "99\n")},
        Stage{"in_copy_out", query("COPY (SELECT generate_series(1, 3000000)) TO STDOUT")},
        Stage{"in_a_large_result", query("SELECT repeat('x', 1000) FROM generate_series(1, 100000)")},
        Stage{"in_half_a_message", query("BEGIN") + query("INSERT INTO t VALUES (99)").substr(0, 20), true, false},
        Stage{"in_half_a_large_message", query("SELECT '" + std::string(200000, 'x') + "'").substr(0, 150000), true,
              false},
        Stage{"pinned", query("SET work_mem = '99kB'") + query("SELECT pg_advisory_lock(1)")}),
    [](const auto& stage) { return std::string(stage.param.name); });

}  // namespace
}  // namespace holdfast::testing
