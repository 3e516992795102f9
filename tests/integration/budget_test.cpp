// No text holds up those who share a worker with its sender, and no long one costs its sender the shared servers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>

#include "tests/support/endpoint.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

std::string repeated(std::string_view piece, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += piece;
  return text;
}

struct Text {
  friend void PrintTo(const Text& text, std::ostream* out) { *out << text.name; }
  const char* name;
  std::string sql;
};

class Budget : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
    server_->exec("CREATE TABLE numbers (a int, b int)");
    server_->exec("GRANT ALL ON numbers TO app");
  }
  static void TearDownTestSuite() { delete server_; }

  [[nodiscard]] static HoldfastOptions options(const std::string& pool) {
    return endpoint({.members = member_yaml(*server_), .workers = 1, .pool = pool});
  }
  [[nodiscard]] static double unparsed_pins(const Holdfast& proxy) {
    return proxy.metric("holdfast_pins_total{reason=\"unparsed\"}").value_or(0);
  }

  static Server* server_;
};
Server* Budget::server_ = nullptr;

// A worker that parses one of these, or waits for somebody who does, answers nobody for 5 to 20 s. PostgreSQL takes as
// long, so the sender's answer isn't waited for.
class Hostile : public Budget, public ::testing::WithParamInterface<Text> {};

TEST_P(Hostile, text_holds_up_nobody_but_its_sender) {
  for (const std::string mode : {"transaction", "session"}) {
    Holdfast proxy(options("mode: " + mode + ", size: 20"));
    const auto& sql = GetParam().sql;
    std::vector<std::unique_ptr<PeerConnection>> senders;
    auto other = wire::log_in(proxy.port());
    for (const std::string& message :
         {wire::query(sql), wire::parse("", sql) + wire::sync(), wire::parse("name", sql) + wire::flush(),
          wire::query("begin") + wire::query(sql), wire::query("select 1") + wire::query(sql) + wire::query(sql),
          wire::query("set search_path = public") + wire::query(sql)}) {
      senders.push_back(wire::log_in(proxy.port()));
      senders.back()->send(message);
      // Read behind the text, by the one worker.
      other->send(wire::query("select 42"));
      EXPECT_EQ(wire::read_value(*other), "42");
    }
    auto late = wire::log_in(proxy.port(), {{"options", "-c search_path=public"}});
    late->send(wire::query("select 42"));
    EXPECT_EQ(wire::read_value(*late), "42");
    server_->exec("SELECT pg_terminate_backend(pid, 1) FROM pg_stat_activity WHERE usename = 'app'");
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, Hostile,
    ::testing::Values(Text{"operators", "select " + std::string(100'000, '+') + "a"},
                      Text{"comments_that_nest", "select U&\"a\" " + repeated("/*", 30'000) + repeated("*/", 30'000)},
                      Text{"comments_in_a_row", "select U&\"a\" " + repeated("/**/", 30'000)},
                      Text{"many_short_runs", "select a" + repeated(" " + std::string(500, '-') + "+a", 200)}),
    [](const auto& text) { return std::string(text.param.name); });

// Texts that only take long: judged by another thread, in the meantime others are served, and no pin is left behind.
class Long : public Budget, public ::testing::WithParamInterface<Text> {};

TEST_P(Long, text_leaves_no_pin) {
  Holdfast proxy(options("mode: transaction, size: 1, wait_timeout: 5s"));
  const auto& sql = GetParam().sql;
  auto sender = proxy.connect();
  auto other = proxy.connect();
  sender.exec(sql);
  other.exec("select 1");
  sender.exec("begin");
  sender.exec(sql);
  sender.exec("commit");
  other.exec("select 1");
  EXPECT_EQ(unparsed_pins(proxy), 0);
}

INSTANTIATE_TEST_SUITE_P(
    All, Long,
    ::testing::Values(Text{"select_list", "select coalesce(a" + repeated(", b", 20'000) + ") from numbers"},
                      Text{"many_statements", repeated("insert into numbers values (1, 2); select a from numbers;", 500)},
                      Text{"rows", "insert into numbers values (1, 2)" + repeated(", (12345678, 90)", 20'000)},
                      Text{"rows_of_two_kinds",
                           "insert into numbers values (1, 2)" + repeated(", (1, 1 + 2), (2 + 1, 4)", 3'000)},
                      Text{"rows_of_two_megabytes",
                           "insert into numbers values (1, 2)" + repeated(", (12345678, 90)", 120'000)},
                      Text{"two_readings", "select 1 where 'C:\\' in ('y'" + repeated(", 'some text'", 20'000) + ")"}),
    [](const auto& text) { return std::string(text.param.name); });

// As drivers send it: the verdict is needed at the Parse and at every Bind.
TEST_F(Budget, long_prepared_statement_leaves_no_pin) {
  Holdfast proxy(options("mode: transaction, size: 1, wait_timeout: 5s"));
  auto sender = wire::log_in(proxy.port());
  auto other = proxy.connect();
  for (const std::string& sql : {"select coalesce(a" + repeated(", b", 20'000) + ") from numbers",
                                 "insert into numbers values (1, 2)" + repeated(", (1234567, 890123)", 30'000)}) {
    for (const std::string name : {"", "name"}) {
      sender->send(wire::parse(name, sql) + wire::bind(name) + wire::execute() + wire::sync());
      EXPECT_THAT(sender->read_until('Z'), ::testing::StartsWith("12"));
      sender->send(wire::bind(name) + wire::execute() + wire::sync());
      EXPECT_THAT(sender->read_until('Z'), ::testing::StartsWith("2"));
      other.exec("select 1");
    }
    sender->send(wire::query("deallocate name"));
    EXPECT_EQ(sender->read_until('Z'), "CZ");
  }
  EXPECT_EQ(unparsed_pins(proxy), 0);
}

// The client leaves, or its transaction's server is ended, while its text is being read.
TEST_F(Budget, client_that_leaves_while_its_text_is_read_leaves_nothing_behind) {
  Holdfast proxy(options("mode: transaction, size: 1, wait_timeout: 5s"));
  const auto sql = "select a" + repeated(", a", 40'000);
  for (int i = 0; i < 20; ++i) {
    auto sender = wire::log_in(proxy.port());
    sender->send((i % 2 == 0 ? "" : wire::query("begin") + wire::query("select 1")) + wire::query(sql));
  }
  auto other = proxy.connect();
  other.exec("select 1");
  EXPECT_TRUE(wait_until(std::chrono::seconds(10), [&] { return proxy.metric("holdfast_clients") == 1; }));
}

}  // namespace
}  // namespace holdfast::testing
