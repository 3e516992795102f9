#include "protocol/scram.hpp"

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "protocol/base64.hpp"

namespace holdfast::protocol::scram {
namespace {

// The exchange of RFC 7677, section 3: user "user", password "pencil".
constexpr std::string_view rfc_client_nonce = "rOprNGfwEbeRWgbNEkqO";
constexpr std::string_view rfc_server_nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
constexpr std::string_view rfc_client_first = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
constexpr std::string_view rfc_server_first =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
constexpr std::string_view rfc_client_final =
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
constexpr std::string_view rfc_server_final = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

std::vector<std::byte> rfc_salt() {
  return *base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==");
}

// Derived once: 4,096 iterations under a sanitizer take their time.
const Verifier& pencil() {
  static const Verifier verifier = make_verifier("pencil", rfc_salt()).value();
  return verifier;
}
Keys pencil_keys() {
  static const Keys keys = keys_from(salted_password("pencil", rfc_salt(), 4096).value()).value();
  return keys;
}
ServerExchange rfc_server() {
  return {pencil(), {.nonce = std::string(rfc_server_nonce)}};
}

std::vector<std::byte> some_end_point() {
  return std::vector<std::byte>(32, std::byte{0x5a});
}

TEST(Base64, writes_and_reads_all_lengths) {
  for (std::size_t size = 0; size < 70; ++size) {
    std::vector<std::byte> bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 37 + size);
    EXPECT_EQ(base64_decode(base64_encode(bytes)), bytes);
  }
  EXPECT_EQ(base64_encode(as_bytes("foob")), "Zm9vYg==");  // RFC 4648, section 10
  EXPECT_EQ(base64_encode(as_bytes("fooba")), "Zm9vYmE=");
  EXPECT_EQ(base64_encode(as_bytes("foobar")), "Zm9vYmFy");
}

TEST(Base64, refuses_every_second_spelling) {
  for (const char* text : {"Zg", "Zg=", "Zg===", "Z===", "====", "=", "Zm9v ", " Zm9v", "Zm9\n", "Zg==Zg==", "Z=g=",
                           "Zh==",  // bits behind the end
                           "Zm9=", "Zm-v", "Zm_v"}) {
    EXPECT_FALSE(base64_decode(text)) << text;
  }
}

TEST(Scram, verifier_reads_and_prints_postgresql_s_format) {
  // CREATE ROLE … PASSWORD 'app-secret' on PostgreSQL 15, then pg_authid.rolpassword.
  const std::string text =
      "SCRAM-SHA-256$4096:D9nc6Zq6QKVpuDcbbsydRQ==$CiUoqU2inctrDQj51v/v2d5uksdVYsMuXWuBk/"
      "ML5d0=:fZb4FgbUAHCCR5w82tAFl0PO+WMqPbBDFYwmiWrST68=";
  const auto verifier = Verifier::parse(text);
  ASSERT_TRUE(verifier);
  EXPECT_EQ(verifier->iterations, 4096U);
  EXPECT_EQ(verifier->salt.size(), default_salt_size);
  EXPECT_EQ(verifier->print(), text);
  EXPECT_EQ(make_verifier("app-secret", verifier->salt, verifier->iterations)->print(), text);
  EXPECT_NE(make_verifier("App-secret", verifier->salt, verifier->iterations)->print(), text);
}

TEST(Scram, verifier_refuses_what_is_none) {
  const std::string good = pencil().print();
  const auto replaced = [&](std::string_view what, std::string_view by) {
    std::string text = good;
    return text.replace(text.find(what), what.size(), by);
  };
  std::vector<std::string> bad = {"",
                                  "secret",
                                  "md5d41d8cd98f00b204e9800998ecf8427e",
                                  "SCRAM-SHA-256",
                                  "SCRAM-SHA-256$",
                                  "SCRAM-SHA-256$4096:$:",
                                  "SCRAM-SHA-256$:$$::",
                                  replaced("256$", "1$"),
                                  replaced("$4096", "$0"),
                                  replaced("$4096", "$-4096"),
                                  replaced("$4096", "$+4096"),
                                  replaced("$4096", "$04096"),
                                  replaced("$4096", "$ 4096"),
                                  replaced("$4096", "$4096x"),
                                  replaced("$4096", "$99999999999"),
                                  replaced("W22Z", "W2Z"),
                                  replaced("W22ZaJ0SNY7soEsUEjb6gQ==", ""),
                                  good + "A",
                                  good + ":",
                                  good + "$",
                                  good.substr(0, good.size() - 1),
                                  good.substr(0, good.size() - 4)};
  for (const auto& text : bad) {
    const auto parsed = Verifier::parse(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_FALSE(text.size() > 20 && parsed.error().message.contains(text)) << "a secret in an error";
  }
}

TEST(Scram, secrets_do_not_print) {
  std::ostringstream out;
  out << pencil().stored_key;
  EXPECT_EQ(out.str(), "[secret]");
}

TEST(Scram, derivation_refuses_no_iterations) {
  EXPECT_FALSE(salted_password("pencil", rfc_salt(), 0));
  EXPECT_FALSE(salted_password("pencil", rfc_salt(), 0x80000000U));
}

TEST(Scram, mock_verifier_is_steady_per_user_and_secret) {
  const auto secret = as_bytes("0123456789abcdef0123456789abcdef");
  const auto once = mock_verifier("nobody", secret, 8192).value();
  EXPECT_EQ(once.salt, mock_verifier("nobody", secret).value().salt);
  EXPECT_NE(once.salt, mock_verifier("somebody", secret).value().salt);
  EXPECT_NE(once.salt, mock_verifier("nobody", as_bytes("another secret")).value().salt);
  EXPECT_EQ(once.salt.size(), default_salt_size);
  EXPECT_EQ(once.iterations, 8192U);
  EXPECT_TRUE(once.mock);
}

TEST(ServerExchange, speaks_the_example_of_rfc_7677) {
  auto exchange = rfc_server();
  EXPECT_EQ(exchange.client_first(rfc_client_first).value(), rfc_server_first);
  EXPECT_FALSE(exchange.succeeded());
  EXPECT_EQ(exchange.client_final(rfc_client_final).value(), rfc_server_final);
  EXPECT_TRUE(exchange.succeeded());
}

TEST(ServerExchange, recovers_the_keys_for_pass_through) {
  auto exchange = rfc_server();
  ASSERT_TRUE(exchange.client_first(rfc_client_first));
  EXPECT_FALSE(exchange.keys());
  ASSERT_TRUE(exchange.client_final(rfc_client_final));
  EXPECT_EQ(exchange.keys().value(), pencil_keys());
}

TEST(ServerExchange, draws_a_fresh_nonce_each_time) {
  ServerExchange one(pencil());
  ServerExchange other(pencil());
  const auto first = one.client_first(rfc_client_first).value();
  EXPECT_NE(first, other.client_first(rfc_client_first).value());
  EXPECT_TRUE(first.starts_with("r=" + std::string(rfc_client_nonce)));
}

struct Case {
  std::string message;
  SqlState state = sqlstate::protocol_violation;
};

TEST(ServerExchange, refuses_every_bent_first_message) {
  const std::vector<Case> cases = {
      {""},
      {"n"},
      {"n,"},
      {"n,,"},
      {",,n=user,r=abc"},
      {"x,,n=user,r=abc"},
      {"ny,,n=user,r=abc"},
      {"n=,,n=user,r=abc"},
      {"p,,n=user,r=abc"},
      {"p=tls-server-end-point,,n=user,r=abc"},                     // -PLUS was not chosen
      {"n,a=admin,n=user,r=abc", sqlstate::feature_not_supported},  // authorization identity
      {"n,x,n=user,r=abc", sqlstate::feature_not_supported},
      {"n,,m=ext,n=user,r=abc", sqlstate::feature_not_supported},  // mandatory extension
      {"n,,n=user"},                                               // each attribute missing,
      {"n,,r=abc"},                                                //
      {"n,,r=abc,n=user"},                                         // reordered,
      {"n,,n=user,n=user,r=abc"},                                  // doubled
      {"n,,n=user,r=abc,r=abc"},                                   //
      {"n,,n=user,r=abc,n=user"},                                  //
      {"n,,n=user,r=abc,m=ext"},                                   //
      {"n,,n=user,r=abc,p=abc"},                                   //
      {"n,,n=user,r="},                                            // empty
      {"n,,n=user,r=abc,"},                                        //
      {"n,,n=user,r=abc,x"},                                       //
      {"n,,n=user,r=abc,1=2"},                                     //
      {"n,,n=us=er,r=abc"},                                        // not a saslname
      {"n,,n=user=,r=abc"},                                        //
      {"n,,nuser,r=abc"},                                          //
      {"n,,n=user,r=a bc"},                                        // not printable
      {"n,,n=user,r=a\x7f"
       "bc"},                                     //
      {"n,,n=user,r=\xc3\xa4"},                   //
      {std::string("n,,n=user,r=abc\0", 16)},     // hidden bytes
      {"n,,n=user,r=" + std::string(1100, 'a')},  // over-long
  };
  for (const auto& [message, state] : cases) {
    auto exchange = rfc_server();
    const auto answer = exchange.client_first(message);
    ASSERT_FALSE(answer) << message;
    EXPECT_EQ(answer.error().state.view(), state.view()) << message;
    EXPECT_FALSE(exchange.client_final(rfc_client_final)) << "goes on after " << message;
    EXPECT_FALSE(exchange.succeeded());
  }
}

TEST(ServerExchange, accepts_names_and_extensions_that_mean_nothing) {
  for (const char* message :
       {"n,,n=,r=abc", "n,,n=*,r=abc", "n,,n=a=2Cb=3D,r=abc", "n,,n=user,r=abc,x=1,Z=", "y,,n=user,r=abc"}) {
    auto exchange = rfc_server();
    EXPECT_TRUE(exchange.client_first(message)) << message;
  }
}

TEST(ServerExchange, refuses_every_bent_final_message) {
  const std::string nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
  const std::string proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
  const std::vector<Case> cases = {
      {""},
      {"c=biws"},
      {"c=biws,r=" + nonce},                                                   // each attribute missing,
      {"c=biws,p=" + proof},                                                   //
      {"r=" + nonce + ",p=" + proof},                                          //
      {"p=" + proof},                                                          //
      {"r=" + nonce + ",c=biws,p=" + proof},                                   // reordered,
      {"c=biws,p=" + proof + ",r=" + nonce},                                   //
      {"c=biws,c=biws,r=" + nonce + ",p=" + proof},                            // doubled
      {"c=biws,r=" + nonce + ",r=" + nonce + ",p=" + proof},                   //
      {"c=biws,r=" + nonce + ",p=" + proof + ",p=" + proof},                   //
      {"c=biws,r=" + nonce + ",p=" + proof + ",x=y"},                          // behind the proof
      {"c=biws,r=" + nonce + ",p="},                                           // odd base64
      {"c=biws,r=" + nonce + ",p=" + proof.substr(1)},                         //
      {"c=biws,r=" + nonce + ",p=" + proof + "="},                             //
      {"c=biws,r=" + nonce + ",p=AAAA"},                                       // of another size
      {"c=biws,r=" + nonce + "x,p=" + proof},                                  // another nonce
      {"c=biws,r=rOprNGfwEbeRWgbNEkqO,p=" + proof},                            //
      {"c=biws,r=,p=" + proof},                                                //
      {"c=eSws,r=" + nonce + ",p=" + proof, sqlstate::invalid_authorization},  // "y,,": not what it began with
      {"c=bix3,r=" + nonce + ",p=" + proof, sqlstate::invalid_authorization},
      {"c=,r=" + nonce + ",p=" + proof, sqlstate::invalid_authorization},
      {"c=biws,r=" + nonce + ",p=" + proof + std::string(1100, '=')},  // over-long
      {"c=biws,r=" + nonce + ",p=eHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", sqlstate::invalid_password},
      {"c=biws,r=" + nonce + ",x=y,p=" + proof, sqlstate::invalid_password},  // the proof signs extensions too
  };
  for (const auto& [message, state] : cases) {
    auto exchange = rfc_server();
    ASSERT_TRUE(exchange.client_first(rfc_client_first));
    const auto answer = exchange.client_final(message);
    ASSERT_FALSE(answer) << message;
    EXPECT_EQ(answer.error().state.view(), state.view()) << message;
    EXPECT_FALSE(exchange.succeeded());
    EXPECT_FALSE(exchange.keys());
    EXPECT_FALSE(exchange.client_final(rfc_client_final)) << "a second try after " << message;
  }
}

TEST(ServerExchange, mock_verifier_fails_at_the_end_even_for_its_own_keys) {
  // A verifier whose password we know, marked as mock: nothing may satisfy it.
  Verifier verifier = pencil();
  verifier.mock = true;
  ServerExchange exchange(verifier, {.nonce = std::string(rfc_server_nonce)});
  ASSERT_TRUE(exchange.client_first(rfc_client_first));
  const auto answer = exchange.client_final(rfc_client_final);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().state.view(), "28P01");
  EXPECT_FALSE(exchange.keys());
}

TEST(ServerExchange, refuses_a_client_that_was_told_we_cannot_bind) {
  ServerExchange exchange(pencil(), {.channel_binding = some_end_point()});
  const auto answer = exchange.client_first("y,,n=user,r=abc");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().state.view(), "28000");
  ServerExchange plain(pencil(), {.channel_binding = some_end_point()});
  EXPECT_TRUE(plain.client_first("n,,n=user,r=abc")) << "it just doesn't want to";
}

