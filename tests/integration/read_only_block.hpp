// A primary, a standby and Holdfast with reads split; scripts that are run on the primary itself and through Holdfast,
// to be compared.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "tests/support/endpoint.hpp"

namespace holdfast::testing {

class ReadOnlyBlock : public ::testing::Test {
 protected:
  static constexpr const char* begin = "BEGIN READ ONLY";
  static constexpr const char* read = "SELECT count(*) FROM t";
  static constexpr const char* set = "SET statement_timeout = '9s'";

  enum class Way { simple, extended, prepared };
  static const char* name_of(Way way) {
    return way == Way::simple ? "simple" : way == Way::extended ? "extended" : "prepared";
  }

  static void SetUpTestSuite() {
    set_ = new ReplicationSet({.replicas = 1});
    set_->primary().exec(
        "CREATE FUNCTION member() RETURNS text LANGUAGE sql STABLE AS $$ SELECT current_setting('cluster_name') $$;"
        "CREATE FUNCTION sets() RETURNS text LANGUAGE sql AS $$ SELECT set_config('lock_timeout', '7s', false) $$;"
        "CREATE FUNCTION sets_local() RETURNS text LANGUAGE sql AS $$ SELECT set_config('lock_timeout', '6s', true) $$;"
        "CREATE VIEW numbered AS SELECT txid_current() > 0 AS x;"
        "CREATE FUNCTION hides() RETURNS boolean LANGUAGE sql AS $$ SELECT pg_current_xact_id() IS NOT NULL $$;"
        "CREATE VIEW hidden AS SELECT hides() AS x;"
        "CREATE TABLE owned (x int); ALTER TABLE owned OWNER TO app;"
        "CREATE TABLE t (id serial, at text); INSERT INTO t (at) VALUES ('one'), ('two'), ('three');"
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO app; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app");
    ReplicationSet::wait_caught_up(set_->primary(), set_->replica(0));
    // With `session` what one client wrote doesn't keep the next one's reads at home.
    proxy_ = new Holdfast(
        endpoint({.members = members_yaml(*set_), .more = "reads: { functions: [ member ], consistency: session }\n"}));
    wait_for_standby();
  }
  static void TearDownTestSuite() {
    delete proxy_;
    delete set_;
  }

  // A block that only reads is on the standby.
  static bool begins_on_standby(const std::string& conninfo) {
    Connection client(conninfo);
    client.exec("BEGIN READ ONLY");
    const bool standby = client.scalar("SELECT member()") == "pg2";
    client.exec("COMMIT");
    return standby;
  }
  static void wait_for_standby() {
    ASSERT_TRUE(wait_until(std::chrono::seconds(10), [] { return begins_on_standby(proxy_->conninfo()); }))
        << proxy_->log();
  }

  static std::string describe(PGconn* connection, PGresult* result) {
    std::string text = PQresStatus(PQresultStatus(result));
    if (const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE); state != nullptr)
      text += std::string(" ") + state;
    text += std::string(" ") + PQcmdStatus(result);
    for (int row = 0; row < PQntuples(result) && PQnfields(result) > 0; ++row)
      text += std::string(" ") + PQgetvalue(result, row, 0);
    PQclear(result);
    static constexpr const char* states[] = {"idle", "active", "in block", "failed block", "unknown"};
    return text + " -> " + states[PQtransactionStatus(connection)] + "\n";
  }
  static std::string transcript(const std::string& conninfo, const std::vector<std::string>& steps, Way way) {
    Connection client(conninfo);
    std::string text;
    int number = 0;
    auto* raw = client.raw();
    for (const auto& step : steps) {
      text += step + ": ";
      const auto name = "s" + std::to_string(number++);
      if (way == Way::simple || step.find(';') != std::string::npos) {
        text += describe(raw, PQexec(raw, step.c_str()));
      } else if (way == Way::extended) {
        text += describe(raw, PQexecParams(raw, step.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0));
      } else {
        text += describe(raw, PQprepare(raw, name.c_str(), step.c_str(), 0, nullptr));
        text += describe(raw, PQexecPrepared(raw, name.c_str(), 0, nullptr, nullptr, nullptr, 0));
      }
    }
    return text;
  }
  // What the session is behind the block: it writes, has its settings and locks, and none that it should not have.
  static std::vector<std::string> then_writes(std::vector<std::string> script) {
    for (const char* sql :
         {"SHOW transaction_read_only", "UPDATE t SET at = at WHERE id = 1", "SHOW statement_timeout",
          "SHOW lock_timeout", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
          "SELECT count(*) FROM pg_listening_channels()", "SELECT count(*) FROM pg_prepared_statements WHERE from_sql",
          "SELECT count(*) FROM pg_cursors WHERE is_holdable", "BEGIN", "UPDATE t SET at = at WHERE id = 1", "COMMIT"})
      script.emplace_back(sql);
    return script;
  }
  static void expect_as_on_primary(const std::vector<std::string>& script) {
    for (const auto way : {Way::simple, Way::extended, Way::prepared}) {
      const auto steps = then_writes(script);
      EXPECT_EQ(transcript(proxy_->conninfo(), steps, way), transcript(set_->primary().conninfo("app"), steps, way))
          << name_of(way);
    }
  }

  static inline ReplicationSet* set_ = nullptr;
  static inline Holdfast* proxy_ = nullptr;
};

}  // namespace holdfast::testing
