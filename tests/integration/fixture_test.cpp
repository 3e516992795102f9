// The fixture for real servers keeps its promises.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <sstream>

#include "tests/support/postgres.hpp"
#include "tests/support/scripted_peer.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

TEST(Fixture, set_replicates_dies_and_promotes) {
  ReplicationSet set({.replicas = 2});
  set.primary().exec("CREATE TABLE kept (id int PRIMARY KEY); INSERT INTO kept VALUES (1), (2)");
  ReplicationSet::wait_caught_up(set.primary(), set.replica(0));
  EXPECT_EQ(set.replica(0).scalar("SELECT count(*) FROM kept"), "2");
  EXPECT_THROW(set.replica(0).exec("INSERT INTO kept VALUES (3)"), SqlError);

  ReplicationSet::wait_caught_up(set.primary(), set.replica(1));
  const auto processes = set.primary().tree();
  EXPECT_GT(processes.size(), 5U);
  set.primary().kill9_tree();
  EXPECT_FALSE(set.primary().running());
  for (const pid_t process : processes)
    EXPECT_TRUE(wait_until(5s, [&] { return !is_alive(process); })) << "process " << process << " lives on";
  EXPECT_FALSE(Connection::attempt(set.primary().conninfo()));

  set.replica(0).promote();
  set.replica(1).repoint(set.replica(0));
  set.replica(0).exec("INSERT INTO kept VALUES (3)");
  ReplicationSet::wait_caught_up(set.replica(0), set.replica(1));
  EXPECT_EQ(set.replica(1).scalar("SELECT count(*) FROM kept"), "3");

  set.primary().rewind_from(set.replica(0));
  set.primary().start();
  ReplicationSet::wait_caught_up(set.replica(0), set.primary());
  EXPECT_EQ(set.primary().scalar("SELECT count(*) FROM kept"), "3");
  EXPECT_EQ(set.primary().scalar("SELECT pg_is_in_recovery()"), "t");
}

TEST(Fixture, quorum_commit_waits_for_a_replica) {
  ReplicationSet set({.replicas = 2, .quorum = true});
  set.primary().exec("CREATE TABLE kept (id int)");
  EXPECT_EQ(set.primary().scalar("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'"), "2");
  set.replica(0).sigstop_tree();
  set.primary().exec("INSERT INTO kept VALUES (1)");
  set.replica(0).sigcont_tree();
  ReplicationSet::wait_caught_up(set.primary(), set.replica(0));
}

TEST(Fixture, silent_server_answers_nobody_until_it_continues) {
  Server server;
  server.start();
  server.sigstop_tree();
  EXPECT_FALSE(Connection::attempt(server.conninfo() + " connect_timeout=2"));
  server.sigcont_tree();
  EXPECT_EQ(server.scalar("SELECT 1"), "1");
}

TEST(Fixture, password_methods_are_asked_for) {
  Server server({.host_auth = "scram-sha-256"});
  server.start();
  EXPECT_EQ(server.connect("app").scalar("SELECT current_user"), "app");
  EXPECT_FALSE(
      Connection::attempt("host=127.0.0.1 user=app dbname=app password=wrong port=" + std::to_string(server.port())));
  server.write_hba({"local all all trust", "host all all 127.0.0.1/32 md5"});
  ASSERT_TRUE(wait_until(5s, [&] { return Connection::attempt(server.conninfo("app_md5")).has_value(); }));
}

TEST(Fixture, tls_server_shows_a_certificate_of_the_test_ca) {
  Server server({.tls = true});
  server.start();
  auto connection = Connection(server.conninfo() + " sslmode=require");
  EXPECT_EQ(connection.scalar("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"), "t");
}

TEST(Fixture, identities_differ_and_copies_agree) {
  const auto identifier = [](const std::string& identity) {
    Server server({.identity = identity});
    server.start();
    return server.scalar("SELECT system_identifier FROM pg_control_system()");
  };
  const auto first = identifier("a");
  EXPECT_EQ(identifier("a"), first);
  EXPECT_NE(identifier("b"), first);
}

TEST(Fixture, monitor_role_may_do_what_failover_needs) {
  ReplicationSet set({.replicas = 1});
  auto operator_connection = set.replica().connect("holdfast", "postgres");
  operator_connection.exec("SELECT * FROM pg_stat_wal_receiver");
  operator_connection.exec("SELECT pg_promote(true, 20)");
  EXPECT_EQ(operator_connection.scalar("SELECT pg_is_in_recovery()"), "f");
}

TEST(Fixture, broken_configuration_is_reported_with_the_log) {
  Server server({.settings = {{"shared_buffers", "plenty"}}});
  try {
    server.start();
    FAIL() << "it started";
  } catch (const std::runtime_error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("shared_buffers"));
  }
}

TEST(Fixture, restart_keeps_port_and_data) {
  Server server;
  server.start();
  server.exec("CREATE TABLE kept AS SELECT 7 AS id");
  const int port = server.port();
  server.restart(StopMode::immediate);
  EXPECT_EQ(server.port(), port);
  EXPECT_EQ(server.scalar("SELECT id FROM kept"), "7");
}

// Run by the next test in a process of its own: starts a server and dies without any destructor.
TEST(Fixture, DISABLED_dies_with_a_running_server) {
  Server server;
  server.start();
  server.sigstop_tree();
  write_file(std::getenv("HOLDFAST_FIXTURE_NOTE"),
             std::to_string(server.postmaster_pid()) + " " + server.data().string());
  ::raise(SIGKILL);
}

TEST(Fixture, dead_test_program_leaves_nothing_behind) {
  const TempDir folder;
  const auto note = folder.path() / "note";
  const int code = run(
      {.program = "/proc/self/exe",
       .arguments = {"--gtest_also_run_disabled_tests", "--gtest_filter=Fixture.DISABLED_dies_with_a_running_server"},
       .environment = {{"HOLDFAST_FIXTURE_NOTE", note.string()}}});
  ASSERT_EQ(code, 128 + SIGKILL);
  std::istringstream line(read_file(note));
  pid_t postmaster = 0;
  std::filesystem::path data;
  ASSERT_TRUE(line >> postmaster >> data);
  EXPECT_TRUE(wait_until(10s, [&] { return !is_alive(postmaster) && !std::filesystem::exists(data.parent_path()); }));
}

TEST(Fixture, scripted_server_converses_with_libpq) {
  ScriptedServer server([](PeerConnection& peer) {
    peer.accept_login();
    EXPECT_EQ(peer.read_message().type, 'Q');
    // One message in two pieces, and an error as the server would send it.
    const auto reply = message_bytes('E', "SFATAL\0C57P01\0Mgoing away\0\0"s);
    peer.send_in_pieces(reply, 7);
    peer.close();
  });
  Connection connection("host=127.0.0.1 user=app dbname=app port=" + std::to_string(server.port()));
  try {
    connection.exec("SELECT 1");
    FAIL() << "the scripted server refuses";
  } catch (const SqlError& error) {
    EXPECT_EQ(error.sqlstate(), "57P01") << error.what();
  }
}

TEST(Fixture, scripted_client_drives_a_real_server) {
  Server server;
  server.start();
  PeerConnection client(connect_to(server.port()));
  client.send_in_pieces(startup_bytes({{"user", "app"}, {"database", "app"}}), 1);
  EXPECT_THAT(client.read_until('Z'), ::testing::StartsWith("RS"));
  client.send(message_bytes('Q', "SELECT 1\0"s));
  EXPECT_EQ(client.read_until('Z'), "TDCZ");
  client.send(message_bytes('X'));
  client.expect_end();
}

}  // namespace
}  // namespace holdfast::testing
