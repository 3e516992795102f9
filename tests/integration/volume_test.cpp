// Much of everything: memory stays bounded, nobody waits for somebody else's slowness, every byte arrives.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>

#include <fstream>
#include <iostream>

#include "tests/support/endpoint.hpp"
#include "tests/support/sanitized.hpp"
#include "tests/support/scripted_peer.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

// Resident memory of a process in kB, of /proc (proc(5)).
long resident(pid_t process) {
  std::ifstream status("/proc/" + std::to_string(process) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stol(line.substr(6));
  return 0;
}

class Volume : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
  }
  static void TearDownTestSuite() { delete server_; }
  static Server* server_;
};
Server* Volume::server_ = nullptr;

TEST_F(Volume, long_statements_and_values_arrive_whole) {
  const Holdfast proxy(endpoint({.members = member_yaml(*server_), .pool = "size: 2"}));
  auto client = proxy.connect();
  const std::string ten(10 * 1024 * 1024, 's');
  const std::string sixteen(16 * 1024 * 1024, 'v');
  EXPECT_EQ(client.scalar("SELECT length('" + ten + "')"), std::to_string(ten.size()));
  EXPECT_EQ(client.scalar("SELECT length($1)", {sixteen}), std::to_string(sixteen.size()));
  EXPECT_EQ(client.scalar("SELECT $1::text", {sixteen}), sixteen);
  EXPECT_EQ(client.scalar("SELECT '" + ten + "' -- once more"), ten);
  EXPECT_EQ(client.scalar("SELECT 1"), "1");
}

// Everything is sent before the first Sync; neither side's buffers hold it. libpq reads while it writes.
TEST_F(Volume, a_batch_larger_than_all_buffers_has_answers_as_large) {
  const Holdfast proxy(endpoint({.members = member_yaml(*server_), .pool = "size: 2"}));
  const auto before = resident(proxy.pid());
  auto client = proxy.connect();
  ASSERT_EQ(PQenterPipelineMode(client.raw()), 1);
  ASSERT_EQ(PQsetnonblocking(client.raw(), 1), 0);
  constexpr int statements = 4000;
  const std::string value(10000, 'b');
  int sent = 0;
  int answered = 0;
  bool synced = false;
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  while (!synced && std::chrono::steady_clock::now() < deadline) {
    for (int i = 0; i < 50 && sent < statements; ++i, ++sent) {
      const auto number = std::to_string(sent);
      const char* values[] = {value.c_str(), number.c_str()};
      ASSERT_EQ(PQsendQueryParams(client.raw(), "SELECT $1::text || $2::text", 2, nullptr, values, nullptr, nullptr, 0),
                1)
          << PQerrorMessage(client.raw());
      if (sent + 1 == statements) {
        ASSERT_EQ(PQpipelineSync(client.raw()), 1);
      }
    }
    const int left = PQflush(client.raw());
    ASSERT_GE(left, 0);
    pollfd waits{.fd = PQsocket(client.raw()), .events = POLLIN, .revents = 0};
    if (left == 1) waits.events |= POLLOUT;
    if (sent == statements || left == 1) {
      ASSERT_GT(::poll(&waits, 1, 20000), 0) << "stuck at answer " << answered;
    }
    ASSERT_EQ(PQconsumeInput(client.raw()), 1) << PQerrorMessage(client.raw());
    while (!synced && answered <= sent && PQisBusy(client.raw()) == 0) {
      PGresult* result = PQgetResult(client.raw());
      if (result == nullptr) {
        if (answered == sent && sent < statements) break;
        continue;
      }
      if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
        synced = true;
      } else {
        ASSERT_EQ(PQresultStatus(result), PGRES_TUPLES_OK) << PQresultErrorMessage(result);
        ASSERT_EQ(std::string(PQgetvalue(result, 0, 0)), value + std::to_string(answered));
        ++answered;
      }
      PQclear(result);
    }
  }
  EXPECT_TRUE(synced);
  EXPECT_EQ(answered, statements);
  if (!sanitized) {
    EXPECT_LT(resident(proxy.pid()) - before, 32 * 1024);
  }
}

TEST_F(Volume, a_slow_reader_costs_no_memory_and_delays_nobody) {
  const Holdfast proxy(endpoint({.members = member_yaml(*server_), .pool = "size: 4"}));
  std::vector<Connection> others;
  for (int i = 0; i < 4; ++i) others.push_back(proxy.connect());
  for (auto& other : others) other.exec("SELECT 1");
  const auto before = resident(proxy.pid());
  constexpr int rows = 100000;
  std::vector<Connection> slow;
  for (int i = 0; i < 2; ++i) {
    slow.push_back(proxy.connect());
    ASSERT_EQ(PQsendQuery(slow.back().raw(), "SELECT repeat('x', 1000) FROM generate_series(1, 100000)"), 1);
    ASSERT_EQ(PQsetSingleRowMode(slow.back().raw()), 1);
  }
  // The servers stop when nobody takes more of them.
  ASSERT_TRUE(wait_until(20s, [&] {
    return server_->scalar(
               "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'ClientWrite'") == "2";
  }));
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 200; ++i)
    EXPECT_EQ(others[static_cast<std::size_t>(i) % 4].scalar("SELECT " + std::to_string(i)), std::to_string(i));
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
  EXPECT_LT(resident(proxy.pid()) - before, 16 * 1024);
  for (auto& reader : slow) {
    int got = 0;
    while (PGresult* result = PQgetResult(reader.raw())) {
      got += PQntuples(result);
      PQclear(result);
    }
    EXPECT_EQ(got, rows);
  }
  EXPECT_LT(resident(proxy.pid()) - before, 16 * 1024);
}

