#include "protocol/login.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "protocol/backend.hpp"
#include "protocol/base64.hpp"
#include "protocol/frontend.hpp"
#include "protocol/md5.hpp"

namespace holdfast::protocol {
namespace {

using namespace std::string_literals;
using Kind = LoginStep::Kind;
using Retry = LoginFailure::Retry;
using Whose = LoginFailure::Whose;
using Password = LoginRequest::Password;

std::string text_of(const Out& out) {
  return std::string(as_text(out));
}
template <typename Writes>
std::string written(Writes writes) {
  Out out;
  writes(out);
  return text_of(out);
}
std::string message(char tag, std::string_view body) {
  return written([&](Out& out) {
    Writer writer(out);
    writer.begin(tag).bytes(as_bytes(body));
    writer.end();
  });
}
std::string authentication(std::uint32_t kind, std::string_view data = {}) {
  return message('R', written([&](Out& out) { Writer(out).u32(kind).bytes(as_bytes(data)); }));
}

// What the server and the client say in turns.
struct Turn {
  std::string client;
  std::string server;
};

const std::string startup = written([](Out& out) {
  write_startup(out, protocol_3_0,
                std::vector<NameValue>{{"user", "app"}, {"database", "db"}, {"application_name", "x"}});
});
const std::string ssl_request = written([](Out& out) { write_ssl_request(out); });
const std::string auth_ok = authentication(0);
const std::string welcome = written([](Out& out) {
  write_parameter_status(out, "server_version", "15.1");
  write_notice(out, {.severity = "NOTICE", .state = SqlState("00000"), .message = "hello"});
  write_parameter_status(out, "TimeZone", "UTC");
  write_backend_key_data(out, 4711, as_bytes("\1\2\3\4"));
  write_parameter_status(out, "TimeZone", "Europe/Berlin");
  write_ready_for_query(out, 'I');
});
std::string error(std::string_view state, std::string_view text = "no") {
  return written([&](Out& out) {
    write_error(out, {.severity = "FATAL", .state = SqlState(state), .message = text, .detail = "why", .hint = "do"});
  });
}

LoginRequest request(SslMode mode = SslMode::disable) {
  return {.user = "app",
          .database = "db",
          .parameters = {{"application_name", "x"}},
          .ssl_mode = mode,
          .credentials = Password{"secret"},
          .nonce = "clientnonce"};
}

const std::vector<std::byte>& salt() {
  static const auto bytes = *base64_decode("c2FsdHNhbHRzYWx0c2FsdA==");
  return bytes;
}
const scram::Key& salted() {
  static const auto key = scram::salted_password("secret", salt(), 256).value();
  return key;
}
std::vector<std::byte> end_point(char fill = 'e') {
  return std::vector<std::byte>(32, static_cast<std::byte>(fill));
}

// The four messages of a SCRAM exchange, made by the exchanges themselves.
struct ScramTexts {
  std::string client_first, server_first, client_final, server_final;
};
ScramTexts scram_texts(scram::ClientExchange::Binding binding = scram::ClientExchange::Binding::unsupported) {
  const bool plus = binding == scram::ClientExchange::Binding::end_point;
  scram::ServerExchange server(scram::make_verifier("secret", salt(), 256).value(),
                               {.nonce = "servernonce",
                                .channel_binding = plus ? std::optional(end_point()) : std::nullopt,
                                .plus_selected = plus});
  scram::ClientExchange client(std::nullopt, {.nonce = "clientnonce", .binding = binding, .end_point = end_point()});
  ScramTexts texts;
  texts.client_first = client.client_first().value();
  texts.server_first = server.client_first(texts.client_first).value();
  EXPECT_TRUE(client.server_first(texts.server_first));
  EXPECT_TRUE(client.use(salted()));
  texts.client_final = client.client_final().value();
  texts.server_final = server.client_final(texts.client_final).value();
  return texts;
}
std::string sasl_initial(std::string_view mechanism, std::string_view text) {
  return written([&](Out& out) { write_sasl_initial(out, mechanism, as_bytes(text)); });
}
std::string sasl_response(std::string_view text) {
  return written([&](Out& out) { write_sasl_response(out, as_bytes(text)); });
}
std::string offer(std::initializer_list<std::string_view> names) {
  std::string list;
  for (const auto name : names) list += std::string(name) + '\0';
  return authentication(10, list + '\0');
}
std::vector<Turn> scram_turns() {
  const auto texts = scram_texts();
  return {{startup, offer({"SCRAM-SHA-256"})},
          {sasl_initial("SCRAM-SHA-256", texts.client_first), authentication(11, texts.server_first)},
          {sasl_response(texts.client_final), authentication(12, texts.server_final) + auth_ok + welcome}};
}

struct Outcome {
  Kind kind = Kind::need_more;
  std::size_t turns = 0;  // in which the client said what was expected
  std::size_t left = 0;   // bytes of the server that were not consumed
  bool derived = false;
  LoginResult result;
  LoginFailure failure;
};

struct Play {
  std::size_t cut = 0;  // each turn of the server comes in two pieces, the first of this size
  bool tls_works = true;
  bool then_ends = false;  // the server closes behind its last words
  std::optional<std::vector<std::byte>> channel = end_point();
};

// Plays the turns against a login. The client's words must be exactly those expected.
Outcome play(LoginRequest made, const std::vector<Turn>& turns, const Play& how = {}) {
  Login login(std::move(made));
  Outcome outcome;
  Out said;
  std::string received;
  const auto step = [&] {
    for (;;) {
      const auto answer = login.step(as_bytes(received), said);
      received.erase(0, answer.consumed);
      outcome.kind = answer.kind;
      if (answer.kind == Kind::start_tls) {
        if (how.tls_works) {
          login.tls_established(how.channel);
        } else {
          login.tls_failed({.state = sqlstate::connection_failure, .message = "handshake"});
        }
      } else if (answer.kind == Kind::derive) {
        const auto wanted = login.derive_request();
        EXPECT_EQ(wanted.password, "secret");
        EXPECT_EQ(std::vector<std::byte>(wanted.salt.begin(), wanted.salt.end()), salt());
        EXPECT_EQ(wanted.iterations, 256U);
        outcome.derived = true;
        login.derived(salted());
      } else {
        return;
      }
    }
  };
  step();
  for (const auto& turn : turns) {
    if (text_of(said) != turn.client) break;
    ++outcome.turns;
    said.clear();
    received = turn.server.substr(0, how.cut);
    if (!received.empty()) step();
    if (how.cut < turn.server.size() && outcome.kind == Kind::need_more) {
      received += turn.server.substr(how.cut);
      step();
    }
    if (outcome.kind != Kind::need_more) break;
  }
  if (how.then_ends && outcome.kind == Kind::need_more) {
    login.closed();
    step();
  }
  EXPECT_FALSE(outcome.kind == Kind::failed && text_of(said).contains("secret"));
  outcome.left = received.size();
  outcome.result = login.result();
  outcome.failure = login.failure();
  EXPECT_EQ(login.step(as_bytes(received), said).kind, outcome.kind) << "done and failed are for good";
  return outcome;
}

// Every way in, cut at every byte.
void expect_logs_in(const LoginRequest& made, const std::vector<Turn>& turns, const std::string& what) {
  std::size_t longest = 0;
  for (const auto& turn : turns) longest = std::max(longest, turn.server.size());
  for (std::size_t cut = 0; cut < longest; ++cut) {
    const auto outcome = play(made, turns, {.cut = cut});
    ASSERT_EQ(outcome.kind, Kind::done) << what << " cut at " << cut << ": " << outcome.failure.error.message;
    EXPECT_EQ(outcome.turns, turns.size()) << what;
    EXPECT_EQ(outcome.left, 0U);
    EXPECT_EQ(outcome.result.pid, 4711U);
    EXPECT_EQ(as_text(outcome.result.secret), "\1\2\3\4");
    EXPECT_EQ(outcome.result.transaction_status, 'I');
    const std::vector<std::pair<std::string, std::string>> parameters = {{"server_version", "15.1"},
                                                                         {"TimeZone", "Europe/Berlin"}};
    EXPECT_EQ(outcome.result.parameters, parameters);
  }
}
void expect_fails(const LoginRequest& made, const std::vector<Turn>& turns, Whose whose, std::string_view state,
                  Retry retry = Retry::none) {
  const auto outcome = play(made, turns);
  ASSERT_EQ(outcome.kind, Kind::failed) << turns.back().server;
  EXPECT_EQ(outcome.turns, turns.size());
  EXPECT_EQ(outcome.failure.whose, whose) << outcome.failure.error.message;
  EXPECT_EQ(outcome.failure.error.state.view(), state) << outcome.failure.error.message;
  EXPECT_EQ(outcome.failure.retry, retry) << outcome.failure.error.message;
  EXPECT_FALSE(outcome.failure.error.message.empty());
}

TEST(Login, trust) {
  expect_logs_in(request(), {{startup, auth_ok + welcome}}, "trust");
}

TEST(Login, sends_parameters_in_order_and_no_empty_database) {
  auto made = request();
  made.database.clear();
  made.parameters = {{"options", "-c work_mem=1MB"}, {"client_encoding", "UTF8"}};
  const auto expected = written([](Out& out) {
    const std::vector<NameValue> all = {{"user", "app"}, {"options", "-c work_mem=1MB"}, {"client_encoding", "UTF8"}};
    write_startup(out, protocol_3_0, all);
  });
  expect_logs_in(made, {{expected, auth_ok + welcome}}, "parameters");
}

TEST(Login, md5) {
  const auto answer = md5_response("app", "secret", as_bytes("salt")).value();
  // SELECT 'md5' || md5(md5('secret' || 'app') || 'salt')
  ASSERT_EQ(answer, "md57f097e06031b34893c20e25a0e68242c");
  expect_logs_in(request(), {{startup, authentication(5, "salt")}, {message('p', answer + '\0'), auth_ok + welcome}},
                 "md5");
}

TEST(Login, clear_text_goes_over_tls_or_a_unix_socket_only) {
  const auto answer = message('p', "secret\0"s);
  const std::vector<Turn> turns = {{startup, authentication(3)}, {answer, auth_ok + welcome}};
  expect_fails(request(), {turns[0]}, Whose::settings, "28000");
  auto anywhere = request();
  anywhere.cleartext = LoginRequest::Cleartext::anywhere;
  expect_logs_in(anywhere, turns, "anywhere");
  auto local = request(SslMode::verify_full);
  local.link = LoginRequest::Link::unix_socket;
  expect_logs_in(local, turns, "unix socket");
  expect_logs_in(request(SslMode::require), {{ssl_request, "S"}, turns[0], turns[1]}, "TLS");
}

TEST(Login, long_passwords_are_sent_whole) {
  for (const std::size_t size : {1024U, 65535U}) {
    auto made = request();
    made.cleartext = LoginRequest::Cleartext::anywhere;
    made.credentials = Password{std::string(size, 'x')};
    expect_logs_in(made,
                   {{startup, authentication(3)}, {message('p', std::string(size, 'x') + '\0'), auth_ok + welcome}},
                   "long password");
  }
}

TEST(Login, scram_with_a_password_asks_for_the_derivation) {
  expect_logs_in(request(), scram_turns(), "SCRAM");
  EXPECT_TRUE(play(request(), scram_turns()).derived);
}

TEST(Login, scram_with_passed_on_keys_derives_nothing) {
  auto made = request();
  made.credentials = scram::keys_from(salted()).value();
  expect_logs_in(made, scram_turns(), "SCRAM keys");
  EXPECT_FALSE(play(made, scram_turns()).derived);
}

TEST(Login, scram_passes_over_plus_without_tls) {
  auto turns = scram_turns();
  turns[0].server = offer({"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"});
  expect_logs_in(request(), turns, "PLUS offered");
}

TEST(Login, scram_plus_binds_to_the_certificate) {
  const auto texts = scram_texts(scram::ClientExchange::Binding::end_point);
  auto made = request(SslMode::verify_full);
  made.channel_binding = LoginRequest::ChannelBinding::require;
  expect_logs_in(made,
                 {{ssl_request, "S"},
                  {startup, offer({"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"})},
                  {sasl_initial("SCRAM-SHA-256-PLUS", texts.client_first), authentication(11, texts.server_first)},
                  {sasl_response(texts.client_final), authentication(12, texts.server_final) + auth_ok + welcome}},
                 "PLUS");
}

TEST(Login, tells_a_server_without_plus_that_it_could_have_bound) {
  const auto texts = scram_texts(scram::ClientExchange::Binding::not_offered);
  EXPECT_TRUE(texts.client_first.starts_with("y,,"));
  expect_logs_in(request(SslMode::require),
                 {{ssl_request, "S"},
                  {startup, offer({"SCRAM-SHA-256"})},
                  {sasl_initial("SCRAM-SHA-256", texts.client_first), authentication(11, texts.server_first)},
                  {sasl_response(texts.client_final), authentication(12, texts.server_final) + auth_ok + welcome}},
                 "no PLUS");
}

TEST(Login, required_channel_binding_takes_nothing_less) {
  auto made = request(SslMode::require);
  made.channel_binding = LoginRequest::ChannelBinding::require;
  const Turn tls = {ssl_request, "S"};
  expect_fails(made, {tls, {startup, offer({"SCRAM-SHA-256"})}}, Whose::settings, "28000");
  expect_fails(made, {tls, {startup, auth_ok}}, Whose::settings, "28000");
  const auto md5 = message('p', md5_response("app", "secret", as_bytes("salt")).value() + '\0');
  expect_fails(made, {tls, {startup, authentication(5, "salt")}, {md5, auth_ok}}, Whose::settings, "28000");
  made.ssl_mode = SslMode::disable;
  expect_fails(made, {{startup, offer({"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"})}}, Whose::settings, "28000");
}

TEST(Login, a_server_that_proves_nothing_is_refused) {
  auto turns = scram_turns();
  for (const auto& end : {auth_ok, authentication(12, "v=AAAA"), authentication(12, "e=invalid-proof"),
                          authentication(12, "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")}) {
    turns[2].server = end + auth_ok + welcome;
    const auto outcome = play(request(), turns);
    EXPECT_EQ(outcome.kind, Kind::failed);
    EXPECT_EQ(outcome.failure.whose, Whose::protocol);
  }
  // Or leaves the exchange halfway.
  turns = scram_turns();
  turns[1].server = auth_ok + welcome;
  turns.pop_back();
  expect_fails(request(), turns, Whose::protocol, "08P01");
}

TEST(Login, hostile_scram_is_bounded) {
  auto turns = scram_turns();
  turns.pop_back();
  turns[1].server = authentication(11, "r=clientnonceX,s=c2FsdA==,i=2000000000");
  expect_fails(request(), turns, Whose::protocol, "54000");
  turns[1].server = authentication(11, "r=clientnonce" + std::string(60000, 'X') + ",s=c2FsdA==,i=1");
  expect_fails(request(), turns, Whose::protocol, "08P01");
}

TEST(Login, methods_that_are_not_allowed_are_refused) {
  auto made = request(SslMode::require);
  const Turn tls = {ssl_request, "S"};
  made.methods = {.trust = false, .password = false, .md5 = false, .scram = true};
  for (const auto& asked : {auth_ok, authentication(3), authentication(5, "salt")}) {
    expect_fails(made, {tls, {startup, asked}}, Whose::settings, "28000");
  }
  made.methods = {.scram = false};
  expect_fails(made, {tls, {startup, offer({"SCRAM-SHA-256"})}}, Whose::settings, "28000");
}

TEST(Login, methods_nobody_speaks_are_refused) {
  for (const std::uint32_t kind : {2U, 7U, 9U}) {
    expect_fails(request(), {{startup, authentication(kind)}}, Whose::settings, "0A000");
  }
  expect_fails(request(), {{startup, offer({"OAUTHBEARER"})}}, Whose::settings, "0A000");
  EXPECT_EQ(play(request(), {{startup, authentication(99)}}).kind, Kind::failed);
}

TEST(Login, no_usable_credentials_fail_by_themselves) {
  for (const auto& none :
       std::vector<decltype(LoginRequest::credentials)>{std::monostate{}, Password{""}, Password{"a\0b"s}}) {
    auto made = request();
    made.credentials = none;
    expect_fails(made, {{startup, authentication(5, "salt")}}, Whose::settings, "28P01");
    expect_fails(made, {{startup, offer({"SCRAM-SHA-256"})}}, Whose::settings, "28P01");
  }
  auto made = request();
  made.credentials = scram::keys_from(salted()).value();
  expect_fails(made, {{startup, authentication(5, "salt")}}, Whose::settings, "28P01");
}

TEST(Login, parameters_that_would_break_the_packet_are_refused) {
  for (const auto& bad : std::vector<std::pair<std::string, std::string>>{{"", "x"}, {"a\0b"s, "x"}, {"a", "x\0y"s}}) {
    auto made = request();
    made.parameters = {bad};
    EXPECT_EQ(play(made, {}).kind, Kind::failed);
  }
  auto made = request();
  made.user.clear();
  EXPECT_EQ(play(made, {}).kind, Kind::failed);
}

TEST(Login, errors_keep_the_server_s_words_apart) {
  const auto outcome = play(request(), {{startup, error("3D000", "database \"db\" does not exist")}});
  EXPECT_EQ(outcome.kind, Kind::failed);
  EXPECT_EQ(outcome.failure.whose, Whose::server);
  EXPECT_EQ(outcome.failure.error.state.view(), "3D000");
  EXPECT_EQ(outcome.failure.error.message, "database \"db\" does not exist");
  EXPECT_EQ(outcome.failure.detail, "why");
  EXPECT_EQ(outcome.failure.hint, "do");
}

TEST(Login, errors_may_come_at_any_point) {
  const auto turns = scram_turns();
  for (std::size_t at = 0; at < turns.size(); ++at) {
    auto cut = std::vector<Turn>(turns.begin(), turns.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    cut.back().server = error("57P03");
    expect_fails(request(), cut, Whose::server, "57P03");
  }
  expect_fails(request(), {{startup, auth_ok + error("53300")}}, Whose::server, "53300");
  const auto nameless = message('E', "SFATAL\0Mno code\0\0"s);
  expect_fails(request(), {{startup, nameless}}, Whose::server, "XX000");
}

TEST(Login, an_error_that_comes_while_the_key_is_derived_is_told) {
  auto turns = scram_turns();
  turns.pop_back();
  turns[1].server += error("57014", "canceling authentication due to timeout");
  const auto outcome = play(request(), turns);
  EXPECT_EQ(outcome.kind, Kind::failed);
  EXPECT_EQ(outcome.failure.whose, Whose::server);
  EXPECT_EQ(outcome.failure.error.state.view(), "57014");
}

TEST(Login, an_end_at_any_point_is_a_failure) {
  const auto turns = scram_turns();
  for (std::size_t at = 0; at < turns.size(); ++at) {
    auto cut = std::vector<Turn>(turns.begin(), turns.begin() + static_cast<std::ptrdiff_t>(at));
    const auto outcome = play(request(), cut, {.then_ends = true});
    EXPECT_EQ(outcome.turns, at);
    EXPECT_EQ(outcome.kind, Kind::failed);
    EXPECT_EQ(outcome.failure.error.state.view(), "08006");
  }
}

TEST(Login, an_error_of_protocol_2_is_understood_as_a_refusal) {
  expect_fails(request(), {{startup, "Ecould not fork new process for connection\n\0"s}}, Whose::protocol, "08006");
}

TEST(Login, foreign_protocols_are_refused_early) {
  expect_fails(request(), {{startup, "HTTP/1.1 400 Bad Request\r\n"}}, Whose::protocol, "08P01");
  expect_fails(request(), {{startup, "SSH-2.0-OpenSSH_9.2\r\n"}}, Whose::protocol, "08P01");
  Login login(request());
  Out out;
  EXPECT_EQ(login.step(as_bytes("220 mail ESMTP"), out).kind, Kind::failed) << "speaks first";
  EXPECT_TRUE(out.empty());
}

TEST(Login, messages_out_of_place_are_refused) {
  for (const auto& early :
       {message('Z', "I"), message('K', "\0\0\0\1\0\0\0\2"s), message('S', "a\0b\0"s), message('D', ""),
        message('T', ""), message('x', ""), authentication(11, "r=x"), authentication(12, "v=x")}) {
    expect_fails(request(), {{startup, early}}, Whose::protocol, "08P01");
  }
  for (const auto& late : {auth_ok, authentication(3), offer({"SCRAM-SHA-256"}), message('v', "\0\3\0\0\0\0\0\0"s)}) {
    expect_fails(request(), {{startup, auth_ok + late}}, Whose::protocol, "08P01");
  }
  const auto md5 = message('p', md5_response("app", "secret", as_bytes("salt")).value() + '\0');
  for (const auto& again : {authentication(3), authentication(5, "tlas"), offer({"SCRAM-SHA-256"})}) {
    expect_fails(request(), {{startup, authentication(5, "salt")}, {md5, again}}, Whose::protocol, "08P01");
  }
}

TEST(Login, bent_messages_are_refused) {
  for (const auto& bent : {message('R', ""), message('R', "\0\0"s), authentication(5, "sal"), authentication(0, "x"),
                           authentication(10, ""), authentication(10, "SCRAM"), message('v', "\0\3\0\0\0\0\0\5a\0"s),
                           message('v', "\0"s)}) {
    expect_fails(request(), {{startup, bent}}, Whose::protocol, "08P01");
  }
  for (const auto& bent : {message('S', "a"), message('S', "a\0b"s), message('K', "\0\0\0\1"s), message('Z', ""),
                           message('Z', "X"), message('Z', "II")}) {
    expect_fails(request(), {{startup, auth_ok + bent}}, Whose::protocol, "08P01");
  }
}

TEST(Login, absurd_lengths_are_refused_by_their_header) {
  for (const std::uint32_t length : {0U, 3U, 65537U, 0x7fffffffU, 0x80000000U, 0xffffffffU}) {
    const auto header = written([&](Out& out) { Writer(out).letter('R').u32(length); });
    expect_fails(request(), {{startup, header}}, Whose::protocol, "08P01");
  }
}

TEST(Login, endless_logins_are_bounded) {
  std::string many;
  for (int i = 0; i < 2000; ++i) many += message('N', "SNOTICE\0Mhm\0\0"s);
  expect_fails(request(), {{startup, many}}, Whose::protocol, "08P01");
  std::string much = auth_ok;
  for (int i = 0; i < 30; ++i) much += message('S', "a\0"s + std::string(60000, 'b') + '\0');
  expect_fails(request(), {{startup, much}}, Whose::protocol, "08P01");
}

TEST(Login, version_negotiation_is_taken_note_of) {
  const auto said = message('v', "\0\3\0\0\0\0\0\1_pq_.x\0"s);
  expect_logs_in(request(), {{startup, said + auth_ok + welcome}}, "NegotiateProtocolVersion");
}

TEST(Login, bytes_behind_ready_stay) {
  const auto behind = message('A', "\0\0\0\1ch\0\0"s);
  const auto outcome = play(request(), {{startup, auth_ok + welcome + behind}});
  EXPECT_EQ(outcome.kind, Kind::done);
  EXPECT_EQ(outcome.left, behind.size());
}

TEST(Login, key_data_is_not_needed) {
  const auto outcome = play(request(), {{startup, auth_ok + message('Z', "T")}});
  EXPECT_EQ(outcome.kind, Kind::done);
  EXPECT_TRUE(outcome.result.secret.empty());
  EXPECT_EQ(outcome.result.transaction_status, 'T');
}

TEST(LoginTls, each_mode_asks_as_libpq_does) {
  const auto first_words = [](SslMode mode, LoginRequest::Attempt attempt) {
    auto made = request(mode);
    made.attempt = attempt;
    Login login(made);
    Out out;
    EXPECT_EQ(login.step({}, out).kind, Kind::need_more);
    return text_of(out) == ssl_request ? "tls" : text_of(out) == startup ? "plain" : "?";
  };
  using enum SslMode;
  using enum LoginRequest::Attempt;
  EXPECT_STREQ(first_words(disable, first), "plain");
  EXPECT_STREQ(first_words(allow, first), "plain");
  EXPECT_STREQ(first_words(allow, fallback), "tls");
  EXPECT_STREQ(first_words(prefer, first), "tls");
  EXPECT_STREQ(first_words(prefer, fallback), "plain");
  for (const auto mode : {require, verify_ca, verify_full}) {
    EXPECT_STREQ(first_words(mode, first), "tls");
    EXPECT_STREQ(first_words(mode, fallback), "tls");
  }
}

TEST(LoginTls, no_is_an_answer_only_if_tls_is_a_wish) {
  const std::vector<Turn> turns = {{ssl_request, "N"}, {startup, auth_ok + welcome}};
  expect_logs_in(request(SslMode::prefer), turns, "prefer");
  for (const auto mode : {SslMode::require, SslMode::verify_ca, SslMode::verify_full}) {
    expect_fails(request(mode), {turns[0]}, Whose::settings, "08006");
  }
}

TEST(LoginTls, bytes_stuffed_behind_the_answer_are_refused) {
  for (const auto mode : {SslMode::prefer, SslMode::verify_full}) {
    for (const auto& stuffed : {"S" + auth_ok, "N" + auth_ok, "S"s + '\x16', "E" + error("XX000")}) {
      expect_fails(request(mode), {{ssl_request, stuffed}}, Whose::protocol, "08P01");
    }
  }
}

TEST(LoginTls, a_server_that_speaks_before_the_startup_message_is_refused) {
  Login login(request(SslMode::require));
  Out out;
  EXPECT_EQ(login.step({}, out).kind, Kind::need_more);
  EXPECT_EQ(login.step(as_bytes("S"), out).kind, Kind::start_tls);
  EXPECT_EQ(login.step({}, out).kind, Kind::start_tls) << "until the caller says how it went";
  login.tls_established(std::nullopt);
  EXPECT_EQ(login.step(as_bytes(auth_ok), out).kind, Kind::failed);
}

TEST(LoginTls, odd_answers_fail) {
  expect_fails(request(SslMode::require), {{ssl_request, "X"}}, Whose::protocol, "08P01");
  expect_fails(request(SslMode::require), {{ssl_request, "E"}}, Whose::protocol, "08006");
  expect_fails(request(SslMode::prefer), {{ssl_request, "E"}}, Whose::protocol, "08006", Retry::without_tls);
}

TEST(LoginTls, failed_handshake_is_tried_without_tls_by_prefer_alone) {
  for (const auto mode : {SslMode::prefer, SslMode::require, SslMode::verify_full}) {
    const auto outcome = play(request(mode), {{ssl_request, "S"}}, {.tls_works = false});
    EXPECT_EQ(outcome.kind, Kind::failed);
    EXPECT_EQ(outcome.failure.retry, mode == SslMode::prefer ? Retry::without_tls : Retry::none);
    EXPECT_EQ(outcome.failure.error.message, "handshake");
  }
}

TEST(LoginTls, a_refusal_by_pg_hba_is_tried_the_other_way_once) {
  const std::vector<Turn> plain = {{startup, error("28000")}};
  const std::vector<Turn> tls = {{ssl_request, "S"}, {startup, error("28000")}};
  expect_fails(request(SslMode::allow), plain, Whose::server, "28000", Retry::with_tls);
  expect_fails(request(SslMode::prefer), tls, Whose::server, "28000", Retry::without_tls);
  expect_fails(request(SslMode::prefer), {{ssl_request, "N"}, plain[0]}, Whose::server, "28000", Retry::none);
  expect_fails(request(SslMode::disable), plain, Whose::server, "28000", Retry::none);
  expect_fails(request(SslMode::require), tls, Whose::server, "28000", Retry::none);
  auto second = request(SslMode::allow);
  second.attempt = LoginRequest::Attempt::fallback;
  expect_fails(second, tls, Whose::server, "28000", Retry::none);
  second.ssl_mode = SslMode::prefer;
  expect_fails(second, plain, Whose::server, "28000", Retry::none);
}

TEST(LoginTls, other_errors_are_not_tried_again) {
  for (const char* state : {"28P01", "3D000", "53300", "57P03"}) {
    expect_fails(request(SslMode::allow), {{startup, error(state)}}, Whose::server, state, Retry::none);
    expect_fails(request(SslMode::prefer), {{ssl_request, "S"}, {startup, error(state)}}, Whose::server, state,
                 Retry::none);
  }
}

}  // namespace
}  // namespace holdfast::protocol
