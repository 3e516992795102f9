// What a transaction costs the worker in user space, in instructions. CPU time wanders by several per cent from run to
// run; this count repeats within 0.2 %, so that a change that makes the data path dearer by one per cent is seen.
//
// Callgrind counts the instructions of the real proxy before a real server. One client has one transaction in flight,
// so that every turn of the worker's loop is alike. Two lives of the proxy that differ in the number of transactions
// only are compared: start-up, log-ins and the end cancel out.
//
// The kernel's part isn't in it, nor are cache misses and waits: bench/side_by_side shows those. Two things differ from
// a run without valgrind: the clock is a system call (there is no vDSO), and libc sees the processor that valgrind
// makes up, which is the same on every machine with AVX2.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "tests/support/endpoint.hpp"
#include "tests/support/holdfast.hpp"
#include "tests/support/postgres.hpp"
#include "tests/support/scripted_peer.hpp"

namespace holdfast::testing {
namespace {

using namespace std::string_literals;

// Instructions per transaction as this version has them. Whoever makes the path cheaper lowers them, so that it
// stays so.
constexpr double simple_query = 4593;
constexpr double prepared_statement = 6464;
constexpr double tolerance = 1.01;

// Figures hold for one compiler and one way to optimise. What a debug build or a sanitizer adds is nobody's concern,
// and valgrind doesn't run the latter.
#if defined(HOLDFAST_RELEASE_LTO) && defined(__x86_64__)
constexpr bool comparable = true;
#else
constexpr bool comparable = false;
#endif

// What one client says again and again: a message, or a batch, and the types of the messages that answer it.
struct Script {
  std::string (*request)(int number);
  std::string_view answer;
};

// As pgbench -S has it: the key differs from one to the next, the length and the shape of the text don't.
std::string key(int number) {
  return std::to_string(10'001 + number % 100);
}
std::string query(int number) {
  return message_bytes('Q', "SELECT abalance FROM accounts WHERE aid = " + key(number) + ";\0"s);
}
std::string batch(int number) {
  return message_bytes('B', "\0one\0\0\0\0\1\0\0\0\5"s + key(number) + "\0\0"s) + message_bytes('E', "\0\0\0\0\0"s) +
         message_bytes('S');
}

class Instructions : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!comparable) GTEST_SKIP() << "the figures are those of the release preset with g++ 12 on x86-64";
    if (std::system("command -v valgrind > /dev/null") != 0) GTEST_SKIP() << "valgrind is not installed";
    set_.emplace(ReplicationOptions{.replicas = 0});
    const auto& server = set_->primary();
    server.exec("CREATE TABLE accounts (aid int PRIMARY KEY, abalance int NOT NULL)");
    server.exec("INSERT INTO accounts SELECT i, 0 FROM generate_series(10001, 10100) i");
    server.exec("GRANT SELECT ON accounts TO app");
  }

  double per_transaction(const Script& script) {
    constexpr int few = 200;  // The server connection is open and the caches are filled after the first ones.
    constexpr int more = 3000;
    const auto first = life(script, few);
    auto second = life(script, few + more);
    // By far the most is added by the thread that does the work; the others only follow the clock.
    double most = 0;
    for (const auto& [thread, total] : first)
      most = std::max(most, static_cast<double>(second[thread]) - static_cast<double>(total));
    return most / more;
  }

  static void expect_at_most(double measured, double documented) {
    std::cout << "instructions per transaction: " << measured << ", documented: " << documented << '\n';
    EXPECT_LE(measured, documented * tolerance);
    EXPECT_GT(measured, documented / 2) << "the worker wasn't counted, or the constant is long out of date";
  }

 private:
  using Totals = std::map<int, std::uint64_t>;  // valgrind's number of a thread → its instructions

  // Starts the proxy, lets a client run so many transactions, ends the proxy.
  Totals life(const Script& script, int transactions) {
    const TempDir folder;
    auto options = endpoint({.members = members_yaml(*set_), .workers = 1});
    options.under = {"valgrind",         "-q",
                     "--tool=callgrind", "--separate-threads=yes",
                     "--vgdb=no",        "--callgrind-out-file=" + (folder.path() / "report").string()};
    Holdfast proxy(options);
    PeerConnection client(connect_to(proxy.port()));
    client.send(startup_bytes({{"user", "app"}, {"database", "app"}}));
    static_cast<void>(client.read_until('Z'));
    client.send(message_bytes('P', "one\0SELECT abalance FROM accounts WHERE aid = $1;\0\0\0"s) + message_bytes('S'));
    EXPECT_EQ(client.read_until('Z'), "1Z");
    for (int i = 0; i < transactions; ++i) {
      client.send(script.request(i));
      EXPECT_EQ(client.read_until('Z'), script.answer);
    }
    client.close();
    proxy.terminate();
    return totals_in(folder.path());
  }

  // Callgrind writes a file per thread; lines "thread: N" and "totals: N" (valgrind's manual, Callgrind Format).
  static Totals totals_in(const std::filesystem::path& folder) {
    Totals totals;
    for (const auto& file : std::filesystem::directory_iterator(folder)) {
      const auto text = read_file(file.path());
      const auto thread = number_of(text, "\nthread: ");
      if (thread != 0) totals[static_cast<int>(thread)] += number_of(text, "\ntotals: ");
    }
    return totals;
  }
  static std::uint64_t number_of(const std::string& text, const std::string& label) {
    const auto at = text.find(label);
    return at == std::string::npos ? 0 : std::stoull(text.substr(at + label.size(), 20));
  }

  std::optional<ReplicationSet> set_;
};

TEST_F(Instructions, of_a_simple_query_stay_few) {
  expect_at_most(per_transaction({.request = query, .answer = "TDCZ"}), simple_query);
}

TEST_F(Instructions, of_a_prepared_statement_stay_few) {
  expect_at_most(per_transaction({.request = batch, .answer = "2DCZ"}), prepared_statement);
}

}  // namespace
}  // namespace holdfast::testing
