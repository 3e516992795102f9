// The monitor against real servers: what it notices, how fast, and what it never believes.
#include "health/monitor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <csignal>
#include <iostream>
#include <optional>
#include <thread>

#include "tests/support/postgres.hpp"

namespace holdfast::health {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ReplicationSet;
using testing::Server;

config::Member member_of(const Server& server) {
  return {.name = server.name(), .host = "127.0.0.1", .port = static_cast<std::uint16_t>(server.port())};
}

config::Cluster cluster_of(std::initializer_list<const Server*> servers) {
  config::Cluster cluster{.name = "main"};
  cluster.monitor.user = "holdfast";
  cluster.monitor.password = config::Secret(testing::monitor_password);
  for (const Server* server : servers) cluster.members.push_back(member_of(*server));
  return cluster;
}

config::Cluster cluster_of(ReplicationSet& set) {
  config::Cluster cluster = cluster_of({});
  for (std::size_t i = 0; i < set.size(); ++i) cluster.members.push_back(member_of(set[i]));
  return cluster;
}

// A monitor on an io_context that the test runs itself, so that nothing happens behind its back.
class Watch {
 public:
  explicit Watch(const config::Cluster& cluster)
      : monitor(
            context, cluster,
            [this](TopologyPtr topology) {
              EXPECT_GT(topology->version, now ? now->version : 0);
              EXPECT_GE(topology->epoch, now ? now->epoch : 0);
              EXPECT_GE(topology->timeline, now ? now->timeline : 0);
              now = std::move(topology);
            },
            [this](const Event& event) { events.push_back(event); }) {
    monitor.start();
  }
  ~Watch() {
    bool ended = false;
    asio::co_spawn(context, monitor.stop(), [&](const std::exception_ptr&) { ended = true; });
    context.restart();
    context.run_for(seconds(10));
    EXPECT_TRUE(ended) << "stop() hangs";
  }

  // Runs until it holds; says how long that took.
  template <typename Predicate>
  std::optional<milliseconds> until(Predicate predicate, milliseconds bound = seconds(15)) {
    const TimePoint start = Clock::now();
    context.restart();
    while (!predicate()) {
      if (Clock::now() - start > bound) return std::nullopt;
      context.run_one_until(start + bound);
    }
    return std::chrono::duration_cast<milliseconds>(Clock::now() - start);
  }
  std::optional<milliseconds> until_primary(MemberIndex member) {
    return until([&] { return now->primary == member; });
  }
  std::optional<milliseconds> until_state(MemberIndex member, MemberState state) {
    return until([&] { return now->members[member].state == state; });
  }
  // Things keep being as they are for this long.
  void run(milliseconds duration) {
    context.restart();
    context.run_for(duration);
  }
  [[nodiscard]] bool told(EventKind kind) const {
    return std::ranges::any_of(events, [&](const Event& seen) { return seen.kind == kind; });
  }
  [[nodiscard]] MemberStatistics statistics(MemberIndex member) const { return monitor.statistics()[member]; }