TEST(ServerExchange, plus_wants_exactly_the_end_point) {
  for (const char* message : {"n,,n=user,r=abc", "y,,n=user,r=abc", "p=tls-unique,,n=user,r=abc", "p=,,n=user,r=abc"}) {
    ServerExchange exchange(pencil(), {.channel_binding = some_end_point(), .plus_selected = true});
    EXPECT_FALSE(exchange.client_first(message)) << message;
  }
}

// Both ends, from either kind of credential. Answers what the server said of the client's proof.
Result<std::string> run(ServerExchange& server, ClientExchange& client, std::string_view password = "pencil") {
  const auto server_first = server.client_first(client.client_first().value());
  if (!server_first) return server_first;
  if (auto taken = client.server_first(*server_first); !taken) return std::unexpected(taken.error());
  if (client.needs_key()) {
    const auto derived = salted_password(password, client.salt(), client.iterations());
    if (auto used = client.use(derived.value()); !used) return std::unexpected(used.error());
  }
  return server.client_final(client.client_final().value());
}

TEST(ClientExchange, logs_in_with_a_password) {
  ServerExchange server(pencil());
  ClientExchange client(std::nullopt);
  const auto final = run(server, client);
  ASSERT_TRUE(final);
  EXPECT_FALSE(client.verified());
  EXPECT_TRUE(client.server_final(*final));
  EXPECT_TRUE(client.verified());
}

