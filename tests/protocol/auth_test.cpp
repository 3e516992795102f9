#include "protocol/auth.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "protocol/backend.hpp"
#include "protocol/framer.hpp"
#include "protocol/frontend.hpp"

namespace holdfast::protocol {
namespace {

using Kind = AuthStep::Kind;

const scram::Verifier& verifier() {
  static const auto made = scram::make_verifier("secret", as_bytes("0123456789abcdef"), 128).value();
  return made;
}

AuthRequest request(std::optional<scram::Verifier> known = verifier()) {
  return {.user = "alice", .verifier = std::move(known), .mock_iterations = 128};
}

// A client that speaks through the bytes, whatever pieces they come in.
struct Talk {
  explicit Talk(AuthRequest made) : auth(std::move(made)) { step = auth.step({}, out); }

  // Delivers `bytes` in pieces and answers the kind of the last step.
  Kind send(Bytes bytes, std::size_t piece) {
    while (!bytes.empty() && step.kind == Kind::need_more) {
      const auto size = std::min(piece, bytes.size());
      buffer.insert(buffer.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
      bytes = bytes.subspan(size);
      step = auth.step(buffer, out);
      buffer.erase(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(step.consumed));
    }
    return step.kind;
  }
  // The SCRAM message in the last answer, which is taken.
  std::string challenge() {
    Framer framer(Direction::from_server);
    std::string text;
    for (Bytes rest(out); !rest.empty();) {
      const auto frame = framer.next(rest);
      rest = rest.subspan(frame.bytes.size());
      const auto said = parse_authentication(frame.body()).value();
      if (said.kind != AuthenticationKind::ok) text = as_text(said.data);
    }
    out.clear();
    return text;
  }

  Auth auth;
  AuthStep step;
  std::vector<std::byte> out;
  std::vector<std::byte> buffer;
};

// The kinds of authentication requests in `out`, in order.
std::vector<AuthenticationKind> kinds(const std::vector<std::byte>& out) {
  std::vector<AuthenticationKind> found;
  Framer framer(Direction::from_server);
  for (Bytes rest(out); !rest.empty();) {
    const auto frame = framer.next(rest);
    rest = rest.subspan(frame.bytes.size());
    found.push_back(parse_authentication(frame.body()).value().kind);
  }
  return found;
}

struct Outcome {
  Kind kind = Kind::need_more;
  std::vector<AuthenticationKind> asked;
  Error error;
  std::optional<scram::Keys> keys;
  std::vector<std::byte> left;
};

// A whole login by SCRAM in pieces of `piece` bytes.
Outcome log_in(AuthRequest made, std::string_view password, std::size_t piece = 1000, std::string_view behind = {}) {
  Talk talk(std::move(made));
  Outcome outcome;
  const auto note = [&] {
    for (const auto kind : kinds(talk.out)) outcome.asked.push_back(kind);
  };
  scram::ClientExchange client(std::nullopt);
  note();
  talk.challenge();
  std::vector<std::byte> message;
  write_sasl_initial(message, scram::mechanism, as_bytes(client.client_first().value()));
  talk.send(message, piece);
  note();
  EXPECT_TRUE(client.server_first(talk.challenge()));
  EXPECT_TRUE(client.use(scram::salted_password(password, client.salt(), client.iterations()).value()));
  message.clear();
  write_sasl_response(message, as_bytes(client.client_final().value()));
  const auto more = as_bytes(behind);
  message.insert(message.end(), more.begin(), more.end());
  outcome.kind = talk.send(message, piece);
  note();
  if (outcome.kind == Kind::ok) {
    EXPECT_TRUE(client.server_final(talk.challenge()));
  }
  outcome.error = talk.auth.error();
  outcome.keys = talk.auth.scram_keys();
  outcome.left = talk.buffer;
  return outcome;
}

TEST(Auth, trust_asks_for_nothing) {
  Talk talk({.method = AuthRequest::Method::trust, .user = "alice"});
  EXPECT_EQ(talk.step.kind, Kind::ok);
  EXPECT_EQ(kinds(talk.out), std::vector{AuthenticationKind::ok});
  EXPECT_FALSE(talk.auth.scram_keys());
}

TEST(Auth, lets_the_right_password_in_whatever_the_pieces) {
  for (std::size_t piece = 1; piece < 120; ++piece) {
    const auto outcome = log_in(request(), "secret", piece);
    ASSERT_EQ(outcome.kind, Kind::ok) << piece << ": " << outcome.error.message;
    using enum AuthenticationKind;
    EXPECT_EQ(outcome.asked, (std::vector{sasl, sasl_continue, sasl_final, ok}));
  }
}

TEST(Auth, gives_the_keys_for_pass_through) {
  const auto salted = scram::salted_password("secret", as_bytes("0123456789abcdef"), 128).value();
  EXPECT_EQ(log_in(request(), "secret").keys, scram::keys_from(salted).value());
}

TEST(Auth, leaves_what_stands_behind_the_last_message) {
  const auto outcome = log_in(request(), "secret", 10000, "Q...");
  EXPECT_EQ(outcome.kind, Kind::ok);
  EXPECT_EQ(as_text(outcome.left), "Q...");
}

TEST(Auth, unknown_user_and_wrong_password_look_alike) {
  const auto wrong = log_in(request(), "guess");
  const auto unknown = log_in(request(std::nullopt), "secret");
  EXPECT_EQ(wrong.kind, Kind::failed);
  EXPECT_EQ(unknown.kind, Kind::failed);
  EXPECT_EQ(wrong.asked, unknown.asked);
  EXPECT_EQ(wrong.error.state, unknown.error.state);
  EXPECT_EQ(wrong.error.message, unknown.error.message);
  EXPECT_EQ(wrong.error.state.view(), "28P01");
  EXPECT_EQ(wrong.error.message, "password authentication failed for user \"alice\"");
  EXPECT_FALSE(wrong.keys || unknown.keys);
}

// The size of every answer is that of a real user's.
TEST(Auth, unknown_user_gets_a_challenge_of_the_usual_shape) {
  const auto challenge_of = [](AuthRequest made) {
    made.nonce = "servernonce";
    made.mock_secret.fill(std::byte{7});
    Talk talk(std::move(made));
    talk.challenge();
    std::vector<std::byte> message;
    write_sasl_initial(message, scram::mechanism, as_bytes("n,,n=,r=clientnonce"));
    EXPECT_EQ(talk.send(message, 1000), Kind::need_more);
    return talk.challenge();
  };
  const auto known = challenge_of(request());
  const auto unknown = challenge_of(request(std::nullopt));
  EXPECT_EQ(known.size(), unknown.size());
  EXPECT_EQ(unknown, challenge_of(request(std::nullopt))) << "the salt must not change from try to try";
  EXPECT_NE(known, unknown);
}

TEST(Auth, offers_plus_only_with_a_channel_to_bind_to) {
  const auto offered = [](const AuthRequest& made) {
    Talk talk(made);
    return talk.challenge();
  };
  using namespace std::string_literals;
  EXPECT_EQ(offered(request()), "SCRAM-SHA-256\0\0"s);
  auto bound = request();
  bound.channel_binding = std::vector<std::byte>(32);
  EXPECT_EQ(offered(bound), "SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"s);
}

TEST(Auth, plus_lets_in_who_binds_to_our_certificate_only) {
  for (const bool right : {true, false}) {
    auto made = request();
    made.channel_binding = std::vector<std::byte>(32, std::byte{1});
    Talk talk(std::move(made));
    talk.challenge();
    scram::ClientExchange client(std::nullopt,
                                 {.binding = scram::ClientExchange::Binding::end_point,
                                  .end_point = std::vector<std::byte>(32, right ? std::byte{1} : std::byte{2})});
    std::vector<std::byte> message;
    write_sasl_initial(message, scram::mechanism_plus, as_bytes(client.client_first().value()));
    ASSERT_EQ(talk.send(message, 7), Kind::need_more);
    ASSERT_TRUE(client.server_first(talk.challenge()));
    ASSERT_TRUE(client.use(scram::salted_password("secret", client.salt(), client.iterations()).value()));
    message.clear();
    write_sasl_response(message, as_bytes(client.client_final().value()));
    EXPECT_EQ(talk.send(message, 7), right ? Kind::ok : Kind::failed);
    EXPECT_EQ(talk.auth.error().state == sqlstate::invalid_authorization, !right);
  }
}

TEST(Auth, mechanism_that_was_not_offered_is_a_violation) {
  for (const char* mechanism : {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "PLAIN", "", "scram-sha-256"}) {
    Talk talk(request());
    std::vector<std::byte> message;
    write_sasl_initial(message, mechanism, as_bytes("n,,n=,r=abc"));
    EXPECT_EQ(talk.send(message, 1000), Kind::failed) << mechanism;
    EXPECT_EQ(talk.auth.error().state, sqlstate::protocol_violation);
  }
}

TEST(Auth, asks_again_when_the_first_message_is_left_out) {
  Talk talk(request());
  talk.challenge();
  std::vector<std::byte> message;
  write_sasl_initial(message, scram::mechanism, std::nullopt);
  EXPECT_EQ(talk.send(message, 3), Kind::need_more);
  EXPECT_EQ(kinds(talk.out), std::vector{AuthenticationKind::sasl_continue});
  talk.out.clear();
  message.clear();
  write_sasl_response(message, as_bytes("n,,n=,r=abc"));
  EXPECT_EQ(talk.send(message, 3), Kind::need_more);
  EXPECT_TRUE(talk.challenge().starts_with("r=abc"));
}

TEST(Auth, any_other_message_is_refused_by_its_first_byte) {
  for (int tag = 0; tag < 256; ++tag) {
    if (tag == 'p') continue;
    Talk talk(request());
    const std::vector message{static_cast<std::byte>(tag)};
    EXPECT_EQ(talk.send(message, 1), Kind::failed) << tag;
    EXPECT_EQ(talk.auth.error().state, sqlstate::protocol_violation);
    EXPECT_EQ(talk.auth.step(as_bytes("p\0\0\0\4"), talk.out).kind, Kind::failed) << "failed is for good";
  }
}

TEST(Auth, absurd_lengths_are_refused_before_their_body_comes) {
  for (const std::uint32_t length : {0U, 1U, 3U, 65540U, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
    Talk talk(request());
    std::vector<std::byte> message;
    Writer(message).letter('p').u32(length);
    EXPECT_EQ(talk.send(message, 1), Kind::failed) << length;
    EXPECT_EQ(talk.auth.error().state, sqlstate::protocol_violation);
  }
}

TEST(Auth, waits_for_the_longest_message_that_is_allowed) {
  Talk talk(request());
  std::vector<std::byte> message;
  Writer(message).letter('p').u32(4 + max_auth_message);
  EXPECT_EQ(talk.send(message, 1), Kind::need_more);
  message.assign(max_auth_message, std::byte{'x'});
  EXPECT_EQ(talk.send(message, 9999), Kind::failed);  // as a SASLInitialResponse it is none
  EXPECT_EQ(talk.auth.error().state, sqlstate::protocol_violation);
}

TEST(Auth, bent_bodies_are_refused) {
  using namespace std::string_view_literals;
  for (const auto body : {""sv, "SCRAM-SHA-256"sv, "SCRAM-SHA-256\0"sv, "SCRAM-SHA-256\0\0\0\0\5n,,"sv,
                          "SCRAM-SHA-256\0\0\0\0\1n,,n=,r=abc"sv, "SCRAM-SHA-256\0\xff\xff\xff\xfex"sv,
                          "SCRAM-SHA-256\0\x7f\xff\xff\xffn,,"sv, "SCRAM-SHA-256\0\0\0\0\0"sv}) {
    Talk talk(request());
    std::vector<std::byte> message;
    Writer writer(message);
    writer.begin('p').bytes(as_bytes(body));
    writer.end();
    EXPECT_EQ(talk.send(message, 1000), Kind::failed) << body;
    EXPECT_EQ(talk.auth.error().state, sqlstate::protocol_violation) << body;
  }
}

TEST(Auth, both_messages_in_one_segment_fail_cleanly) {
  // Nobody can know the server's nonce beforehand: the second message is judged, and is wrong.
  Talk talk(request());
  std::vector<std::byte> message;
  write_sasl_initial(message, scram::mechanism, as_bytes("n,,n=,r=abc"));
  write_sasl_response(message, as_bytes("c=biws,r=abc,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="));
  EXPECT_EQ(talk.send(message, 10000), Kind::failed);
  EXPECT_EQ(talk.auth.error().state, sqlstate::protocol_violation);
}

TEST(Auth, mock_secret_is_random) {
  EXPECT_NE(make_mock_secret().value(), make_mock_secret().value());
}

}  // namespace
}  // namespace holdfast::protocol
