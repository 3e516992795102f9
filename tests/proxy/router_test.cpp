// Which member gets a unit: verdicts, settings and topologies, and what each route is for.
#include "proxy/route/router.hpp"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "protocol/sql/classify.hpp"

namespace holdfast::proxy {
namespace {

using namespace std::chrono_literals;
using config::Balance;
using config::ReadConsistency;
using protocol::sql::classify;
using protocol::sql::Hint;
using Kind = Route::Kind;

// A primary (0) and two replicas with data of this moment.
class RouterTest : public ::testing::Test {
 protected:
  RouterTest() {
    settings.read_consistency = ReadConsistency::session;
    topology.primary = 0;
    for (std::uint32_t i = 0; i < 3; ++i) {
      health::MemberStatus member;
      member.accepts_reads = i > 0;
      member.lag_known = true;
      topology.members.push_back(member);
    }
    fresh(1, now);
    fresh(2, now);
    topology.freshness = marks;
  }
  void fresh(std::size_t member, TimePoint until) { marks->set(member, until); }
  void no_replicas() { topology.members[1].accepts_reads = topology.members[2].accepts_reads = false; }
  Route route(const protocol::sql::Verdict& verdict) const {
    return choose_route({.verdict = verdict,
                         .settings = settings,
                         .topology = topology,
                         .seen = seen,
                         .now = now,
                         .last_write_anywhere = last_write_anywhere,
                         .write_in_flight = write_in_flight,
                         .begins_for_good = begins_for_good,
                         .has_waited = has_waited,
                         .loads = {.of_what = &loads,
                                   .ask =
                                       [](const void* of_what, health::MemberIndex member) {
                                         return (*static_cast<const std::array<std::size_t, 3>*>(of_what))[member];
                                       },
                                   .lets_in =
                                       [](const void* of_what, health::MemberIndex member) {
                                         const auto& busy = *static_cast<const std::array<std::size_t, 3>*>(of_what);
                                         return busy[member] != lets_nobody_in;
                                       }},
                         .last_replica = last_replica});
  }
  Route route(std::string_view sql) const { return route(classify(sql)); }
  // "replica 1 (read)", "primary (write)", "refused (no_replica)", "wait (not_fresh)".
  std::string where(const protocol::sql::Verdict& verdict) const {
    const auto chosen = route(verdict);
    const std::string reason = std::string(" (") + name_of(chosen.reason) + ")";
    switch (chosen.kind) {
      case Kind::member: return "replica " + std::to_string(chosen.member) + reason;
      case Kind::primary: return "primary" + reason;
      case Kind::wait_for_marks: return "wait" + reason;
      case Kind::refused: return "refused" + reason;
    }
    return "?";
  }
  std::string where(std::string_view sql) const { return where(classify(sql)); }

