// Good clients beside hostile ones, and reloads all the while: the good ones notice nothing, the process stays within
// its memory. HOLDFAST_SECONDS makes it a long run: tests/integration/soak.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <iostream>
#include <list>
#include <random>
#include <sstream>
#include <system_error>
#include <thread>

#include "tests/support/endpoint.hpp"
#include "tests/support/sanitized.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

long resident(const Holdfast& proxy) {
  std::istringstream status(read_file("/proc/" + std::to_string(proxy.pid()) + "/status"));
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stol(line.substr(6));
  return 0;
}

// One hostile client after the other, each by its own recipe; what becomes of it is its own business.
class Hostile {
 public:
  Hostile(int port, unsigned seed) : port_(port), random_(seed), thread_([this] { run(); }) {}
  Hostile(const Hostile&) = delete;
  Hostile& operator=(const Hostile&) = delete;
  ~Hostile() {
    stop_ = true;
    thread_.join();
  }
  [[nodiscard]] int sessions() const { return sessions_; }

 private:
  void run() {
    while (!stop_) {
      try {
        if (random_() % 2 == 0)
          stranger();
        else
          insider();
      } catch (const ScriptError&) {
      } catch (const std::system_error&) {
      }
      ++sessions_;
    }
  }

  std::string noise(std::size_t most) {
    std::string bytes(random_() % most, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random_());
    return bytes;
  }
  static std::string length(std::uint32_t value) {
    return {static_cast<char>(value >> 24U), static_cast<char>(value >> 16U), static_cast<char>(value >> 8U),
            static_cast<char>(value)};
  }
  std::uint32_t odd_length() {
    constexpr std::array<std::uint32_t, 8> lengths{0, 3, 4, 5, 0x3fffffff, 0x7fffffff, 0x80000000, 0xffffffff};
    return lengths[random_() % lengths.size()];
  }

  // Comes with anything but a proper log-in.
  void stranger() {
    PeerConnection peer(connect_to(port_));
    peer.set_bound(1s);
    switch (random_() % 8) {
      case 0: peer.send(noise(200)); break;
      case 1: peer.send(length(odd_length()) + noise(20)); break;
      case 2: peer.send(startup_bytes({{"user", "app"}, {"database", "app"}}).substr(0, 5 + random_() % 20)); break;
      case 3: peer.send(length(8) + length(80877103) + noise(100)); break;  // SSLRequest, stuffed
      case 4: peer.send(length(16) + length(80877102) + length(odd_length()) + length(7)); break;  // a cancel of nobody
      case 5: peer.send(startup_bytes({{"user", noise(60)}, {"database", noise(60)}, {"options", noise(60)}})); break;
      case 6:
        peer.send(startup_bytes({{"user", "app"}, {"database", "app"}, {"options", "-c work_mem=" + noise(9)}}));
        break;
      default: peer.send("GET / HTTP/1.1\r\n\r\n"); break;
    }
    leave(peer);
  }

  // Is logged in, and then says what no driver says.
  void insider() {
    const auto peer = wire::log_in(port_);
    peer->set_bound(1s);
    constexpr std::string_view tags = "QPBDECSHFXdcfpz\0\xff";
    for (auto left = 1 + random_() % 4; left > 0; --left) {
      switch (random_() % 9) {
        case 0: peer->send(message_bytes(tags[random_() % tags.size()], noise(100))); break;
        case 1: peer->send(tags[random_() % tags.size()] + length(odd_length()) + noise(50)); break;
        case 2:
          peer->send(wire::query("SELECT " + std::string(random_() % 5000, '(')).substr(0, random_() % 5000));
          break;
        case 3:
          peer->send(wire::query("COPY hostile FROM STDIN") + wire::copy_data(noise(3000)) + wire::query("SELECT 1"));
          break;
        case 4:
          peer->send(
              wire::parse("n" + std::to_string(random_()), "SELECT '" + std::string(random_() % 20000, 'x') + "'"));
          break;
        case 5:
          peer->send(wire::query("BEGIN; CREATE TEMP TABLE hostile (x int); SELECT pg_advisory_lock(7), 1/0"));
          break;
        case 6: peer->send(wire::query("SELECT repeat('x', 1000000) FROM generate_series(1, 20)")); break;
        case 7:
          peer->send(wire::query("SELECT pg_sleep(0.05)") + wire::sync() + wire::bind("nothing") + wire::flush());
          break;
        default: peer->send(wire::execute() + wire::describe("") + wire::sync() + wire::copy_done()); break;
      }
    }
    leave(*peer);
  }

