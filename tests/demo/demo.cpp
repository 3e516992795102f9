// One endpoint that outlives its primary, to be watched: real servers, the proxy, clients, a kill -9, a promotion
// behind the proxy's back; then what happened, and what the clients noticed. Ends by itself and leaves nothing behind.
// Exit code: 0 only if nobody was disconnected and no acknowledged write is missing or there twice.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/holdfast.hpp"
#include "tests/support/load.hpp"
#include "tests/support/postgres.hpp"

namespace {

using namespace holdfast::testing;
using namespace std::chrono_literals;
using Wall = std::chrono::system_clock;

double ms(std::chrono::microseconds length) {
  return static_cast<double>(length.count()) / 1000;
}

// Moments since the kill, in order, for the timeline.
class Timeline {
 public:
  void zero() { zero_ = Wall::now(); }
  void note(const std::string& what) { add(Wall::now(), what); }
  void add(Wall::time_point when, const std::string& what) {
    entries_.emplace(std::chrono::duration_cast<std::chrono::microseconds>(when - zero_), what);
  }
  [[nodiscard]] Wall::time_point start() const { return zero_; }
  void print() const {
    for (const auto& [when, what] : entries_) std::printf("  %+9.1f ms  %s\n", ms(when), what.c_str());
  }

 private:
  Wall::time_point zero_;
  std::multimap<std::chrono::microseconds, std::string> entries_;
};

// The proxy's own words: "2026-11-22 10:52:54.784 info primary_changed cluster=main member=pg1 …".
void add_log(Timeline& timeline, const std::string& log) {
  static const std::regex line_form(R"((\d+)-(\d+)-(\d+) (\d+):(\d+):(\d+)\.(\d+) \w+ (\w+)(.*))");
  static const std::regex member_form(" member=([^ ]+)");
  static const std::map<std::string, std::string> wanted = {{"primary_lost", "proxy: the primary is gone, writes wait"},
                                                            {"primary_changed", "proxy: accepts the new primary"},
                                                            {"member_down", "proxy: member is down"},
                                                            {"fenced", "proxy: fences the old primary"}};
  std::istringstream lines(log);
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (!std::regex_match(line, match, line_form)) continue;
    const auto known = wanted.find(match[8]);
    if (known == wanted.end()) continue;
    std::tm local{};
    local.tm_year = std::stoi(match[1]) - 1900;
    local.tm_mon = std::stoi(match[2]) - 1;
    local.tm_mday = std::stoi(match[3]);
    local.tm_hour = std::stoi(match[4]);
    local.tm_min = std::stoi(match[5]);
    local.tm_sec = std::stoi(match[6]);
    local.tm_isdst = -1;
    const auto when = Wall::from_time_t(std::mktime(&local)) + std::chrono::milliseconds(std::stoi(match[7]));
    if (when < timeline.start() - 1ms) continue;
    std::smatch member;
    const std::string rest = match[9];
    timeline.add(when,
                 known->second + (std::regex_search(rest, member, member_form) ? " (" + member[1].str() + ")" : ""));
  }
}

std::string config(ReplicationSet& set) {
  return "listen:\n"
         "  - address: 127.0.0.1:${port}\n"
         "clusters:\n"
         "  main:\n"
         "    members:\n" +
         members_yaml(set) + "    monitor: { user: holdfast, password: " + monitor_password +
         " }\n"
         "    failover: { mode: follow, authority: sql }\n"
         "databases:\n"
         "  \"*\": { cluster: main }\n"
         "pool: { mode: transaction, size: 20, hold_timeout: 30s }\n"
         "auth: { users_file: ${folder}/users.txt }\n"
         "state_dir: ${folder}\n"
         "http: { address: \"127.0.0.1:${http_port}\" }\n";
}

struct Outcome {
  double write_gap_ms = 0;
  double promotion_ms = 0;   // from pg_promote() to the end of recovery
  double no_primary_ms = 0;  // from the kill to the end of recovery: nobody could have written in that time
  bool good = false;
};

