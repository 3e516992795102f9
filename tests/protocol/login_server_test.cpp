// Login against a real PostgreSQL, and a real libpq against Auth: over blocking sockets, so that only the protocol is
// tested.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "protocol/auth.hpp"
#include "protocol/backend.hpp"
#include "protocol/framer.hpp"
#include "protocol/frontend.hpp"
#include "protocol/login.hpp"
#include "protocol/startup.hpp"
#include "protocol/tls_engine.hpp"
#include "tests/support/certificates.hpp"
#include "tests/support/connection.hpp"
#include "tests/support/postgres.hpp"
#include "tests/support/scripted_peer.hpp"

namespace holdfast::protocol {
namespace {

using testing::Connection;
using testing::Server;
using Verify = TlsContext::Verify;

// A blocking socket, in clear or through an engine. Every wait is bounded.
class Wire {
 public:
  explicit Wire(int fd) : fd_(fd) {}

  void send(Out& plaintext) {
    if (tls_) {
      if (!plaintext.empty() && !tls_->write(plaintext)) throw std::runtime_error("TLS write");
      flush();
    } else {
      send_raw(plaintext);
    }
    plaintext.clear();
  }
  // Appends what came to `into`; false at the end of the stream.
  [[nodiscard]] bool receive(Out& into) {
    const auto bytes = receive_raw();
    if (!tls_) {
      into.insert(into.end(), bytes.begin(), bytes.end());
      return !bytes.empty();
    }
    tls_->feed(bytes);
    read_pending(into);
    return !bytes.empty() && !tls_->peer_closed();
  }
  // An error is the engine's.
  [[nodiscard]] Result<void> shake(const std::shared_ptr<const TlsContext>& context, std::string_view host, Out& into) {
    tls_.emplace(TlsEngine::make(context, host).value());
    for (;;) {
      auto done = tls_->handshake();
      flush();
      if (!done) return std::unexpected(done.error());
      if (*done) break;
      const auto bytes = receive_raw();
      if (bytes.empty()) return fail(sqlstate::connection_failure, "closed in the handshake");
      tls_->feed(bytes);
    }
    read_pending(into);
    return {};
  }
  [[nodiscard]] const TlsEngine* tls() const { return tls_ ? &*tls_ : nullptr; }

