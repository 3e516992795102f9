// What `reads.consistency: global` costs a reader, and what it leaves to the primary: paced writes beside paced
// prepared reads, before a primary and one asynchronous standby on this machine.
//
//   holdfast_fresh_reads [SECONDS_PER_WRITE_RATE]      # 20 by default: about two minutes in all
//
// One Holdfast, three endpoints: the default, `route: primary`, and `route: replica`, which shows what a standby costs
// by itself. The readers change from one to the next ten times a second, so that whatever else this machine does hits
// all alike. Then 10,000 pairs: a row is written on one connection and read on another. Ends by itself, leaves nothing
// behind; HOLDFAST_BINARY names another proxy. Exit code: 0 only if no read was stale.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/holdfast.hpp"
#include "tests/support/postgres.hpp"

namespace {

using namespace holdfast::testing;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int readers = 8;
constexpr int reads_per_second = 2000;
constexpr int rows = 10'000;
constexpr int pairs = 10'000;
constexpr auto slice = 100ms;

enum Endpoint : std::size_t { by_default, all_to_primary, whatever_replica };
constexpr std::size_t endpoints = 3;

// Does something at a rate; one that comes late does not catch up.
class Pace {
 public:
  explicit Pace(double per_second)
      : period_(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(1 / per_second))),
        next_(Clock::now()) {}
  void wait() {
    std::this_thread::sleep_until(next_);
    next_ = std::max(next_ + period_, Clock::now());
  }

 private:
  Clock::duration period_;
  Clock::time_point next_;
};

void prepare(Connection& client, const char* sql) {
  checked_rows(PQprepare(client.raw(), "s", sql, 1, nullptr), client.raw());
}
Rows execute(Connection& client, const std::string& value) {
  const char* values[] = {value.c_str()};
  return checked_rows(PQexecPrepared(client.raw(), "s", 1, values, nullptr, nullptr, 0), client.raw());
}

class Bench {
 public:
  Bench() : proxy_({.config = config(), .files = {{"users.txt", std::string("\"app\" \"") + app_password + "\"\n"}}}) {
    set_.primary().exec(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, " +
        std::to_string(rows) +
        ") AS i; CREATE TABLE w (id bigserial PRIMARY KEY, n int); GRANT ALL ON t, w, w_id_seq TO app");
    ReplicationSet::wait_caught_up(set_.primary(), set_.replica());
    auto client = proxy_.connect();
    const bool reads_of_the_replica = wait_until(20s, [&] {
      const auto before = routed("read");
      client.exec("SELECT 1");
      return routed("read") > before;
    });
    if (!reads_of_the_replica) throw std::runtime_error("the standby gets no reads:\n" + proxy_.log());
  }

  void measure(int writes_per_second, std::chrono::seconds duration) {
    std::atomic<bool> stop{false};
    std::atomic<std::size_t> endpoint{by_default};
    std::atomic<int> errors{0};
    std::array<std::vector<std::vector<float>>, endpoints> times;  // by endpoint and reader, in µs
    for (auto& of_endpoint : times) of_endpoint.resize(readers);
    std::vector<std::thread> threads;
    const auto guarded = [&](auto work) {
      threads.emplace_back([&, work] {
        try {
          work();
        } catch (const std::exception& error) {
          if (errors++ == 0) std::fprintf(stderr, "%s\n", error.what());
        }
      });
    };
    for (int w = 0; w < 2; ++w) {
      guarded([&] {
        Connection client(conninfo(by_default));
        prepare(client, "INSERT INTO w (n) VALUES ($1)");
        Pace pace(writes_per_second / 2.0);
        while (!stop) {
          pace.wait();
          execute(client, "1");
        }
      });
    }
    for (int r = 0; r < readers; ++r) {
      guarded([&, r] {
        std::vector<Connection> clients;
        for (const auto which : {by_default, all_to_primary, whatever_replica}) {
          clients.emplace_back(conninfo(which));
          prepare(clients.back(), "SELECT v FROM t WHERE id = $1");
        }
        Pace pace(double{reads_per_second} / readers);
        for (int n = 0; !stop; ++n) {
          pace.wait();
          const std::size_t which = endpoint;
          const auto begun = Clock::now();
          execute(clients[which], std::to_string(n % rows + 1));
          const auto took = std::chrono::duration<float, std::micro>(Clock::now() - begun).count();
          times[which][static_cast<std::size_t>(r)].push_back(took);
        }
      });
    }
    std::this_thread::sleep_for(1s);  // log-ins, plans
    for (auto& of_endpoint : times) {
      for (auto& of_reader : of_endpoint)
        of_reader.reserve(static_cast<std::size_t>(duration.count()) * reads_per_second);
    }
    const auto end = Clock::now() + duration;
    const double on_replica = routed("read");
    const double not_fresh = routed("not_fresh");
    while (Clock::now() < end) {
      std::this_thread::sleep_for(slice);
      endpoint = (endpoint + 1) % endpoints;
    }
    const double all_left = routed("read") - on_replica;
    const double stayed = routed("not_fresh") - not_fresh;
    stop = true;
    for (auto& thread : threads) thread.join();

    std::array<double, endpoints> mean{};
    std::array<double, endpoints> p99{};
    std::size_t count = 0;
    double of_replica = 0;  // counted as reads that left as well
    for (const auto which : {by_default, all_to_primary, whatever_replica}) {
      std::vector<float> all;
      for (const auto& of_reader : times[which]) all.insert(all.end(), of_reader.begin(), of_reader.end());
      if (all.empty()) throw std::runtime_error("nothing was read");
      std::ranges::sort(all);
      for (const float took : all) mean[which] += took / static_cast<double>(all.size());
      p99[which] = all[all.size() * 99 / 100];
      count += all.size();
      if (which == whatever_replica) of_replica = static_cast<double>(all.size());
    }
    const double left = std::max(all_left - of_replica, 0.0);
    const auto more = [](const std::array<double, endpoints>& of, Endpoint which) {
      return 100 * (of[which] / of[all_to_primary] - 1);
    };
    std::printf("%8d %8zu   %5.0f %5.0f %+6.1f %% %+6.1f %%   %5.0f %5.0f %+6.1f %% %+6.1f %%   %6.1f %%%s\n",
                writes_per_second, count, mean[all_to_primary], mean[by_default], more(mean, by_default),
                more(mean, whatever_replica), p99[all_to_primary], p99[by_default], more(p99, by_default),
                more(p99, whatever_replica), 100 * left / std::max(left + stayed, 1.0),
                errors != 0 ? "   errors!" : "");
  }

