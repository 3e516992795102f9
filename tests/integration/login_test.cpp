// Who gets in, who doesn't and what they are told: PostgreSQL's own SQLSTATEs, over plain and TLS connections.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <random>

#include "tests/support/certificates.hpp"
#include "tests/support/endpoint.hpp"
#include "tests/support/scripted_peer.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using ::testing::HasSubstr;

std::string with(const std::string& conninfo, const std::string& more) {
  return conninfo + " " + more;
}

class Login : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server({.host_auth = "scram-sha-256"});
    server_->start();
  }
  static void TearDownTestSuite() { delete server_; }

  // Secrets are the servers' own verifiers: passwords are nowhere.
  static HoldfastOptions with_verifiers(EndpointConfig config = {}, const std::string& auth = "login_timeout: 2s") {
    config.members = member_yaml(*server_);
    config.auth = "users_file: \"${folder}/userlist.txt\", " + auth;
    auto options = endpoint(config);
    options.files["userlist.txt"] = "";
    for (const char* user : {"app", "app2"}) {
      options.files["userlist.txt"] +=
          "\""s + user + "\" \"" +
          server_->scalar("SELECT rolpassword FROM pg_authid WHERE rolname = '"s + user + "'") + "\"\n";
    }
    return options;
  }

  static Server* server_;
};
Server* Login::server_ = nullptr;

TEST_F(Login, keys_of_a_verifier_are_passed_on_to_servers) {
  const Holdfast proxy(with_verifiers());
  auto client = proxy.connect();
  EXPECT_EQ(client.scalar("SELECT session_user"), "app");
  auto other = proxy.connect("app2");
  EXPECT_EQ(other.scalar("SELECT session_user"), "app2");
}

TEST_F(Login, wrong_password_and_unknown_user_look_alike) {
  const Holdfast proxy(with_verifiers());
  const auto wrong = refusal_of(with(proxy.conninfo(), "password=wrong"));
  EXPECT_EQ(wrong.sqlstate, "28P01");
  EXPECT_THAT(wrong.message, HasSubstr("password authentication failed for user \"app\""));
  const auto unknown = refusal_of(proxy.conninfo("nobody"));
  EXPECT_EQ(unknown.sqlstate, "28P01");
  EXPECT_THAT(unknown.message, HasSubstr("password authentication failed for user \"nobody\""));
}

// What a stranger sees of SCRAM (RFC 5802) up to the refusal: message types, the salt's size, the iterations, the
// SQLSTATE.
struct Seen {
  std::string types;
  std::string salt;
  std::string iterations;
  std::string sqlstate;
};
Seen guess(int port, const std::string& user) {
  PeerConnection peer(connect_to(port));
  peer.send(startup_bytes({{"user", user}, {"database", "app"}}));
  Seen seen;
  seen.types += peer.read_message().type;
  const std::string first = "n,,n=,r=0123456789abcdefghijklmn";
  peer.send(message_bytes('p', "SCRAM-SHA-256\0\0\0\0"s + static_cast<char>(first.size()) + first));
  const auto challenge = peer.read_message();
  seen.types += challenge.type;
  const auto salt = challenge.body.find(",s=");
  const auto iterations = challenge.body.find(",i=");
  if (salt == std::string::npos || iterations == std::string::npos)
    throw ScriptError("no challenge: " + challenge.body);
  seen.salt = challenge.body.substr(salt + 3, iterations - salt - 3);
  seen.iterations = challenge.body.substr(iterations + 3);
  const auto nonce = challenge.body.substr(4 + 2, salt - 6);
  peer.send(message_bytes('p', "c=biws,r=" + nonce + ",p=" + std::string(43, 'A') + "="));
  const auto refusal = peer.read_message();
  seen.types += refusal.type;
  if (const auto at = refusal.body.find("\0C"s); at != std::string::npos)
    seen.sqlstate = refusal.body.substr(at + 2, 5);
  peer.expect_end();
  return seen;
}

