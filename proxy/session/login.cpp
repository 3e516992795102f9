// From an accepted socket to the first ReadyForQuery: TLS, start-up packet, authentication, the database's settings.
#include <utility>

#include "protocol/auth.hpp"
#include "protocol/backend.hpp"
#include "protocol/secure_random.hpp"
#include "proxy/admin/log.hpp"
#include "proxy/session/answers.hpp"
#include "proxy/session/client_session.hpp"
#include "proxy/worker.hpp"

namespace holdfast::proxy {

ClientSession::ClientSession(Worker& worker, std::uint64_t id, const Accepted& accepted)
    : worker_(worker),
      framer_(protocol::Direction::from_client,
              {.whole_limit = static_cast<std::uint32_t>(std::min<std::uint64_t>(
                   worker.runtime().config.limits.statement_memory, protocol::max_message_length))}),
      id_(id),
      listener_(accepted.listener),
      peer_(accepted.peer),
      statements_(worker.pending),
      deadline_(&ClientSession::on_deadline, this) {
  waiter_.session = this;
  waiter_.deadline.set_action(&ClientSession::on_wait_deadline, this);
}

ClientSession::~ClientSession() {
  for (auto& places : places_) places->give_back();
  if (pool_ != nullptr) --pool_->sessions;
}

Task<> ClientSession::run(int fd) {
  if (link_.attach(worker_.reactor, fd)) {
    const auto& config = worker_.runtime().config;
    deadline_state_ = sqlstate::query_canceled;
    worker_.reactor.deadlines().arm(deadline_, worker_.reactor.now() + config.auth.login_timeout);
    if (co_await log_in()) {
      logged_in_ = true;
      deadline_.disarm();
      log_event(LogLevel::debug, "client_connected", *this, {{"user", user_}, {"database", database_}});
      co_await serve();
      log_event(LogLevel::debug, "client_disconnected", *this, {});
    } else {
      worker_.counters.logins_failed.add();
    }
  }
  deadline_.disarm();
  if (cancel_key_) worker_.shared.cancel_keys.remove(*cancel_key_);
  abandon_server();
  if (link_.open() && link_.unsent()) {
    // The last words of a refusal; bounded by what the peer's socket takes at once.
    link_.close();
  }
  link_.close();
  co_await link_.quiet();
  worker_.remove(*this);
}

// Waits for more bytes of the client. False: it is gone, or the deadline came.
Task<bool> ClientSession::receive_some() {
  for (;;) {
    link_.keep_rest();
    if (link_.unsent() && !co_await link_.drain()) co_return false;
    if (!link_.may_receive()) co_await link_.watch().readable();
    const Io got = link_.receive();
    if (got == Io::closed) co_return false;
    if (got == Io::ok) co_return true;
  }
}

void ClientSession::refuse(const Error& error, std::string_view detail, std::string_view hint) {
  if (!link_.open()) return;
  refused_ = true;
  log_event(LogLevel::info, "login_refused", *this,
            {{"user", user_},
             {"database", database_},
             {"sqlstate", std::string(error.state.view())},
             {"reason", error.message}});
  std::vector<std::byte> out;
  protocol::write_error(
      out, {.severity = "FATAL", .state = error.state, .message = error.message, .detail = detail, .hint = hint});
  link_.send(out);
}

Task<bool> ClientSession::log_in() {
  const bool has_tls = worker_.runtime().listener_tls.at(listener_) != nullptr;
  protocol::Startup startup(has_tls ? protocol::Startup::Tls::available : protocol::Startup::Tls::unavailable);
  if (!co_await start_up(startup)) co_return false;
  auto& message = startup.message();
  user_ = message.user;
  database_ = message.database;
  if (message.must_negotiate()) {
    std::vector<std::string_view> names(message.unknown_options.begin(), message.unknown_options.end());
    std::vector<std::byte> out;
    protocol::write_negotiate_protocol_version(out, names);
    link_.send(out);
  }
  if (!startup.encrypted() && worker_.runtime().config.listeners.at(listener_).tls.mode == config::ListenTls::require) {
    refuse({sqlstate::invalid_authorization, "this endpoint takes TLS connections only"}, {},
           "Connect with sslmode=require.");
    co_return false;
  }
  if (!take_places()) co_return false;
  if (!co_await authenticate(message)) co_return false;
  if (message.replication != protocol::Replication::none) {
    refuse({sqlstate::feature_not_supported, "replication connections are not supported here"}, {},
           "Connect to a member directly.");
    co_return false;
  }
  if (!co_await choose_database(message)) co_return false;
  co_return co_await welcome();
}

Task<bool> ClientSession::start_up(protocol::Startup& startup) {
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
      case Kind::direct_tls: {
        if (action.kind == Kind::accept_tls) link_.send(protocol::as_bytes("S"));
        auto context = worker_.runtime().listener_tls.at(listener_);
        if (auto started = link_.start_tls(std::move(context), {}); !started) co_return false;
        auto done = co_await link_.handshake();
        if (!done) {
          log_event(LogLevel::info, "tls_failed", *this, {{"reason", done.error().message}});
          co_return false;
        }
        // TLS without a request must say what it is for, or another protocol's client could be led here.
        if (action.kind == Kind::direct_tls && link_.tls()->alpn() != "postgresql") co_return false;
        startup.tls_established();
        break;
      }
      case Kind::cancel: {
        const auto& request = startup.cancel_request();
        if (request.secret.size() == 4) {
          const CancelKeys::Key key{request.pid, protocol::load_be<std::uint32_t>(request.secret.data())};
          const auto target = worker_.shared.cancel_keys.find(key);
          if (target.worker != nullptr) target.worker->cancel(target.session);
        }
        co_return false;
      }
      case Kind::start: co_return true;
      case Kind::refuse: {
        const auto& refusal = startup.refusal();
        worker_.counters.protocol_errors.add();
        if (refusal.tell) refuse(refusal.error, refusal.detail, refusal.hint);
        co_return false;
      }
    }
  }
}

