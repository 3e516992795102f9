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
#include <optional>
#include <system_error>
#include <utility>

#include "protocol/login.hpp"
#include "proxy/base/log.hpp"
#include "proxy/io/derivation.hpp"
#include "proxy/pool/pool.hpp"
#include "proxy/pool/server_reader.hpp"

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

// The outcome of an attempt, for the pool and for health.
struct Attempt {
  Result<void> result;
  bool network = true;  // false: the server itself, or our settings, refused
  std::optional<health::Evidence> evidence;
  protocol::LoginFailure::Retry retry = protocol::LoginFailure::Retry::none;
};

protocol::SslMode ssl_mode(config::SslMode mode) {
  return static_cast<protocol::SslMode>(mode);
}

std::optional<health::Evidence> evidence_of(ConnectFailure::Kind kind) {
  switch (kind) {
    case ConnectFailure::Kind::refused: return health::Evidence::connect_refused;
    case ConnectFailure::Kind::unreachable: return health::Evidence::connect_failed;
    case ConnectFailure::Kind::late: return health::Evidence::connect_timeout;
    case ConnectFailure::Kind::own: return std::nullopt;
  }
  return std::nullopt;
}

// The kind of a failure of connect(2), including one that came later (SO_ERROR).
ConnectFailure::Kind kind_of(int error) {
  switch (error) {
    case ECONNREFUSED:
    case ENOENT: return ConnectFailure::Kind::refused;  // ENOENT: no Unix socket there
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EADDRNOTAVAIL: return ConnectFailure::Kind::own;
    default: return ConnectFailure::Kind::unreachable;
  }
}

class Opening {
 public:
  Opening(MemberPool& pool, ServerLink& server, protocol::LoginRequest::Attempt attempt)
      : pool_(pool), context_(pool.pool().context()), server_(server), attempt_(attempt) {}

  Task<Attempt> run() {
    const auto& pool = pool_.pool();
    const auto& members = pool.topology().members;
    const auto runtime = context_.runtime;  // a copy: a reload may come while this waits
    const auto* cluster = runtime->config.find_cluster(pool.key().cluster);
    if (cluster == nullptr || pool_.member() >= members.size()) {
      co_return Attempt{fail(sqlstate::internal_error, "the cluster was removed"), false, {}, {}};
    }
    const auto& member = members[pool_.member()];
    server_.generation = member.generation;
    server_.credentials = pool.credentials_version();
    Deadline deadline(&Opening::on_deadline, this);
    context_.reactor.deadlines().arm(deadline, context_.reactor.now() + cluster->connect_timeout);
    const std::string address = member.address;
    const std::string host = member.host;
    auto connected = co_await connect_socket(context_.reactor, server_.link, address, member.port);
    if (!connected) {
      const auto kind = late_ ? ConnectFailure::Kind::late : connected.error().kind;
      co_return Attempt{std::unexpected(connected.error().error), true, evidence_of(kind), {}};
    }
    protocol::LoginRequest request;
    request.user = pool.key().user;
    request.database = pool.key().database;
    request.ssl_mode = ssl_mode(cluster->tls.mode);
    request.link = is_unix(address) ? protocol::LoginRequest::Link::unix_socket : protocol::LoginRequest::Link::tcp;
    request.attempt = attempt_;
    std::visit([&request](const auto& secret) { request.credentials = secret; }, pool.credentials());
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
    if (opening.derivation_) opening.derivation_->give_up();
  }