TEST_F(Login, a_stranger_can_not_tell_who_exists) {
  const Holdfast proxy(with_verifiers());
  const auto known = guess(proxy.port(), "app");
  const auto unknown = guess(proxy.port(), "nobody");
  EXPECT_EQ(known.sqlstate, "28P01");
  EXPECT_EQ(unknown.sqlstate, "28P01");
  EXPECT_EQ(unknown.types, known.types);
  EXPECT_EQ(unknown.iterations, known.iterations);
  EXPECT_EQ(unknown.salt.size(), known.salt.size());
  // Asked again, the answer is the same: a salt that changes would give it away.
  EXPECT_EQ(guess(proxy.port(), "nobody").salt, unknown.salt);
  EXPECT_NE(guess(proxy.port(), "nobody2").salt, unknown.salt);
}

TEST_F(Login, an_unknown_database_is_told_after_authentication_only) {
  const Holdfast proxy(with_verifiers({.databases = "  app: { cluster: main }\n  gone: { cluster: main }\n"}));
  const auto missing = refusal_of(proxy.conninfo("app", "no_such"));
  EXPECT_EQ(missing.sqlstate, "3D000");
  EXPECT_THAT(missing.message, HasSubstr("database \"no_such\" does not exist"));
  const auto on_servers = refusal_of(proxy.conninfo("app", "gone"));
  EXPECT_EQ(on_servers.sqlstate, "3D000") << on_servers.message;
  const auto stranger = refusal_of(with(proxy.conninfo("app", "no_such"), "password=wrong"));
  EXPECT_EQ(stranger.sqlstate, "28P01");
}

TEST_F(Login, tls_is_spoken_with_the_listeners_certificate) {
  const auto certificates = shared_certificates();
  const auto tls = [&](const std::string& mode) {
    return "tls: { mode: " + mode + ", certificate: \"" + certificates.server.string() + "\", key: \"" +
           certificates.server_key.string() + "\" }";
  };
  const Holdfast proxy(with_verifiers({.listen_tls = tls("allow")}));
  auto encrypted = Connection(with(proxy.conninfo(), "sslmode=require"));
  EXPECT_EQ(PQsslInUse(encrypted.raw()), 1);
  EXPECT_EQ(encrypted.scalar("SELECT repeat('x', 100000)").size(), 100000U);
  auto verified =
      Connection(with(proxy.conninfo(),
                      "sslmode=verify-full host=localhost hostaddr=127.0.0.1 sslrootcert=" + certificates.ca.string()));
  EXPECT_EQ(verified.scalar("SELECT 1"), "1");
  auto plain = Connection(with(proxy.conninfo(), "sslmode=disable"));
  EXPECT_EQ(PQsslInUse(plain.raw()), 0);

  const Holdfast strict(with_verifiers({.listen_tls = tls("require")}));
  EXPECT_EQ(refusal_of(with(strict.conninfo(), "sslmode=disable")).sqlstate, "28000");
  EXPECT_EQ(Connection(with(strict.conninfo(), "sslmode=require")).scalar("SELECT 1"), "1");
}

TEST_F(Login, servers_are_reached_over_tls_too) {
  Server server({.tls = true});
  server.start();
  const Holdfast proxy(endpoint(
      {.members = "      - { name: pg1, host: localhost, port: " + std::to_string(server.port()) + " }\n",
       .cluster_more = "    tls: { mode: verify-full, ca: \"" + shared_certificates().ca.string() + "\" }\n"}));
  auto client = proxy.connect();
  EXPECT_EQ(client.scalar("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"), "t");
  EXPECT_EQ(client.scalar("SELECT repeat('x', 1000000)").size(), 1000000U);
}

