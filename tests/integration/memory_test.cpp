// What clients can make the proxy keep: bounded in bytes while they are there, and given back when they are gone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <fstream>
#include <iostream>

#include "tests/support/endpoint.hpp"
#include "tests/support/sanitized.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

constexpr long mebibyte = 1024;  // in kB

// Resident memory of a process in kB (proc(5)).
long resident(pid_t process) {
  std::ifstream status("/proc/" + std::to_string(process) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stol(line.substr(6));
  }
  return 0;
}

class Memory : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
  }
  static void TearDownTestSuite() { delete server_; }

  [[nodiscard]] static HoldfastOptions options(const std::string& more = {}, const std::string& pool = "size: 4") {
    return endpoint({.members = member_yaml(*server_), .workers = 1, .pool = pool, .more = more});
  }
  // Sanitizers keep what is freed, to find its later use.
  static void expect_below(long kilobytes, long most) {
    if (!sanitized) {
      EXPECT_LT(kilobytes, most);
    }
  }
  static void print(const char* what, long before, long during, long after) {
    std::cout << what << ": RSS " << before << " kB before, " << during << " during, " << after << " after\n";
  }

  static Server* server_;
};
Server* Memory::server_ = nullptr;

// What has run once has its code, its caches and its spare buffers in memory: long statements, and ordinary load.
void warm_up(const Holdfast& proxy) {
  for (int round = 0; round < 5; ++round) {
    std::vector<std::unique_ptr<PeerConnection>> clients;
    for (int i = 0; i < 10; ++i) {
      clients.push_back(wire::log_in(proxy.port()));
      clients.back()->send(wire::parse("s", "select " + std::to_string(i)) + wire::bind("s") + wire::execute() +
                           wire::sync());
      EXPECT_EQ(wire::read_value(*clients.back()), std::to_string(i));
      clients.back()->send(wire::query("begin") + wire::query("select 1 for update") + wire::query("commit"));
      for (int k = 0; k < 3; ++k) static_cast<void>(clients.back()->read_until('Z'));
    }
  }
  auto client = wire::log_in(proxy.port());
  for (int i = 0; i < 20; ++i) {
    client->send(wire::parse("", "select " + std::string(100'000, ' ') + std::to_string(i)) + wire::sync());
    EXPECT_EQ(client->read_until('Z'), "1Z");
  }
}

std::string long_text(int number, std::size_t size) {
  return "select " + std::to_string(number) + " /*" + std::string(size, 'x') + "*/";
}

TEST_F(Memory, of_prepared_statements_is_bounded_for_each_client_and_goes_with_it) {
  const Holdfast proxy(options());
  warm_up(proxy);
  const auto before = resident(proxy.pid());
  long during = 0;
  {
    auto client = wire::log_in(proxy.port());
    int taken = 0;
    for (int i = 0; i < 300; ++i) {
      client->send(wire::parse("s" + std::to_string(i), long_text(i, 1'000'000)) + wire::sync());
      const auto answer = client->read_until('Z');
      ASSERT_TRUE(answer == "1Z" || answer == "EZ") << answer;
      taken += answer == "1Z";
    }
    during = resident(proxy.pid());
    EXPECT_EQ(taken, 16) << "limits.prepared_memory_per_client";
    // It goes on: with what it has, and with more when it has closed some.
    client->send(wire::parse("more", long_text(1, 1'000'000)) + wire::sync());
    EXPECT_EQ(wire::read_error(*client), "54000");
    EXPECT_EQ(client->read_until('Z'), "Z");
    client->send(wire::bind("s1") + wire::execute() + wire::sync());
    EXPECT_EQ(wire::read_value(*client), "1");
    client->send(wire::query("deallocate s1"));
    EXPECT_EQ(client->read_until('Z'), "CZ");
    client->send(wire::parse("more", long_text(2, 1'000'000)) + wire::sync());
    EXPECT_EQ(client->read_until('Z'), "1Z");
  }
  ASSERT_TRUE(wait_until(10s, [&] { return proxy.metric("holdfast_clients") == 0; }));
  const auto after = resident(proxy.pid());
  print("300 names with a megabyte each", before, during, after);
  expect_below(after, before + before / 10);
  // A client's texts, the servers' lists, and what is on its way.
  expect_below(during - before, 48 * mebibyte);
}

TEST_F(Memory, of_prepared_statements_is_bounded_for_all_clients_together) {
  const Holdfast proxy(options("limits: { prepared_memory_per_worker: 16MiB }\n"));
  warm_up(proxy);
  const auto before = resident(proxy.pid());
  std::vector<std::unique_ptr<PeerConnection>> clients;
  for (int i = 0; i < 40; ++i) {
    clients.push_back(wire::log_in(proxy.port()));
    for (int k = 0; k < 10; ++k) {
      clients.back()->send(wire::parse("s" + std::to_string(k), long_text(100 * i + k, 200'000)) + wire::sync());
      const auto answer = clients.back()->read_until('Z');
      ASSERT_TRUE(answer == "1Z" || answer == "EZ") << answer;
    }
    clients.back()->send(wire::parse("", "select 7") + wire::bind("") + wire::execute() + wire::sync());
    EXPECT_EQ(wire::read_value(*clients.back()), "7") << "who has little is served";
    if (i > 3) clients.back()->send("X" + std::string("\0\0\0\4", 4));
  }
  const auto during = resident(proxy.pid());
  print("400 names with 200 kB each", before, during, resident(proxy.pid()));
  expect_below(during - before, 48 * mebibyte);
}

// The length that is claimed costs nothing, and what was sent is given back as soon as its client has gone.
TEST_F(Memory, of_half_messages_is_bounded_and_goes_with_their_clients) {
  const Holdfast proxy(options("limits: { receive_memory: 64MiB }\n"));
  warm_up(proxy);
  const auto before = resident(proxy.pid());
  auto bystander = proxy.connect();
  long during = 0;
  {
    std::vector<std::unique_ptr<PeerConnection>> halves;
    const auto message = wire::query(std::string(15'900'000, 'x'));
    for (int i = 0; i < 30; ++i) {
      halves.push_back(wire::log_in(proxy.port()));
      halves.back()->send(message.substr(0, 15'000'000));
      EXPECT_EQ(bystander.scalar("select 1"), "1");
    }
    // The oldest have been told to go, the youngest may finish.
    EXPECT_EQ(wire::read_error(*halves.front()), "53200");
    during = resident(proxy.pid());
    halves.back()->send(message.substr(15'000'000));
    EXPECT_EQ(wire::read_error(*halves.back()), "42601");
    EXPECT_EQ(halves.back()->read_until('Z'), "Z");
    for (int i = 0; i < 200; ++i) {
      halves.push_back(wire::log_in(proxy.port()));
      halves.back()->send(message.substr(0, 100));
    }
    EXPECT_EQ(bystander.scalar("select 1"), "1");
  }
  ASSERT_TRUE(wait_until(10s, [&] { return proxy.metric("holdfast_clients") == 1; }));
  const auto after = resident(proxy.pid());
  print("30 half messages of 15 MB", before, during, after);
  expect_below(during - before, 160 * mebibyte);
  expect_below(after - before, 8 * mebibyte);
}

// Long statements that wait for a server are there as a whole: they are refused, and their clients stay.
TEST_F(Memory, of_messages_that_wait_is_bounded_and_their_clients_go_on) {
  const Holdfast proxy(options("limits: { receive_memory: 17MiB }\n", "size: 1, wait_timeout: 60s"));
  auto holder = proxy.connect();
  holder.exec("begin");
  holder.exec("select 1");
  std::vector<std::unique_ptr<PeerConnection>> waiting;
  const auto first_is_told = [&] {
    pollfd first{.fd = waiting.front()->fd(), .events = POLLIN, .revents = 0};
    return ::poll(&first, 1, 0) == 1;
  };
  // Each takes between 3 and 6 MB, as its bytes happen to come: at most six fit.
  for (int i = 0; i < 7 && (i == 0 || !first_is_told()); ++i) {
    waiting.push_back(wire::log_in(proxy.port()));
    waiting.back()->send(wire::query(long_text(i, 3'000'000)));
    ASSERT_TRUE(wait_until(
        20s, [&] { return first_is_told() || proxy.metric("holdfast_clients_waiting") == i + 1; }))
        << i;
  }
  // The one that has waited for the longest time gives its memory to the last.
  EXPECT_EQ(wire::read_error(*waiting.front()), "53200");
  EXPECT_EQ(waiting.front()->read_until('Z'), "Z");
  waiting.front()->send(wire::query("select 5"));
  holder.exec("commit");
  EXPECT_EQ(wire::read_value(*waiting.front()), "5");
  // While the last one's bytes came in many pieces the next one may have had to give way, too.
  for (std::size_t i = 1; i < waiting.size(); ++i) {
    auto message = waiting[i]->read_message();
    if (i == 1 && wire::sqlstate(message) == "53200") continue;
    while (message.type == 'T' || message.type == 'S') message = waiting[i]->read_message();
    ASSERT_EQ(message.type, 'D') << i;
    EXPECT_EQ(message.body.substr(6), std::to_string(i));
  }
}

// A soak in small: many clients, each with settings and statements of its own.
TEST_F(Memory, of_many_clients_goes_with_them) {
  const Holdfast proxy(options());
  warm_up(proxy);
  const auto before = resident(proxy.pid());
  long during = 0;
  for (int round = 0; round < 3; ++round) {
    std::vector<std::unique_ptr<PeerConnection>> clients;
    for (int i = 0; i < 1000; ++i) {
      clients.push_back(wire::log_in(proxy.port()));
      std::string batch;
      for (int k = 0; k < 10; ++k) {
        batch += wire::parse("s" + std::to_string(k), long_text(10'000 * round + 10 * i + k, 500));
      }
      clients.back()->send(batch + wire::sync());
      EXPECT_EQ(clients.back()->read_until('Z'), "1111111111Z");
    }
    during = std::max(during, resident(proxy.pid()));
  }
  ASSERT_TRUE(wait_until(10s, [&] { return proxy.metric("holdfast_clients") == 0; }));
  const auto gone = resident(proxy.pid());
  const bool given_back = wait_until(20s, [&] { return sanitized || resident(proxy.pid()) - before < 6 * mebibyte; });
  print("3 times 1000 clients with 10 statements each", before, during, resident(proxy.pid()));
  EXPECT_TRUE(given_back) << gone;
}

TEST_F(Memory, message_that_has_begun_must_make_progress) {
  const Holdfast proxy(options("timeouts: { message: 300ms }\n"));
  const auto message = wire::query("select '" + std::string(100'000, 'x') + "'");
  for (const std::string& begun : {message.substr(0, 3), message.substr(0, 50'000),
                                   wire::query("begin") + wire::query("select 1") + message.substr(0, 50'000),
                                   wire::parse("", "select $1::text") + "B" + std::string("\0\x10\0\0", 4) + "\0\0"}) {
    auto client = wire::log_in(proxy.port());
    client->send(begun);
    EXPECT_EQ(wire::read_error(*client), "08006");
    static_cast<void>(client->read_until_end());
  }
  ASSERT_TRUE(wait_until(10s, [&] { return proxy.metric("holdfast_clients") == 0; }));
}

// Between messages a client may think; a COPY's data comes when it comes; one that waits for its server is not slow.
TEST_F(Memory, deadline_of_a_message_is_not_one_of_a_client_that_waits_or_thinks) {
  const Holdfast proxy(options("timeouts: { message: 200ms }\n"));
  server_->exec("create table if not exists copied (a text)");
  server_->exec("grant all on copied to app");
  auto slow = wire::log_in(proxy.port());
  slow->send(wire::query("select pg_sleep(1)") + wire::query("select 2"));
  auto batch = wire::log_in(proxy.port());
  batch->send(wire::parse("", "select 3") + wire::bind("") + wire::execute());
  auto copy = wire::log_in(proxy.port());
  copy->send(wire::query("copy copied from stdin"));
  EXPECT_EQ(copy->read_until('G'), "G");
  const auto data = wire::copy_data("one\ntwo\n");
  copy->send(data.substr(0, 8));
  auto half = wire::log_in(proxy.port());
  half->send(wire::query("select 4").substr(0, 4));
  EXPECT_EQ(wire::read_error(*half), "08006") << "its deadline is over";
  EXPECT_EQ(slow->read_until('Z'), "TDCZ");
  EXPECT_EQ(wire::read_value(*slow), "2");
  batch->send(wire::sync());
  EXPECT_EQ(wire::read_value(*batch), "3");
  copy->send(data.substr(8) + wire::copy_done());
  EXPECT_EQ(copy->read_until('Z'), "CZ");
}

}  // namespace
}  // namespace holdfast::testing