  static constexpr std::size_t lets_nobody_in = 99;
  const TimePoint now{1h};
  health::Topology topology;
  std::shared_ptr<health::FreshnessMarks> marks = std::make_shared<health::FreshnessMarks>(3);
  config::EffectiveSettings settings;
  SeenByClient seen;
  TimePoint last_write_anywhere{};
  bool write_in_flight = false;
  bool begins_for_good = false;
  bool has_waited = false;
  std::array<std::size_t, 3> loads{};
  health::MemberIndex last_replica = 0;
};

TEST_F(RouterTest, statement_goes_where_its_verdict_says) {
  struct Case {
    const char* sql;
    const char* where;
  };
  const std::array cases{
      Case{"SELECT 1", "replica 1 (read)"},
      Case{"", "replica 1 (read)"},
      Case{"INSERT INTO t VALUES (1)", "primary (write)"},
      Case{"SELECT 1 FOR UPDATE", "primary (write)"},
      Case{"SELEC 1", "primary (unparsed)"},
      Case{"SET work_mem = 1", "primary (session_state)"},
      Case{"SELECT my_function()", "primary (session_state)"},
      Case{"LISTEN a", "primary (session_state)"},
      Case{"SELECT pg_is_in_recovery()", "primary (role_question)"},
      Case{"BEGIN", "primary (write)"},
      Case{"BEGIN READ ONLY", "replica 1 (read)"},
      Case{"/* holdfast: primary */ SELECT 1", "replica 1 (read)"},  // the parser alone sees no hint
  };
  for (const auto& [sql, expected] : cases) EXPECT_EQ(where(sql), expected) << sql;
}

TEST_F(RouterTest, what_throws_something_of_the_session_away_is_for_the_primary) {
  for (const auto effect :
       {protocol::sql::Effect::discard, protocol::sql::Effect::sql_deallocate, protocol::sql::Effect::cursor}) {
    EXPECT_EQ(where({.access = protocol::sql::Access::read, .effects = effect}), "primary (session_state)");
  }
}

TEST_F(RouterTest, block_that_begins_with_a_read_is_for_the_primary_unless_it_is_read_only) {
  using protocol::sql::TransactionControl;
  const auto block = [](TransactionControl control) {
    return protocol::sql::Verdict{.access = protocol::sql::Access::read, .control = control};
  };
  EXPECT_EQ(where(block(TransactionControl::begin)), "primary (transaction)");
  EXPECT_EQ(where(block(TransactionControl::begin_read_only)), "replica 1 (read)");
}

TEST_F(RouterTest, read_only_block_that_goes_on_after_its_commit_is_for_the_primary) {
  EXPECT_EQ(where({.access = protocol::sql::Access::read,
                   .control = protocol::sql::TransactionControl::begin_read_only,
                   .returns_after_commit = true}),
            "primary (transaction)");
}

TEST_F(RouterTest, hint_wins_over_the_verdict) {
  auto read = classify("SELECT 1");
  read.hint = Hint::primary;
  EXPECT_EQ(where(read), "primary (configured)");
  auto write = classify("INSERT INTO t VALUES (1)");
  write.hint = Hint::replica;
  EXPECT_EQ(where(write), "replica 1 (read)");
}

TEST_F(RouterTest, hint_sends_no_session_to_a_replica_that_would_stay_there) {
  for (const char* sql :
       {"SET work_mem = 1", "SELECT pg_advisory_lock(1)", "LISTEN a", "SELEC 1", "PREPARE p AS SELECT 1"}) {
    auto verdict = classify(sql);
    verdict.hint = Hint::replica;
    EXPECT_EQ(route(verdict).kind, Kind::primary) << sql;
  }
  auto guess = classify("SELECT my_function()");
  guess.hint = Hint::replica;
  EXPECT_EQ(where(guess), "replica 1 (read)") << "whose state is given up for a write";
}

TEST_F(RouterTest, block_that_could_not_begin_again_is_for_the_primary) {
  begins_for_good = true;
  auto block = classify("BEGIN READ ONLY");
  EXPECT_EQ(where(block), "primary (transaction)");
  block.hint = Hint::replica;
  EXPECT_EQ(where(block), "primary (transaction)");
  settings.route = config::Route::replica;
  EXPECT_EQ(where(block), "replica 1 (read)") << "such a block begins nowhere else";
}

TEST_F(RouterTest, hint_for_a_replica_without_one_falls_back_to_the_primary) {
  no_replicas();
  auto read = classify("SELECT 1");
  read.hint = Hint::replica;
  EXPECT_EQ(where(read), "primary (no_replica)");
}

TEST_F(RouterTest, setting_wins_over_hint_and_verdict) {
  settings.route = config::Route::primary;
  auto read = classify("SELECT 1");
  read.hint = Hint::replica;
  EXPECT_EQ(where(read), "primary (configured)");
  auto write = classify("INSERT INTO t VALUES (1)");
  write.hint = Hint::primary;
  for (const auto setting : {config::Route::replica, config::Route::replica_or_primary}) {
    settings.route = setting;
    EXPECT_EQ(where(write), "replica 1 (read)");
  }
}

TEST_F(RouterTest, without_a_replica_each_setting_has_its_own_end) {
  no_replicas();
  EXPECT_EQ(where("SELECT 1"), "primary (no_replica)");
  settings.fallback_to_primary = false;
  EXPECT_EQ(where("SELECT 1"), "refused (no_replica)");
  settings.route = config::Route::replica_or_primary;
  EXPECT_EQ(where("SELECT 1"), "primary (no_replica)");
  settings.route = config::Route::replica;
  EXPECT_EQ(where("SELECT 1"), "refused (no_replica)");
  settings.fallback_to_primary = true;
  EXPECT_EQ(where("SELECT 1"), "refused (no_replica)");
  EXPECT_FALSE(route("SELECT 1").wants_marks) << "fresher marks make no replica";
}

TEST_F(RouterTest, primary_serves_no_read_as_a_replica) {
  topology.members[0].accepts_reads = true;  // what a snapshot never says
  loads = {0, 5, 6};
  EXPECT_EQ(where("SELECT 1"), "replica 1 (read)");
}

TEST_F(RouterTest, replicas_serve_while_there_is_no_primary) {
  topology.primary.reset();
  topology.members[1].lag_known = topology.members[2].lag_known = false;
  EXPECT_EQ(where("SELECT 1"), "replica 1 (read)") << "nobody can be ahead of them";
  EXPECT_EQ(where("INSERT INTO t VALUES (1)"), "primary (write)") << "it waits for one";
}

// ---- lag

TEST_F(RouterTest, replica_that_lags_too_far_serves_no_reads) {
  settings.max_lag = 100;
  topology.members[1].lag_bytes = 101;
  EXPECT_EQ(where("SELECT 1"), "replica 2 (read)");
  topology.members[2].lag_bytes = 101;
  EXPECT_EQ(where("SELECT 1"), "primary (no_replica)");
  topology.members[1].lag_bytes = 100;
  EXPECT_EQ(where("SELECT 1"), "replica 1 (read)");
}

TEST_F(RouterTest, unknown_lag_is_too_far_unless_any_age_will_do) {
  topology.members[1].lag_known = topology.members[2].lag_known = false;
  for (const auto consistency : {ReadConsistency::session, ReadConsistency::global, ReadConsistency::bounded}) {
    settings.read_consistency = consistency;
    EXPECT_EQ(where("SELECT 1"), "primary (no_replica)");
  }
  settings.read_consistency = ReadConsistency::eventual;
  EXPECT_EQ(where("SELECT 1"), "replica 1 (read)");
}

// ---- freshness

TEST_F(RouterTest, session_reads_its_own_writes) {
  seen.last_write = now - 1ms;
  EXPECT_EQ(where("SELECT 1"), "replica 1 (read)");
  fresh(1, now - 2ms);
  EXPECT_EQ(where("SELECT 1"), "replica 2 (read)");
  fresh(2, now - 2ms);
  EXPECT_EQ(where("SELECT 1"), "primary (not_fresh)");
  EXPECT_TRUE(route("SELECT 1").wants_marks);
  EXPECT_EQ(route("SELECT 1").wanted, seen.last_write);
  fresh(2, now - 1ms);
  EXPECT_EQ(where("SELECT 1"), "replica 2 (read)") << "exactly as fresh is fresh enough";
}

TEST_F(RouterTest, session_never_goes_back_in_time) {
  seen.last_read = now - 1ms;  // on the primary, or on another replica
  has_waited = true;
  fresh(1, now - 2ms);
  fresh(2, now - 2ms);
  EXPECT_EQ(where("SELECT 1"), "primary (not_fresh)");
}

TEST_F(RouterTest, on_the_replica_that_it_read_from_last_a_session_does_not_go_back) {
  seen.last_write = now - 5ms;
  seen.last_read = now - 1ms;
  seen.last_replica = 2;
  fresh(1, now - 2ms);
  fresh(2, now - 2ms);
  EXPECT_EQ(where("SELECT 1"), "replica 2 (read)");
  fresh(2, now - 6ms);
  has_waited = true;
  EXPECT_EQ(where("SELECT 1"), "primary (not_fresh)") << "but its own write must be there";
}

TEST_F(RouterTest, replica_that_may_have_restarted_is_another_one) {
  seen.last_read = now - 1ms;
  seen.last_replica = 2;
  marks->forget(2);
  fresh(1, now - 2ms);
  fresh(2, now - 2ms);
  has_waited = true;
  EXPECT_EQ(where("SELECT 1"), "primary (not_fresh)");
  seen.replica_life = marks->life(2);
  EXPECT_EQ(where("SELECT 1"), "replica 2 (read)");
}

TEST_F(RouterTest, global_consistency_counts_writes_of_everybody) {
  settings.read_consistency = ReadConsistency::global;
  fresh(1, now - 2ms);
  fresh(2, now - 2ms);
  seen.last_write = seen.last_read = now;  // are among those of everybody
  EXPECT_EQ(where("SELECT 1"), "replica 1 (read)");
  last_write_anywhere = now - 1ms;
  EXPECT_EQ(where("SELECT 1"), "primary (not_fresh)") << "at once: return_wait is for sessions";
  EXPECT_TRUE(route("SELECT 1").wants_marks);
  EXPECT_EQ(route("SELECT 1").wanted, last_write_anywhere);
  fresh(2, now - 1ms);
  EXPECT_EQ(where("SELECT 1"), "replica 2 (read)");
}

// The primary shows a commit before its writer is told: a session that has seen it must not miss it in its next read.
TEST_F(RouterTest, while_a_write_is_in_flight_global_consistency_does_not_go_back_in_time_either) {
  settings.read_consistency = ReadConsistency::global;
  last_write_anywhere = now - 9ms;
  fresh(1, now - 3ms);
  fresh(2, now - 2ms);
  seen.last_read = now - 2ms;
  EXPECT_EQ(where("SELECT 1"), "replica 1 (read)") << "all that it has seen was finished and is there";
  write_in_flight = true;
  EXPECT_EQ(where("SELECT 1"), "replica 2 (read)");
  fresh(2, now - 3ms);
  EXPECT_EQ(where("SELECT 1"), "primary (not_fresh)");
  EXPECT_EQ(route("SELECT 1").wanted, seen.last_read);
  seen.last_replica = 1;
  EXPECT_EQ(where("SELECT 1"), "replica 1 (read)") << "replay only moves forward";
  last_write_anywhere = now - 1ms;
  EXPECT_EQ(where("SELECT 1"), "primary (not_fresh)");
}

TEST_F(RouterTest, global_consistency_is_the_default) {
  EXPECT_EQ(config::EffectiveSettings{}.read_consistency, ReadConsistency::global);
}

TEST_F(RouterTest, bounded_staleness_counts_from_now) {
  settings.read_consistency = ReadConsistency::bounded;
  settings.read_staleness = 100ms;
  fresh(1, now - 101ms);
  fresh(2, now - 100ms);
  EXPECT_EQ(where("SELECT 1"), "replica 2 (read)");
}

TEST_F(RouterTest, eventual_consistency_and_a_read_only_endpoint_ask_for_no_freshness) {
  seen.last_write = seen.last_read = now;
  fresh(1, {});
  fresh(2, {});
  has_waited = true;
  EXPECT_EQ(where("SELECT 1"), "primary (not_fresh)");
  settings.read_consistency = ReadConsistency::eventual;
  EXPECT_EQ(where("SELECT 1"), "replica 1 (read)");
  settings.read_consistency = ReadConsistency::session;
  settings.route = config::Route::replica;
  EXPECT_EQ(where("SELECT 1"), "replica 1 (read)");
  settings.route = config::Route::replica_or_primary;
  EXPECT_EQ(where("SELECT 1"), "primary (not_fresh)");
}

// ---- waiting

TEST_F(RouterTest, behind_its_write_a_session_waits_as_long_as_freshness_wait) {
  seen.last_write = now;
  fresh(1, now - 1ms);
  fresh(2, now - 1ms);
  EXPECT_EQ(where("SELECT 1"), "primary (not_fresh)") << "by default not at all";
  settings.freshness_wait = 30ms;
  const auto waits = route("SELECT 1");
  EXPECT_EQ(waits.kind, Kind::wait_for_marks);
  EXPECT_EQ(waits.reason, RouteReason::not_fresh);
  EXPECT_EQ(waits.until, now + 30ms);
  EXPECT_TRUE(waits.wants_marks);
}

TEST_F(RouterTest, reader_waits_to_get_back_to_the_replicas) {
  seen.last_write = now - 5ms;
  seen.last_read = now;
  fresh(1, now - 1ms);
  fresh(2, now - 1ms);
  EXPECT_EQ(route("SELECT 1").until, now + settings.return_wait);
  settings.freshness_wait = settings.return_wait + 20ms;
  EXPECT_EQ(route("SELECT 1").until, now + settings.freshness_wait) << "the longer of both";
  settings.freshness_wait = settings.return_wait = 0ms;
  EXPECT_EQ(where("SELECT 1"), "primary (not_fresh)");
}

TEST_F(RouterTest, waits_once) {
  settings.freshness_wait = 30ms;
  seen.last_write = now;
  fresh(1, {});
  fresh(2, {});
  EXPECT_EQ(where("SELECT 1"), "wait (not_fresh)");
  has_waited = true;
  EXPECT_EQ(where("SELECT 1"), "primary (not_fresh)");
  settings.fallback_to_primary = false;
  EXPECT_EQ(where("SELECT 1"), "refused (not_fresh)");
}

TEST_F(RouterTest, waits_for_no_replica_that_is_not_there) {
  settings.freshness_wait = 30ms;
  seen.last_write = now;
  no_replicas();
  EXPECT_EQ(where("SELECT 1"), "primary (no_replica)");
}

// A standby that doesn't know the user or the database yet is asked again after its back-off only.
TEST_F(RouterTest, replica_that_does_not_let_the_user_in_is_none_unless_there_is_nobody_else) {
  loads = {0, lets_nobody_in, 1};
  EXPECT_EQ(where("SELECT 1"), "replica 2 (read)");
  loads = {0, lets_nobody_in, lets_nobody_in};
  EXPECT_EQ(where("SELECT 1"), "primary (no_replica)");
  settings.route = config::Route::replica;
  EXPECT_EQ(where("SELECT 1"), "replica 1 (read)") << "it says itself why not";
}

// ---- balance

TEST_F(RouterTest, least_connections_wins_and_the_first_of_equals) {
  loads = {0, 3, 2};
  EXPECT_EQ(route("SELECT 1").member, 2U);
  loads = {0, 2, 2};
  EXPECT_EQ(route("SELECT 1").member, 1U);
}

TEST_F(RouterTest, round_robin_goes_on_behind_the_last_and_ignores_load) {
  settings.balance = Balance::round_robin;
  loads = {0, 9, 9};
  for (const auto& [last, next] : {std::pair{0U, 1U}, std::pair{1U, 2U}, std::pair{2U, 1U}, std::pair{7U, 2U}}) {
    last_replica = last;
    EXPECT_EQ(route("SELECT 1").member, next) << last;
  }
  topology.members[2].accepts_reads = false;
  last_replica = 1;
  EXPECT_EQ(route("SELECT 1").member, 1U);
}

TEST_F(RouterTest, weight_divides_the_load_and_zero_takes_no_reads) {
  settings.balance = Balance::weighted;
  topology.members[1].weight = 1;
  topology.members[2].weight = 3;
  loads = {0, 0, 1};
  EXPECT_EQ(route("SELECT 1").member, 2U) << "2/3 against 1";
  loads = {0, 0, 3};
  EXPECT_EQ(route("SELECT 1").member, 1U) << "4/3 against 1";
  topology.members[1].weight = 0;
  EXPECT_EQ(route("SELECT 1").member, 2U);
  topology.members[2].weight = 0;
  EXPECT_EQ(where("SELECT 1"), "primary (no_replica)");
  settings.balance = Balance::least_connections;
  EXPECT_EQ(where("SELECT 1"), "replica 1 (read)") << "weights are for `weighted` only";
}

// Every combination: a member that may serve, or the end that the settings name; never a replica that must not.
TEST_F(RouterTest, no_combination_gives_a_read_to_a_replica_that_must_not_have_it) {
  std::size_t combinations = 0;
  for (unsigned bits = 0; bits < 4096; ++bits) {
    const auto bit = [bits](unsigned at) { return (bits >> at & 1U) != 0; };
    topology.primary = bit(0) ? std::optional<health::MemberIndex>(0) : std::nullopt;
    topology.members[1].accepts_reads = bit(1);
    topology.members[2].accepts_reads = bit(2);
    topology.members[1].lag_known = bit(3);
    topology.members[1].lag_bytes = bit(4) ? settings.max_lag + 1 : 0;
    fresh(1, bit(5) ? now : now - 1s);
    fresh(2, now - 1s);
    seen.last_write = bit(6) ? now - 1ms : TimePoint{};
    has_waited = bit(7);
    settings.fallback_to_primary = bit(8);
    settings.route = bit(9) ? config::Route::replica : config::Route::automatic;
    settings.read_consistency = bit(10) ? ReadConsistency::eventual : ReadConsistency::session;
    settings.freshness_wait = bit(11) ? 10ms : 0ms;
    const auto chosen = route("SELECT 1");
    ++combinations;
    if (chosen.kind == Kind::member) {
      const auto& member = topology.members[chosen.member];
      ASSERT_TRUE(member.accepts_reads) << bits;
      ASSERT_TRUE(!member.lag_known || member.lag_bytes <= settings.max_lag) << bits;
      const bool any_age = bit(9) || bit(10);
      ASSERT_TRUE(any_age || marks->fresh_until(chosen.member) >= seen.last_write) << bits;
    } else if (chosen.kind == Kind::wait_for_marks) {
      ASSERT_FALSE(has_waited) << bits;
      ASSERT_EQ(chosen.until, now + 10ms) << bits;
    } else {
      ASSERT_EQ(chosen.kind == Kind::refused, settings.route == config::Route::replica || !bit(8)) << bits;
    }
  }
  EXPECT_EQ(combinations, 4096U);
}

}  // namespace
}  // namespace holdfast::proxy
