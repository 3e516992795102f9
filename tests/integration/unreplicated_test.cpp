// A commit waits for its synchronous standbys, and the wait is canceled. PostgreSQL says "INSERT 0 1", with a warning
// that hardly a program reads; if the primary is lost then, so is an acknowledged write.
//
// The kind: whatever ends the wait (a cancel request of an operator, of the client, of timeouts.query), and whatever
// commits: a statement by itself, a COMMIT, the Sync behind an Execute, a COPY, a two-phase commit, in both protocols,
// with more behind it, in session mode. Its client is told 08007 and nothing that looks like success.
#include <gtest/gtest.h>

#include <ostream>

#include "tests/support/endpoint.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

std::string run(const std::string& sql) {
  return wire::parse("", sql) + wire::bind("") + wire::execute();
}

struct Commit {
  friend void PrintTo(const Commit& commit, std::ostream* out) { *out << commit.name; }
  const char* name;
  std::vector<std::string> before;  // units whose answers are read first
  std::string bytes;                // what commits, up to the ReadyForQuery of its unit
  std::string heard;                // the types of the messages that answer it
  const char* rows = "1";           // of the table, at the end
};

class UnreplicatedCommitBase : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server({.settings = {{"synchronous_standby_names", "nobody"},
                                       {"synchronous_commit", "local"},
                                       {"max_prepared_transactions", "5"}}});
    server_->start();
    server_->exec("CREATE TABLE kept (a int); GRANT ALL ON kept TO app");
  }
  static void TearDownTestSuite() { delete server_; }
  void SetUp() override { empty_table(); }
  static void empty_table() {
    if (server_->scalar("SELECT count(*) FROM pg_prepared_xacts") == "1") server_->exec("ROLLBACK PREPARED 'first'");
    server_->exec("TRUNCATE kept");
  }

  void start(const std::string& pool, const std::string& more = "") {
    proxy_.emplace(endpoint({.members = member_yaml(*server_), .workers = 1, .pool = pool, .more = more}));
  }
  std::unique_ptr<PeerConnection> log_in() const {
    return wire::log_in(proxy_->port(), {{"options", "-c synchronous_commit=on"}});
  }
  static void cancel_the_wait() {
    ASSERT_TRUE(wait_until(10s, [] {
      return server_->scalar("SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") ==
             "1";
    }));
  }
  // The message types up to ReadyForQuery; of an error its SQLSTATE as well.
  static std::string heard(PeerConnection& client) {
    std::string all;
    for (;;) {
      const auto message = client.read_message();
      all += message.type;
      if (message.type == 'E') all += "(" + wire::sqlstate(message) + ")";
      if (message.type == 'Z') return all;
    }
  }

  static Server* server_;
  std::optional<Holdfast> proxy_;
};
Server* UnreplicatedCommitBase::server_ = nullptr;

class UnreplicatedCommit : public UnreplicatedCommitBase, public ::testing::WithParamInterface<Commit> {};

TEST_P(UnreplicatedCommit, is_told_as_08007_and_never_as_success) {
  for (const char* pool : {"size: 2", "mode: session, size: 2"}) {
    SCOPED_TRACE(pool);
    empty_table();
    start(pool);
    auto client = log_in();
    for (const auto& unit : GetParam().before) {
      client->send(unit);
      ASSERT_NE(heard(*client).find('C'), std::string::npos);
    }
    client->send(GetParam().bytes);
    cancel_the_wait();
    EXPECT_EQ(heard(*client), GetParam().heard);
    // The connection goes on, in step.
    client->send(wire::query("ROLLBACK"));
    EXPECT_NE(heard(*client).find("CZ"), std::string::npos);
    client->send(wire::query("SELECT count(*) FROM kept"));
    EXPECT_EQ(wire::read_value(*client), GetParam().rows);
    EXPECT_EQ(proxy_->metric("holdfast_commits_unreplicated_total"), 1.0);
  }
}

const std::string insert = "INSERT INTO kept VALUES (1)";

