// What the relay owes to clients that speak the protocol byte by byte: every message answered once, in order, whatever
// becomes of servers, batches and sizes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/holdfast.hpp"
#include "tests/support/postgres.hpp"
#include "tests/support/scripted_peer.hpp"
#include "tests/support/tcp_relay.hpp"
#include "tests/support/wait.hpp"

namespace holdfast::testing {
namespace {

using namespace std::string_literals;

std::string config(const std::string& members, const std::string& settings) {
  return "listen: [{ address: \"127.0.0.1:${port}\" }]\n"
         "clusters:\n  main:\n    members:\n" +
         members + "    monitor: { user: holdfast, password: " + monitor_password +
         " }\n"
         "databases: { \"*\": { cluster: main } }\n"
         "workers: 1\n"
         "auth: { method: trust }\n"
         "http: { address: \"127.0.0.1:${http_port}\" }\n" +
         settings + "\n";
}

std::string query(const std::string& sql) {
  return message_bytes('Q', sql + '\0');
}
std::string parse(const std::string& name, const std::string& sql) {
  return message_bytes('P', name + '\0' + sql + '\0' + "\0\0"s);
}
std::string bind_to(const std::string& name) {
  return message_bytes('B', "\0"s + name + "\0\0\0\0\0\0\0"s);
}
std::string execute() {
  return message_bytes('E', "\0\0\0\0\0"s);
}
std::string close_statement(const std::string& name) {
  return message_bytes('C', "S" + name + '\0');
}
const std::string sync_message = message_bytes('S');
const std::string flush_message = message_bytes('H');

class Relay : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { set_ = new ReplicationSet({.replicas = 1}); }
  static void TearDownTestSuite() {
    delete set_;
    set_ = nullptr;
  }
  void start(const std::string& settings = "pool: { size: 2 }") {
    proxy_.emplace(HoldfastOptions{.config = config(members_yaml(*set_), settings)});
  }
  // With the primary alone, whose connections can be reset.
  void start_behind(const TcpRelay& relay) {
    const auto member = "      - { name: pg1, host: 127.0.0.1, port: " + std::to_string(relay.port()) + " }\n";
    proxy_.emplace(HoldfastOptions{.config = config(member, "pool: { size: 2 }")});
  }
  // A client that is logged in.
  std::unique_ptr<PeerConnection> client() {
    auto peer = std::make_unique<PeerConnection>(connect_to(proxy_->port()));
    peer->send(startup_bytes({{"user", "app"}, {"database", "app"}}));
    EXPECT_THAT(peer->read_until('Z'), ::testing::EndsWith("Z"));
    return peer;
  }
  // The fields of the next ErrorResponse's message, by code; skips nothing.
  static std::string error_state(PeerConnection& peer) {
    const auto message = peer.read_message();
    if (message.type != 'E') return "not an error: "s + message.type;
    const auto at = message.body.find("\0C"s);
    return message.body.substr(at + 2, 5);
  }
  static ReplicationSet* set_;
  std::optional<Holdfast> proxy_;
};
ReplicationSet* Relay::set_ = nullptr;

TEST_F(Relay, long_error_arrives_whole) {
  start();
  auto peer = client();
  peer->send(query("DO $$ BEGIN RAISE EXCEPTION '%', repeat('x', 300000); END $$"));
  const auto error = peer->read_message();
  EXPECT_EQ(error.type, 'E');
  EXPECT_THAT(error.body, ::testing::HasSubstr(std::string(300000, 'x')));
  EXPECT_EQ(peer->read_until('Z'), "Z");
}

TEST_F(Relay, long_query_in_pieces_is_understood) {
  start();
  auto peer = client();
  const auto text = query("SELECT length('" + std::string(400'000, 'y') + "')");
  peer->send_in_pieces(text, 65536);
  EXPECT_EQ(peer->read_until('Z'), "TDCZ");
  peer->send_in_pieces(text, 30000);
  EXPECT_EQ(peer->read_until('Z'), "TDCZ");
}

// Parse and Close that need no server, skipped behind a failure, leave their names usable.
TEST_F(Relay, skipped_local_answers_leave_no_name_in_doubt) {
  start();
  auto peer = client();
  peer->send(parse("s1", "SELECT 1") + sync_message + parse("s2", "SELECT 2") + sync_message);
  EXPECT_EQ(peer->read_until('Z'), "1Z");
  EXPECT_EQ(peer->read_until('Z'), "1Z");
  peer->send(query("BEGIN"));
  EXPECT_EQ(peer->read_until('Z'), "CZ");
  peer->send(parse("", "SELECT no_such_column") + flush_message);
  EXPECT_EQ(peer->read_until('E'), "E");
  peer->send(close_statement("s1") + parse("s3", "SELECT 1") + sync_message);
  EXPECT_EQ(peer->read_until('Z'), "Z");
  peer->send(query("ROLLBACK"));
  EXPECT_EQ(peer->read_until('Z'), "CZ");
  peer->send(bind_to("s1") + execute() + sync_message);
  EXPECT_EQ(peer->read_until('Z'), "2DCZ");
  peer->send(parse("s3", "SELECT 1") + bind_to("s3") + execute() + sync_message);
  EXPECT_EQ(peer->read_until('Z'), "12DCZ");
}

// What was composed for the server before it is sent all the same: its answer is waited for.
TEST_F(Relay, message_that_is_no_protocol_leaves_its_server_usable) {
  start("pool: { size: 1, wait_timeout: 5s }");
  for (int i = 0; i < 3; ++i) {
    auto peer = client();
    peer->send(query("SELECT 1 FOR UPDATE") + message_bytes('p', "secret\0"s));
    EXPECT_THAT(peer->read_until_end(), ::testing::HasSubstr("08P01"));
  }
  auto peer = client();
  peer->send(query("SELECT 1 FOR UPDATE"));
  EXPECT_EQ(peer->read_until('Z'), "TDCZ");
}

TEST_F(Relay, session_mode_repeats_no_earlier_unit) {
  set_->primary().exec("CREATE TABLE IF NOT EXISTS once (v int); TRUNCATE once; GRANT ALL ON once TO app");
  ReplicationSet::wait_caught_up(set_->primary(), set_->replica());
  start("pool: { size: 2, mode: session }\nroute: replica_or_primary\nreads: { consistency: eventual }");
  auto peer = client();
  ASSERT_TRUE(wait_until(std::chrono::seconds(10), [&] {
    peer->send(query("SELECT 1"));  // the session's first unit: a proven read
    static_cast<void>(peer->read_until('Z'));
    peer->send(query("SELECT pg_is_in_recovery()"));
    static_cast<void>(peer->read_message());
    const bool replica = peer->read_message().body.back() == 't';
    static_cast<void>(peer->read_until('Z'));
    if (!replica) peer = client();
    return replica;
  }));
  peer->send(query("INSERT INTO once VALUES (1)"));
  EXPECT_EQ(error_state(*peer), "25006");
  EXPECT_EQ(peer->read_until('Z'), "Z");
  peer->send(query("SELECT 2"));
  EXPECT_EQ(peer->read_until('Z'), "TDCZ");
}

TEST_F(Relay, late_copy_data_needs_no_server_and_hurts_nobody) {
  start();
  auto peer = client();
  peer->send(message_bytes('d', std::string(200'000, 'z')) + message_bytes('f', "late\0"s) + flush_message +
             query("SELECT 1"));
  EXPECT_EQ(peer->read_until('Z'), "TDCZ");
}

// The server dies in the middle of a CopyData inside a transaction; afterwards the client copies again.
TEST_F(Relay, copy_after_a_lost_copy_is_whole) {
  set_->primary().exec("CREATE TABLE IF NOT EXISTS copied (v text); TRUNCATE copied; GRANT ALL ON copied TO app");
  TcpRelay relay(set_->primary().port());
  start_behind(relay);
  auto peer = client();
  peer->send(query("BEGIN") + query("COPY copied FROM STDIN"));
  EXPECT_EQ(peer->read_until('Z'), "CZ");
  EXPECT_EQ(peer->read_until('G'), "G");
  const std::string line = std::string(99, 'a') + "\n";
  std::string data;
  for (int i = 0; i < 3000; ++i) data += line;
  const auto message = message_bytes('d', data);
  peer->send(message.substr(0, 150'000));
  ASSERT_TRUE(wait_until(std::chrono::seconds(10), [&] {
    return set_->primary().scalar(
               "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND query LIKE 'COPY copied%'") == "1";
  }));
  relay.reset_all();
  ASSERT_TRUE(wait_until(std::chrono::seconds(10), [&] {
    return proxy_->metric("holdfast_answers_lost_total{sqlstate=\"40001\"}") == 1.0;
  }));
  // It is told behind the piece that it was sending.
  peer->send(message.substr(150'000) + message_bytes('c'));
  EXPECT_EQ(error_state(*peer), "40001");
  EXPECT_EQ(peer->read_until('Z'), "Z");
  peer->send(query("ROLLBACK"));
  EXPECT_EQ(peer->read_until('Z'), "CZ");
  peer->send(query("COPY copied FROM STDIN"));
  EXPECT_EQ(peer->read_until('G'), "G");
  peer->send(message + message_bytes('c'));
  EXPECT_EQ(peer->read_until('Z'), "CZ");
  EXPECT_EQ(set_->primary().scalar("SELECT count(*) FROM copied WHERE v = repeat('a', 99)"), "3000");
}

// Drivers end transactions by the extended protocol, with the unnamed statement.
TEST_F(Relay, lost_block_ends_by_an_extended_rollback) {
  set_->primary().exec("CREATE TABLE IF NOT EXISTS lost (v int); GRANT ALL ON lost TO app");
  TcpRelay relay(set_->primary().port());
  start_behind(relay);
  auto peer = client();
  peer->send(parse("keep", "SELECT 7") + query("BEGIN"));
  EXPECT_EQ(peer->read_until('Z'), "1CZ");
  peer->send(parse("", "INSERT INTO lost VALUES (1)") + bind_to("") + execute() + sync_message);
  EXPECT_EQ(peer->read_until('Z'), "12CZ");
  relay.reset_all();
  ASSERT_TRUE(wait_until(std::chrono::seconds(10), [&] { return proxy_->metric("holdfast_servers") == 0.0; }));
  peer->send(query("SELECT 1"));
  EXPECT_EQ(error_state(*peer), "40001");
  EXPECT_EQ(peer->read_until('Z'), "Z");
  peer->send(close_statement("keep") + sync_message);
  EXPECT_EQ(peer->read_until('Z'), "3Z");
  peer->send(parse("", "ROLLBACK") + bind_to("") + execute() + sync_message);
  EXPECT_EQ(peer->read_until('Z'), "12CZ");
  peer->send(parse("keep", "SELECT 8") + bind_to("keep") + execute() + sync_message);
  EXPECT_EQ(peer->read_until('Z'), "12DCZ");
}

TEST_F(Relay, idle_in_transaction_ends_with_25P03) {
  start("timeouts: { idle_in_transaction: 200ms }");
  auto peer = client();
  peer->send(query("BEGIN") + query("SELECT 1"));
  EXPECT_EQ(peer->read_until('Z'), "CZ");
  EXPECT_EQ(peer->read_until('Z'), "TDCZ");
  EXPECT_EQ(error_state(*peer), "25P03");
  peer->expect_end();
  // Also while no server has seen the BEGIN.
  peer = client();
  peer->send(query("BEGIN"));
  EXPECT_EQ(peer->read_until('Z'), "CZ");
  EXPECT_EQ(error_state(*peer), "25P03");
  peer->expect_end();
}

TEST_F(Relay, idle_client_ends_with_57P05) {
  start("timeouts: { client_idle: 200ms }");
  auto peer = client();
  peer->send(query("SELECT 1"));
  EXPECT_EQ(peer->read_until('Z'), "TDCZ");
  EXPECT_EQ(error_state(*peer), "57P05");
  peer->expect_end();
}

// A client that asks and never reads, one that resets, one that leaves in mid-message: the pool of one serves the next.
TEST_F(Relay, clients_that_vanish_give_their_server_back) {
  start("pool: { size: 1, wait_timeout: 10s }");
  for (int round = 0; round < 3; ++round) {
    auto peer = client();
    peer->send(parse("s" + std::to_string(round), "SELECT repeat('x', 1000) FROM generate_series(1, 200000)"));
    peer->send(bind_to("s" + std::to_string(round)) + execute() + flush_message);
    ASSERT_EQ(peer->read_exactly(1), "1");
    if (round == 0) peer->reset();
    if (round == 1) peer->close();
    if (round == 2) {
      peer->send(query("SELECT 'never ends").substr(0, 9));
      peer->reset();
    }
    auto next = client();
    next->send(query("SELECT 1 FOR UPDATE"));
    EXPECT_EQ(next->read_until('Z'), "TDCZ");
  }
}

// In an open batch a Query ends the implicit transaction: only a server can do that, so the name is not found there.
TEST_F(Relay, deallocate_in_an_open_batch_goes_to_the_server) {
  set_->primary().exec("CREATE TABLE IF NOT EXISTS batched (v int); TRUNCATE batched; GRANT ALL ON batched TO app");
  start("pool: { size: 1, wait_timeout: 5s }");
  const auto insert = parse("", "INSERT INTO batched VALUES (1)") + bind_to("") + execute();
  const auto deallocate = query("DEALLOCATE s1");
  {
    auto peer = client();
    peer->send(parse("s1", "SELECT 1") + sync_message);
    EXPECT_EQ(peer->read_until('Z'), "1Z");
    peer->send(insert + deallocate);
    EXPECT_EQ(peer->read_until('Z'), "12CEZ");
    peer->send(insert + flush_message + deallocate);
    EXPECT_EQ(peer->read_until('Z'), "12CEZ");
    peer->send(parse("", "no statement") + flush_message + deallocate + sync_message);
    EXPECT_EQ(peer->read_until('Z'), "EZ");
    peer->send(query("BEGIN"));
    EXPECT_EQ(peer->read_until('Z'), "CZ");
    peer->send(parse("", "SELECT 1") + deallocate);
    EXPECT_EQ(peer->read_until('Z'), "1EZ");
    peer->send(query("ROLLBACK") + deallocate);
    EXPECT_EQ(peer->read_until('Z'), "CZ");
    EXPECT_EQ(peer->read_until('Z'), "CZ");
    peer->send(query("SELECT 1"));
    EXPECT_EQ(peer->read_until('Z'), "TDCZ");
  }
  auto peer = client();
  peer->send(query("SELECT 1 FOR UPDATE"));
  EXPECT_EQ(peer->read_until('Z'), "TDCZ");
}

// 0x5c is half of a character there, or a backslash: nobody can tell where strings end, so every statement pins.
TEST_F(Relay, encodings_that_hide_ascii_leak_no_settings) {
  start("pool: { size: 1, wait_timeout: 5s }");
  {
    PeerConnection peer(connect_to(proxy_->port()));
    peer.send(startup_bytes({{"user", "app"}, {"database", "app"}, {"client_encoding", "SJIS"}}));
    EXPECT_THAT(peer.read_until('Z'), ::testing::EndsWith("Z"));
    peer.send(query("SELECT E'\x95\x5c'; SET search_path TO evil --'"));
    EXPECT_THAT(peer.read_until('Z'), ::testing::EndsWith("CZ"));
    peer.send(parse("p", "SELECT E'\x95\x5c'") + bind_to("p") + execute() + sync_message);
    EXPECT_EQ(peer.read_until('Z'), "12DCZ");
    EXPECT_EQ(proxy_->metric("holdfast_pins_total{reason=\"unparsed\"}"), 1.0);
  }
  Connection next(proxy_->conninfo());
  EXPECT_EQ(next.scalar("SHOW search_path"), "\"$user\", public");
  EXPECT_EQ(next.scalar("SELECT E'plain'"), "plain");
  EXPECT_EQ(proxy_->metric("holdfast_pins_total{reason=\"unparsed\"}"), 1.0);
}

// A server dies in the middle of a row that the client has in part: nothing can be said any more that would not be read
// as the row's rest.
TEST_F(Relay, answer_cut_in_the_middle_of_a_row_ends_without_a_word) {
  start();
  for (const bool in_block : {true, false}) {
    auto peer = client();
    if (in_block) {
      peer->send(query("BEGIN"));
      EXPECT_EQ(peer->read_until('Z'), "CZ");
    }
    peer->send(query("SELECT repeat('x', 50000000) FOR UPDATE"));
    const auto begun = peer->read_exactly(100'000);
    set_->primary().exec(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'app' AND state = 'active'");
    const auto rest = peer->read_until_end();
    EXPECT_LT(begun.size() + rest.size(), 50'000'000U) << "the row was not cut: the test shows nothing";
    EXPECT_EQ(rest.find_first_not_of('x'), std::string::npos) << rest.substr(rest.find_first_not_of('x'), 200);
  }
  EXPECT_EQ(proxy_->metric("holdfast_answers_lost_total{sqlstate=\"none\"}"), 2.0);
  auto peer = client();
  peer->send(query("SELECT 1"));
  EXPECT_EQ(peer->read_until('Z'), "TDCZ");
}

// A batch that a Flush interrupts is the primary's: what a standby refused couldn't be repaired, and what its client
// sends next may write.
TEST_F(Relay, a_flushed_batch_is_refused_by_no_standby) {
  set_->primary().exec("CREATE UNLOGGED TABLE IF NOT EXISTS unlogged (v int); GRANT ALL ON unlogged TO app");
  ReplicationSet::wait_caught_up(set_->primary(), set_->replica());
  start("pool: { size: 2 }\nreads: { consistency: eventual }");
  auto peer = client();
  ASSERT_TRUE(wait_until(std::chrono::seconds(10), [&] {
    peer->send(query("SELECT 1"));
    return peer->read_until('Z') == "TDCZ" && proxy_->metric("holdfast_units_routed_total{reason=\"read\"}") > 0.0;
  }));
  peer->send(parse("", "SELECT v FROM unlogged") + bind_to("") + execute() + flush_message);
  EXPECT_EQ(peer->read_until('C'), "12C");
  peer->send(parse("", "INSERT INTO unlogged VALUES (1)") + bind_to("") + execute() + sync_message);
  EXPECT_EQ(peer->read_until('Z'), "12CZ");
  peer->send(query("SELECT count(*) FROM unlogged"));  // by a Query the refusal is repaired
  EXPECT_EQ(peer->read_until('Z'), "TDCZ");
}

TEST_F(Relay, query_timeout_is_each_pipelined_querys_own) {
  start("timeouts: { query: 300ms }");
  auto peer = client();
  peer->send(query("SELECT 1 FOR UPDATE") + query("SELECT pg_sleep(60) FOR UPDATE"));
  EXPECT_EQ(peer->read_until('Z'), "TDCZ");
  EXPECT_EQ(peer->read_until('Z'), "TEZ");
}

}  // namespace
}  // namespace holdfast::testing