 private:
  void read_pending(Out& into) {
    std::array<std::byte, 4096> buffer{};
    while (tls_->has_pending()) {
      const auto count = tls_->read(buffer).value();
      into.insert(into.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(count));
    }
  }
  void flush() {
    send_raw(tls_->outgoing());
    tls_->consumed(tls_->outgoing().size());
  }
  void send_raw(Bytes bytes) const {
    while (!bytes.empty()) {
      const auto sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0) return;  // the peer is gone: the next receive tells
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
  }
  [[nodiscard]] std::vector<std::byte> receive_raw() const {
    pollfd waiting{.fd = fd_, .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, 10'000) != 1) throw std::runtime_error("nothing came for 10 s");
    std::vector<std::byte> bytes(16384);
    const auto size = ::recv(fd_, bytes.data(), bytes.size(), 0);
    bytes.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
    return bytes;
  }

  int fd_;
  std::optional<TlsEngine> tls_;
};

struct Session {
  bool done = false;
  LoginResult result;
  LoginFailure failure;
  bool encrypted = false;
  bool derived = false;
  std::string row;  // of what was asked afterwards
};

// Logs in, asks who we are and whether that is over TLS ("app t"), and leaves.
Session run(int port, LoginRequest request, Verify verify = Verify::full, const std::string& host = "localhost") {
  const int fd = testing::connect_to(port);
  Wire wire(fd);
  Session session;
  Login login(std::move(request));
  Out out;
  Out received;
  for (bool going = true; going;) {
    const auto step = login.step(received, out);
    received.erase(received.begin(), received.begin() + static_cast<std::ptrdiff_t>(step.consumed));
    wire.send(out);
    switch (step.kind) {
      case LoginStep::Kind::need_more: {
        if (!wire.receive(received) && received.empty()) login.closed();
        break;
      }
      case LoginStep::Kind::start_tls: {
        TlsContext::ClientOptions options{.verify = verify};
        if (verify != Verify::none) options.ca = testing::shared_certificates().ca;
        auto shaken = wire.shake(TlsContext::client(options).value(), host, received);
        if (shaken) {
          login.tls_established(wire.tls()->end_point());
        } else {
          login.tls_failed(shaken.error());
        }
        break;
      }
      case LoginStep::Kind::derive: {
        const auto wanted = login.derive_request();
        session.derived = true;
        login.derived(scram::salted_password(wanted.password, wanted.salt, wanted.iterations).value());
        break;
      }
      case LoginStep::Kind::done:
      case LoginStep::Kind::failed: {
        session.done = step.kind == LoginStep::Kind::done;
        going = false;
        break;
      }
    }
  }
  session.result = login.result();
  session.failure = login.failure();
  session.encrypted = login.encrypted();
  if (session.done) {
    write_query(out, "SELECT current_user || ' ' || ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
    wire.send(out);
    Framer framer(Direction::from_server);
    for (char last = 0; last != 'Z';) {
      const auto frame = framer.next(received);
      if (frame.kind == Frame::Kind::need_more) {
        if (!wire.receive(received)) break;
        continue;
      }
      last = frame.tag;
      if (last == 'D') session.row = as_text(frame.body().subspan(6));
      received.erase(received.begin(), received.begin() + static_cast<std::ptrdiff_t>(frame.bytes.size()));
    }
    write_terminate(out);
    wire.send(out);
  }
  ::close(fd);
  return session;
}

class LoginServer : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = std::make_unique<Server>(testing::ServerOptions{.hba =
                                                                  {
                                                                      "hostssl all app 127.0.0.1/32 scram-sha-256",
                                                                      "hostnossl all app2 127.0.0.1/32 scram-sha-256",
                                                                      "host all app_md5 127.0.0.1/32 md5",
                                                                      "host all app_clear 127.0.0.1/32 password",
                                                                      "hostnossl all app 127.0.0.1/32 reject",
                                                                      "hostssl all app2 127.0.0.1/32 reject",
                                                                  },
                                                              .tls = true});
    server_->start();
    server_->exec("CREATE ROLE app_clear LOGIN PASSWORD 'in clear'");
  }
  static void TearDownTestSuite() { server_.reset(); }

  static LoginRequest request(const std::string& user, SslMode mode,
                              const std::string& password = testing::app_password) {
    return {.user = user,
            .database = "app",
            .parameters = {{"application_name", "login test"}, {"TimeZone", "Asia/Tokyo"}},
            .ssl_mode = mode,
            .credentials = LoginRequest::Password{password}};
  }
  static void expect_in(const Session& session, const std::string& row) {
    ASSERT_TRUE(session.done) << session.failure.error.message;
    EXPECT_EQ(session.row, row);
    EXPECT_GT(session.result.pid, 0U);
    EXPECT_EQ(session.result.secret.size(), 4U);
    EXPECT_EQ(session.result.transaction_status, 'I');
    const std::pair<std::string, std::string> zone = {"TimeZone", "Asia/Tokyo"};
    EXPECT_NE(std::ranges::find(session.result.parameters, zone), session.result.parameters.end());
  }

