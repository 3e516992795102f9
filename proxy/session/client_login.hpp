// From an accepted socket to the first ReadyForQuery: TLS, start-up packet, authentication, the database and its
// settings.
//
// Task: authenticates a client and sends it the endpoint's parameters. Owner: the session. Thread: the worker's.
// Lifetime: as long as run(); give_up() ends it early.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/auth.hpp"
#include "protocol/client_errors.hpp"
#include "protocol/startup.hpp"
#include "proxy/base/places.hpp"
#include "proxy/io/derivation.hpp"
#include "proxy/io/link.hpp"
#include "proxy/io/task.hpp"
#include "proxy/pool/waiter.hpp"
#include "proxy/session/aligner.hpp"
#include "proxy/session/cancel_keys.hpp"
#include "proxy/session/clock.hpp"
#include "proxy/session/context.hpp"
#include "proxy/session/identity.hpp"

namespace holdfast::proxy {

// How a session is identified in the log.
struct LogName {
  std::uint64_t session = 0;
  std::string peer;
};

// What a log-in leaves to its session, which removes the cancel key at its end.
struct LoggedIn {
  Identity identity;
  protocol::ReportedRef told;  // the parameters that the client was told
  std::vector<Place> places;   // counted against max_clients
  std::optional<CancelKeys::Key> cancel_key;
};

class ClientLogin {
 public:
  // `clock` runs for the log-in: it is disarmed when the client has proven who it is. What it waits for then, a server
  // and a primary, has deadlines of its own, and errors that are told.
  ClientLogin(SessionContext& context, Link& link, LogName name, std::size_t listener, ClientClock& clock);

  // False: the client was refused (and told), is gone, or sent a cancel request.
  [[nodiscard]] Task<bool> run();
  // The client hung up, or the process ends: ends whatever run() waits for. Close the link first.
  void give_up();
  // As give_up(): the time for a log-in is over.
  void too_late() {
    late_ = true;
    give_up();
  }
  // Behind run(): somebody tried to log in and was refused, or took too long. Not a client that left by itself, as
  // pg_isready does, and not a connection that never began a log-in: a probe of a load balancer, a CancelRequest, bytes
  // of another protocol.
  [[nodiscard]] bool failed() const { return begun_ && (refused_ || late_); }
  [[nodiscard]] LoggedIn& result() { return result_; }
  // Applies a reloaded configuration.
  void reconfigure() {
    if (result_.identity.pool != nullptr) result_.identity.configure(*context_.runtime, context_.tables);
  }

 private:
  using Asked = protocol::StartupMessage;

  Task<bool> start_up(protocol::Startup& startup);
  Task<bool> begin_tls(protocol::Startup& startup, protocol::Startup::Action::Kind kind);
  Task<bool> authenticate();
  Task<bool> prepare(protocol::AuthRequest& request);
  Task<bool> converse(protocol::Auth& auth);
  Task<Result<protocol::scram::Verifier>> derive_verifier(const std::string& password);
  Task<bool> receive_some();
  [[nodiscard]] bool still_there();
  Task<bool> welcome();
  Task<ServerLease> lease();
  [[nodiscard]] bool wait_for_primary_instead(bool refused_by_primary);
  [[nodiscard]] std::optional<std::string> take_endpoint_places();
  [[nodiscard]] bool take_tenant_places();
  [[nodiscard]] bool take(const std::string& what, std::uint32_t limit);
  [[nodiscard]] bool choose_database(const Asked& asked);
  [[nodiscard]] bool write_welcome(const protocol::ReportedRef& reported);
  void cancel(const protocol::CancelRequest& request);
  void refuse(protocol::Tell what, protocol::Arguments arguments = {});
  void refuse(const Error& error, std::string_view detail = {}, std::string_view hint = {});

  SessionContext& context_;
  Link& link_;
  LogName name_;
  ClientClock& clock_;
  LoggedIn result_;
  Pool::Credentials credentials_;
  std::optional<std::string> password_;  // from the configuration
  std::optional<Derivation> derivation_;
  std::optional<Waiter> wait_;
  std::optional<Aligner> aligner_;
  bool refused_by_replica_ = false;  // it waits for a primary, which may know better
  bool begun_ = false;  // there was a start-up packet
  bool refused_ = false;
  bool late_ = false;
};

}  // namespace holdfast::proxy