TEST_F(Login, too_many_clients_are_told_53300_and_places_come_back) {
  struct Limit {
    const char* what;
    std::string databases;
    std::string more;
  };
  for (const auto& limit : {Limit{"process", "  \"*\": { cluster: main }\n", "limits: { max_clients: 2 }\n"},
                            Limit{"database", "  app: { cluster: main, max_clients: 2 }\n", ""},
                            Limit{"user", "  \"*\": { cluster: main }\n", "users: { app: { max_clients: 2 } }\n"}}) {
    const Holdfast proxy(with_verifiers({.databases = limit.databases, .more = limit.more}));
    auto one = proxy.connect();
    {
      auto two = proxy.connect();
      EXPECT_EQ(refusal_of(proxy.conninfo()).sqlstate, "53300") << limit.what;
      EXPECT_EQ(proxy.metric("holdfast_clients_refused_total"), 1) << limit.what;
    }
    EXPECT_TRUE(wait_until(5s, [&] { return Connection::attempt(proxy.conninfo()).has_value(); })) << limit.what;
    EXPECT_EQ(one.scalar("SELECT 1"), "1");
  }
}

// Strangers know names. While they have proven nothing they take no place of a tenant's.
TEST_F(Login, strangers_fill_no_places_of_a_user_or_database) {
  struct Limit {
    const char* what;
    std::string databases;
    std::string more;
  };
  for (const auto& limit : {Limit{"database", "  app: { cluster: main, max_clients: 2 }\n", ""},
                            Limit{"any database", "  \"*\": { cluster: main, max_clients: 2 }\n", ""},
                            Limit{"user", "  \"*\": { cluster: main }\n", "users: { app: { max_clients: 2 } }\n"}}) {
    const Holdfast proxy(with_verifiers({.databases = limit.databases, .more = limit.more}, "login_timeout: 60s"));
    std::vector<std::unique_ptr<PeerConnection>> strangers;
    for (int i = 0; i < 6; ++i) {
      strangers.push_back(std::make_unique<PeerConnection>(connect_to(proxy.port())));
      strangers.back()->send(startup_bytes({{"user", "app"}, {"database", "app"}}));
      EXPECT_EQ(strangers.back()->read_message().type, 'R') << limit.what;  // asked for a proof that never comes
    }
    auto one = Connection::attempt(proxy.conninfo());
    ASSERT_TRUE(one.has_value()) << limit.what;
    auto two = Connection::attempt(proxy.conninfo());
    ASSERT_TRUE(two.has_value()) << limit.what;
    EXPECT_EQ(one->scalar("SELECT 1"), "1");
    // Those who have proven who they are count.
    EXPECT_EQ(refusal_of(proxy.conninfo()).sqlstate, "53300") << limit.what;
  }
}

// A stranger learns nothing about how many are in, nor that there is somebody whose limit could be reached.
TEST_F(Login, a_full_database_or_user_is_told_after_authentication_only) {
  for (const auto& [databases, more] :
       {std::pair{"  app: { cluster: main, max_clients: 1 }\n", ""},
        std::pair{"  \"*\": { cluster: main }\n", "users: { app: { max_clients: 1 } }\n"}}) {
    const Holdfast proxy(with_verifiers({.databases = databases, .more = more}));
    auto inside = proxy.connect();
    const auto refused = refusal_of(with(proxy.conninfo(), "password=wrong"));
    EXPECT_EQ(refused.sqlstate, "28P01");
    const auto unknown = refusal_of(with(proxy.conninfo("nobody"), "password=wrong"));
    EXPECT_EQ(unknown.sqlstate, refused.sqlstate);
    EXPECT_EQ(refusal_of(proxy.conninfo()).sqlstate, "53300");
  }
}