Outcome run(bool quiet) {
  const auto say = [quiet](const std::string& text) {
    if (!quiet) std::printf("%s\n", text.c_str());
    std::fflush(stdout);
  };
  say("Starting a primary (pg1) and two replicas (pg2, pg3), synchronous_standby_names = ANY 1 …");
  ReplicationSet set({.replicas = 2, .quorum = true, .server = {.settings = {{"wal_receiver_timeout", "2s"}}}});
  Holdfast proxy({.config = config(set), .files = {{"users.txt", std::string("\"app\" \"") + app_password + "\"\n"}}});
  const LoadOptions clients{.conninfo = proxy.conninfo(), .writers = 8, .readers = 4, .transactions = 2, .idle = 20};
  say("Holdfast stands in front: one address, 127.0.0.1:" + std::to_string(proxy.port()) +
      ". On it: 8 writers, 4 readers, 2 clients in transactions, 20 idle ones.");
  Load load(clients);
  load.start();
  if (!wait_until(60s, [&] { return load.acknowledged() > 3000; }))
    throw std::runtime_error("the load does not get going");

  std::vector<Connection> administrators;
  administrators.push_back(set.replica(0).connect("postgres"));
  administrators.push_back(set.replica(1).connect("postgres"));
  Timeline timeline;
  timeline.zero();
  const auto killed = LoadClock::now();
  timeline.note("pg1: kill -9 of the postmaster and all its processes");
  set.primary().kill9_tree();
  // An administrator (or another tool) looks which replica has more, and promotes it; the proxy is not told. The other
  // one is led to the new primary meanwhile: with quorum commit, writes are acknowledged once it is there.
  const auto position = [](Connection& replica) {
    return std::stoull(replica.scalar("SELECT (pg_last_wal_receive_lsn() - '0/0')::bigint"));
  };
  // Only once nothing more can arrive: a replica that still receives could end up ahead of the one that is chosen, and
  // could then never follow it.
  for (auto& replica : administrators) {
    static_cast<void>(
        wait_until(5s, [&] { return replica.scalar("SELECT count(*) FROM pg_stat_wal_receiver") == "0"; }));
  }
  const bool second = position(administrators[1]) > position(administrators[0]);
  Server& heir = set.replica(second ? 1 : 0);
  Server& other = set.replica(second ? 0 : 1);
  Connection& administrator = administrators[second ? 1 : 0];
  const auto asked = LoadClock::now();
  timeline.note(heir.name() + ": SELECT pg_promote(false), behind the proxy's back");
  administrator.exec("SELECT pg_promote(false)");
  std::thread repoint([&] { other.repoint(heir); });
  if (!wait_until(30s, [&] { return administrator.scalar("SELECT pg_is_in_recovery()") == "f"; })) {
    throw std::runtime_error("the promotion does not end");
  }
  const auto promoted = LoadClock::now();
  repoint.join();
  timeline.note(heir.name() + ": promotion has ended, it accepts writes");
  const auto before = load.acknowledged();
  if (!wait_until(60s, [&] { return load.acknowledged() > before + 3000; }))
    throw std::runtime_error("writes do not go on");
  if (!quiet) {
    say("The old primary is started again, still believing that it is one …");
    set.primary().launch();
    static_cast<void>(proxy.wait_log("fenced", 20s));
    const auto more = load.acknowledged();
    static_cast<void>(wait_until(20s, [&] { return load.acknowledged() > more + 1000; }));
  }
  load.stop();

  const auto& report = load.report();
  auto primary = heir.connect("postgres");
  const auto check = check_load(primary, report);
  const auto metric = [&proxy](const std::string& name) { return static_cast<long>(proxy.metric(name).value_or(0)); };
  Outcome outcome;
  outcome.write_gap_ms = ms(report.longest_write_gap.length);
  outcome.promotion_ms = ms(std::chrono::duration_cast<std::chrono::microseconds>(promoted - asked));
  outcome.no_primary_ms = ms(std::chrono::duration_cast<std::chrono::microseconds>(promoted - killed));
  outcome.good = report.disconnects == 0 && report.idle_broken == 0 && check.missing == 0 && check.twice == 0 &&
                 report.wrong_reads == 0;
  if (quiet) return outcome;

  add_log(timeline, proxy.log());
  std::printf("\nWhat happened\n");
  timeline.print();
  std::printf("\nWhat the clients noticed\n");
  std::printf(
      "  longest gap between writes   %8.1f ms  (for %.1f ms of it there was no primary; the promotion itself took "
      "%.1f ms)\n",
      outcome.write_gap_ms, outcome.no_primary_ms, outcome.promotion_ms);
  std::printf("  longest gap between reads    %8.1f ms\n", ms(report.longest_read_gap.length));
  std::printf("  slowest single write         %8.1f ms\n", ms(report.slowest_write));
  std::printf("  clients disconnected         %8llu  (idle ones that were broken: %llu)\n",
              static_cast<unsigned long long>(report.disconnects), static_cast<unsigned long long>(report.idle_broken));
  std::printf("  writes acknowledged          %8zu\n", report.acknowledged.size());
  std::printf("    of them missing now        %8llu\n", static_cast<unsigned long long>(check.missing));
  std::printf("    rows there twice           %8llu\n", static_cast<unsigned long long>(check.twice));
  std::printf("  transactions committed       %8llu\n", static_cast<unsigned long long>(report.transactions));
  std::printf("  reads that went back in time %8llu\n", static_cast<unsigned long long>(report.wrong_reads));
  if (report.errors.empty()) {
    std::printf("  errors                              0\n");
  } else {
    for (const auto& [state, count] : report.errors) {
      std::printf("  errors with SQLSTATE %s   %8llu  %s\n", state.c_str(), static_cast<unsigned long long>(count),
                  state == "08007"   ? "a write in flight: nobody can know its outcome, never sent twice"
                  : state == "40001" ? "a transaction that is certainly rolled back"
                                     : "");
    }
  }
  std::printf("\nWhere reads ran (the writers never pause, and a read sees every write that came before it)\n");
  std::printf("  on replicas %ld, on the primary because no replica was fresh enough %ld, because there was none %ld\n",
              metric("holdfast_units_routed_total{reason=\"read\"}"),
              metric("holdfast_units_routed_total{reason=\"not_fresh\"}"),
              metric("holdfast_units_routed_total{reason=\"no_replica\"}"));
  std::printf("\n%s\n", outcome.good
                            ? "Nobody was disconnected, nothing acknowledged is missing, nothing is there twice."
                            : "SOMETHING WENT WRONG: see above.");
  if (!outcome.good) std::printf("\nThe proxy's log\n%s\n", proxy.log().c_str());
  return outcome;
}

}  // namespace

