#include "proxy/pool/connector.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>
#include <utility>

#include "protocol/login.hpp"
#include "proxy/admin/log.hpp"
#include "proxy/pool/pool.hpp"
#include "proxy/session/answers.hpp"
#include "proxy/worker.hpp"

namespace holdfast::proxy {
namespace {

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

Result<Address> parse_address(const std::string& text, std::uint16_t port) {
  Address address;
  if (is_unix(text)) {
    auto& un = reinterpret_cast<sockaddr_un&>(address.storage);
    const auto path = text + "/.s.PGSQL." + std::to_string(port);
    if (path.size() >= sizeof un.sun_path)
      return fail(sqlstate::connection_failure, "socket path is too long: " + path);
    un.sun_family = AF_UNIX;
    std::memcpy(un.sun_path, path.c_str(), path.size() + 1);
    address.size = sizeof un;
    return address;
  }
  auto& v4 = reinterpret_cast<sockaddr_in&>(address.storage);
  if (::inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    address.size = sizeof v4;
    return address;
  }
  auto& v6 = reinterpret_cast<sockaddr_in6&>(address.storage);
  if (::inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    address.size = sizeof v6;
    return address;
  }
  return fail(sqlstate::connection_failure, "not an address: " + text);
}

void tune(int fd) {
  const auto set = [fd](int level, int name, int value) { ::setsockopt(fd, level, name, &value, sizeof value); };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 5);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 2);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 10000);
}

std::string describe(int error) {
  return std::system_category().message(error);
}

// What became of an attempt, for the pool and for health.
struct Attempt {
  Result<void> result;
  bool network = true;  // false: the server itself said no
  std::optional<health::Evidence> evidence;
  protocol::LoginFailure::Retry retry = protocol::LoginFailure::Retry::none;
};

protocol::SslMode ssl_mode(config::SslMode mode) {
  return static_cast<protocol::SslMode>(mode);
}

class Opening {
 public:
  Opening(MemberPool& pool, ServerLink& server, protocol::LoginRequest::Attempt attempt)
      : pool_(pool), worker_(pool.pool.worker), server_(server), attempt_(attempt) {}

  Task<Attempt> run() {
    const auto topology = worker_.topology(pool_.pool.key.cluster);
    const auto& member = topology->members[pool_.member];
    const auto runtime = worker_.runtime_ptr();  // kept: a reload may come while this waits
    const auto* cluster = runtime->config.find_cluster(pool_.pool.key.cluster);
    if (cluster == nullptr) co_return Attempt{fail(sqlstate::internal_error, "the cluster was removed"), false, {}, {}};
    server_.generation = member.generation;
    server_.credentials = pool_.pool.credentials_version;
    Deadline deadline(&Opening::on_deadline, this);
    worker_.reactor.deadlines().arm(deadline, worker_.reactor.now() + cluster->connect_timeout);
    const std::string address = member.address;
    const std::string host = member.host;
    auto connected = co_await connect_socket(worker_.reactor, server_.link, address, member.port);
    if (!connected) {
      const auto evidence = late_                ? health::Evidence::connect_timeout
                            : refused(connected) ? health::Evidence::connect_refused
                                                 : health::Evidence::connect_failed;
      co_return Attempt{std::move(connected), true, evidence, {}};
    }
    protocol::LoginRequest request;
    request.user = pool_.pool.key.user;
    request.database = pool_.pool.key.database;
    request.ssl_mode = ssl_mode(cluster->tls.mode);
    request.link = is_unix(address) ? protocol::LoginRequest::Link::unix_socket : protocol::LoginRequest::Link::tcp;
    request.attempt = attempt_;
    std::visit([&request](const auto& secret) { request.credentials = secret; }, pool_.pool.credentials);
    protocol::Login login(std::move(request));
    std::shared_ptr<const protocol::TlsContext> tls;
    const auto& contexts = runtime->server_tls;
    if (const auto found = contexts.find(cluster->name); found != contexts.end()) tls = found->second;
    auto attempt = co_await log_in(login, tls, host);
    co_return attempt;
  }