  static inline std::unique_ptr<Server> server_;
};

TEST_F(LoginServer, trust_without_and_with_tls) {
  auto made = request("postgres", SslMode::disable);
  made.credentials = std::monostate{};
  expect_in(run(server_->port(), made), "postgres false");
  made.ssl_mode = SslMode::verify_full;
  expect_in(run(server_->port(), made), "postgres true");
}

TEST_F(LoginServer, scram_over_verified_tls_binds_to_the_channel) {
  auto made = request("app", SslMode::verify_full);
  made.channel_binding = LoginRequest::ChannelBinding::require;
  const auto session = run(server_->port(), made);
  expect_in(session, "app true");
  EXPECT_TRUE(session.derived);
  made.channel_binding = LoginRequest::ChannelBinding::disable;
  expect_in(run(server_->port(), made), "app true");
}

TEST_F(LoginServer, scram_without_tls) {
  expect_in(run(server_->port(), request("app2", SslMode::disable)), "app2 false");
}

TEST_F(LoginServer, md5_and_clear_text) {
  expect_in(run(server_->port(), request("app_md5", SslMode::disable)), "app_md5 false");
  expect_in(run(server_->port(), request("app_md5", SslMode::require), Verify::none), "app_md5 true");
  expect_in(run(server_->port(), request("app_clear", SslMode::verify_full, "in clear")), "app_clear true");
  const auto refused = run(server_->port(), request("app_clear", SslMode::disable, "in clear"));
  EXPECT_FALSE(refused.done);
  EXPECT_EQ(refused.failure.whose, LoginFailure::Whose::settings);
}

TEST_F(LoginServer, wrong_passwords_and_databases_are_the_server_s_to_refuse) {
  for (const char* user : {"app", "app_md5", "app_clear"}) {
    const auto session = run(server_->port(), request(user, SslMode::require, "wrong"), Verify::none);
    EXPECT_FALSE(session.done);
    EXPECT_EQ(session.failure.whose, LoginFailure::Whose::server);
    EXPECT_EQ(session.failure.error.state.view(), "28P01");
    EXPECT_EQ(session.failure.error.message, "password authentication failed for user \"" + std::string(user) + "\"");
  }
  auto made = request("app", SslMode::require);
  made.database = "nowhere";
  EXPECT_EQ(run(server_->port(), made, Verify::none).failure.error.state.view(), "3D000");
}

TEST_F(LoginServer, another_host_is_refused_by_verify_full_alone) {
  const auto refused = run(server_->port(), request("app", SslMode::verify_full), Verify::full, "elsewhere");
  EXPECT_FALSE(refused.done);
  EXPECT_TRUE(refused.failure.error.message.contains("mismatch")) << refused.failure.error.message;
  expect_in(run(server_->port(), request("app", SslMode::verify_full), Verify::full, "127.0.0.1"), "app true");
  expect_in(run(server_->port(), request("app", SslMode::verify_ca), Verify::ca, "elsewhere"), "app true");
}

TEST_F(LoginServer, allow_and_prefer_try_the_other_way) {
  auto made = request("app", SslMode::allow);
  const auto without = run(server_->port(), made, Verify::none);
  EXPECT_EQ(without.failure.error.state.view(), "28000");
  ASSERT_EQ(without.failure.retry, LoginFailure::Retry::with_tls);
  made.attempt = LoginRequest::Attempt::fallback;
  expect_in(run(server_->port(), made, Verify::none), "app true");

  made = request("app2", SslMode::prefer);
  const auto with = run(server_->port(), made, Verify::none);
  ASSERT_EQ(with.failure.retry, LoginFailure::Retry::without_tls);
  made.attempt = LoginRequest::Attempt::fallback;
  expect_in(run(server_->port(), made, Verify::none), "app2 false");
}

// What a client of ours lives through: libpq connects to a socket of this test, which answers with Auth.
struct Client {
  AuthStep::Kind kind = AuthStep::Kind::need_more;
  std::optional<scram::Keys> keys;
  std::optional<testing::SqlError> error;
};

Client authenticate_libpq(const AuthRequest& request, const std::string& conninfo,
                          const std::shared_ptr<const TlsContext>& tls = nullptr) {
  Client client;
  testing::ScriptedServer listener([&](testing::PeerConnection& peer) {
    Wire wire(peer.fd());
    Startup opening(tls ? Startup::Tls::available : Startup::Tls::unavailable);
    Out received;
    Out out;
    for (bool starting = true; starting;) {
      const auto action = opening.next(received);
      received.erase(received.begin(), received.begin() + static_cast<std::ptrdiff_t>(action.consumed));
      switch (action.kind) {
        case Startup::Action::Kind::need_more: {
          if (!wire.receive(received)) throw testing::ScriptError("libpq left");
          break;
        }
        case Startup::Action::Kind::reject:
        case Startup::Action::Kind::accept_tls: {
          const bool accept = action.kind == Startup::Action::Kind::accept_tls;
          Writer(out).letter(accept ? 'S' : 'N');
          wire.send(out);
          if (!accept) break;
          if (!wire.shake(tls, "", received)) throw testing::ScriptError("handshake");
          opening.tls_established();
          break;
        }
        default: starting = false;
      }
    }
    auto made = request;
    if (wire.tls() != nullptr) made.channel_binding = wire.tls()->end_point();
    Auth auth(made);
    for (;;) {
      const auto step = auth.step(received, out);
      received.erase(received.begin(), received.begin() + static_cast<std::ptrdiff_t>(step.consumed));
      client.kind = step.kind;
      if (step.kind != AuthStep::Kind::need_more) break;
      wire.send(out);
      if (!wire.receive(received)) throw testing::ScriptError("libpq left during authentication");
    }
    client.keys = auth.scram_keys();
    if (client.kind == AuthStep::Kind::ok) {
      write_ready_for_query(out, 'I');
    } else {
      write_error(out, {.severity = "FATAL", .state = auth.error().state, .message = auth.error().message});
    }
    wire.send(out);
    static_cast<void>(wire.receive(received));  // until it leaves
  });
  try {
    const Connection connection("host=localhost hostaddr=127.0.0.1 user=app dbname=app port=" +
                                std::to_string(listener.port()) + " " + conninfo);
  } catch (const testing::SqlError& error) {
    client.error = error;
  }
  listener.finish();
  return client;
}

class AuthLibpq : public LoginServer {
 protected:
  // The verifier that the real server has for the role.
  static AuthRequest auth_request() {
    const auto text = server_->scalar("SELECT rolpassword FROM pg_authid WHERE rolname = 'app'");
    return {.user = "app", .verifier = scram::Verifier::parse(text).value()};
  }
  static std::string password(const std::string& text = testing::app_password) { return "password=" + text + " "; }
};

TEST_F(AuthLibpq, keys_of_a_real_client_open_the_real_server) {
  const auto client = authenticate_libpq(auth_request(), password() + "sslmode=disable");
  ASSERT_EQ(client.kind, AuthStep::Kind::ok) << client.error->what();
  EXPECT_FALSE(client.error) << client.error->what();
  auto made = request("app", SslMode::verify_full);
  made.credentials = client.keys.value();
  const auto session = run(server_->port(), made);
  expect_in(session, "app true");
  EXPECT_FALSE(session.derived);
}

TEST_F(AuthLibpq, channel_binding_over_our_tls) {
  const auto certificates = testing::shared_certificates();
  const auto tls = TlsContext::server({.certificate = certificates.server, .key = certificates.server_key});
  const auto client = authenticate_libpq(
      auth_request(),
      password() + "sslmode=verify-full channel_binding=require sslrootcert=" + certificates.ca.string(), tls.value());
  EXPECT_EQ(client.kind, AuthStep::Kind::ok) << client.error->what();
  EXPECT_FALSE(client.error) << client.error->what();
}

TEST_F(AuthLibpq, wrong_password_and_unknown_user_hear_the_same) {
  const auto wrong = authenticate_libpq(auth_request(), password("guess") + "sslmode=disable");
  auto unknown_user = auth_request();
  unknown_user.verifier.reset();
  const auto unknown = authenticate_libpq(unknown_user, password() + "sslmode=disable");
  ASSERT_TRUE(wrong.error && unknown.error);
  EXPECT_EQ(wrong.kind, AuthStep::Kind::failed);
  EXPECT_TRUE(std::string(wrong.error->what()).contains("password authentication failed for user \"app\""));
  // But for the port in libpq's own words.
  const auto behind_port = [](std::string text) { return text.substr(text.find("FATAL")); };
  EXPECT_EQ(behind_port(wrong.error->what()), behind_port(unknown.error->what()));
}

}  // namespace
}  // namespace holdfast::protocol
