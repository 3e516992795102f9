#include "protocol/startup.hpp"

#include <optional>
#include <utility>

#include "protocol/frontend.hpp"

namespace holdfast::protocol {
namespace {

// The first byte of a TLS handshake record. A start-up packet can't begin with it: its length would be 369 million.
constexpr std::byte tls_handshake{0x16};

constexpr SqlState invalid_parameter_value{"22023"};

StartupRefusal invalid_length() {
  return {.error = {.state = sqlstate::protocol_violation, .message = "invalid length of startup packet"},
          .tell = false};
}
StartupRefusal invalid_layout() {
  return {.error = {.state = sqlstate::protocol_violation,
                    .message = "invalid startup packet layout: expected terminator as last byte"}};
}

bool equal_ignoring_case(std::string_view a, std::string_view lower) {
  if (a.size() != lower.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const char c = a[i] >= 'A' && a[i] <= 'Z' ? static_cast<char>(a[i] - 'A' + 'a') : a[i];
    if (c != lower[i]) return false;
  }
  return true;
}

// PostgreSQL's idea of a boolean: any prefix of true, false, yes and no, at least two letters of on and off, 1, 0
// (parse_bool_with_len, src/backend/utils/adt/bool.c).
std::optional<bool> parse_bool(std::string_view text) {
  const auto begins = [text](std::string_view word, std::size_t least) {
    return text.size() >= least && text.size() <= word.size() && equal_ignoring_case(text, word.substr(0, text.size()));
  };
  if (begins("true", 1) || begins("yes", 1) || begins("on", 2) || text == "1") return true;
  if (begins("false", 1) || begins("no", 1) || begins("off", 2) || text == "0") return false;
  return std::nullopt;
}

std::optional<Replication> parse_replication(std::string_view value) {
  if (value == "database") return Replication::database;
  const auto on = parse_bool(value);
  if (!on) return std::nullopt;
  return *on ? Replication::physical : Replication::none;
}

}  // namespace

Startup::Action Startup::next(Bytes received) {
  switch (state_) {
    case State::opening:
      if (received.empty()) return {.wanted = 8};
      if (received[0] == tls_handshake) {
        if (tls_ == Tls::unavailable) {
          return refuse({.error = {.state = sqlstate::protocol_violation, .message = "direct TLS is not available"},
                         .tell = false});
        }
        state_ = State::handshake;
        return {.kind = Action::Kind::direct_tls};
      }
      state_ = State::plaintext;
      break;
    case State::plaintext:
    case State::encrypted: break;
    case State::refused: return {.kind = Action::Kind::refuse};
    case State::handshake:
    case State::done:
      // A mistake of the caller; reading on could take ciphertext, or a second StartupMessage, for a first one.
      return refuse(
          {.error = {.state = sqlstate::protocol_violation, .message = "start-up packet where none belongs"}});
  }
  if (received.size() < 4) return {.wanted = 8};
  const auto length = load_be<std::uint32_t>(received.data());
  if (length < 8 || length > max_startup_body + 4) return refuse(invalid_length());
  if (received.size() < length) return {.wanted = length};
  const auto code = load_be<std::uint32_t>(received.data() + 4);
  return packet(code, received.first(length).subspan(8), received.size() - length);
}

void Startup::tls_established() {
  // A call out of turn must not make plaintext pass as encrypted.
  if (state_ != State::handshake) return;
  state_ = State::encrypted;
  over_tls_ = true;
}

Startup::Action Startup::packet(std::uint32_t code, Bytes body, std::size_t behind) {
  // After the first, such a request counts as a protocol version, which is unsupported: just what PostgreSQL says.
  if (code == cancel_request_code) return cancel(body);
  if (code == ssl_request_code && !ssl_settled_) return encryption_request(Request::ssl, body, behind);
  if (code == gssenc_request_code && !gss_settled_) return encryption_request(Request::gss, body, behind);
  return startup(code, body);
}

Startup::Action Startup::cancel(Bytes body) {
  Reader reader(body);
  cancel_.pid = reader.u32();
  const Bytes secret = reader.rest();
  if (!reader.ok() || secret.size() < min_secret_size || secret.size() > max_secret_size) {
    return refuse(invalid_length());
  }
  cancel_.secret.assign(secret.begin(), secret.end());
  state_ = State::done;
  return {.kind = Action::Kind::cancel, .consumed = 8 + body.size()};
}

Startup::Action Startup::encryption_request(Request request, Bytes body, std::size_t behind) {
  if (!body.empty()) return refuse(invalid_length());
  if (behind > 0) {
    // These bytes came before the handshake but would be read as if they had been encrypted (CVE-2021-23214).
    const char* name = request == Request::ssl ? "SSL request" : "GSSAPI encryption request";
    return refuse({.error = {.state = sqlstate::protocol_violation,
                             .message = std::string("received unencrypted data after ") + name},
                   .detail = "This could be either a client-software bug or evidence of an attempted "
                             "man-in-the-middle attack."});
  }
  (request == Request::ssl ? ssl_settled_ : gss_settled_) = true;
  if (request == Request::gss || tls_ == Tls::unavailable || over_tls_) {
    return {.kind = Action::Kind::reject, .consumed = 8};
  }
  gss_settled_ = true;
  state_ = State::handshake;
  return {.kind = Action::Kind::accept_tls, .consumed = 8};
}

Startup::Action Startup::startup(std::uint32_t version, Bytes body) {
  const std::uint32_t major = version >> 16;
  const std::uint32_t minor = version & 0xffff;
  if (major != 3) {
    return refuse({.error = {.state = sqlstate::feature_not_supported,
                             .message = "unsupported frontend protocol " + std::to_string(major) + "." +
                                        std::to_string(minor) + ": server supports 3.0 to 3.0"}});
  }
  StartupMessage message{.minor = static_cast<std::uint16_t>(minor)};
  std::string_view replication = "false";
  Reader reader(body);
  // A read beyond the end returns "", so this ends at the terminator or at the body's end.
  for (auto name = reader.text(); !name.empty(); name = reader.text()) {
    const auto value = reader.text();
    if (name == "user") {
      message.user = value;
    } else if (name == "database") {
      message.database = value;
    } else if (name == "options") {
      message.options = value;
    } else if (name == "replication") {
      replication = value;
    } else if (name.starts_with("_pq_.")) {
      message.unknown_options.emplace_back(name);
    } else {
      message.parameters.push_back({.name = std::string(name), .value = std::string(value)});
    }
  }
  if (!reader.complete()) return refuse(invalid_layout());
  const auto walsender = parse_replication(replication);
  if (!walsender) {
    return refuse(
        {.error = {.state = invalid_parameter_value,
                   .message = R"(invalid value for parameter "replication": ")" + std::string(replication) + "\""},
         .hint = R"(Valid values are: "false", 0, "true", 1, "database".)"});
  }
  message.replication = *walsender;
  if (message.user.empty()) {
    return refuse({.error = {.state = sqlstate::invalid_authorization,
                             .message = "no PostgreSQL user name specified in startup packet"}});
  }
  if (message.database.empty()) message.database = message.user;
  message_ = std::move(message);
  state_ = State::done;
  return {.kind = Action::Kind::start, .consumed = 8 + body.size()};
}

Startup::Action Startup::refuse(StartupRefusal refusal) {
  state_ = State::refused;
  refusal_ = std::move(refusal);
  return {.kind = Action::Kind::refuse};
}

std::string_view name_of(Startup::State state) {
  switch (state) {
    case Startup::State::opening: return "opening";
    case Startup::State::plaintext: return "plaintext";
    case Startup::State::handshake: return "handshake";
    case Startup::State::encrypted: return "encrypted";
    case Startup::State::done: return "done";
    case Startup::State::refused: return "refused";
  }
  return "invalid";
}

}  // namespace holdfast::protocol