// holdfast_demo [--rounds N]: with rounds, N failovers and the gaps in a table.
int main(int argc, char** argv) {
  try {
    if (argc == 3 && std::strcmp(argv[1], "--rounds") == 0) {
      const int rounds = std::atoi(argv[2]);
      if (rounds < 1) {
        std::fprintf(stderr, "demo: --rounds needs a number of rounds\n");
        return 2;
      }
      std::vector<double> ours;
      bool good = true;
      std::printf("round  write gap ms  no primary ms  promotion ms  gap - promotion ms\n");
      for (int i = 1; i <= rounds; ++i) {
        const auto outcome = run(true);
        good = good && outcome.good;
        ours.push_back(outcome.write_gap_ms - outcome.promotion_ms);
        std::printf("%5d  %12.1f  %13.1f  %12.1f  %18.1f%s\n", i, outcome.write_gap_ms, outcome.no_primary_ms,
                    outcome.promotion_ms, ours.back(), outcome.good ? "" : "  WRONG");
        std::fflush(stdout);
      }
      std::sort(ours.begin(), ours.end());
      if (!ours.empty())
        std::printf("gap - promotion: median %.1f ms, worst %.1f ms\n", ours[ours.size() / 2], ours.back());
      return good ? 0 : 1;
    }
    return run(false).good ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "demo: %s\n", error.what());
    return 1;
  }
}