  asio::io_context context{1};
  TopologyPtr now;
  std::vector<Event> events;
  Monitor monitor;
};

void print(const char* what, std::optional<milliseconds> took) {
  std::cout << "[ measured ] " << what << ": " << (took ? std::to_string(took->count()) : "?") << " ms\n";
}

TEST(Monitor, finds_primary_and_replicas) {
  ReplicationSet set;
  Watch watch(cluster_of(set));
  ASSERT_TRUE(watch.now) << "no first snapshot";
  EXPECT_EQ(watch.now->members.size(), 3U);
  ASSERT_TRUE(watch.until_primary(0));
  ASSERT_TRUE(watch.until([&] { return watch.now->members[1].accepts_reads && watch.now->members[2].accepts_reads; }));
  EXPECT_EQ(watch.now->epoch, 1U);
  EXPECT_EQ(watch.now->timeline, 1U);
  EXPECT_EQ(std::to_string(watch.now->system_identifier),
            set.primary().scalar("SELECT system_identifier FROM pg_control_system()"));
  EXPECT_EQ(watch.now->members[1].address, "127.0.0.1");
  ASSERT_TRUE(watch.until([&] { return watch.now->members[1].lag_known && watch.now->members[1].lag_bytes == 0; }));
}

TEST(Monitor, killed_primary_is_gone_at_once) {
  ReplicationSet set;
  Watch watch(cluster_of(set));
  ASSERT_TRUE(watch.until_primary(0));
  ASSERT_TRUE(watch.until([&] { return watch.now->members[1].accepts_reads; }));
  set.primary().kill9_tree();
  const auto took = watch.until([&] { return !watch.now->primary; });
  print("kill -9 until the primary is removed", took);
  ASSERT_TRUE(took);
  EXPECT_LT(*took, milliseconds(500));
  EXPECT_EQ(watch.now->members[0].state, MemberState::down);
  watch.run(milliseconds(1000));
  EXPECT_TRUE(watch.now->members[1].accepts_reads) << watch.now->members[1].reason;
}

TEST(Monitor, adopts_a_promotion_by_somebody_else) {
  std::vector<milliseconds> times;
  for (int round = 0; round < 5; ++round) {
    ReplicationSet set;
    Watch watch(cluster_of(set));
    ASSERT_TRUE(watch.until_primary(0));
    set.primary().kill9_tree();
    ASSERT_TRUE(watch.until([&] { return !watch.now->primary; }));
    const auto generation = watch.now->members[1].generation;
    // The end of the promotion as another session sees it, looked for every 0.1 ms or so, beside the monitor.
    std::atomic<Clock::rep> promoted{0};
    const std::jthread observer([&](const std::stop_token& stop) {
      auto session = set.replica().connect("postgres", "postgres");
      while (!stop.stop_requested() && session.scalar("SELECT pg_is_in_recovery()") != "f") {
      }
      promoted = Clock::now().time_since_epoch().count();
    });
    set.replica().exec("SELECT pg_promote(false)");
    ASSERT_TRUE(watch.until_primary(1));
    const TimePoint adopted = Clock::now();
    ASSERT_TRUE(testing::wait_until(seconds(5), [&] { return promoted != 0; }));
    times.push_back(std::chrono::duration_cast<milliseconds>(adopted - TimePoint(Clock::duration(promoted.load()))));
    print("end of somebody else's promotion until it is adopted", times.back());
    EXPECT_EQ(watch.now->epoch, 2U);
    EXPECT_EQ(watch.now->timeline, 2U);
    EXPECT_EQ(watch.now->members[1].generation, generation);
    EXPECT_TRUE(watch.told(EventKind::primary_changed));
    EXPECT_FALSE(watch.told(EventKind::split_brain));
  }
  std::sort(times.begin(), times.end());
  print("median of 5", times[2]);
  EXPECT_LE(times[2], milliseconds(100));
}

TEST(Monitor, returning_old_primary_is_fenced_and_never_primary) {
  ReplicationSet set;
  Watch watch(cluster_of(set));
  ASSERT_TRUE(watch.until_primary(0));
  set.primary().kill9_tree();
  ASSERT_TRUE(watch.until([&] { return !watch.now->primary; }));
  set.replica().exec("SELECT pg_promote(false)");
  ASSERT_TRUE(watch.until_primary(1));
  const auto generation = watch.now->members[0].generation;
  set[0].launch();
  bool was_usable = false;
  const auto took = watch.until([&] {
    was_usable = was_usable || watch.now->primary != MemberIndex{1} || watch.now->members[0].accepts_reads;
    return watch.now->members[0].state == MemberState::fenced;
  });
  ASSERT_TRUE(took);
  EXPECT_FALSE(was_usable);
  EXPECT_EQ(watch.now->members[0].reason, "timeline 1 is behind 2");
  EXPECT_GT(watch.now->members[0].generation, generation);
  EXPECT_TRUE(watch.told(EventKind::fenced));
  // Two that take writes are a split brain, even when it is clear which of them is right.
  ASSERT_TRUE(watch.until([&] { return watch.told(EventKind::split_brain); }));
  EXPECT_THAT(watch.now->split_brain, ::testing::ElementsAre(0, 1));
  EXPECT_EQ(watch.now->primary, MemberIndex{1});
  set[0].kill9_tree();
  ASSERT_TRUE(watch.until([&] { return watch.told(EventKind::split_brain_ended); }));
  EXPECT_THAT(watch.now->split_brain, ::testing::IsEmpty());
}

TEST(Monitor, replicas_that_stay_on_the_old_timeline_leave_the_read_pool) {
  ReplicationSet set;
  Watch watch(cluster_of(set));
  ASSERT_TRUE(watch.until_primary(0));
  ASSERT_TRUE(watch.until([&] { return watch.now->members[2].accepts_reads; }));
  set.primary().kill9_tree();
  set.replica(0).exec("SELECT pg_promote(false)");
  ASSERT_TRUE(watch.until_primary(1));
  EXPECT_TRUE(watch.now->members[2].accepts_reads);
  const auto left = watch.until_state(2, MemberState::quarantined);
  print("stuck replica leaves the read pool after", left);
  ASSERT_TRUE(left);
  EXPECT_FALSE(watch.now->members[2].accepts_reads);
  set.replica(1).repoint(set.replica(0));
  ASSERT_TRUE(watch.until([&] { return watch.now->members[2].accepts_reads; }));
  EXPECT_EQ(watch.now->members[2].timeline, 2U);
}

TEST(Monitor, live_old_primary_that_nobody_follows_loses_to_a_higher_timeline) {
  ReplicationSet set({.replicas = 1});
  Watch watch(cluster_of(set));
  ASSERT_TRUE(watch.until_primary(0));
  set.replica().exec("SELECT pg_promote(false)");
  const auto took = watch.until_primary(1);
  print("promotion beside a live primary until it is adopted (promotion included)", took);
  ASSERT_TRUE(took);
  EXPECT_LT(*took, seconds(1));
  EXPECT_EQ(watch.now->members[0].state, MemberState::fenced);
}

TEST(Monitor, restarted_primary_is_accepted_again_in_a_new_epoch) {
  ReplicationSet set({.replicas = 1});
  Watch watch(cluster_of(set));
  ASSERT_TRUE(watch.until_primary(0));
  const auto generation = watch.now->members[0].generation;
  set.primary().kill9_tree();
  ASSERT_TRUE(watch.until([&] { return !watch.now->primary; }));
  set.primary().launch();
  ASSERT_TRUE(watch.until_primary(0));
  EXPECT_EQ(watch.now->epoch, 2U);
  EXPECT_EQ(watch.now->timeline, 1U);
  EXPECT_GT(watch.now->members[0].generation, generation);
}

TEST(Monitor, silent_primary_is_down_by_its_deadlines) {
  ReplicationSet set({.replicas = 1});
  config::Cluster cluster = cluster_of(set);
  cluster.monitor.query_timeout = milliseconds(300);
  cluster.monitor.connect_timeout = milliseconds(300);
  Watch watch(cluster);
  ASSERT_TRUE(watch.until_primary(0));
  set.primary().sigstop_tree();
  const auto suspected = watch.until_state(0, MemberState::suspect);
  ASSERT_TRUE(suspected);
  EXPECT_EQ(watch.now->primary, MemberIndex{0});  // one time-out proves nothing
  const auto gone = watch.until([&] { return !watch.now->primary; });
  print("SIGSTOP until suspected (query_timeout 300 ms)", suspected);
  print("suspected until gone (connect_timeout 300 ms, fall 3)", gone);
  ASSERT_TRUE(gone);
  EXPECT_LT(*suspected + *gone, milliseconds(3 * 300 + 700));
  set.primary().sigcont_tree();
  ASSERT_TRUE(watch.until_primary(0));
  EXPECT_EQ(watch.now->epoch, 1U);  // the same reign
}

TEST(Monitor, silent_primary_is_down_before_three_time_outs) {
  ReplicationSet set({.replicas = 1});
  Watch watch(cluster_of(set));
  ASSERT_TRUE(watch.until_primary(0));
  set.primary().sigstop_tree();
  const auto gone = watch.until([&] { return !watch.now->primary; });
  print("SIGSTOP until gone (down_after 2 s, timeouts 1 s)", gone);
  ASSERT_TRUE(gone);
  EXPECT_LT(*gone, seconds(3));
  set.primary().sigcont_tree();
}

TEST(Monitor, ending_one_session_takes_nobody_down) {
  ReplicationSet set({.replicas = 1});
  Watch watch(cluster_of(set));
  ASSERT_TRUE(watch.until_primary(0));
  const auto version = watch.now->version;
  const auto connects = watch.statistics(0).connects;
  set.primary().exec(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'holdfast monitor'");
  ASSERT_TRUE(watch.until([&] { return watch.statistics(0).connects > connects; }));
  watch.run(milliseconds(300));
  EXPECT_EQ(watch.now->primary, MemberIndex{0});
  EXPECT_EQ(watch.now->epoch, 1U);
  EXPECT_FALSE(watch.told(EventKind::primary_lost));
  EXPECT_FALSE(watch.told(EventKind::member_down));
  EXPECT_GE(watch.now->version, version);
}

TEST(Monitor, wrong_cluster_is_quarantined) {
  ReplicationSet set({.replicas = 1});
  Server stranger({.name = "stranger", .identity = "b"});
  stranger.start();
  config::Cluster cluster = cluster_of(set);
  cluster.members.push_back(member_of(stranger));
  Watch watch(cluster);
  ASSERT_TRUE(watch.until_primary(0));
  ASSERT_TRUE(watch.until_state(2, MemberState::quarantined));
  EXPECT_FALSE(watch.now->members[2].accepts_reads);
  EXPECT_THAT(watch.now->members[2].reason, ::testing::HasSubstr("system identifier"));
}

// I-18: a server with eight slots, three of them for superusers. The crowd takes the rest, the monitor's among them.
class FullServer {
 public:
  explicit FullServer(const std::string& attribute) : server({.settings = {{"max_connections", "8"}}}) {
    server.start();
    server.exec("ALTER ROLE holdfast " + attribute);
  }
  void fill() {
    try {
      while (true) crowd_.push_back(server.connect());
    } catch (const std::exception&) {  // full
    }
  }
  // Until the crowd was quicker than the monitor's next connect.
  void crowd_out(Watch& watch) {
    fill();
    const auto refused = [&] { return watch.now->members[0].reason.find("53300") != std::string::npos; };
    const auto walsender = [&] {
      return server.scalar("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'") == "1";
    };
    ASSERT_TRUE(watch.until([&] {
      server.exec(
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
          " WHERE application_name = 'holdfast monitor' AND backend_type = 'client backend'");
      fill();
      watch.run(milliseconds(200));
      return refused() || walsender();
    }));
  }

  Server server;

 private:
  std::vector<testing::Connection> crowd_;
};

TEST(Monitor, exhausted_connections_are_not_a_failure) {
  FullServer full("NOREPLICATION");
  Watch watch(cluster_of({&full.server}));
  ASSERT_TRUE(watch.until_primary(0));
  full.crowd_out(watch);
  watch.run(seconds(1));
  EXPECT_EQ(watch.now->primary, MemberIndex{0});
  EXPECT_GT(watch.statistics(0).results[static_cast<std::size_t>(Grade::too_many)], 3U);
  EXPECT_TRUE(watch.told(EventKind::probe_inconclusive));
  EXPECT_FALSE(watch.told(EventKind::primary_lost));
}

TEST(Monitor, walsender_slots_let_the_monitor_into_a_full_server) {
  FullServer full("REPLICATION");
  Watch watch(cluster_of({&full.server}));
  ASSERT_TRUE(watch.until_primary(0));
  full.crowd_out(watch);
  const auto before = watch.statistics(0).results[static_cast<std::size_t>(Grade::ok)];
  watch.run(seconds(1));
  EXPECT_GT(watch.statistics(0).results[static_cast<std::size_t>(Grade::ok)], before + 3);
  EXPECT_EQ(watch.now->primary, MemberIndex{0});
  EXPECT_FALSE(watch.told(EventKind::primary_lost));
}

// I-18: with only the postmaster hung nobody can connect, but sessions that exist still write.
TEST(Monitor, hung_postmaster_takes_nobody_down) {
  ReplicationSet set({.replicas = 1});
  config::Cluster cluster = cluster_of(set);
  cluster.monitor.connect_timeout = milliseconds(100);
  Watch watch(cluster);
  ASSERT_TRUE(watch.until_primary(0));
  ASSERT_EQ(::kill(set.primary().postmaster_pid(), SIGSTOP), 0);
  for (int i = 0; i < 10; ++i) {
    watch.monitor.evidence(0, Evidence::connect_timeout);
    watch.run(milliseconds(100));
  }
  ::kill(set.primary().postmaster_pid(), SIGCONT);
  EXPECT_EQ(watch.now->primary, MemberIndex{0});
  EXPECT_FALSE(watch.told(EventKind::primary_lost));
}

TEST(Monitor, standby_that_lets_nobody_in_is_starting) {
  ReplicationSet set({.replicas = 1});
  Watch watch(cluster_of(set));
  ASSERT_TRUE(watch.until([&] { return watch.now->members[1].accepts_reads; }));
  set.replica().exec("ALTER SYSTEM SET hot_standby = off");
  set.replica().kill9_tree();
  set.replica().launch();
  ASSERT_TRUE(watch.until_state(1, MemberState::starting));
  EXPECT_FALSE(watch.now->members[1].accepts_reads);
  EXPECT_THAT(watch.now->members[1].reason, ::testing::HasSubstr("57P03"));
  EXPECT_EQ(watch.now->primary, MemberIndex{0});
}

TEST(Monitor, probes_through_tls) {
  Server server(
      {.hba = {"hostssl all holdfast 127.0.0.1/32 trust", "hostnossl all holdfast 127.0.0.1/32 reject"}, .tls = true});
  server.start();
  config::Cluster cluster = cluster_of({&server});
  cluster.tls.mode = config::SslMode::disable;
  Watch watch(cluster);
  ASSERT_TRUE(watch.until([&] { return watch.told(EventKind::monitor_access_denied); }));
  cluster.tls.mode = config::SslMode::require;
  watch.monitor.update(cluster);
  ASSERT_TRUE(watch.until_primary(0));
}

TEST(Monitor, read_only_primary_gets_no_writes) {
  ReplicationSet set({.replicas = 1});
  Watch watch(cluster_of(set));
  ASSERT_TRUE(watch.until_primary(0));
  set.primary().set({{"default_transaction_read_only", "on"}});
  ASSERT_TRUE(watch.until([&] { return !watch.now->primary; }));
  EXPECT_THAT(watch.now->why_no_primary, ::testing::HasSubstr("default_transaction_read_only"));
  set.primary().set({{"default_transaction_read_only", "off"}});
  ASSERT_TRUE(watch.until_primary(0));
  EXPECT_EQ(watch.now->epoch, 1U);
}

TEST(Monitor, marks_advance_after_writes_and_stand_while_replay_is_paused) {
  ReplicationSet set({.replicas = 1});
  Watch watch(cluster_of(set));
  ASSERT_TRUE(watch.until_primary(0));
  set.primary().exec("CREATE TABLE marks (n int)");
  const auto mark = [&] { return watch.now->freshness->fresh_until(1); };
  const auto covered = [&](TimePoint moment) {
    return watch.until([&, moment] {
      if (watch.now->freshness->want(moment + milliseconds(1))) watch.monitor.freshness_wanted();
      return mark() > moment;
    });
  };
  ASSERT_TRUE(covered(Clock::now()));

  std::vector<milliseconds> times;
  for (int i = 0; i < 20; ++i) {
    set.primary().exec("INSERT INTO marks VALUES (" + std::to_string(i) + ")");
    const auto took = covered(Clock::now());
    ASSERT_TRUE(took);
    EXPECT_EQ(set.replica().scalar("SELECT max(n) FROM marks"), std::to_string(i));
    times.push_back(*took);
  }
  std::sort(times.begin(), times.end());
  print("finished write until a mark covers it, median of 20", times[10]);

  set.replica().exec("SELECT pg_wal_replay_pause()");
  set.primary().exec("INSERT INTO marks VALUES (100)");
  const TimePoint written = Clock::now();
  EXPECT_FALSE(watch.until([&] { return mark() > written; }, milliseconds(700)));
  EXPECT_TRUE(watch.now->members[1].accepts_reads);
  EXPECT_GT(watch.now->members[1].lag_bytes, 0U);
  set.replica().exec("SELECT pg_wal_replay_resume()");
  ASSERT_TRUE(covered(written));
  EXPECT_EQ(set.replica().scalar("SELECT max(n) FROM marks"), "100");
}

TEST(Monitor, idle_cluster_stays_fresh_at_every_page_boundary) {
  ReplicationSet set({.replicas = 1});
  Watch watch(cluster_of(set));
  ASSERT_TRUE(watch.until_primary(0));
  for (int i = 0; i < 3; ++i) {
    set.primary().exec("SELECT pg_switch_wal()");  // the next segment begins with a long header
    const TimePoint moment = Clock::now();
    ASSERT_TRUE(watch.until([&] { return watch.now->freshness->fresh_until(1) > moment; }, seconds(3)));
    set.primary().exec("SELECT pg_logical_emit_message(false, 'x', 'y')");
  }
}

TEST(Monitor, evidence_is_answered_by_a_probe) {
  ReplicationSet set({.replicas = 1});
  config::Cluster cluster = cluster_of(set);
  cluster.monitor.interval = seconds(60);
  cluster.monitor.fast_interval = seconds(60);
  Watch watch(cluster);
  ASSERT_TRUE(watch.until_primary(0));
  watch.run(milliseconds(50));
  const auto probes = watch.statistics(0).full_probes;
  const auto connects = watch.statistics(0).connects;
  watch.monitor.evidence(0, Evidence::answer_overdue);
  ASSERT_TRUE(watch.until([&] { return watch.statistics(0).full_probes > probes; }));
  EXPECT_EQ(watch.statistics(0).connects, connects);
  watch.monitor.evidence(0, Evidence::connect_refused);
  ASSERT_TRUE(watch.until([&] { return watch.statistics(0).connects > connects; }));
  watch.run(milliseconds(50));
  EXPECT_EQ(watch.now->primary, MemberIndex{0});  // it answers: the evidence was old
}

TEST(Monitor, all_members_down_and_back_in_any_order) {
  ReplicationSet set;
  Watch watch(cluster_of(set));
  ASSERT_TRUE(watch.until_primary(0));
  for (std::size_t i = 0; i < set.size(); ++i) set[i].kill9_tree();
  ASSERT_TRUE(watch.until([&] {
    return std::all_of(watch.now->members.begin(), watch.now->members.end(),
                       [](const MemberStatus& member) { return member.state == MemberState::down; });
  }));
  set[2].launch();
  ASSERT_TRUE(watch.until([&] { return watch.now->members[2].accepts_reads; }));
  EXPECT_FALSE(watch.now->primary);
  set[0].launch();
  ASSERT_TRUE(watch.until_primary(0));
  set[1].launch();
  ASSERT_TRUE(watch.until([&] { return watch.now->members[1].accepts_reads; }));
}

TEST(Monitor, replica_that_is_down_at_the_start_does_not_stop_it) {
  ReplicationSet set;
  set.replica(1).kill9_tree();
  Watch watch(cluster_of(set));
  const auto took = watch.until_primary(0);
  ASSERT_TRUE(took);
  EXPECT_LT(*took, seconds(1));
  EXPECT_EQ(watch.now->members[2].state, MemberState::down);
}

TEST(Monitor, name_without_address_is_told_and_stops_nothing) {
  ReplicationSet set({.replicas = 1});
  config::Cluster cluster = cluster_of(set);
  cluster.members.push_back({.name = "ghost", .host = "no-such-host.invalid"});
  Watch watch(cluster);
  ASSERT_TRUE(watch.until_primary(0));
  ASSERT_TRUE(watch.until_state(2, MemberState::down));
  EXPECT_THAT(watch.now->members[2].reason, ::testing::HasSubstr("no-such-host.invalid"));
  EXPECT_TRUE(watch.told(EventKind::dns_failed));
}

TEST(Monitor, host_names_are_resolved) {
  ReplicationSet set({.replicas = 1});
  config::Cluster cluster = cluster_of(set);
  for (config::Member& member : cluster.members) member.host = "localhost";
  Watch watch(cluster);
  ASSERT_TRUE(watch.until_primary(0));
  EXPECT_EQ(watch.now->members[0].address, "127.0.0.1");
  EXPECT_EQ(watch.now->members[0].host, "localhost");
}

TEST(Monitor, wrong_password_is_told_and_does_not_spin) {
  Server server({.host_auth = "scram-sha-256"});
  server.start();
  config::Cluster cluster = cluster_of({&server});
  cluster.monitor.password = config::Secret("wrong");
  Watch watch(cluster);
  ASSERT_TRUE(watch.until([&] { return watch.told(EventKind::monitor_access_denied); }));
  EXPECT_EQ(watch.now->members[0].state, MemberState::unknown);
  EXPECT_THAT(watch.now->members[0].reason, ::testing::HasSubstr("28P01"));
  const auto before = watch.statistics(0).connects;
  watch.run(seconds(1));
  EXPECT_LT(watch.statistics(0).connects - before, 60U);
  cluster.monitor.password = config::Secret(testing::monitor_password);
  watch.monitor.update(cluster);
  ASSERT_TRUE(watch.until_primary(0));
}

TEST(Monitor, role_without_pg_monitor_is_told_what_it_misses) {
  ReplicationSet set({.replicas = 1});
  {
    Watch watch(cluster_of(set));
    ASSERT_TRUE(watch.until_primary(0));
    EXPECT_FALSE(watch.told(EventKind::monitor_sees_little));
  }
  set.primary().exec("REVOKE pg_monitor FROM holdfast");
  ReplicationSet::wait_caught_up(set.primary(), set.replica());
  Watch watch(cluster_of(set));
  ASSERT_TRUE(watch.until([&] { return watch.told(EventKind::monitor_sees_little); }));
}

TEST(Monitor, reload_adds_and_removes_members_and_leaves_others_alone) {
  ReplicationSet set;
  config::Cluster all = cluster_of(set);
  config::Cluster two = all;
  two.members.pop_back();
  Watch watch(two);
  ASSERT_TRUE(watch.until_primary(0));
  ASSERT_TRUE(watch.until([&] { return watch.now->members[1].accepts_reads; }));
  const auto connects = watch.statistics(0).connects;

  watch.monitor.update(all);
  ASSERT_EQ(watch.now->members.size(), 3U);
  ASSERT_TRUE(watch.until([&] { return watch.now->members[2].accepts_reads; }));
  EXPECT_EQ(watch.now->freshness->size(), 3U);

  config::Cluster without = all;
  without.members.erase(without.members.begin() + 1);
  watch.monitor.update(without);
  ASSERT_EQ(watch.now->members.size(), 3U);  // indices stay
  EXPECT_EQ(watch.now->members[1].state, MemberState::down);
  EXPECT_TRUE(watch.now->members[1].removed);
  EXPECT_TRUE(watch.told(EventKind::member_removed));
  EXPECT_FALSE(watch.told(EventKind::member_down));
  EXPECT_FALSE(watch.now->members[1].accepts_reads);
  watch.run(milliseconds(200));
  EXPECT_EQ(watch.now->members[1].state, MemberState::down);
  EXPECT_EQ(set.replica(0).scalar("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holdfast monitor'"),
            "0");

  watch.monitor.update(all);
  ASSERT_TRUE(watch.until([&] { return watch.now->members[1].accepts_reads; }));
  EXPECT_EQ(watch.now->primary, MemberIndex{0});
  EXPECT_EQ(watch.now->epoch, 1U);
  EXPECT_EQ(watch.statistics(0).connects, connects);
}

TEST(Monitor, member_replaced_behind_the_same_name_starts_over) {
  ReplicationSet set;
  config::Cluster cluster = cluster_of(set);
  cluster.members.pop_back();
  Watch watch(cluster);
  ASSERT_TRUE(watch.until_primary(0));
  ASSERT_TRUE(watch.until([&] { return watch.now->members[1].accepts_reads; }));
  const auto generation = watch.now->members[1].generation;
  cluster.members[1].port = static_cast<std::uint16_t>(set.replica(1).port());
  watch.monitor.update(cluster);
  EXPECT_FALSE(watch.now->members[1].accepts_reads);
  EXPECT_GT(watch.now->members[1].generation, generation);
  ASSERT_TRUE(watch.until([&] { return watch.now->members[1].accepts_reads; }));
  EXPECT_EQ(watch.now->members[1].port, set.replica(1).port());
}

TEST(Monitor, quiet_cluster_publishes_little) {
  ReplicationSet set({.replicas = 1});
  Watch watch(cluster_of(set));
  ASSERT_TRUE(watch.until_primary(0));
  ASSERT_TRUE(watch.until([&] { return watch.now->members[1].lag_known; }));
  watch.run(milliseconds(300));
  const auto version = watch.now->version;
  watch.run(seconds(1));
  EXPECT_LE(watch.now->version - version, 4U);
}

}  // namespace
}  // namespace holdfast::health
