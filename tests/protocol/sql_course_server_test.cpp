// What a string of statements has committed at its end, as PostgreSQL does it: Verdict::commits_nothing promises
// nothing that doesn't hold there.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "protocol/sql/classify.hpp"
#include "tests/support/connection.hpp"
#include "tests/support/postgres.hpp"

namespace holdfast::protocol::sql {
namespace {

using holdfast::testing::Connection;
using holdfast::testing::Server;
using holdfast::testing::SqlError;

constexpr const char* statements[] = {"INSERT INTO t VALUES (1)",
                                      "BEGIN",
                                      "COMMIT",
                                      "ROLLBACK",
                                      "SAVEPOINT a",
                                      "ROLLBACK TO a",
                                      "COMMIT AND CHAIN",
                                      "ROLLBACK AND CHAIN",
                                      "CALL inserts()",
                                      "DO $$BEGIN INSERT INTO t VALUES (2); COMMIT; END$$",
                                      "SELECT count(*) FROM t"};

class SqlCourse : public ::testing::Test {
 protected:
  SqlCourse() {
    server_.start();
    server_.exec(
        "CREATE UNLOGGED TABLE t (a int);"
        "CREATE PROCEDURE inserts() LANGUAGE plpgsql AS $$BEGIN INSERT INTO t VALUES (3); COMMIT; END$$");
    client_.emplace(server_.connect("postgres"));
    observer_.emplace(server_.connect("postgres"));
  }
  void try_exec(const std::string& sql) {
    try {
      client_->exec(sql);
    } catch (const SqlError&) {
    }
  }
  // Whether others see something of it while its session lives, inside a block or not.
  bool commits(const std::string& sql, bool in_block) {
    if (in_block) client_->exec("BEGIN; INSERT INTO t VALUES (0)");
    try_exec(sql);
    const bool seen = observer_->scalar("SELECT count(*) FROM t") != "0";
    try_exec("ROLLBACK");
    if (seen) observer_->exec("TRUNCATE t");
    return seen;
  }

  Server server_;
  std::optional<Connection> client_;
  std::optional<Connection> observer_;
};

TEST_F(SqlCourse, of_every_short_string_is_known) {
  int promised = 0;
  std::vector<std::string> strings(std::begin(statements), std::end(statements));
  for (int length = 2; length <= 3; ++length) {
    std::vector<std::string> longer;
    for (const auto& first : strings)
      for (const char* next : statements) longer.push_back(first + "; " + next);
    strings = std::move(longer);
    for (const auto& sql : strings) {
      if (!classify(sql, {}).commits_nothing) continue;
      ++promised;
      EXPECT_FALSE(commits(sql, false)) << sql;
      EXPECT_FALSE(commits(sql, true)) << sql << " in a block";
    }
  }
  EXPECT_GT(promised, 300);
}

}  // namespace
}  // namespace holdfast::protocol::sql