// Load balancers connect and leave, pg_isready asks how it could log in, a scrape goes to the wrong port: none of them
// has failed to log in. Who is refused, or doesn't finish in time, has.
TEST_F(Login, probes_are_no_failed_log_ins) {
  const Holdfast proxy(with_verifiers({}, "login_timeout: 1s"));
  const auto start_up = startup_bytes({{"user", "app"}, {"database", "app"}});
  const std::string ssl_request("\0\0\0\x08\x04\xd2\x16\x2f", 8);
  const std::string cancel_request("\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02", 16);
  for (const std::string& said : {""s, ssl_request, cancel_request, start_up.substr(0, 11), start_up,
                                  "GET /metrics HTTP/1.1\r\n\r\n"s, "\x16\x03\x01"s}) {
    PeerConnection probe(connect_to(proxy.port()));
    if (!said.empty()) probe.send(said);
    if (said == start_up) {
      EXPECT_EQ(probe.read_message().type, 'R');
    }
  }
  PeerConnection silent(connect_to(proxy.port()));
  static_cast<void>(silent.read_until_end());
  ASSERT_TRUE(wait_until(5s, [&] { return proxy.metric("holdfast_clients") == 0; }));
  EXPECT_EQ(proxy.metric("holdfast_logins_failed_total"), 0);

  EXPECT_EQ(refusal_of(with(proxy.conninfo(), "password=wrong")).sqlstate, "28P01");
  EXPECT_EQ(refusal_of(with(proxy.conninfo(), "options='-c work_mem=x'")).sqlstate, "22023");
  PeerConnection slow(connect_to(proxy.port()));
  slow.send(start_up);
  EXPECT_EQ(slow.read_message().type, 'R');
  static_cast<void>(slow.read_until_end());
  EXPECT_TRUE(wait_until(5s, [&] { return proxy.metric("holdfast_logins_failed_total") == 3; }))
      << *proxy.metric("holdfast_logins_failed_total");
}

// Whoever has proven who he is waits for a primary as long as others do, and is told what he waited for.
TEST_F(Login, waits_for_a_primary_longer_than_for_its_client) {
  Server gone;
  gone.start();
  gone.stop();
  const Holdfast proxy([&] {
    auto options = endpoint({.members = member_yaml(gone), .pool = "size: 2, hold_timeout: 2s",
                             .auth = "method: trust, login_timeout: 500ms"});
    options.wait_ready = false;
    return options;
  }());
  ASSERT_TRUE(proxy.wait_log("listening"));
  PeerConnection client(connect_to(proxy.port()));
  client.send(startup_bytes({{"user", "app"}, {"database", "app"}}));
  const auto heard = client.read_until_end();
  EXPECT_NE(heard.find("C57P03"), std::string::npos) << heard;
  EXPECT_NE(heard.find("there has been no primary for 2000 ms"), std::string::npos) << heard;
  EXPECT_TRUE(proxy.wait_log("login_refused"));
}

// `options` holds the command line of a backend: what PostgreSQL itself makes of each switch, for an ordinary user and
// for a superuser, is what a client gets here.
TEST_F(Login, switches_in_options_are_read_as_postgresql_reads_them) {
  const Holdfast proxy(with_verifiers({.pool = "size: 2"}));
  const auto server = server_->conninfo("app", "app");
  const auto outcome = [](const std::string& conninfo, const std::string& options) -> std::string {
    try {
      Connection client(with(conninfo, "options='" + options + "'"));
      return client.scalar(
          "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings WHERE name ~ "
          "'^(log_min_messages|log_statement|log_.*_stats|debug_print_.*|DateStyle|work_mem|enable_.*scan|enable_.*join|"
          "enable_nestloop|allow_system_table_mods)$'");
    } catch (const SqlError&) {
      const auto refusal = refusal_of(with(conninfo, "options='" + options + "'"));
      return refusal.sqlstate;
    }
  };
  for (const char* super : {"NOSUPERUSER", "SUPERUSER"}) {
    server_->exec("ALTER ROLE app "s + super);
    for (const std::string& options :
         {"-d 5"s, "-d0"s, "-d 1"s, "-d 9"s, "-B 16"s, "-D /tmp"s, "-e"s, "-fs"s, "-fi -fo -fb -ft -fn -fm -fh"s, "-fx"s,
          "-f"s, "-i"s, "-N 5"s, "-n"s, "-O"s, "-S 4096"s, "-S 1"s, "-s"s, "-tpa"s, "-tpl"s, "-te"s, "-tx"s, "-v 3"s, "-F"s,
          "-E"s, "-h x"s, "-k x"s, "-l"s, "-p 1"s, "-r x"s, "-T"s, "-b"s, "-j"s, "-C x"s, "-x"s, "-eS 4096"s, "-ne"s,
          "-c work_mem=5MB -e"s, "-e -S 4096 x"s, "--"s, "-"s, "-nx"s, "--work-mem=5MB"s, "-S"s}) {
      EXPECT_EQ(outcome(proxy.conninfo(), options), outcome(server, options)) << super << ' ' << options;
    }
  }
  server_->exec("ALTER ROLE app NOSUPERUSER");
}

