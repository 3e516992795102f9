// lastval() and currval(): a client's own values, or 55000, and never somebody else's.
//
// The kind: the session state of a shared server that nobody set on purpose. Tried: by function, in a block, behind
// another statement of the block, prepared, through a view, by a trigger's function.
#include <gtest/gtest.h>

#include "tests/support/endpoint.hpp"

namespace holdfast::testing {
namespace {

class SequenceValues : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
    server_->exec(
        "CREATE TABLE ser (id serial, who text); GRANT ALL ON ser, ser_id_seq TO app;"
        "CREATE VIEW last AS SELECT lastval() AS id; GRANT SELECT ON last TO app");
  }
  static void TearDownTestSuite() { delete server_; }

  Holdfast proxy_{
      endpoint({.members = member_yaml(*server_), .workers = 1, .pool = "size: 1, wait_timeout: 10s"})};
  static Server* server_;
};
Server* SequenceValues::server_ = nullptr;

TEST_F(SequenceValues, of_others_are_seen_by_nobody) {
  for (const char* sql : {"SELECT lastval()", "SELECT currval('ser_id_seq')", "SELECT id FROM last"}) {
    SCOPED_TRACE(sql);
    auto other = proxy_.connect();
    other.exec("INSERT INTO ser (who) VALUES ('other')");
    for (const bool in_block : {false, true}) {
      auto client = proxy_.connect();
      if (in_block) client.exec("BEGIN");
      EXPECT_EQ(sqlstate_of([&] { client.exec(sql); }), "55000");
    }
    auto prepared = proxy_.connect();
    EXPECT_EQ(sqlstate_of([&] { prepared.rows(sql, {}); }), "55000");
  }
}

TEST_F(SequenceValues, of_a_client_are_its_own) {
  auto client = proxy_.connect();
  auto other = proxy_.connect();
  for (int i = 0; i < 3; ++i) {
    other.exec("INSERT INTO ser (who) VALUES ('other')");
    client.exec("BEGIN");
    const auto id = client.scalar("INSERT INTO ser (who) VALUES ('me') RETURNING id");
    EXPECT_EQ(client.scalar("SELECT lastval()"), id);
    EXPECT_EQ(client.scalar("SELECT currval('ser_id_seq')"), id);
    client.exec("COMMIT");
    client.exec("DISCARD ALL");  // gives the server back
  }
}

TEST_F(SequenceValues, that_are_gone_are_refused_with_a_hint) {
  auto other = proxy_.connect();
  auto client = proxy_.connect();
  client.exec("INSERT INTO ser (who) VALUES ('me')");
  other.exec("INSERT INTO ser (who) VALUES ('other')");
  PGresult* result = PQexec(client.raw(), "SELECT lastval()");
  EXPECT_STREQ(PQresultErrorField(result, PG_DIAG_SQLSTATE), "55000");
  EXPECT_STREQ(PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY), "lastval is not yet defined in this session");
  ASSERT_NE(PQresultErrorField(result, PG_DIAG_MESSAGE_HINT), nullptr);
  EXPECT_NE(std::string(PQresultErrorField(result, PG_DIAG_MESSAGE_HINT)).find("RETURNING"), std::string::npos);
  PQclear(result);
  EXPECT_EQ(client.scalar("SELECT 42"), "42");
}

// Once a pool's clients are known to ask, a block begins without others' values, whatever it does first.
TEST_F(SequenceValues, of_others_are_not_seen_later_in_a_block_either) {
  auto first = proxy_.connect();
  EXPECT_EQ(sqlstate_of([&] { first.exec("SELECT lastval()"); }), "55000");
  first = proxy_.connect();
  first.exec("INSERT INTO ser (who) VALUES ('other')");
  auto client = proxy_.connect();
  client.exec("BEGIN");
  EXPECT_EQ(client.scalar("SELECT count(*) > 0 FROM ser"), "t");
  EXPECT_EQ(sqlstate_of([&] { client.exec("SELECT lastval()"); }), "55000");
  client.exec("ROLLBACK");
}

}  // namespace
}  // namespace holdfast::testing
