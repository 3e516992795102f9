#include "protocol/login.hpp"

#include <algorithm>
#include <utility>

#include "protocol/backend.hpp"
#include "protocol/frontend.hpp"
#include "protocol/md5.hpp"
#include "protocol/message.hpp"

namespace holdfast::protocol {
namespace {

using Whose = LoginFailure::Whose;
using Retry = LoginFailure::Retry;

bool has_nul(std::string_view text) {
  return text.contains('\0');
}

}  // namespace

Login::Login(LoginRequest request) : request_(std::move(request)) {}

bool Login::wants_tls() const {
  if (request_.link == LoginRequest::Link::unix_socket) return false;
  const bool first = request_.attempt == LoginRequest::Attempt::first;
  switch (request_.ssl_mode) {
    case SslMode::disable: return false;
    case SslMode::allow: return !first;
    case SslMode::prefer: return first;
    case SslMode::require:
    case SslMode::verify_ca:
    case SslMode::verify_full: return true;
  }
  return true;
}

LoginStep Login::step(Bytes received, std::vector<std::byte>& out) {
  std::size_t consumed = 0;
  for (;;) {
    const Bytes rest = received.subspan(consumed);
    switch (state_) {
      case State::start:
      case State::negotiated: {
        // It is our turn. Unasked bytes come from something that is no PostgreSQL, or were injected by a third party.
        if (!rest.empty()) {
          refuse(Whose::protocol, sqlstate::protocol_violation, "the server sent something before it was asked");
        } else if (state_ == State::start) {
          begin(out);
        } else {
          send_startup(out);
        }
        break;
      }
      case State::respond: {
        // Bytes may have come while the key was derived: the server may have timed out.
        send_client_final(out);
        break;
      }
      case State::ssl_answer: {
        if (rest.empty()) return {.consumed = consumed};
        consumed += ssl_answer(rest);
        break;
      }
      case State::startup:
      case State::answered:
      case State::sasl_first:
      case State::sasl_final:
      case State::parameters: {
        const std::size_t size = message(rest, out);
        if (size == 0 && state_ != State::failed) return {.consumed = consumed};
        consumed += size;
        break;
      }
      case State::tls: return {.kind = LoginStep::Kind::start_tls, .consumed = consumed};
      case State::derive: return {.kind = LoginStep::Kind::derive, .consumed = consumed};
      case State::done: return {.kind = LoginStep::Kind::done, .consumed = consumed};
      case State::failed: return {.kind = LoginStep::Kind::failed, .consumed = consumed};
    }
  }
}

void Login::begin(std::vector<std::byte>& out) {
  bool clean = !request_.user.empty() && !has_nul(request_.user) && !has_nul(request_.database);
  for (const auto& [name, value] : request_.parameters) {
    clean = clean && !name.empty() && !has_nul(name) && !has_nul(value);
  }
  if (!clean) {
    return refuse(Whose::settings, sqlstate::invalid_authorization,
                  "a user is needed, and no startup parameter may have an empty name or hold a zero byte");
  }
  if (!wants_tls()) {
    state_ = State::negotiated;
    return;
  }
  write_ssl_request(out);
  state_ = State::ssl_answer;
}

std::size_t Login::ssl_answer(Bytes received) {
  const char answer = static_cast<char>(received[0]);
  if (received.size() > 1) {
    // Bytes from before the handshake would be read as if they had come through it (CVE-2021-23222).
    refuse(Whose::protocol, sqlstate::protocol_violation,
           "the server sent unencrypted bytes behind its answer to SSLRequest");
    return received.size();
  }
  if (answer == 'S') {
    state_ = State::tls;
  } else if (answer == 'N') {
    if (request_.ssl_mode >= SslMode::require) {
      refuse(Whose::settings, sqlstate::connection_failure, "the server does not support TLS, but it is required");
    } else {
      state_ = State::negotiated;
    }
  } else if (answer == 'E') {
    // The server is older than TLS, or can't fork. Its text isn't read: it is unauthenticated (CVE-2024-10977).
    refuse(Whose::protocol, sqlstate::connection_failure, "the server answered SSLRequest with an error");
    if (request_.ssl_mode == SslMode::prefer) failure_.retry = Retry::without_tls;
  } else {
    refuse(Whose::protocol, sqlstate::protocol_violation,
           "the server answered SSLRequest with byte " + std::to_string(static_cast<unsigned char>(answer)));
  }
  return 1;
}

void Login::tls_established(std::optional<std::vector<std::byte>> end_point) {
  if (state_ != State::tls) return;
  encrypted_ = true;
  end_point_ = std::move(end_point);
  state_ = State::negotiated;
}

void Login::tls_failed(Error error) {
  if (state_ != State::tls) return;
  refuse(Whose::protocol, std::move(error));
  if (request_.ssl_mode == SslMode::prefer) failure_.retry = Retry::without_tls;
}

void Login::send_startup(std::vector<std::byte>& out) {
  std::vector<NameValue> parameters{{"user", request_.user}};
  if (!request_.database.empty()) parameters.emplace_back("database", request_.database);
  for (const auto& [name, value] : request_.parameters) parameters.emplace_back(name, value);
  write_startup(out, protocol_3_0, parameters);
  state_ = State::startup;
}

// Processes one message if it is complete; returns its size, or 0.
std::size_t Login::message(Bytes received, std::vector<std::byte>& out) {
  if (received.size() < header_size) return 0;
  const char tag = static_cast<char>(received[0]);
  const auto length = load_be<std::uint32_t>(received.data() + 1);
  if (length < 4 || length > max_message) {
    // A server that can't fork says so in the format of protocol 2: 'E' and a text where the length should be.
    refuse(Whose::protocol, tag == server::error_response ? sqlstate::connection_failure : sqlstate::protocol_violation,
           tag == server::error_response
               ? "the server sent an error that is not of protocol 3: it may be out of processes"
               : "invalid length " + std::to_string(length) + " of message " + name_of(Direction::from_server, tag));
    return 0;
  }
  const std::size_t size = std::size_t{length} + 1;
  if (bytes_ + size > max_total || messages_ == max_messages) {
    refuse(Whose::protocol, sqlstate::protocol_violation, "the server does not come to an end with the login");
    return 0;
  }
  if (received.size() < size) return 0;
  bytes_ += size;
  ++messages_;
  receive(tag, received.first(size).subspan(header_size), out);
  return size;
}

void Login::receive(char tag, Bytes body, std::vector<std::byte>& out) {
  switch (tag) {
    case server::error_response: return error_response(body);
    case server::notice_response: return;
    case server::authentication: {
      if (state_ == State::parameters) return unexpected(tag);
      return authentication(body, out);
    }
    case server::negotiate_protocol_version: return negotiate_version(body);
    default: break;
  }
  if (state_ != State::parameters) return unexpected(tag);
  switch (tag) {
    case server::parameter_status: return parameter_status(body);
    case server::backend_key_data: {
      auto key = parse_backend_key_data(body);
      if (!key) return refuse(Whose::protocol, std::move(key.error()));
      result_.pid = key->pid;
      result_.secret.assign(key->secret.begin(), key->secret.end());
      return;
    }
    case server::ready_for_query: {
      auto status = parse_ready_for_query(body);
      if (!status) return refuse(Whose::protocol, std::move(status.error()));
      result_.transaction_status = *status;
      state_ = State::done;
      return;
    }
    default: return unexpected(tag);
  }
}

void Login::authentication(Bytes body, std::vector<std::byte>& out) {
  auto asked = parse_authentication(body);
  if (!asked) return refuse(Whose::protocol, std::move(asked.error()));
  const bool first = state_ == State::startup;
  const auto may = [&](bool method, std::string_view name) {
    if (!first) {
      unexpected(server::authentication);
    } else if (!method) {
      refuse(Whose::settings, sqlstate::invalid_authorization,
             "the server asks for " + std::string(name) + ", which the settings do not allow");
    }
    return state_ != State::failed;
  };
  switch (asked->kind) {
    case AuthenticationKind::ok: return authenticated();
    case AuthenticationKind::cleartext_password: {
      if (may(request_.methods.password, "a password in clear text")) clear_password(out);
      return;
    }
    case AuthenticationKind::md5_password: {
      if (may(request_.methods.md5, "an MD5 password")) md5_password(asked->data, out);
      return;
    }
    case AuthenticationKind::sasl: {
      if (may(request_.methods.scram, "SCRAM")) sasl(asked->data, out);
      return;
    }
    case AuthenticationKind::sasl_continue: return sasl_continue(asked->data);
    case AuthenticationKind::sasl_final: return sasl_final(asked->data);
    case AuthenticationKind::kerberos_v5:
    case AuthenticationKind::gss:
    case AuthenticationKind::gss_continue:
    case AuthenticationKind::sspi: break;
  }
  refuse(Whose::settings, sqlstate::feature_not_supported,
         "the server asks for an authentication method that is not supported (GSSAPI, SSPI or Kerberos)");
}

void Login::authenticated() {
  // In the middle of SCRAM the server has not proven itself yet.
  if (state_ != State::startup && state_ != State::answered) return unexpected(server::authentication);
  if (state_ == State::startup && !request_.methods.trust) {
    return refuse(Whose::settings, sqlstate::invalid_authorization,
                  "the server asks for no authentication, which the settings do not allow");
  }
  if (request_.channel_binding == LoginRequest::ChannelBinding::require && !bound_) {
    return refuse(Whose::settings, sqlstate::invalid_authorization,
                  "channel binding is required, but the server authenticated us without it");
  }
  exchange_.reset();
  state_ = State::parameters;
}

// The password; null, and the login has failed, if there is none.
const std::string* Login::password() {
  const auto* password = std::get_if<LoginRequest::Password>(&request_.credentials);
  if (password == nullptr || password->text.empty() || has_nul(password->text)) {
    const bool keys = std::holds_alternative<scram::Keys>(request_.credentials);
    refuse(Whose::settings, sqlstate::invalid_password,
           keys ? "the server asks for a password, but only SCRAM keys are at hand"
                : "the server asks for a password, but none is set (or it is unusable)");
    return nullptr;
  }
  return &password->text;
}

void Login::clear_password(std::vector<std::byte>& out) {
  const bool is_private = encrypted_ || request_.link == LoginRequest::Link::unix_socket;
  if (!is_private && request_.cleartext != LoginRequest::Cleartext::anywhere) {
    return refuse(Whose::settings, sqlstate::invalid_authorization,
                  "the server asks for the password in clear text over a connection without TLS");
  }
  const std::string* text = password();
  if (text == nullptr) return;
  write_password(out, *text);
  state_ = State::answered;
}

void Login::md5_password(Bytes salt, std::vector<std::byte>& out) {
  const std::string* text = password();
  if (text == nullptr) return;
  auto answer = md5_response(request_.user, *text, salt);
  if (!answer) return refuse(Whose::settings, std::move(answer.error()));
  write_password(out, *answer);
  state_ = State::answered;
}

void Login::sasl(Bytes data, std::vector<std::byte>& out) {
  auto mechanisms = parse_sasl_mechanisms(data);
  if (!mechanisms) return refuse(Whose::protocol, std::move(mechanisms.error()));
  const auto offers = [&](std::string_view name) { return std::ranges::find(*mechanisms, name) != mechanisms->end(); };
  const bool plus = offers(scram::mechanism_plus);
  const bool plain = offers(scram::mechanism);
  const bool can_bind = encrypted_ && end_point_ && request_.channel_binding != LoginRequest::ChannelBinding::disable;
  bound_ = plus && can_bind;
  if (!bound_ && request_.channel_binding == LoginRequest::ChannelBinding::require) {
    return refuse(Whose::settings, sqlstate::invalid_authorization,
                  "channel binding is required, but not possible: it takes TLS, a certificate with a digest, and a "
                  "server that offers SCRAM-SHA-256-PLUS");
  }
  if (!bound_ && !plain) {
    return refuse(Whose::settings, sqlstate::feature_not_supported,
                  "the server offers no SASL mechanism that is supported");
  }

  std::optional<scram::Keys> keys;
  if (const auto* given = std::get_if<scram::Keys>(&request_.credentials)) {
    keys = *given;
  } else if (password() == nullptr) {
    return;
  }
  using Binding = scram::ClientExchange::Binding;
  exchange_.emplace(
      keys, scram::ClientExchange::Options{
                .nonce = std::move(request_.nonce),
                .binding = bound_ ? Binding::end_point : (can_bind ? Binding::not_offered : Binding::unsupported),
                .end_point = bound_ ? *end_point_ : std::vector<std::byte>{},
                .max_iterations = request_.max_iterations});
  auto message = exchange_->client_first();
  if (!message) return refuse(Whose::settings, std::move(message.error()));
  write_sasl_initial(out, bound_ ? scram::mechanism_plus : scram::mechanism, as_bytes(*message));
  state_ = State::sasl_first;
}

void Login::sasl_continue(Bytes data) {
  if (state_ != State::sasl_first) return unexpected(server::authentication);
  auto taken = exchange_->server_first(as_text(data));
  if (!taken) return refuse(Whose::protocol, std::move(taken.error()));
  state_ = exchange_->needs_key() ? State::derive : State::respond;
}

Login::DeriveRequest Login::derive_request() const {
  const auto* password = std::get_if<LoginRequest::Password>(&request_.credentials);
  if (state_ != State::derive || password == nullptr) return {};
  return {.password = password->text, .salt = exchange_->salt(), .iterations = exchange_->iterations()};
}

void Login::derived(const scram::Key& salted_password) {
  if (state_ != State::derive) return;
  if (auto used = exchange_->use(salted_password); !used) return refuse(Whose::settings, std::move(used.error()));
  state_ = State::respond;
}

void Login::derive_failed(Error error) {
  if (state_ == State::derive) refuse(Whose::settings, std::move(error));
}

void Login::send_client_final(std::vector<std::byte>& out) {
  auto message = exchange_->client_final();
  if (!message) return refuse(Whose::settings, std::move(message.error()));
  write_sasl_response(out, as_bytes(*message));
  state_ = State::sasl_final;
}

void Login::sasl_final(Bytes data) {
  if (state_ != State::sasl_final) return unexpected(server::authentication);
  auto verified = exchange_->server_final(as_text(data));
  if (!verified) return refuse(Whose::protocol, std::move(verified.error()));
  state_ = State::answered;
}

// We ask for 3.0, which every server speaks. It may still list _pq_ options among our parameters that it ignored.
void Login::negotiate_version(Bytes body) {
  if (state_ != State::startup) return unexpected(server::negotiate_protocol_version);
  Reader reader(body);
  reader.u32();  // the newest version it knows; not older than ours
  const std::uint32_t count = reader.u32();
  for (std::uint32_t i = 0; i < count && reader.ok(); ++i) reader.text();
  if (!reader.complete()) {
    refuse(Whose::protocol, sqlstate::protocol_violation, "malformed NegotiateProtocolVersion");
  }
}

void Login::parameter_status(Bytes body) {
  auto status = parse_parameter_status(body);
  if (!status) return refuse(Whose::protocol, std::move(status.error()));
  auto known = std::ranges::find(result_.parameters, status->name,
                                 [](const auto& each) { return std::string_view(each.first); });
  if (known == result_.parameters.end()) {
    result_.parameters.emplace_back(status->name, status->value);
  } else {
    known->second = status->value;
  }
}

void Login::error_response(Bytes body) {
  auto fields = parse_error(body);
  if (!fields) return refuse(Whose::protocol, std::move(fields.error()));
  const Retry retry = retry_after(fields->state);
  refuse(Whose::server, fields->state, std::string(fields->message));
  failure_.detail = fields->detail;
  failure_.hint = fields->hint;
  failure_.retry = retry;
}

// 28000 is what a server says when no line of pg_hba.conf allows the connection: with TLS, or without, one may.
LoginFailure::Retry Login::retry_after(SqlState state) const {
  if (request_.link != LoginRequest::Link::tcp || request_.attempt != LoginRequest::Attempt::first ||
      state_ == State::parameters || state != sqlstate::invalid_authorization) {
    return Retry::none;
  }
  if (request_.ssl_mode == SslMode::allow && !encrypted_) return Retry::with_tls;
  if (request_.ssl_mode == SslMode::prefer && encrypted_) return Retry::without_tls;
  return Retry::none;
}

void Login::closed() {
  if (state_ == State::done || state_ == State::failed) return;
  refuse(Whose::protocol, sqlstate::connection_failure, "the server closed the connection during the login");
}

void Login::unexpected(char tag) {
  refuse(Whose::protocol, sqlstate::protocol_violation,
         std::string("unexpected message ") + name_of(Direction::from_server, tag) + " during the login");
}

void Login::refuse(LoginFailure::Whose whose, SqlState state, std::string message) {
  failure_ = {.error = {.state = state, .message = std::move(message)}, .whose = whose};
  exchange_.reset();
  state_ = State::failed;
}

}  // namespace holdfast::protocol