// Text that never repeats, names that never repeat: caches have bounds.
TEST_F(Volume, names_and_texts_that_never_repeat_stay_within_bounds) {
  const Holdfast proxy(endpoint({.members = member_yaml(*server_),
                                 .pool = "size: 1",
                                 .more = "limits: { prepared_per_server: 50, statement_cache: 1MB }\n"}));
  auto client = proxy.connect();
  auto watch = proxy.connect();
  const auto run = [&](int from, int to) {
    for (int i = from; i < to; ++i) {
      const auto name = "never_" + std::to_string(i);
      const auto sql =
          "SELECT " + std::to_string(i) + " AS \"column_" + std::to_string(i) + std::string(200, 'c') + "\"";
      PQclear(PQprepare(client.raw(), name.c_str(), sql.c_str(), 0, nullptr));
      ASSERT_EQ(
          checked_rows(PQexecPrepared(client.raw(), name.c_str(), 0, nullptr, nullptr, nullptr, 0), client.raw())[0][0],
          std::to_string(i));
      PGresult* closed = PQexec(client.raw(), "SELECT 1");
      ASSERT_EQ(PQresultStatus(closed), PGRES_TUPLES_OK);
      PQclear(closed);
    }
  };
  run(0, 3000);
  EXPECT_LE(std::stoi(watch.scalar("SELECT count(*) FROM pg_prepared_statements")), 60);
  // An early name is still known to its client.
  EXPECT_EQ(checked_rows(PQexecPrepared(client.raw(), "never_0", 0, nullptr, nullptr, nullptr, 0), client.raw())[0][0],
            "0");
}

TEST_F(Volume, ten_thousand_idle_clients) {
  constexpr int clients = 10000;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit wanted = before;
  wanted.rlim_cur = std::max<rlim_t>(before.rlim_cur, clients + 500);
  if (wanted.rlim_max < wanted.rlim_cur) {
    GTEST_SKIP() << "needs " << wanted.rlim_cur << " open files, the limit is " << wanted.rlim_max;
  }
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &wanted), 0);
  {
    const Holdfast proxy(
        endpoint({.members = member_yaml(*server_), .pool = "size: 4", .more = "limits: { max_clients: 12000 }\n"}));
    auto busy = proxy.connect();
    busy.exec("SELECT 1");
    const auto memory = resident(proxy.pid());
    const auto hello = startup_bytes({{"user", "app"}, {"database", "app"}});
    std::vector<std::unique_ptr<PeerConnection>> idle;
    for (int i = 0; i < clients; ++i) {
      idle.push_back(std::make_unique<PeerConnection>(connect_to(proxy.port())));
      idle.back()->send(hello);
      static_cast<void>(idle.back()->read_until('Z'));
    }
    EXPECT_EQ(proxy.metric("holdfast_clients"), clients + 1);
    const auto per_client = static_cast<double>(resident(proxy.pid()) - memory) * 1024 / clients;
    std::cout << "memory per idle client: " << per_client << " bytes\n";
    RecordProperty("bytes_per_idle_client", static_cast<int>(per_client));
    if (!sanitized) {
      EXPECT_LT(per_client, 4 * 1024);
    }
    // They are alive, and so is everybody else.
    for (int i = 0; i < clients; i += 500) {
      idle[static_cast<std::size_t>(i)]->send(message_bytes('Q', std::string("SELECT 1\0", 9)));
      EXPECT_EQ(idle[static_cast<std::size_t>(i)]->read_until('Z'), "TDCZ");
    }
    EXPECT_EQ(busy.scalar("SELECT 1"), "1");
    idle.clear();
    EXPECT_TRUE(wait_until(20s, [&] { return proxy.metric("holdfast_clients") == 1; }));
  }
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

// Under "*" every name that somebody tries makes a pool: it goes when nobody uses it.
TEST_F(Volume, pools_of_names_that_nobody_uses_go) {
  const Holdfast proxy(endpoint({.members = member_yaml(*server_), .pool = "size: 2"}));
  for (int i = 0; i < 300; ++i) {
    auto conninfo = proxy.conninfo("app", "never_" + std::to_string(i));
    EXPECT_FALSE(Connection::attempt(conninfo));
  }
  auto client = proxy.connect();
  client.exec("SELECT 1");
  EXPECT_TRUE(wait_until(20s, [&] { return proxy.metric("holdfast_pools") == 1.0; }))
      << proxy.metric("holdfast_pools").value_or(-1);
  EXPECT_EQ(client.scalar("SELECT 1"), "1");
}

}  // namespace
}  // namespace holdfast::testing
