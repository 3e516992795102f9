// What a query may cost on the steady path: no allocation, one send and one receive per hop and direction, no other
// system calls than the waits. Counted on the real proxy under pgbench; sanitizers allocate by themselves, there it is
// skipped.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "tests/support/endpoint.hpp"
#include "tests/support/holdfast.hpp"
#include "tests/support/sanitized.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

class Cost : public ::testing::Test {
 protected:
  Cost() : set_({.replicas = 1}) {}

  HoldfastOptions options() {
    return {
        .config =
            "listen:\n  - address: 127.0.0.1:${port}\nclusters:\n  main:\n    members:\n" + members_yaml(set_) +
            "    monitor: { user: holdfast, password: " + monitor_password +
            ", interval: 10s, fast_interval: 10s }\ndatabases:\n  \"*\": { cluster: main }\npool: { size: 8 }\n"
            // With `global` the monitor samples for the first reads, and libpq allocates for it on another thread.
            "reads: { consistency: session }\nauth: { users_file: ${folder}/users.txt }\nhttp: { address: \"127.0.0.1:${http_port}\" }\nworkers: 1\n",
        .files = {{"users.txt", std::string("\"app\" \"") + app_password + "\"\n"}}};
  }

  // Runs `count` statements on each of `clients` connections in one thread, all in flight at once; returns how many.
  static std::uint64_t run(std::vector<Connection>& clients, int rounds, bool prepared) {
    std::uint64_t done = 0;
    for (int i = 0; i < rounds; ++i) {
      for (auto& client : clients) {
        const int sent = prepared ? PQsendQueryPrepared(client.raw(), "one", 0, nullptr, nullptr, nullptr, 0)
                                  : PQsendQuery(client.raw(), "SELECT 1 + 1");
        EXPECT_EQ(sent, 1);
      }
      for (auto& client : clients) {
        while (PGresult* result = PQgetResult(client.raw())) {
          EXPECT_EQ(PQresultStatus(result), PGRES_TUPLES_OK) << PQresultErrorMessage(result);
          PQclear(result);
        }
        ++done;
      }
    }
    return done;
  }

  ReplicationSet set_;
};

TEST_F(Cost, allocates_nothing_per_query) {
  if (sanitized) GTEST_SKIP() << "the sanitizer's allocator is in the way";
  TempDir folder;
  const auto path = folder.path() / "allocations";
  std::ofstream(path, std::ios::binary) << std::string(sizeof(std::atomic<std::uint64_t>), '\0');
  std::filesystem::permissions(path, std::filesystem::perms::all);
  auto with = options();
  with.environment = {{"LD_PRELOAD", HOLDFAST_COUNT_ALLOCATIONS}, {"HOLDFAST_ALLOCATIONS", path.string()}};
  Holdfast proxy(with);
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  void* memory = ::mmap(nullptr, sizeof(std::atomic<std::uint64_t>), PROT_READ, MAP_SHARED, fd, 0);
  ::close(fd);
  ASSERT_NE(memory, MAP_FAILED);
  const auto* counter = static_cast<const std::atomic<std::uint64_t>*>(memory);

  // More clients than servers: waiting is part of the steady path.
  std::vector<Connection> clients;
  for (int i = 0; i < 16; ++i) clients.push_back(proxy.connect());
  for (auto& client : clients) PQclear(PQprepare(client.raw(), "one", "SELECT 1 + 1", 0, nullptr));
  EXPECT_GT(counter->load(), 0U) << "nothing was counted: the library is not loaded";
  for (const bool prepared : {false, true}) {
    run(clients, 50, prepared);  // servers are opened, caches filled
    const auto before = counter->load();
    const auto units = run(clients, 500, prepared);
    // Sweeps and log lines are allowed their few; a single one per query would be thousands.
    EXPECT_LT(counter->load() - before, units / 50) << (prepared ? "prepared" : "simple") << ", " << units << " units";
  }
  ::munmap(memory, sizeof(std::atomic<std::uint64_t>));
}

TEST_F(Cost, sends_and_receives_once_per_hop) {
  if (sanitized) GTEST_SKIP() << "sanitizers make system calls of their own";
  if (std::system("command -v strace > /dev/null") != 0) GTEST_SKIP() << "strace is not installed";
  Holdfast proxy(options());
  std::vector<Connection> clients;
  for (int i = 0; i < 4; ++i) clients.push_back(proxy.connect());
  run(clients, 50, false);
  // Only the worker's thread: health and HTTP live on others.
  pid_t worker = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(proxy.pid()) + "/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    if (name == "worker-0") worker = std::stoi(task.path().filename());
  }
  ASSERT_NE(worker, 0);
  const auto report = proxy.folder() / "strace";
  const pid_t tracer = ::fork();
  if (tracer == 0) {
    ::execlp("strace", "strace", "-q", "-o", report.c_str(), "-p", std::to_string(worker).c_str(), nullptr);
    ::_exit(127);
  }
  const auto traced = [worker] {
    std::ifstream status("/proc/" + std::to_string(worker) + "/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("TracerPid:")) return line.find_first_of("123456789") != std::string::npos;
    }
    return false;
  };
  ASSERT_TRUE(wait_until(10s, traced)) << "strace could not attach";
  const auto units = run(clients, 250, false);
  ::kill(tracer, SIGINT);
  int ended = 0;
  ::waitpid(tracer, &ended, 0);
  std::map<std::string, std::uint64_t> calls;
  std::ifstream lines(report);
  for (std::string line; std::getline(lines, line);) ++calls[line.substr(0, line.find('('))];
  const auto per_unit = [&](const std::string& name) {
    return static_cast<double>(calls[name]) / static_cast<double>(units);
  };
  EXPECT_NEAR(per_unit("sendto"), 2.0, 0.05);
  EXPECT_NEAR(per_unit("recvfrom"), 2.0, 0.05);
  EXPECT_LE(per_unit("epoll_wait"), 2.1);
  double others = 0;
  std::string names;
  for (const auto& [name, count] : calls) {
    if (name == "sendto" || name == "recvfrom" || name == "epoll_wait") continue;
    others += static_cast<double>(count);
    names += name + ":" + std::to_string(count) + " ";
  }
  EXPECT_LE(others / static_cast<double>(units), 0.05) << names;
}

}  // namespace
}  // namespace holdfast::testing