 private:
  static void on_deadline(void* self) {
    auto& opening = *static_cast<Opening*>(self);
    opening.late_ = true;
    opening.server_.link.close();
    if (auto handle = std::exchange(opening.deriving_, {})) opening.worker_.reactor.schedule(handle);
  }
  static bool refused(const Result<void>& result) {
    return result.error().message.find("refused") != std::string::npos;
  }

  // g++ 12 destroys a temporary twice that a co_await expression passes by value: everything is named here.
  Task<Attempt> log_in(protocol::Login& login, const std::shared_ptr<const protocol::TlsContext>& tls,
                       const std::string& host) {
    Link& link = server_.link;
    std::vector<std::byte> out;
    using Kind = protocol::LoginStep::Kind;
    for (;;) {
      out.clear();
      const auto step = login.step(link.received(), out);
      link.consume(step.consumed);
      link.keep_rest();
      if (!out.empty() && !link.send(out)) login.closed();
      switch (step.kind) {
        case Kind::need_more: {
          if (!link.open()) break;
          if (!link.may_receive()) co_await link.watch().readable();
          const Io got = link.receive();
          if (got == Io::closed) login.closed();
          break;
        }
        case Kind::start_tls: {
          if (!tls) {
            login.tls_failed({sqlstate::connection_failure, "no TLS settings"});
            break;
          }
          if (auto started = link.start_tls(tls, host); !started) {
            login.tls_failed(started.error());
            break;
          }
          auto done = co_await link.handshake();
          if (done) {
            login.tls_established(link.tls()->end_point());
          } else {
            login.tls_failed(done.error());
          }
          break;
        }
        case Kind::derive: {
          const auto request = login.derive_request();
          auto key = co_await derive(request);
          if (key) {
            login.derived(*key);
          } else {
            login.derive_failed(key.error());
          }
          break;
        }
        case Kind::done: co_return take(login);
        case Kind::failed: {
          const auto& failure = login.failure();
          const bool server_said_no = failure.whose != protocol::LoginFailure::Whose::protocol;
          std::optional<health::Evidence> evidence;
          bool network = !server_said_no;
          if (late_) {
            evidence = health::Evidence::connect_timeout;
          } else if (failure.error.state == sqlstate::cannot_connect_now) {
            evidence = health::Evidence::cannot_connect_now;
            network = true;  // it will be back, or somebody else takes over
          } else if (failure.error.state == sqlstate::admin_shutdown) {
            evidence = health::Evidence::admin_shutdown;
            network = true;
          } else if (network) {
            evidence = health::Evidence::connect_failed;
          }
          co_return Attempt{std::unexpected(failure.error), network, evidence, failure.retry};
        }
      }
      if (!link.open()) login.closed();
    }
  }

  Attempt take(const protocol::Login& login) {
    const auto& result = login.result();
    server_.pid = result.pid;
    server_.secret = result.secret;
    for (const auto& [name, value] : result.parameters) {
      auto reported = worker_.reported.with(server_.reported, name, value);
      if (!reported) return Attempt{std::unexpected(reported.error()), false, {}, {}};
      server_.reported = std::move(*reported);
    }
    const auto* read_only = server_.reported.find("default_transaction_read_only");
    pool_.read_only_by_default = read_only != nullptr && *read_only == "on";
    server_.exchange.reset(result.transaction_status);
    return Attempt{{}, true, {}, {}};
  }