TEST(ClientExchange, logs_in_with_the_keys_of_another_exchange) {
  ServerExchange first(pencil());
  ClientExchange origin(std::nullopt);
  ASSERT_TRUE(run(first, origin));
  ServerExchange second(pencil());
  ClientExchange passed_on(first.keys());
  const auto final = run(second, passed_on);
  ASSERT_TRUE(final);
  EXPECT_TRUE(passed_on.server_final(*final));
}

TEST(ClientExchange, fails_with_another_password) {
  ServerExchange server(pencil());
  ClientExchange client(std::nullopt);
  const auto final = run(server, client, "pencils");
  ASSERT_FALSE(final);
  EXPECT_EQ(final.error().state.view(), "28P01");
}

TEST(ClientExchange, binds_to_the_end_point) {
  ServerExchange server(pencil(), {.channel_binding = some_end_point(), .plus_selected = true});
  ClientExchange client(std::nullopt, {.binding = ClientExchange::Binding::end_point, .end_point = some_end_point()});
  const auto final = run(server, client);
  ASSERT_TRUE(final) << final.error().message;
  EXPECT_TRUE(client.server_final(*final));
}

TEST(ClientExchange, another_end_point_is_refused) {
  ServerExchange server(pencil(), {.channel_binding = some_end_point(), .plus_selected = true});
  ClientExchange client(std::nullopt, {.binding = ClientExchange::Binding::end_point,
                                       .end_point = std::vector<std::byte>(32, std::byte{1})});
  const auto final = run(server, client);
  ASSERT_FALSE(final);
  EXPECT_EQ(final.error().state.view(), "28000");
}