// The process and its listeners are protected from those who say nothing at all: they count from the accept on, and no
// longer than they are there.
TEST_F(Login, silent_connections_count_for_the_process_and_its_listener) {
  struct Limit {
    const char* what;
    std::string listen;
    std::string more;
  };
  for (const auto& limit :
       {Limit{"process", "", "limits: { max_clients: 3 }\n"}, Limit{"listener", "max_clients: 3", ""}}) {
    const Holdfast proxy(with_verifiers({.listen_tls = limit.listen, .more = limit.more}, "login_timeout: 60s"));
    auto inside = proxy.connect();
    {
      const PeerConnection silent(connect_to(proxy.port()));
      PeerConnection half(connect_to(proxy.port()));
      half.send(startup_bytes({{"user", "app"}, {"database", "app"}}).substr(0, 11));
      ASSERT_TRUE(wait_until(5s, [&] { return proxy.metric("holdfast_clients") == 3; })) << limit.what;
      EXPECT_EQ(refusal_of(proxy.conninfo()).sqlstate, "53300") << limit.what;
    }
    EXPECT_TRUE(wait_until(5s, [&] { return Connection::attempt(proxy.conninfo()).has_value(); })) << limit.what;
    EXPECT_EQ(inside.scalar("SELECT 1"), "1");
  }
}

// Who is in can cancel although nobody else is let in: PostgreSQL's limits don't count cancel requests either.
TEST_F(Login, a_full_process_takes_cancel_requests) {
  const Holdfast proxy(with_verifiers({.more = "limits: { max_clients: 1 }\n"}));
  auto client = proxy.connect();
  client.ask("SELECT pg_sleep(60)");
  ASSERT_TRUE(wait_until(5s, [&] {
    return server_->scalar(
               "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%' AND state = "
               "'active' AND usename = 'app'") == "1";
  }));
  const std::unique_ptr<PGcancel, decltype(&PQfreeCancel)> request(PQgetCancel(client.raw()), PQfreeCancel);
  std::array<char, 256> error{};
  EXPECT_EQ(PQcancel(request.get(), error.data(), error.size()), 1) << error.data();
  EXPECT_EQ(sqlstate_of([&] { client.answer(); }), "57014");
}

TEST_F(Login, whoever_does_not_log_in_in_time_is_closed) {
  const Holdfast proxy(with_verifiers());
  PeerConnection silent(connect_to(proxy.port()));
  PeerConnection half(connect_to(proxy.port()));
  half.send(startup_bytes({{"user", "app"}, {"database", "app"}}).substr(0, 11));
  PeerConnection stuck(connect_to(proxy.port()));
  stuck.send(startup_bytes({{"user", "app"}, {"database", "app"}}));
  EXPECT_EQ(stuck.read_message().type, 'R');
  const auto start = std::chrono::steady_clock::now();
  for (auto* peer : {&silent, &half, &stuck}) static_cast<void>(peer->read_until_end());
  const auto took = std::chrono::steady_clock::now() - start;
  EXPECT_GT(took, 1s);
  EXPECT_LT(took, 8s);
  EXPECT_TRUE(wait_until(5s, [&] { return proxy.metric("holdfast_clients") == 0; }));
}

