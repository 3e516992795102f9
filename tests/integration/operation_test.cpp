// Reload and shutdown under clients.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>

#include <filesystem>

#include "tests/support/certificates.hpp"
#include "tests/support/endpoint.hpp"
#include "tests/support/scripted_peer.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

// The SQLSTATE of the FATAL error that a client gets while it does nothing (libpq shows it as a notice); empty when
// nothing comes in time.
std::string told_while_idle(Connection& client, std::chrono::milliseconds bound = 10s) {
  PQsetErrorVerbosity(client.raw(), PQERRORS_VERBOSE);
  const bool ended = wait_until(bound, [&] {
    const bool more = PQconsumeInput(client.raw()) == 1;
    static_cast<void>(PQisBusy(client.raw()));  // looks at what came
    return !more;
  });
  if (!ended) return {};
  const auto& notices = client.notices();
  const auto at = notices.empty() ? std::string::npos : notices.back().find("FATAL:  ");
  return at == std::string::npos ? PQerrorMessage(client.raw()) : notices.back().substr(at + 8, 5);
}

std::string subject(const std::string& conninfo, const std::filesystem::path& ca) {
  auto client = Connection(conninfo + " sslmode=verify-ca sslrootcert=" + ca.string());
  return client.scalar("SELECT 'let in'");
}

class Operation : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    set_ = new ReplicationSet({.replicas = 1});
    set_->primary().exec("CREATE TABLE t (id int); GRANT ALL ON t TO app");
  }
  static void TearDownTestSuite() { delete set_; }
  static ReplicationSet* set_;
};
ReplicationSet* Operation::set_ = nullptr;

TEST_F(Operation, a_broken_file_changes_nothing_and_every_error_is_said) {
  const EndpointConfig good{.members = member_yaml(set_->primary()), .pool = "size: 2"};
  Holdfast proxy(endpoint(good));
  auto client = proxy.connect();
  client.exec("BEGIN");
  client.exec("SELECT 1");  // takes the server
  auto bad = yaml(good);
  bad.replace(bad.find("size: 2"), 7, "size: many");
  proxy.write_config(bad + "no_such_key: 1\nlimits: { max_clients: 0 }\n");
  proxy.reload();
  ASSERT_TRUE(proxy.wait_log("reload_refused"));
  for (const char* said : {"pool.size", "no_such_key", "max_clients"}) EXPECT_THAT(proxy.log(), HasSubstr(said));
  EXPECT_EQ(proxy.metric("holdfast_reloads_total{outcome=\"refused\"}"), 1);
  EXPECT_EQ(client.scalar("SELECT 1"), "1");
  client.exec("COMMIT");
  EXPECT_EQ(proxy.connect().scalar("SELECT 1"), "1");
  // Not YAML at all; then gone.
  proxy.write_config("{{{");
  proxy.reload();
  EXPECT_TRUE(wait_until(10s, [&] { return proxy.metric("holdfast_reloads_total{outcome=\"refused\"}") == 2; }));
  EXPECT_EQ(client.scalar("SELECT 1"), "1");
}

TEST_F(Operation, a_new_pool_size_holds_at_once) {
  EndpointConfig config{.members = member_yaml(set_->primary()), .pool = "size: 1, wait_timeout: 20s"};
  Holdfast proxy(endpoint(config));
  auto busy = proxy.connect();
  auto other = proxy.connect();
  busy.exec("BEGIN");
  busy.exec("SELECT 1");  // takes the server
  ASSERT_EQ(PQsendQuery(other.raw(), "SELECT 1"), 1);
  ASSERT_TRUE(wait_until(5s, [&] { return proxy.metric("holdfast_clients_waiting") == 1; }));
  config.pool = "size: 3, wait_timeout: 20s";
  proxy.write_config(yaml(config));
  proxy.reload();
  // The one that waits is served by a further connection, while the first is still in its transaction.
  EXPECT_EQ(checked_rows(PQgetResult(other.raw()), other.raw())[0][0], "1");
  EXPECT_EQ(PQgetResult(other.raw()), nullptr);
  EXPECT_EQ(busy.scalar("SELECT 2"), "2");
  busy.exec("COMMIT");
  config.pool = "size: 1, wait_timeout: 20s";
  proxy.write_config(yaml(config));
  proxy.reload();
  EXPECT_TRUE(wait_until(10s, [&] {
    busy.exec("SELECT 1");
    other.exec("SELECT 1");
    return proxy.metric("holdfast_servers") == 1;
  }));
}