  Task<Result<protocol::scram::Key>> derive(const protocol::Login::DeriveRequest& request) {
    struct Derivation {
      Opening* opening = nullptr;
      std::optional<Result<protocol::scram::Key>> key;
    };
    // Outlives this coroutine if the deadline comes first.
    auto derivation = std::make_shared<Derivation>();
    derivation->opening = this;
    Worker& worker = worker_;
    const bool queued =
        worker.shared.key_service.derive(std::string(request.password), {request.salt.begin(), request.salt.end()},
                                         request.iterations, [derivation, &worker](Result<protocol::scram::Key> key) {
                                           worker.reactor.post([derivation, &worker, key = std::move(key)]() mutable {
                                             derivation->key = std::move(key);
                                             if (derivation->opening == nullptr) return;
                                             if (auto handle = std::exchange(derivation->opening->deriving_, {}))
                                               worker.reactor.schedule(handle);
                                           });
                                         });
    if (!queued) co_return fail(sqlstate::too_many_connections, "too many log-ins at once");
    struct Awaiter {
      Opening& opening;
      [[nodiscard]] bool await_ready() const { return false; }
      void await_suspend(std::coroutine_handle<> handle) const { opening.deriving_ = handle; }
      void await_resume() const {}
    };
    Awaiter awaiter{*this};
    co_await awaiter;
    derivation->opening = nullptr;
    if (!derivation->key) co_return fail(sqlstate::connection_failure, "timed out while logging in");
    co_return std::move(*derivation->key);
  }

  MemberPool& pool_;
  Worker& worker_;
  ServerLink& server_;
  protocol::LoginRequest::Attempt attempt_;
  std::coroutine_handle<> deriving_;
  bool late_ = false;
};

}  // namespace

bool is_unix(const std::string& address) {
  return !address.empty() && address[0] == '/';
}

Task<Result<void>> connect_socket(Reactor& reactor, Link& link, const std::string& address, std::uint16_t port) {
  const auto parsed = parse_address(address, port);
  if (!parsed) co_return std::unexpected(parsed.error());
  const int fd = ::socket(parsed->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) co_return fail(sqlstate::connection_failure, "socket: " + describe(errno));
  if (parsed->storage.ss_family != AF_UNIX) tune(fd);
  const std::string where = is_unix(address) ? address : address + ":" + std::to_string(port);
  int error = 0;
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&parsed->storage), parsed->size) != 0) error = errno;
  if (error != 0 && error != EINPROGRESS) {
    ::close(fd);
    co_return fail(sqlstate::connection_failure, "can't connect to " + where + ": " + describe(error));
  }
  if (!link.attach(reactor, fd)) co_return fail(sqlstate::connection_failure, "too many open sockets");
  if (error == EINPROGRESS) {
    link.watch().blocked();
    co_await link.watch().writable();
    if (!link.open()) co_return fail(sqlstate::connection_failure, "can't connect to " + where + ": timed out");
    socklen_t size = sizeof error;
    ::getsockopt(link.watch().fd(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      link.close();
      co_return fail(sqlstate::connection_failure, "can't connect to " + where + ": " + describe(error));
    }
  }
  co_return Result<void>{};
}

Task<> connect_server(MemberPool& pool) {
  Worker& worker = pool.pool.worker;
  auto attempt = protocol::LoginRequest::Attempt::first;
  for (;;) {
    auto server =
        std::make_unique<ServerLink>(pool, worker.pending, worker.runtime().config.limits.prepared_per_server);
    Opening opening(pool, *server, attempt);
    auto outcome = co_await opening.run();
    if (outcome.result) {
      pool.connect_ended();
      server->connected_at = worker.reactor.now();
      worker.counters.servers.add();
      worker.counters.servers_opened.add();
      ServerLink& fresh = *server;
      fresh.state = ServerState::idle;
      pool.ready(fresh);
      co_await serve_answers(std::move(server));
      co_return;
    }
    server->link.close();
    co_await server->link.quiet();
    if (outcome.retry != protocol::LoginFailure::Retry::none && attempt == protocol::LoginRequest::Attempt::first) {
      attempt = protocol::LoginRequest::Attempt::fallback;
      continue;
    }
    worker.counters.servers_failed.add();
    if (outcome.evidence) worker.report(pool.pool.key.cluster, pool.member, *outcome.evidence);
    const auto& error = outcome.result.error();
    log_event(LogLevel::warning, "server_connect_failed",
              {{"cluster", pool.pool.key.cluster},
               {"member", pool.pool.topology().members[pool.member].name},
               {"database", pool.pool.key.database},
               {"user", pool.pool.key.user},
               {"sqlstate", std::string(error.state.view())},
               {"reason", error.message}});
    pool.connect_ended();
    pool.connect_failed(error, outcome.network);
    co_return;
  }
}

}  // namespace holdfast::proxy
