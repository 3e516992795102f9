// Login: any server. Byte 0 of the input: the mode, the credentials, the link; byte 1: the size of the pieces that the
// rest comes in. The pieces must not change how it ends where there is no TLS to negotiate (there they must: bytes in
// the same piece as the answer are refused).
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "protocol/login.hpp"
#include "tests/fuzz/check.hpp"

using namespace holdfast::protocol;

namespace {

struct End {
  LoginStep::Kind kind = LoginStep::Kind::need_more;
  std::vector<std::byte> said;
  std::string state;
  std::size_t parameters = 0;
  friend bool operator==(const End&, const End&) = default;
};

LoginRequest request(std::uint8_t choice) {
  LoginRequest made{.user = "app",
                    .database = "db",
                    .ssl_mode = static_cast<SslMode>(choice % 6),
                    .link = (choice & 0x40) != 0 ? LoginRequest::Link::unix_socket : LoginRequest::Link::tcp,
                    .nonce = "nonce"};
  if ((choice & 0x80) == 0) {
    made.credentials = LoginRequest::Password{"secret"};
  } else {
    made.credentials = scram::Keys{};
  }
  return made;
}

End run(const LoginRequest& made, Bytes stream, std::size_t piece) {
  Login login(made);
  End end;
  std::size_t parsed = 0;
  std::size_t received = 0;
  for (;;) {
    const Bytes window = stream.subspan(parsed, received - parsed);
    const auto step = login.step(window, end.said);
    FUZZ_CHECK(step.consumed <= window.size());
    FUZZ_CHECK(end.said.size() < 4096);
    parsed += step.consumed;
    end.kind = step.kind;
    switch (step.kind) {
      case LoginStep::Kind::need_more: {
        if (received == stream.size()) return end;
        received = std::min(received + piece, stream.size());
        break;
      }
      case LoginStep::Kind::start_tls: {
        FUZZ_CHECK(parsed == received);
        login.tls_established(std::vector<std::byte>(32));
        break;
      }
      case LoginStep::Kind::derive: {
        const auto wanted = login.derive_request();
        FUZZ_CHECK(wanted.iterations >= 1 && wanted.iterations <= scram::max_iterations);
        FUZZ_CHECK(wanted.password == "secret" && !wanted.salt.empty());
        login.derived({});
        break;
      }
      case LoginStep::Kind::done: {
        FUZZ_CHECK(login.result().parameters.size() <= Login::max_messages);
        end.parameters = login.result().parameters.size();
        return end;
      }
      case LoginStep::Kind::failed: {
        end.state = login.failure().error.state.view();
        FUZZ_CHECK(end.state.size() == 5);
        return end;
      }
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const auto made = request(data[0]);
  const Bytes stream = std::as_bytes(std::span(data + 2, size - 2));
  const auto whole = run(made, stream, stream.size() + 1);
  const auto pieces = run(made, stream, std::size_t{data[1]} + 1);
  if (made.ssl_mode == SslMode::disable || made.link == LoginRequest::Link::unix_socket) FUZZ_CHECK(whole == pieces);
  return 0;
}