TEST(ClientExchange, refuses_every_bent_first_message_of_a_server) {
  const std::vector<Case> cases = {
      {""},
      {"r=nonceX"},                             // each attribute missing,
      {"r=nonceX,s=c2FsdA=="},                  //
      {"r=nonceX,i=4096"},                      //
      {"s=c2FsdA==,i=4096"},                    //
      {"s=c2FsdA==,r=nonceX,i=4096"},           // reordered,
      {"r=nonceX,i=4096,s=c2FsdA=="},           //
      {"r=nonceX,r=nonceX,s=c2FsdA==,i=4096"},  // doubled
      {"r=nonceX,s=c2FsdA==,i=4096,i=4096"},    //
      {"m=x,r=nonceX,s=c2FsdA==,i=4096"},       // mandatory extension
      {"r=nonce,s=c2FsdA==,i=4096"},            // nothing of its own
      {"r=other,s=c2FsdA==,i=4096"},            // not ours
      {"r=nonceX,s=c2FsdA=,i=4096"},            // odd base64
      {"r=nonceX,s=,i=4096"},                   //
      {"r=nonceX,s=c2FsdA==,i=0"},              // odd numbers
      {"r=nonceX,s=c2FsdA==,i=-1"},             //
      {"r=nonceX,s=c2FsdA==,i=4096 "},          //
      {"r=nonceX,s=c2FsdA==,i="},               //
      {"r=nonceX,s=c2FsdA==,i=4294967296"},     //
      {"r=nonceX,s=c2FsdA==,i=1000001", sqlstate::program_limit_exceeded},
      {"r=nonceX,s=c2FsdA==,i=2147483647", sqlstate::program_limit_exceeded},
      {"r=nonce" + std::string(5000, 'X') + ",s=c2FsdA==,i=4096"},  // a giant nonce
      {"r=nonceX,s=" + std::string(2000, 'A') + ",i=4096"},         // a giant salt
      {"e=other-error"},
  };
  for (const auto& [message, state] : cases) {
    ClientExchange client(std::nullopt, {.nonce = "nonce"});
    ASSERT_TRUE(client.client_first());
    const auto taken = client.server_first(message);
    ASSERT_FALSE(taken) << message;
    EXPECT_EQ(taken.error().state.view(), state.view()) << message;
    EXPECT_FALSE(client.needs_key());
    EXPECT_FALSE(client.client_final()) << "goes on after " << message;
  }
}

TEST(ClientExchange, a_server_without_proof_is_refused) {
  for (const char* message :
       {"", "v=", "v=AAAA", "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "e=invalid-proof", "x=y", "r=abc"}) {
    ServerExchange server(pencil());
    ClientExchange client(pencil_keys());
    const auto final = run(server, client);
    ASSERT_TRUE(final);
    EXPECT_FALSE(client.server_final(message)) << message;
    EXPECT_FALSE(client.verified());
    EXPECT_FALSE(client.server_final(*final)) << "a second try after " << message;
    EXPECT_FALSE(client.verified());
  }
}

TEST(ClientExchange, doubled_signature_is_refused) {
  ServerExchange server(pencil());
  ClientExchange client(pencil_keys());
  const auto final = run(server, client).value();
  EXPECT_FALSE(client.server_final(final + "," + final));
}

}  // namespace
}  // namespace holdfast::protocol::scram