TEST_F(Operation, a_new_replica_serves_reads_of_clients_that_were_there) {
  EndpointConfig config{.members = member_yaml(set_->primary()), .more = "reads: { functions: [ where_am_i ] }\n"};
  set_->primary().exec(
      "CREATE FUNCTION where_am_i() RETURNS text LANGUAGE sql STABLE AS $$ SELECT current_setting('cluster_name') $$");
  ReplicationSet::wait_caught_up(set_->primary(), set_->replica());
  Holdfast proxy(endpoint(config));
  auto client = proxy.connect();
  auto pinned = proxy.connect();
  pinned.exec("SET work_mem = '99kB'");
  EXPECT_EQ(client.scalar("SELECT where_am_i()"), "pg1");
  config.members = members_yaml(*set_);
  proxy.write_config(yaml(config));
  proxy.reload();
  EXPECT_TRUE(wait_until(10s, [&] { return client.scalar("SELECT where_am_i()") == "pg2"; })) << proxy.log();
  EXPECT_EQ(pinned.scalar("SHOW work_mem"), "99kB");
  config.members = member_yaml(set_->primary());
  proxy.write_config(yaml(config));
  proxy.reload();
  EXPECT_TRUE(wait_until(10s, [&] { return client.scalar("SELECT where_am_i()") == "pg1"; })) << proxy.log();
  EXPECT_EQ(pinned.scalar("SHOW work_mem"), "99kB");
}

TEST_F(Operation, a_new_certificate_is_shown_to_new_clients_and_hurts_no_old_one) {
  const TempDir folder;
  std::filesystem::create_directory(folder.path() / "first");
  std::filesystem::create_directory(folder.path() / "second");
  const auto first = make_certificates(folder.path() / "first");
  const auto second = make_certificates(folder.path() / "second");
  EndpointConfig config{.members = member_yaml(set_->primary())};
  config.listen_tls = "tls: { mode: allow, certificate: \"${folder}/tls.crt\", key: \"${folder}/tls.key\" }";
  auto options = endpoint(config);
  options.files["tls.crt"] = read_file(first.server);
  options.files["tls.key"] = read_file(first.server_key);
  Holdfast proxy(options);
  auto old = Connection(proxy.conninfo() + " sslmode=verify-ca sslrootcert=" + first.ca.string());
  write_file(proxy.folder() / "tls.crt", read_file(second.server));
  write_file(proxy.folder() / "tls.key", read_file(second.server_key));
  proxy.reload();
  ASSERT_TRUE(proxy.wait_log("reloaded"));
  EXPECT_EQ(subject(proxy.conninfo(), second.ca), "let in");
  EXPECT_THAT(refusal_of(proxy.conninfo() + " sslmode=verify-ca sslrootcert=" + first.ca.string()).message,
              HasSubstr("certificate"));
  EXPECT_EQ(old.scalar("SELECT repeat('x', 50000)").size(), 50000U);
  // A key that doesn't fit is refused; the last good pair stays.
  write_file(proxy.folder() / "tls.key", read_file(first.server_key));
  proxy.reload();
  EXPECT_TRUE(proxy.wait_log("reload_refused"));
  EXPECT_EQ(subject(proxy.conninfo(), second.ca), "let in");
}

