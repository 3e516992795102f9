#include "protocol/auth.hpp"

#include <array>
#include <span>
#include <utility>

#include "protocol/backend.hpp"
#include "protocol/frontend.hpp"
#include "protocol/message.hpp"
#include "protocol/secure_random.hpp"

namespace holdfast::protocol {

Result<MockSecret> make_mock_secret() {
  MockSecret secret{};
  if (auto filled = secure_random(secret); !filled) return std::unexpected(filled.error());
  return secret;
}

Auth::Auth(AuthRequest request) : request_(std::move(request)) {}

AuthStep Auth::step(Bytes received, std::vector<std::byte>& out) {
  if (state_ == State::start) start(out);
  std::size_t consumed = 0;
  while (state_ != State::ok && state_ != State::failed) {
    const Bytes rest = received.subspan(consumed);
    if (rest.empty()) break;
    // Refused by its tag or length alone, without waiting for a body of 2 GiB or the rest of an HTTP request.
    if (static_cast<char>(rest[0]) != client::password) {
      refuse(
          {.state = sqlstate::protocol_violation,
           .message = "expected password response, got message type " + std::to_string(std::to_integer<int>(rest[0]))});
      break;
    }
    if (rest.size() < header_size) break;
    const auto length = load_be<std::uint32_t>(rest.data() + 1);
    if (length < 4 || length - 4 > max_auth_message) {
      refuse({.state = sqlstate::protocol_violation,
              .message = "invalid length " + std::to_string(length) + " of an authentication message"});
      break;
    }
    const std::size_t size = std::size_t{length} + 1;
    if (rest.size() < size) break;
    consumed += size;
    receive(rest.first(size).subspan(header_size), out);
  }
  const auto kind = state_ == State::ok       ? AuthStep::Kind::ok
                    : state_ == State::failed ? AuthStep::Kind::failed
                                              : AuthStep::Kind::need_more;
  return {.kind = kind, .consumed = consumed};
}

void Auth::start(std::vector<std::byte>& out) {
  switch (request_.method) {
    case AuthRequest::Method::trust: {
      write_authentication_ok(out);
      state_ = State::ok;
      return;
    }
    case AuthRequest::Method::scram: {
      constexpr std::array<std::string_view, 2> mechanisms{scram::mechanism_plus, scram::mechanism};
      const std::span<const std::string_view> all(mechanisms);
      write_authentication_sasl(out, request_.channel_binding ? all : all.subspan(1));
      state_ = State::initial;
      return;
    }
  }
}

void Auth::receive(Bytes body, std::vector<std::byte>& out) {
  switch (state_) {
    case State::initial: return select_mechanism(body, out);
    case State::challenged: return client_first(as_text(body), out);
    case State::final: return client_final(as_text(body), out);
    case State::start:
    case State::ok:
    case State::failed: return;
  }
}

void Auth::select_mechanism(Bytes body, std::vector<std::byte>& out) {
  auto initial = parse_sasl_initial(body);
  if (!initial) return refuse(std::move(initial.error()));
  const bool plus = initial->mechanism == scram::mechanism_plus && request_.channel_binding.has_value();
  if (!plus && initial->mechanism != scram::mechanism) {
    return refuse(
        {.state = sqlstate::protocol_violation, .message = "client selected an invalid SASL authentication mechanism"});
  }
  // An unknown user takes the same path, against a verifier that nothing satisfies.
  if (!request_.verifier) {
    auto mock = scram::mock_verifier(request_.user, request_.mock_secret, request_.mock_iterations);
    if (!mock) return refuse(std::move(mock.error()));
    request_.verifier = std::move(*mock);
  }
  exchange_.emplace(std::move(*request_.verifier),
                    scram::ServerExchange::Options{.nonce = std::move(request_.nonce),
                                                   .channel_binding = std::move(request_.channel_binding),
                                                   .plus_selected = plus});
  if (initial->data) return client_first(as_text(*initial->data), out);
  // SASL allows the client to send no data yet: an empty challenge asks for the first message.
  write_authentication_sasl_continue(out, {});
  state_ = State::challenged;
}

void Auth::client_first(std::string_view message, std::vector<std::byte>& out) {
  auto answer = exchange_->client_first(message);
  if (!answer) return refuse(std::move(answer.error()));
  write_authentication_sasl_continue(out, as_bytes(*answer));
  state_ = State::final;
}

void Auth::client_final(std::string_view message, std::vector<std::byte>& out) {
  auto answer = exchange_->client_final(message);
  if (!answer) return refuse(std::move(answer.error()));
  write_authentication_sasl_final(out, as_bytes(*answer));
  write_authentication_ok(out);
  keys_ = exchange_->keys();
  exchange_.reset();
  state_ = State::ok;
}

void Auth::refuse(Error error) {
  if (error.state == sqlstate::invalid_password) {
    error.message = "password authentication failed for user \"" + request_.user + "\"";
  }
  error_ = std::move(error);
  exchange_.reset();
  state_ = State::failed;
}

}  // namespace holdfast::protocol