  void leave(PeerConnection& peer) {
    switch (random_() % 4) {
      case 0: peer.reset(); break;
      case 1:
        peer.shutdown_write();
        static_cast<void>(peer.read_until_end());
        break;
      case 2: static_cast<void>(peer.read_message()); break;
      default: break;
    }
  }

  int port_;
  std::minstd_rand random_;
  std::atomic<bool> stop_{false};
  std::atomic<int> sessions_{0};
  std::thread thread_;
};

// Whom a client that gets no server waits for.
std::string servers_in_use(const Server& server, const Holdfast& proxy) {
  std::string all = server.scalar(
      "SELECT string_agg(format('pid %s, %s, %s, for %s: %s', pid, state, wait_event, now() - state_change, "
      "left(query, 80)), E'\\n') FROM pg_stat_activity WHERE usename = 'app'");
  for (const char* metric : {"holdfast_clients", "holdfast_clients_waiting", "holdfast_servers"})
    all += "\n" + std::string(metric) + " " + std::to_string(proxy.metric(metric).value_or(-1));
  return all;
}

TEST(Soak, hostile_clients_and_reloads_are_noticed_by_nobody) {
  const char* wanted = std::getenv("HOLDFAST_SECONDS");
  const auto seconds = std::chrono::seconds(wanted == nullptr ? 8 : std::atol(wanted));
  Server server;
  server.start();
  Connection(server.conninfo()).exec("CREATE TABLE hostile (x int)");
  // As operators change it: another size, another limit, and a file with a mistake, which must change nothing.
  const auto config = [&](const char* pool, const char* more) {
    return EndpointConfig{.members = member_yaml(server), .pool = pool, .more = more};
  };
  Holdfast proxy(endpoint(config("mode: transaction, size: 8, wait_timeout: 30s", "")));
  const std::string files[] = {
      yaml(config("mode: transaction, size: 12, wait_timeout: 30s", "")),
      yaml(config("mode: transaction, size: no number", "nonsense: [\n")),
      yaml(config("mode: transaction, size: 8, wait_timeout: 20s", "timeouts: { query: 20s }\n"))};
  BackgroundLoad good(proxy.conninfo(), 6);
  std::list<Hostile> hostile;
  for (unsigned i = 0; i < 4; ++i) hostile.emplace_back(proxy.port(), 17 + i);
  long warm = 0;
  long most = 0;
  int reloads = 0;
  const auto started = std::chrono::steady_clock::now();
  const auto applied = [&](const char* outcome) {
    return proxy.metric("holdfast_reloads_total{outcome=\""s + outcome + "\"}").value_or(0);
  };
  for (; std::chrono::steady_clock::now() - started < seconds; ++reloads) {
    const auto& file = files[static_cast<std::size_t>(reloads) % std::size(files)];
    const char* outcome = file.find("nonsense") == std::string::npos ? "applied" : "refused";
    const auto before = applied(outcome);
    proxy.write_config(file);
    proxy.reload();
    ASSERT_TRUE(wait_until(10s, [&] { return applied(outcome) > before; })) << outcome;
    const auto now = resident(proxy);
    // The caches have had time to fill.
    if (warm == 0 && std::chrono::steady_clock::now() - started > seconds / 6) warm = now;
    most = std::max(most, now);
  }
  int sessions = 0;
  for (const auto& client : hostile) sessions += client.sessions();
  hostile.clear();
  good.finish();
  EXPECT_GT(sessions, 0);
  if (!sanitized) {  // a sanitizer keeps what was freed
    EXPECT_LT(most, 200 * 1024) << "kB";
  }
  // Nobody is forgotten: all who left are gone, a client gets a server, and nobody waits.
  EXPECT_TRUE(wait_until(20s, [&] { return proxy.metric("holdfast_clients") == 0; })) << servers_in_use(server, proxy);
  try {
    EXPECT_EQ(proxy.connect().scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "0");
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what() << servers_in_use(server, proxy);
  }
  EXPECT_TRUE(wait_until(20s, [&] { return proxy.metric("holdfast_clients_waiting") == 0; }));
  // The memory of those who left goes back. A short run never gets warm, and a sanitizer keeps what was freed.
  if (!sanitized && seconds >= 5min) {
    EXPECT_TRUE(wait_until(30s, [&] { return resident(proxy) <= warm + warm / 10; }));
  }
  std::cout << "soak: " << sessions << " hostile sessions, " << reloads << " reloads; resident " << warm
            << " kB when warm, " << most << " at most, " << resident(proxy) << " at the end\n";
}

}  // namespace
}  // namespace holdfast::testing