  // g++ 12 destroys a temporary that a co_await expression passes by value twice: everything is named here.
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
      if (!out.empty() && link.send(out) != Sent::taken) login.closed();
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
          derivation_.emplace(context_.reactor, context_.shared.key_service, std::string(request.password),
                              std::vector<std::byte>(request.salt.begin(), request.salt.end()), request.iterations);
          auto key = co_await derivation_->done();
          derivation_.reset();
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
            network = true;  // it will be back, or another member takes over
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
    auto& session = server_.session;
    for (const auto& [name, value] : result.parameters) {
      auto reported = context_.reported.with(session.reported, name, value);
      if (!reported) return Attempt{std::unexpected(reported.error()), false, {}, {}};
      session.reported = std::move(*reported);
    }
    const auto* read_only = session.reported.find("default_transaction_read_only");
    pool_.set_read_only_by_default(read_only != nullptr && *read_only == "on");
    session.exchange.reset(result.transaction_status);
    return Attempt{{}, true, {}, {}};
  }

  MemberPool& pool_;
  PoolContext& context_;
  ServerLink& server_;
  protocol::LoginRequest::Attempt attempt_;
  std::optional<Derivation> derivation_;
  bool late_ = false;
};

}  // namespace

bool is_unix(const std::string& address) {
  return !address.empty() && address[0] == '/';
}

Task<std::expected<void, ConnectFailure>> connect_socket(Reactor& reactor, Link& link, const std::string& address,
                                                         std::uint16_t port) {
  using Kind = ConnectFailure::Kind;
  const auto failed = [](Kind kind, std::string text) {
    return std::unexpected(ConnectFailure{kind, {sqlstate::connection_failure, std::move(text)}});
  };
  const auto parsed = parse_address(address, port);
  if (!parsed) co_return std::unexpected(ConnectFailure{Kind::unreachable, parsed.error()});
  const int fd = ::socket(parsed->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) co_return failed(Kind::own, "socket: " + describe(errno));
  if (parsed->storage.ss_family != AF_UNIX) tune(fd);
  const std::string where = is_unix(address) ? address : address + ":" + std::to_string(port);
  int error = 0;
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&parsed->storage), parsed->size) != 0) error = errno;
  if (error != 0 && error != EINPROGRESS) {
    ::close(fd);
    co_return failed(kind_of(error), "can't connect to " + where + ": " + describe(error));
  }
  if (!link.attach(reactor, fd)) co_return failed(Kind::own, "too many open sockets");
  if (error == EINPROGRESS) {
    link.watch().blocked();
    co_await link.watch().writable();
    if (!link.open()) co_return failed(Kind::late, "can't connect to " + where + ": timed out");
    socklen_t size = sizeof error;
    ::getsockopt(link.watch().fd(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      link.close();
      co_return failed(kind_of(error), "can't connect to " + where + ": " + describe(error));
    }
  }
  co_return std::expected<void, ConnectFailure>{};
}

Task<> connect_server(MemberPool& pool, Permit permit) {
  PoolContext& context = pool.pool().context();
  auto attempt = protocol::LoginRequest::Attempt::first;
  for (;;) {
    auto server = std::make_unique<ServerLink>(pool, context.pending,
                                               context.runtime->config.limits.prepared_per_server, std::move(permit));
    Opening opening(pool, *server, attempt);
    auto outcome = co_await opening.run();
    if (outcome.result) {
      pool.connect_succeeded();
      server->connected_at = context.reactor.now();
      server->mark_connected(context.counters.servers);
      context.counters.servers_opened.add();
      pool.ready(*server);
      auto reading = read_server(context, std::move(server));
      co_await reading;
      co_return;
    }
    server->link.close();
    co_await server->link.quiet();
    permit = std::move(server->permit);
    if (outcome.retry != protocol::LoginFailure::Retry::none && attempt == protocol::LoginRequest::Attempt::first) {
      attempt = protocol::LoginRequest::Attempt::fallback;
      continue;
    }
    context.counters.servers_failed.add();
    if (outcome.evidence) context.report(pool.pool().key().cluster, pool.member(), *outcome.evidence);
    const auto& error = outcome.result.error();
    log_event(LogLevel::warning, "server_connect_failed",
              {{"cluster", pool.pool().key().cluster},
               {"member", pool.pool().member_name(pool.member())},
               {"database", pool.pool().key().database},
               {"user", pool.pool().key().user},
               {"sqlstate", std::string(error.state.view())},
               {"reason", error.message}});
    pool.connect_failed(error, outcome.network, std::move(permit));
    co_return;
  }
}

}  // namespace holdfast::proxy