TEST_F(Login, a_changed_password_counts_from_the_reload_on) {
  auto options = with_verifiers();
  Holdfast proxy(options);
  EXPECT_EQ(proxy.connect().scalar("SELECT 1"), "1");
  server_->exec("ALTER ROLE app2 PASSWORD 'another'");
  write_file(proxy.folder() / "userlist.txt",
             "\"app2\" \"" + server_->scalar("SELECT rolpassword FROM pg_authid WHERE rolname = 'app2'") + "\"\n");
  proxy.reload();
  ASSERT_TRUE(proxy.wait_log("reloaded"));
  EXPECT_EQ(Connection(with(proxy.conninfo("app2"), "password=another")).scalar("SELECT 1"), "1");
  EXPECT_EQ(refusal_of(proxy.conninfo("app2")).sqlstate, "28P01");
  EXPECT_EQ(refusal_of(proxy.conninfo("app")).sqlstate, "28P01");
  server_->exec("ALTER ROLE app2 PASSWORD '" + std::string(app_password) + "'");
}

// Bytes that no client sends: each closes its own connection, within the time for a log-in, and nothing else.
TEST_F(Login, hostile_start_up_bytes_end_their_own_connection_only) {
  const Holdfast proxy(with_verifiers());
  auto bystander = proxy.connect();
  const auto length = [](std::uint32_t value) {
    std::string bytes;
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
    return bytes;
  };
  const auto good = startup_bytes({{"user", "app"}, {"database", "app"}});
  std::vector<std::string> hostile;
  for (const std::uint32_t size : {0U, 1U, 3U, 4U, 5U, 7U, 8U, 9U, 10001U, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
    for (const std::uint32_t code : {0U, 196608U, 196610U, 131072U, 80877102U, 80877103U, 80877104U, 0xffffffffU}) {
      hostile.push_back(length(size) + length(code));
      hostile.push_back(length(size).append(length(code)).append(64, '\0'));
    }
  }
  hostile.push_back(good + good);
  hostile.push_back(good + message_bytes('Q', "SELECT 1\0"s));
  hostile.push_back(length(8) + length(80877103) + length(8) + length(80877103) + length(8) + length(80877103));
  hostile.push_back("GET / HTTP/1.1\r\n\r\n");
  hostile.push_back("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
  hostile.push_back(startup_bytes({{"user", ""}}));
  hostile.push_back(startup_bytes({{"database", "app"}}));
  hostile.push_back(startup_bytes({{"user", std::string(9000, 'u')}}));
  hostile.push_back(startup_bytes({{"user", "app"}, {"options", "-c"}}));
  hostile.push_back(startup_bytes({{"user", "app"}, {"options", "\\"}}));
  for (const std::uint32_t size : {0U, 3U, 4U, 0x7fffffffU, 0xffffffffU}) hostile.push_back(good + "p" + length(size));
  std::mt19937 random(4711);
  for (int i = 0; i < 200; ++i) {
    std::string noise(1 + random() % 200, '\0');
    for (char& byte : noise) byte = static_cast<char>(random());
    hostile.push_back(i % 2 == 0 ? noise : good + noise);
  }
  for (const auto& bytes : hostile) {
    PeerConnection peer(connect_to(proxy.port()));
    try {
      peer.send(bytes);
      peer.shutdown_write();
    } catch (const ScriptError&) {
      continue;  // closed already
    }
    static_cast<void>(peer.read_until_end());
  }
  EXPECT_EQ(bystander.scalar("SELECT 1"), "1");
  EXPECT_EQ(proxy.connect().scalar("SELECT 1"), "1");
  EXPECT_TRUE(wait_until(5s, [&] { return proxy.metric("holdfast_clients") == 1; }));
}

}  // namespace
}  // namespace holdfast::testing