TEST_F(Operation, sigterm_lets_transactions_finish_and_tells_idle_clients) {
  Holdfast proxy(endpoint({.members = member_yaml(set_->primary()), .more = "limits: { shutdown_timeout: 60s }\n"}));
  auto idle = proxy.connect();
  auto pinned = proxy.connect();
  pinned.exec("SET work_mem = '99kB'");
  auto working = proxy.connect();
  working.exec("BEGIN");
  working.exec("SELECT 1");  // takes the server
  working.exec("INSERT INTO t VALUES (1)");
  PQsetErrorVerbosity(working.raw(), PQERRORS_VERBOSE);  // the answer to COMMIT may bring the farewell with it
  auto running = proxy.connect();
  ASSERT_EQ(PQsendQuery(running.raw(), "SELECT pg_sleep(0.5), 'done'"), 1);
  ASSERT_TRUE(wait_until(5s, [&] {
    return set_->primary().scalar(
               "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%done%' AND state = 'active' AND usename = "
               "'app'") == "1";
  }));
  proxy.signal(SIGTERM);
  EXPECT_EQ(told_while_idle(idle), "57P01");
  EXPECT_EQ(told_while_idle(pinned), "57P01");
  EXPECT_EQ(checked_rows(PQgetResult(running.raw()), running.raw())[0][1], "done");
  EXPECT_FALSE(Connection::attempt(proxy.conninfo()));
  EXPECT_EQ(working.scalar("SELECT count(*) FROM t WHERE id = 1"), "1");
  EXPECT_TRUE(proxy.running());
  working.exec("COMMIT");
  EXPECT_EQ(told_while_idle(working), "57P01");
  EXPECT_TRUE(wait_until(10s, [&] { return !proxy.running(); }));
  EXPECT_EQ(set_->primary().scalar("SELECT count(*) FROM t WHERE id = 1"), "1");
  EXPECT_EQ(set_->primary().scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'"), "0");
}

// The one in line has begun its work as much as the one in a transaction. A server that is closed between the two would
// be opened for the next in line, and closed again unused, for as long as somebody waits.
TEST_F(Operation, sigterm_serves_those_who_wait_in_line_without_a_storm_of_connects) {
  Holdfast proxy(endpoint({.members = member_yaml(set_->primary()),
                           .workers = 1,
                           .pool = "size: 1, wait_timeout: 60s",
                           .more = "limits: { shutdown_timeout: 60s }\n"}));
  auto working = proxy.connect();
  auto waiting = proxy.connect();
  auto idle = proxy.connect();
  auto witness = proxy.connect("app2");  // of another pool: keeps the process until everything is counted
  for (auto* client : {&working, &witness}) {
    client->exec("BEGIN");
    client->exec("SELECT 1");  // takes a server
  }
  waiting.ask("SELECT 'served'");
  ASSERT_TRUE(wait_until(5s, [&] { return proxy.metric("holdfast_clients_waiting") == 1; }));
  proxy.signal(SIGTERM);
  ASSERT_EQ(told_while_idle(idle), "57P01");             // the worker knows
  PQsetErrorVerbosity(working.raw(), PQERRORS_VERBOSE);  // the answer to COMMIT may bring the farewell with it
  working.exec("COMMIT");
  EXPECT_EQ(waiting.answer(20s).at(0).at(0), "served");
  EXPECT_EQ(told_while_idle(working), "57P01");
  EXPECT_LE(proxy.metric("holdfast_servers_opened_total"), 4);
  EXPECT_LE(proxy.metric("holdfast_server_connects_failed_total"), 1);
  witness.exec("COMMIT");
  EXPECT_TRUE(wait_until(10s, [&] { return !proxy.running(); }));
}

TEST_F(Operation, a_second_sigterm_ends_at_once) {
  Holdfast proxy(endpoint({.members = member_yaml(set_->primary()), .more = "limits: { shutdown_timeout: 60s }\n"}));
  auto working = proxy.connect();
  working.exec("BEGIN");
  working.exec("SELECT 1");  // takes the server
  working.exec("INSERT INTO t VALUES (2)");
  proxy.signal(SIGTERM);
  ASSERT_TRUE(proxy.wait_log("stopping"));
  EXPECT_EQ(working.scalar("SELECT 1"), "1");
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(proxy.terminate(10s), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
  EXPECT_EQ(told_while_idle(working), "57P01");
  EXPECT_TRUE(wait_until(5s, [&] {
    return set_->primary().scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'") == "0";
  }));
  EXPECT_EQ(set_->primary().scalar("SELECT count(*) FROM t WHERE id = 2"), "0");
}

TEST_F(Operation, a_stuck_client_does_not_hold_it_beyond_the_timeout) {
  Holdfast proxy(endpoint({.members = member_yaml(set_->primary()), .more = "limits: { shutdown_timeout: 500ms }\n"}));
  auto working = proxy.connect();
  working.exec("BEGIN");
  working.exec("SELECT 1");  // takes the server
  // Reads nothing of a large answer.
  auto stuck = proxy.connect();
  ASSERT_EQ(PQsendQuery(stuck.raw(), "SELECT repeat('x', 1000) FROM generate_series(1, 200000)"), 1);
  auto sleeping = proxy.connect();
  ASSERT_EQ(PQsendQuery(sleeping.raw(), "SELECT pg_sleep(60)"), 1);
  ASSERT_TRUE(wait_until(5s, [&] {
    return set_->primary().scalar("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'") ==
           "3";
  }));
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(proxy.terminate(15s), 0);
  EXPECT_GT(std::chrono::steady_clock::now() - start, 400ms);
  EXPECT_LT(std::chrono::steady_clock::now() - start, 8s);
}

// Out of descriptors it neither spins nor forgets its listener: those who are in are served, also while one of them
// needs a further server, and when others leave the next are let in.
TEST_F(Operation, without_descriptors_it_waits_for_some) {
  const Holdfast proxy(endpoint({.members = member_yaml(set_->primary()), .workers = 1, .pool = "size: 2"}));
  auto inside = proxy.connect();
  auto waiting = proxy.connect();
  inside.exec("BEGIN");
  inside.exec("SELECT 1");  // takes the only server
  const auto used = static_cast<rlim_t>(
      std::distance(std::filesystem::directory_iterator("/proc/" + std::to_string(proxy.pid()) + "/fd"),
                    std::filesystem::directory_iterator{}));
  const rlimit few{.rlim_cur = used + 4, .rlim_max = used + 4};
  ASSERT_EQ(::prlimit(proxy.pid(), RLIMIT_NOFILE, &few, nullptr), 0);
  std::vector<std::unique_ptr<PeerConnection>> crowd;
  for (int i = 0; i < 10; ++i) crowd.push_back(std::make_unique<PeerConnection>(connect_to(proxy.port())));
  ASSERT_TRUE(proxy.wait_log("accept_failed"));
  waiting.ask("SELECT 'served'");
  ASSERT_TRUE(proxy.wait_log("server_connect_failed"));
  const auto tries = [&](const std::string& event) {
    const auto log = proxy.log();
    int count = 0;
    for (auto at = log.find(event); at != std::string::npos; at = log.find(event, at + 1)) ++count;
    return count;
  };
  // While a hundred statements are answered, it tries a few times: a spinning one would in every turn.
  const int accepts = tries("accept_failed");
  const int connects = tries("server_connect_failed");
  for (int i = 0; i < 100; ++i) {
    inside.ask("SELECT 1");
    ASSERT_TRUE(inside.answered(5s)) << "statement " << i;
    EXPECT_EQ(inside.answer().at(0).at(0), "1");
  }
  EXPECT_LT(tries("accept_failed") - accepts, 50);
  EXPECT_LT(tries("server_connect_failed") - connects, 50);
  crowd.clear();
  EXPECT_EQ(waiting.answer().at(0).at(0), "served");
  auto late = std::optional<Connection>();
  EXPECT_TRUE(wait_until(10s, [&] { return (late = Connection::attempt(proxy.conninfo())).has_value(); }))
      << proxy.log();
  EXPECT_EQ(late->scalar("SELECT 1"), "1");
}

}  // namespace
}  // namespace holdfast::testing