// Every limit that counts this client: of the process, its listener, database and user.
bool ClientSession::take_places() {
  const auto& config = worker_.runtime().config;
  const auto take = [this](std::shared_ptr<Places> places, const std::string& of) {
    if (places->try_take()) {
      places_.push_back(std::move(places));
      return true;
    }
    worker_.counters.clients_refused.add();
    refuse({sqlstate::too_many_connections, "too many clients" + of}, {}, "Raise max_clients or close connections.");
    return false;
  };
  auto& book = worker_.shared.places_book;
  if (!take(book.find("process", config.limits.max_clients), "")) return false;
  const auto& listener = config.listeners.at(listener_);
  if (listener.settings.max_clients &&
      !take(book.find("listener " + std::to_string(listener_), *listener.settings.max_clients), " of this listener")) {
    return false;
  }
  const auto* database = config.find_database(database_);
  if (database != nullptr && database->settings.max_clients &&
      !take(book.find("database " + database->name + " " + database_, *database->settings.max_clients),
            " of database \"" + database_ + "\"")) {
    return false;
  }
  const auto* user = config.find_user(user_);
  if (user != nullptr && user->settings.max_clients &&
      !take(book.find("user " + user_, *user->settings.max_clients), " of user \"" + user_ + "\"")) {
    return false;
  }
  return true;
}

Task<Result<protocol::scram::Verifier>> ClientSession::derive_verifier(const std::string& password) {
  struct Derivation {
    std::optional<Result<protocol::scram::Key>> key;
    ClientSession* session = nullptr;
  };
  std::vector<std::byte> salt(protocol::scram::default_salt_size);
  // The same salt for the same user and process, so that the derived key can be kept.
  auto mock = protocol::scram::mock_verifier(user_, worker_.shared.mock_secret);
  if (!mock) co_return std::unexpected(mock.error());
  salt = mock->salt;
  auto derivation = std::make_shared<Derivation>();
  derivation->session = this;
  Worker& worker = worker_;
  const bool queued = worker.shared.key_service.derive(
      password, salt, protocol::scram::default_iterations, [derivation, &worker](Result<protocol::scram::Key> key) {
        worker.reactor.post([derivation, key = std::move(key)]() mutable {
          derivation->key = std::move(key);
          if (derivation->session != nullptr) derivation->session->wake();
        });
      });
  if (!queued) co_return fail(sqlstate::too_many_connections, "too many log-ins at once");
  Progress progress{*this};
  co_await progress;
  derivation->session = nullptr;
  if (!derivation->key) co_return fail(sqlstate::query_canceled, "log-in timed out");
  if (!*derivation->key) co_return std::unexpected(derivation->key->error());
  auto keys = protocol::scram::keys_from(**derivation->key);
  if (!keys) co_return std::unexpected(keys.error());
  auto verifier = protocol::scram::verifier_from(*keys, salt, protocol::scram::default_iterations);
  co_return verifier;
}

Task<bool> ClientSession::authenticate(const protocol::StartupMessage& message) {
  const auto& runtime = worker_.runtime();
  protocol::AuthRequest request;
  request.user = message.user;
  request.mock_secret = worker_.shared.mock_secret;
  request.method = runtime.config.auth.method == config::AuthMethod::trust ? protocol::AuthRequest::Method::trust
                                                                           : protocol::AuthRequest::Method::scram;
  const auto secret = runtime.secrets.find(message.user);
  std::optional<std::string> password;
  if (secret != runtime.secrets.end()) {
    const auto& text = secret->second.reveal();
    if (text.starts_with("SCRAM-SHA-256$")) {
      auto verifier = protocol::scram::Verifier::parse(text);
      if (verifier) request.verifier = std::move(*verifier);
    } else {
      password = text;
      if (request.method == protocol::AuthRequest::Method::scram) {
        auto verifier = co_await derive_verifier(text);
        if (!verifier) {
          refuse(verifier.error());
          co_return false;
        }
        request.verifier = std::move(*verifier);
      }
    }
  }
  protocol::Auth auth(std::move(request));
  std::vector<std::byte> out;
  for (;;) {
    out.clear();
    const auto step = auth.step(link_.received(), out);
    link_.consume(step.consumed);
    if (!out.empty() && !link_.send(out)) co_return false;
    if (step.kind == protocol::AuthStep::Kind::failed) {
      refuse(auth.error());
      co_return false;
    }
    if (step.kind == protocol::AuthStep::Kind::ok) break;
    if (!co_await receive_some()) co_return false;
  }
  // How this user's server connections log in: what the operator says, else the password, else the client's own keys.
  const auto* user = worker_.runtime().config.find_user(user_);
  if (user != nullptr && !user->server_password.empty()) {
    credentials_ = protocol::LoginRequest::Password{user->server_password.reveal()};
  } else if (password) {
    credentials_ = protocol::LoginRequest::Password{*password};
  } else if (auth.scram_keys()) {
    credentials_ = *auth.scram_keys();
  }
  co_return true;
}