INSTANTIATE_TEST_SUITE_P(
    Of, UnreplicatedCommit,
    ::testing::Values(
        Commit{"a_query", {}, wire::query(insert), "E(08007)Z"},
        Commit{"a_returning_query", {}, wire::query(insert + " RETURNING a"), "TDE(08007)Z"},
        Commit{"a_query_with_more_behind_its_commit",
               {},
               wire::query("BEGIN; " + insert + "; COMMIT; SELECT 1"),
               "CCE(08007)Z"},
        Commit{"a_commit", {wire::query("BEGIN"), wire::query(insert)}, wire::query("COMMIT"), "E(08007)Z"},
        Commit{"a_commit_that_begins_the_next_block",
               {wire::query("BEGIN"), wire::query(insert)},
               wire::query("COMMIT AND CHAIN"),
               "E(08007)Z"},
        Commit{"a_batch", {}, run(insert) + wire::sync(), "12CE(08007)Z"},
        Commit{"a_named_statement",
               {},
               wire::parse("insert", insert) + wire::bind("insert") + wire::execute() + wire::sync(),
               "12CE(08007)Z"},
        Commit{"a_commit_by_execute", {wire::query("BEGIN"), wire::query(insert)}, run("COMMIT") + wire::sync(),
               "12E(08007)Z"},
        Commit{"a_commit_by_execute_with_more_behind_it",
               {wire::query("BEGIN"), wire::query(insert)},
               run("COMMIT") + run("SELECT 1") + wire::sync(),
               "12E(08007)Z"},
        Commit{"a_do_block", {}, wire::query("DO $$BEGIN " + insert + "; END$$"), "E(08007)Z"},
        Commit{"a_copy", {}, wire::query("COPY kept FROM STDIN") + wire::copy_data("1\n") + wire::copy_done(),
               "GE(08007)Z"},
        Commit{"the_first_phase",
               {wire::query("BEGIN"), wire::query(insert)},
               wire::query("PREPARE TRANSACTION 'first'"),
               "E(08007)Z",
               "0"}),
    [](const auto& commit) { return std::string(commit.param.name); });

class UnreplicatedCommits : public UnreplicatedCommitBase {};

TEST_F(UnreplicatedCommits, canceled_by_their_time_limit_are_told_as_well) {
  start("size: 2", "timeouts: { query: 300ms }\n");
  auto client = log_in();
  client->send(wire::query(insert));
  EXPECT_EQ(heard(*client), "E(08007)Z");
}

TEST_F(UnreplicatedCommits, leave_the_units_behind_them_alone) {
  start("size: 2");
  auto client = log_in();
  client->send(run(insert) + wire::sync() + wire::query("SELECT 1") + run("SELECT 2") + wire::sync());
  cancel_the_wait();
  EXPECT_EQ(heard(*client), "12CE(08007)Z");
  EXPECT_EQ(heard(*client), "TDCZ");
  EXPECT_EQ(heard(*client), "12DCZ");
}

// A function can raise a warning with any text and SQLSTATE: it is passed on, and so is what follows.
TEST_F(UnreplicatedCommits, are_not_what_a_function_calls_so) {
  start("size: 2");
  auto client = log_in();
  client->send(wire::query("DO $$BEGIN RAISE WARNING 'canceling wait for synchronous replication due to user request'"
                           " USING errcode = '01000'; END$$"));
  EXPECT_EQ(heard(*client), "NCZ");
}

TEST_F(UnreplicatedCommits, whose_session_is_ended_are_told_as_lost) {
  start("size: 2");
  for (const auto& bytes : {wire::query(insert), run(insert) + wire::sync()}) {
    auto client = log_in();
    client->send(bytes);
    ASSERT_TRUE(wait_until(10s, [] {
      return server_->scalar("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                             " WHERE wait_event = 'SyncRep'") == "1";
    }));
    EXPECT_EQ(wire::read_error(*client), "08007");
  }
}

}  // namespace
}  // namespace holdfast::testing
