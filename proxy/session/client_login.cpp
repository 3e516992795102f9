#include "proxy/session/client_login.hpp"

#include <array>
#include <utility>

#include "protocol/backend.hpp"
#include "protocol/sql/shape.hpp"
#include "proxy/base/log.hpp"
#include "proxy/session/sessions.hpp"

namespace holdfast::proxy {

using protocol::Tell;

ClientLogin::ClientLogin(SessionContext& context, Link& link, LogName name, std::size_t listener, ClientClock& clock)
    : context_(context), link_(link), name_(std::move(name)), clock_(clock) {
  result_.identity.listener = listener;
}

Task<bool> ClientLogin::run() {
  const auto listener = result_.identity.listener;
  const bool has_tls = context_.runtime->listener_tls.at(listener) != nullptr;
  protocol::Startup startup(has_tls ? protocol::Startup::Tls::available : protocol::Startup::Tls::unavailable);
  // These places count from the accept on: a client that sends nothing takes one as well. A client that gets none is
  // told after its start-up packet; a cancel request needs none.
  const auto full = take_endpoint_places();
  if (!co_await start_up(startup)) co_return false;
  begun_ = true;
  auto& asked = startup.message();
  result_.identity.user = asked.user;
  result_.identity.database = asked.database;
  if (asked.must_negotiate()) {
    std::vector<std::string_view> names(asked.unknown_options.begin(), asked.unknown_options.end());
    std::vector<std::byte> out;
    protocol::write_negotiate_protocol_version(out, names);
    link_.send(out);
  }
  const auto mode = context_.runtime->config.listeners.at(listener).tls.mode;
  if (!startup.encrypted() && mode == config::ListenTls::require) {
    refuse(Tell::tls_required);
    co_return false;
  }
  if (full) {
    refuse(Tell::too_many_clients, {*full});
    co_return false;
  }
  if (!co_await authenticate()) co_return false;
  clock_.disarm();
  // After authentication: a client that only knows a user's name must not use up that user's places.
  if (!take_tenant_places()) co_return false;
  if (asked.replication != protocol::Replication::none) {
    refuse(Tell::no_replication);
    co_return false;
  }
  if (!choose_database(asked)) co_return false;
  co_return co_await welcome();
}

void ClientLogin::give_up() {
  if (wait_) wait_->settle(Waiter::AskAgain{});
  if (aligner_) aligner_->give_up();
  if (derivation_) derivation_->give_up();
}

// Before waiting for a server. A client that hangs up while it waits is seen by its session (give_up()); one that has
// hung up already is told of once.
bool ClientLogin::still_there() {
  if (link_.watch().hung_up()) link_.close();
  return link_.open();
}

// Waits for more bytes of the client. False: it is gone, or the deadline came.
Task<bool> ClientLogin::receive_some() {
  for (;;) {
    link_.keep_rest();
    if (link_.unsent() && !co_await link_.drain()) co_return false;
    if (!link_.may_receive()) co_await link_.watch().readable();
    const Io got = link_.receive();
    if (got == Io::closed) co_return false;
    if (got == Io::ok) co_return true;
  }
}

void ClientLogin::refuse(Tell what, protocol::Arguments arguments) {
  refuse(protocol::told(what, arguments));
}

void ClientLogin::refuse(const Error& error, std::string_view detail, std::string_view hint) {
  if (!link_.open()) return;
  refused_ = true;
  log_event(LogLevel::info, "login_refused",
            {{"session", std::to_string(name_.session)},
             {"peer", name_.peer},
             {"user", result_.identity.user},
             {"database", result_.identity.database},
             {"sqlstate", std::string(error.state.view())},
             {"reason", error.message}});
  std::vector<std::byte> out;
  protocol::write_error(out, {.severity = "FATAL",
                              .state = error.state,
                              .message = error.message,
                              .detail = detail,
                              .hint = hint.empty() ? error.hint : hint});
  link_.send(out);
}

// ---- start-up packet, TLS -------------------------------------------------------------------------------------------

Task<bool> ClientLogin::start_up(protocol::Startup& startup) {
  using Kind = protocol::Startup::Action::Kind;
  for (;;) {
    const auto action = startup.next(link_.received());
    if (action.kind != Kind::direct_tls) link_.consume(action.consumed);
    switch (action.kind) {
      case Kind::need_more:
        if (!co_await receive_some()) co_return false;
        break;
      case Kind::reject: link_.send(protocol::as_bytes("N")); break;
      case Kind::accept_tls:
      case Kind::direct_tls:
        if (!co_await begin_tls(startup, action.kind)) co_return false;
        break;
      case Kind::cancel: cancel(startup.cancel_request()); co_return false;
      case Kind::start: co_return true;
      case Kind::refuse: {
        const auto& refusal = startup.refusal();
        context_.counters.protocol_errors.add();
        if (refusal.tell) refuse(refusal.error, refusal.detail, refusal.hint);
        co_return false;
      }
    }
  }
}

Task<bool> ClientLogin::begin_tls(protocol::Startup& startup, protocol::Startup::Action::Kind kind) {
  using Kind = protocol::Startup::Action::Kind;
  if (kind == Kind::accept_tls) link_.send(protocol::as_bytes("S"));
  auto tls = context_.runtime->listener_tls.at(result_.identity.listener);
  if (auto started = link_.start_tls(std::move(tls), {}); !started) co_return false;
  auto done = co_await link_.handshake();
  if (!done) {
    log_event(LogLevel::info, "tls_failed",
              {{"session", std::to_string(name_.session)}, {"peer", name_.peer}, {"reason", done.error().message}});
    co_return false;
  }
  // TLS without SSLRequest must name the protocol, or a client of another protocol could be redirected here.
  if (kind == Kind::direct_tls && link_.tls()->alpn() != "postgresql") co_return false;
  startup.tls_established();
  co_return true;
}

void ClientLogin::cancel(const protocol::CancelRequest& request) {
  if (request.secret.size() != 4) return;
  const CancelKeys::Key key{request.pid, protocol::load_be<std::uint32_t>(request.secret.data())};
  const auto target = context_.shared.cancel_keys.find(key);
  if (target.sessions != nullptr) target.sessions->cancel(target.session);
}

// ---- places ---------------------------------------------------------------------------------------------------------

bool ClientLogin::take(const std::string& what, std::uint32_t limit) {
  auto place = Place::try_take(context_.shared.places.find(what, limit));
  if (!place) {
    context_.counters.clients_refused.add();
    return false;
  }
  result_.places.push_back(std::move(place));
  return true;
}

// Takes the places of the process and the listener. Returns which of them is full, if one is.
std::optional<std::string> ClientLogin::take_endpoint_places() {
  const auto& config = context_.runtime->config;
  if (!take("process", config.limits.max_clients)) return "";
  const auto listener = result_.identity.listener;
  const auto& limit = config.listeners.at(listener).settings.max_clients;
  if (limit && !take("listener " + std::to_string(listener), *limit)) return " of this listener";
  return std::nullopt;
}

// Takes the places of the database and the user, for a client that has proven to be that user.
bool ClientLogin::take_tenant_places() {
  const auto& config = context_.runtime->config;
  const auto& user_name = result_.identity.user;
  const auto& database_name = result_.identity.database;
  const auto* database = config.find_database(database_name);
  if (database != nullptr && database->settings.max_clients &&
      !take("database " + database->name + " " + database_name, *database->settings.max_clients)) {
    refuse(Tell::too_many_clients, {" of database \"" + database_name + "\""});
    return false;
  }
  const auto* user = config.find_user(user_name);
  if (user != nullptr && user->settings.max_clients && !take("user " + user_name, *user->settings.max_clients)) {
    refuse(Tell::too_many_clients, {" of user \"" + user_name + "\""});
    return false;
  }
  return true;
}

// ---- authentication -------------------------------------------------------------------------------------------------

Task<Result<protocol::scram::Verifier>> ClientLogin::derive_verifier(const std::string& password) {
  // The same salt for the same user within a process, so that the derived key can be cached.
  auto mock = protocol::scram::mock_verifier(result_.identity.user, context_.shared.mock_secret);
  if (!mock) co_return std::unexpected(mock.error());
  const auto salt = mock->salt;
  derivation_.emplace(context_.reactor, context_.key_service, password, salt, protocol::scram::default_iterations);
  auto key = co_await derivation_->done();
  derivation_.reset();
  if (!key) co_return std::unexpected(key.error());
  auto keys = protocol::scram::keys_from(*key);
  if (!keys) co_return std::unexpected(keys.error());
  auto verifier = protocol::scram::verifier_from(*keys, salt, protocol::scram::default_iterations);
  co_return verifier;
}

// Fills in what the configuration knows about this user.
Task<bool> ClientLogin::prepare(protocol::AuthRequest& request) {
  const auto runtime = context_.runtime;  // a copy: a reload may come while this waits
  using Method = protocol::AuthRequest::Method;
  request.user = result_.identity.user;
  request.mock_secret = context_.shared.mock_secret;
  request.method = runtime->config.auth.method == config::AuthMethod::trust ? Method::trust : Method::scram;
  const auto secret = runtime->secrets.find(request.user);
  if (secret == runtime->secrets.end()) co_return true;
  const auto& text = secret->second.reveal();
  if (text.starts_with("SCRAM-SHA-256$")) {
    if (auto verifier = protocol::scram::Verifier::parse(text)) request.verifier = std::move(*verifier);
    co_return true;
  }
  password_ = text;
  if (request.method != Method::scram) co_return true;
  auto verifier = co_await derive_verifier(text);
  if (!verifier) {
    refuse(verifier.error());
    co_return false;
  }
  request.verifier = std::move(*verifier);
  co_return true;
}

Task<bool> ClientLogin::converse(protocol::Auth& auth) {
  std::vector<std::byte> out;
  for (;;) {
    out.clear();
    const auto step = auth.step(link_.received(), out);
    link_.consume(step.consumed);
    if (!out.empty() && link_.send(out) != Sent::taken) co_return false;
    if (step.kind == protocol::AuthStep::Kind::failed) {
      refuse(auth.error());
      co_return false;
    }
    if (step.kind == protocol::AuthStep::Kind::ok) co_return true;
    if (!co_await receive_some()) co_return false;
  }
}

Task<bool> ClientLogin::authenticate() {
  protocol::AuthRequest request;
  if (!co_await prepare(request)) co_return false;
  protocol::Auth auth(std::move(request));
  if (!co_await converse(auth)) co_return false;
  // How this user's server connections log in: with the configured server_password, else with the user's password, else
  // with the client's own keys.
  const auto* user = context_.runtime->config.find_user(result_.identity.user);
  if (user != nullptr && !user->server_password.empty()) {
    credentials_ = protocol::LoginRequest::Password{user->server_password.reveal()};
  } else if (password_) {
    credentials_ = protocol::LoginRequest::Password{*password_};
  } else if (auth.scram_keys()) {
    credentials_ = *auth.scram_keys();
  }
  co_return true;
}

// ---- database, settings, welcome ------------------------------------------------------------------------------------

bool ClientLogin::choose_database(const Asked& asked) {
  auto& identity = result_.identity;
  const auto* database = context_.runtime->config.find_database(identity.database);
  if (database == nullptr) {
    refuse(Tell::unknown_database, {identity.database});
    return false;
  }
  auto wanted = context_.tables.settings.from_startup(asked);
  if (!wanted) {
    refuse(wanted.error());
    return false;
  }
  identity.wanted = std::move(*wanted);
  if (const auto* value = identity.wanted.find("default_transaction_read_only")) {
    identity.read_only_asked = protocol::is_true(*value);
  }
  if (const auto* level = identity.wanted.find("default_transaction_isolation")) {
    identity.snapshot_asked = !level->starts_with("read");
  }
  if (const auto* path = identity.wanted.find("search_path")) {
    identity.path_is_temporary = path->find("pg_temp") != std::string::npos;
  }
  const auto& name = database->database.empty() ? identity.database : database->database;
  identity.pool = &context_.pools.get({database->cluster, name, identity.user});
  identity.pool_use = identity.pool->use();
  identity.configure(*context_.runtime, context_.tables);
  identity.pool->set_credentials(credentials_);
  return true;
}

// Leases a server of the primary, or of a replica if there is no primary. Empty: the client was told why, or is gone.
Task<ServerLease> ClientLogin::lease() {
  Pool& pool = *result_.identity.pool;
  while (still_there()) {
    const auto& topology = pool.topology();
    std::optional<health::MemberIndex> member = topology.primary;
    for (health::MemberIndex i = 0; !member && !refused_by_replica_ && i < topology.members.size(); ++i) {
      if (topology.members[i].accepts_reads) member = i;
    }
    if (member) {
      if (ServerLease idle = pool.member(*member).lease_now()) co_return idle;
    }
    const bool for_primary = !member || topology.primary == member;
    const auto& settings = *result_.identity.settings;
    wait_.emplace(context_.reactor, context_.counters, pool, for_primary ? Waiter::Kind::write : Waiter::Kind::read,
                  Waiter::Limits{.wait = settings.wait_timeout, .hold = settings.hold_timeout});
    if (for_primary) {
      pool.wait_for_primary(*wait_);
    } else {
      pool.member(*member).wait(*wait_);
    }
    auto outcome = co_await wait_->ended();
    wait_.reset();
    if (const auto* refused = std::get_if<Waiter::NotLetIn>(&outcome)) {
      if (wait_for_primary_instead(for_primary)) continue;
      refuse(refused->error);
      co_return ServerLease();
    }
    if (const auto* error = std::get_if<Error>(&outcome)) {
      refuse(*error);
      co_return ServerLease();
    }
    if (auto* lease = std::get_if<ServerLease>(&outcome)) co_return std::move(*lease);
  }
  co_return ServerLease();
}

// A replica doesn't let the user in, or refuses the client's settings: it may not have heard of them yet. True: there
// is nobody to ask but the primary that is to come.
bool ClientLogin::wait_for_primary_instead(bool refused_by_primary) {
  if (refused_by_primary || refused_by_replica_ || result_.identity.settings->route == config::Route::replica) {
    return false;
  }
  refused_by_replica_ = true;
  return true;
}

// The client is told what a server reports with this client's settings applied. Known settings need no server; others
// are tried on one, which also checks the values as PostgreSQL does.
Task<bool> ClientLogin::welcome() {
  Pool& pool = *result_.identity.pool;
  const auto& wanted = result_.identity.wanted;
  if (const auto known = pool.find_welcome(wanted)) co_return write_welcome(*known);
  for (;;) {
    auto lease = co_await this->lease();
    if (!lease) co_return false;
    if (!lease->link.open()) continue;  // it ended on its way here
    if (!still_there()) co_return false;
    const bool of_primary = lease->home->member() == pool.topology().primary;
    lease->session.serves(name_.session);
    aligner_.emplace(pool.context(), std::move(lease), wanted);
    const auto end = co_await aligner_->run();
    if (end == Aligner::End::refused && wait_for_primary_instead(of_primary)) {
      aligner_.reset();
      continue;
    }
    if (end == Aligner::End::refused) refuse(aligner_->error());
    auto aligned = aligner_->take_lease();
    aligner_.reset();
    if (!link_.open() || end == Aligner::End::refused) co_return false;
    if (!aligned) continue;  // that server was lost: tries another
    const auto reported = aligned->session.reported;
    pool.remember_welcome(wanted, reported);
    aligned = ServerLease();
    co_return write_welcome(reported);
  }
}

bool ClientLogin::write_welcome(const protocol::ReportedRef& reported) {
  result_.cancel_key = context_.shared.cancel_keys.add({&context_.sessions, name_.session});
  if (!result_.cancel_key) {
    refuse(Tell::no_cancel_key);
    return false;
  }
  auto& identity = result_.identity;
  result_.told = reported;
  // As the server reports it, whether it comes from the start-up packet, the role or the database. A SET of it pins.
  if (const auto* encoding = reported.find("client_encoding");
      encoding != nullptr && !protocol::sql::is_ascii_transparent(*encoding)) {
    identity.blind = true;
    identity.configure(*context_.runtime, context_.tables);
  }
  // The endpoint answers for the role that it promises, not for the member that happened to report.
  const bool replica = identity.settings->route == config::Route::replica;
  std::vector<std::byte> out;
  for (const auto& parameter : reported.parameters()) {
    const bool role = parameter.name == "in_hot_standby";
    protocol::write_parameter_status(out, parameter.name, role ? (replica ? "on" : "off") : parameter.value);
  }
  std::array<std::byte, 4> secret{};
  protocol::store_be(secret.data(), result_.cancel_key->second);
  protocol::write_backend_key_data(out, result_.cancel_key->first, secret);
  protocol::write_ready_for_query(out, 'I');
  return link_.send(out) == Sent::taken;
}

}  // namespace holdfast::proxy