  // How many of the pairs were stale.
  int write_then_read() {
    Connection writer(conninfo(by_default));
    Connection reader(conninfo(by_default));
    prepare(writer, "INSERT INTO w (n) VALUES ($1) RETURNING id");
    prepare(reader, "SELECT n FROM w WHERE id = $1");
    const double on_replica = routed("read");
    int stale = 0;
    for (int n = 0; n < pairs; ++n) {
      const auto id = execute(writer, std::to_string(n)).at(0).at(0).value_or("");
      const auto found = execute(reader, id);
      stale += found.size() != 1 || found[0][0] != std::to_string(n);
      // Every other pair at full speed; in the others the standby has had the time to catch up.
      if (n % 2 == 0 && n % 20 == 0) std::this_thread::sleep_for(2ms);
      if (n % 2 == 1) static_cast<void>(execute(reader, id));
    }
    std::printf("%d pairs of a write and a read on another connection: %d stale; %.0f reads by the standby\n", pairs,
                stale, routed("read") - on_replica);
    return stale;
  }

 private:
  std::string config() {
    const std::string listener = "  - address: 127.0.0.1:";
    return "listen:\n" + listener + "${port}\n" + listener + std::to_string(second_.number()) +
           "\n    route: primary\n" + listener + std::to_string(third_.number()) +
           "\n    route: replica\n"
           "workers: 1\n"
           "clusters:\n  main:\n    members:\n" +
           members_yaml(set_) + "    monitor: { user: holdfast, password: " + monitor_password +
           " }\n"
           "databases:\n  \"*\": { cluster: main }\n"
           "auth: { users_file: ${folder}/users.txt }\n"
           "http: { address: \"127.0.0.1:${http_port}\" }\n";
  }
  [[nodiscard]] std::string conninfo(Endpoint which) const {
    if (which == by_default) return proxy_.conninfo();
    return proxy_.conninfo() + " port=" + std::to_string((which == all_to_primary ? second_ : third_).number());
  }
  [[nodiscard]] double routed(const std::string& reason) const {
    return proxy_.metric("holdfast_units_routed_total{reason=\"" + reason + "\"}").value_or(0);
  }

  ReplicationSet set_{{.replicas = 1}};
  Port second_;
  Port third_;
  Holdfast proxy_;
};

}  // namespace

int main(int count, char** arguments) {
  try {
    const auto duration = std::chrono::seconds(count > 1 ? std::clamp(std::atoi(arguments[1]), 1, 600) : 20);
    Bench bench;
    std::printf("%d reads/s by %d clients, prepared; times in µs, as the reader sees them\n", reads_per_second,
                readers);
    std::printf("%8s %8s   %29s   %29s   %s\n", "writes/s", "reads", "mean: primary global, replica",
                "p99: primary global, replica", "leave the primary");
    for (const int writes_per_second : {20, 100, 500}) bench.measure(writes_per_second, duration);
    return bench.write_then_read() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
  }
}