Task<bool> ClientSession::choose_database(const protocol::StartupMessage& message) {
  const auto& config = worker_.runtime().config;
  const auto* database = config.find_database(database_);
  if (database == nullptr) {
    refuse({sqlstate::invalid_catalog_name, "database \"" + database_ + "\" does not exist"}, {},
           "The configuration has no entry for it under `databases`.");
    co_return false;
  }
  refresh_settings();
  auto wanted = worker_.settings.from_startup(message);
  if (!wanted) {
    refuse(wanted.error());
    co_return false;
  }
  wanted_ = std::move(*wanted);
  if (const auto* value = wanted_.find("default_transaction_read_only")) read_only_asked_ = protocol::is_true(*value);
  PoolKey key{database->cluster, database->database.empty() ? database_ : database->database, user_};
  pool_ = &worker_.pool(key, *settings_);
  ++pool_->sessions;
  pool_->set_credentials(credentials_);
  co_return true;
}

void ClientSession::refresh_settings() {
  const auto& config = worker_.runtime().config;
  const auto& listener = config.listeners.at(std::min(listener_, config.listeners.size() - 1));
  settings_ = worker_.effective_settings(listener, config.find_database(database_), config.find_user(user_));
  classifier_ = blind_ ? &worker_.blind_classifier() : &worker_.classifier(settings_->read_functions);
}

// What a server says of itself with this client's settings on it is what the client is told. Known combinations need no
// server; others are tried on one, which also checks the values as PostgreSQL does.
Task<bool> ClientSession::welcome() {
  const auto known = pool_->find_welcome(wanted_);
  if (known) co_return write_welcome(*known);
  unit_ = {};
  unit_.shape = Unit::Shape::decided;
  unit_.verdict.access = protocol::sql::Access::read;
  for (;;) {
    if (server_ == nullptr) {
      const auto& topology = pool_->topology();
      // Any server that is up will do, the primary first.
      std::optional<health::MemberIndex> member = topology.primary;
      for (health::MemberIndex i = 0; !member && i < topology.members.size(); ++i) {
        if (topology.members[i].accepts_reads) member = i;
      }
      Step step = Step::need_server;
      if (member) {
        step = take_server(*member, topology.primary == member ? Waiter::Kind::write : Waiter::Kind::read);
      } else {
        target_primary_ = true;
      }
      if (step == Step::need_server) {
        enqueue();
        co_await waiter_.settled_or_failed();
        worker_.counters.clients_waiting.subtract();
        if (!link_.open()) co_return false;
        if (auto error = std::exchange(waiter_.error, std::nullopt)) {
          refuse(*error);
          co_return false;
        }
        continue;
      }
    }
    if (server_->settings != wanted_ && !co_await apply_settings()) {
      if (!link_.open() || refused_) co_return false;
      continue;  // that server was lost: another
    }
    break;
  }
  ServerLink& server = *std::exchange(server_, nullptr);
  server.client = nullptr;
  const auto reported = server.reported;
  pool_->remember_welcome(wanted_, reported);
  settle_down(server);
  co_return write_welcome(reported);
}

bool ClientSession::write_welcome(const protocol::ReportedRef& reported) {
  cancel_key_ = worker_.shared.cancel_keys.add({&worker_, id_});
  if (!cancel_key_) {
    refuse({sqlstate::internal_error, "no random numbers for a cancel key"});
    return false;
  }
  std::vector<std::byte> out;
  // The endpoint answers for the role that it promises, not for the member that happened to be asked.
  const bool replica = settings_->route == config::Route::replica;
  told_ = reported;
  // As the server has it, wherever it comes from: start-up, role or database. A SET of it pins.
  if (const auto* encoding = reported.find("client_encoding");
      encoding != nullptr && !protocol::sql::is_ascii_transparent(*encoding)) {
    blind_ = true;
    classifier_ = &worker_.blind_classifier();
  }
  for (const auto& parameter : reported.parameters()) {
    const bool role = parameter.name == "in_hot_standby";
    protocol::write_parameter_status(out, parameter.name, role ? (replica ? "on" : "off") : parameter.value);
  }
  std::array<std::byte, 4> secret{};
  protocol::store_be(secret.data(), cancel_key_->second);
  protocol::write_backend_key_data(out, cancel_key_->first, secret);
  protocol::write_ready_for_query(out, 'I');
  return link_.send(out);
}

}  // namespace holdfast::proxy
