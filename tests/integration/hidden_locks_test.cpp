// Session state that a read leaves behind on a standby, by code that its text doesn't show.
//
// The kind: what holds for statements that write is forgotten for reads, and what holds on the primary on standbys.
// Tried: advisory locks of a session and of a transaction, by a view, a policy, a function in a view that calls another
// one; settings by a view; autocommit and read-only blocks; simple and extended protocol.
#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "tests/support/endpoint.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

class HiddenLocks : public ::testing::Test {
 protected:
  HiddenLocks() {
    set_.primary().exec(
        "CREATE TABLE t (id int); INSERT INTO t VALUES (1); GRANT ALL ON t TO app;"
        "CREATE FUNCTION member() RETURNS text LANGUAGE sql STABLE AS $$ SELECT current_setting('cluster_name') $$");
  }
  void start(const std::string& schema) {
    set_.primary().exec(schema);
    ReplicationSet::wait_caught_up(set_.primary(), set_.replica());
    proxy_.emplace(endpoint({.members = members_yaml(set_),
                             .workers = 1,
                             .more = "reads: { functions: [ member ], consistency: session }\n"}));
    auto client = proxy_->connect();
    client.exec("INSERT INTO t VALUES (2)");  // the catalogue is asked
    ASSERT_TRUE(wait_until(10s, [&] { return proxy_->metric("holdfast_catalogue_audits_total").value_or(0) > 0; }));
  }
  [[nodiscard]] int locks(Server& server) const {
    return std::stoi(server.scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"));
  }

  ReplicationSet set_{{.replicas = 1}};
  std::optional<Holdfast> proxy_;
};

// One holds the lock, and nobody else gets it, wherever the others' blocks run.
TEST_F(HiddenLocks, keep_others_out) {
  start(
      "CREATE VIEW session_lock AS SELECT pg_try_advisory_lock(1) AS got;"
      "CREATE VIEW own_lock AS SELECT pg_try_advisory_xact_lock(2) AS got;"
      "CREATE FUNCTION takes() RETURNS bool LANGUAGE sql AS 'SELECT pg_try_advisory_xact_lock(3)';"
      "CREATE FUNCTION calls() RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN takes(); END';"
      "CREATE VIEW called_lock AS SELECT calls() AS got;"
      "GRANT SELECT ON session_lock, own_lock, called_lock TO app");
  {
    auto reader = proxy_->connect();
    EXPECT_EQ(reader.scalar("SELECT got FROM session_lock"), "t");
    EXPECT_EQ(locks(set_.replica()), 0);
    EXPECT_TRUE(wait_until(10s, [&] { return locks(set_.primary()) == 0; }));
  }
  for (const std::string view : {"session_lock", "own_lock", "called_lock"}) {
    for (const bool extended : {false, true}) {
      SCOPED_TRACE(view + (extended ? ", extended" : ""));
      const auto ask = [&](Connection& client) {
        const auto sql = "SELECT got FROM " + view;
        return extended ? client.rows(sql, {}).at(0).at(0).value_or("") : client.scalar(sql);
      };
      auto holder = proxy_->connect();
      holder.exec("BEGIN READ ONLY");
      EXPECT_EQ(ask(holder), "t");
      EXPECT_EQ(locks(set_.replica()), 0) << "there it keeps nobody out";
      auto other = proxy_->connect();
      other.exec("BEGIN");
      other.exec("INSERT INTO t VALUES (3)");
      EXPECT_EQ(ask(other), "f");
      other.exec("ROLLBACK");
      holder.exec("ROLLBACK");
      EXPECT_TRUE(wait_until(10s, [&] { return locks(set_.primary()) == 0; })) << "its server is cleaned";
    }
  }
}

// What doesn't lock may be read on a standby; what it leaves there is gone when the next client comes.
TEST_F(HiddenLocks, settings_that_a_view_makes_on_a_standby_are_not_left_there) {
  start("CREATE VIEW v AS SELECT set_config('work_mem', '77kB', false) AS made; GRANT SELECT ON v TO app");
  auto reader = proxy_->connect();
  ASSERT_TRUE(wait_until(10s, [&] { return reader.scalar("SELECT member()") == "pg2"; }));
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(reader.scalar("SELECT made FROM v"), "77kB");
    auto next = proxy_->connect();
    EXPECT_EQ(next.scalar("/* holdfast: replica */ SELECT current_setting('work_mem')"), "4MB");
  }
}

}  // namespace
}  // namespace holdfast::testing
