#include "protocol/tls_engine.hpp"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "protocol/tls_impl.hpp"
#include "tests/support/files.hpp"

namespace holdfast::protocol {
namespace {

using Verify = TlsContext::Verify;

// --- Certificates, made when they are needed -----------------------------------------------------------------------

struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
struct FreeCertificate {
  void operator()(X509* certificate) const { X509_free(certificate); }
};
struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

struct Identity {
  std::unique_ptr<EVP_PKEY, FreeKey> key;
  std::unique_ptr<X509, FreeCertificate> certificate;
};

struct Wanted {
  std::string name = "server";
  std::string alternative_names = {};  // "DNS:localhost,IP:127.0.0.1"
  const Identity* issuer = nullptr;    // null: a CA of its own
  long from = -3600;                   // seconds from now
  long until = 3600;
};

void extend(X509* certificate, int which, const std::string& value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, which, value.c_str());
  ASSERT_NE(extension, nullptr) << value;
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

Identity issue(const Wanted& wanted) {
  static long serial = 0;
  Identity made{std::unique_ptr<EVP_PKEY, FreeKey>(EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256")),
                std::unique_ptr<X509, FreeCertificate>(X509_new())};
  X509* certificate = made.certificate.get();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
  X509_gmtime_adj(X509_getm_notBefore(certificate), wanted.from);
  X509_gmtime_adj(X509_getm_notAfter(certificate), wanted.until);
  X509_set_pubkey(certificate, made.key.get());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(wanted.name.c_str()), -1, -1, 0);
  const Identity& issuer = wanted.issuer != nullptr ? *wanted.issuer : made;
  X509_set_issuer_name(certificate, X509_get_subject_name(issuer.certificate.get()));
  if (wanted.issuer == nullptr) extend(certificate, NID_basic_constraints, "critical,CA:TRUE");
  if (!wanted.alternative_names.empty()) extend(certificate, NID_subject_alt_name, wanted.alternative_names);
  EXPECT_GT(X509_sign(certificate, issuer.key.get(), EVP_sha256()), 0);
  return made;
}

// A folder of PEM files that goes with the test.
class Files {
 public:
  std::string certificate(const std::string& name, const Identity& identity) {
    return write(name, [&](std::FILE* file) { return PEM_write_X509(file, identity.certificate.get()); });
  }
  std::string key(const std::string& name, const Identity& identity, std::string passphrase = {}) {
    return write(name, [&](std::FILE* file) {
      return PEM_write_PKCS8PrivateKey(file, identity.key.get(), passphrase.empty() ? nullptr : EVP_aes_256_cbc(),
                                       passphrase.data(), static_cast<int>(passphrase.size()), nullptr, nullptr);
    });
  }
  std::string text(const std::string& name, const std::string& content) {
    testing::write_file(path(name), content);
    return path(name);
  }
  [[nodiscard]] std::string path(const std::string& name) const { return (folder_.path() / name).string(); }

 private:
  template <typename Writes>
  std::string write(const std::string& name, Writes writes) {
    const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path(name).c_str(), "w"));
    EXPECT_EQ(writes(file.get()), 1) << name;
    return path(name);
  }

  testing::TempDir folder_;
};

// A CA, a server's certificate from it, and contexts of both sides.
class TlsEngineTest : public ::testing::Test {
 protected:
  std::shared_ptr<const TlsContext> server_with(Wanted wanted) {
    wanted.issuer = &ca_;
    const auto identity = issue(wanted);
    auto context = TlsContext::server(
        {.certificate = files_.certificate("server.crt", identity), .key = files_.key("server.key", identity)});
    EXPECT_TRUE(context) << context.error().message;
    return context.value();
  }
  std::shared_ptr<const TlsContext> server() {
    return server_with({.alternative_names = "DNS:db.example.com,DNS:*.wild.example.com,IP:127.0.0.1,IP:::1"});
  }
  std::shared_ptr<const TlsContext> client(Verify verify = Verify::full) {
    TlsContext::ClientOptions options{.verify = verify};
    if (verify != Verify::none) options.ca = files_.certificate("ca.crt", ca_);
    auto context = TlsContext::client(options);
    EXPECT_TRUE(context) << context.error().message;
    return context.value();
  }

  Identity ca_ = issue({.name = "test CA"});
  Files files_;
};

// --- Two engines and the wire between them -------------------------------------------------------------------------

// Both ends of one connection; every byte travels in pieces of `piece`.
struct Pair {
  Pair(const std::shared_ptr<const TlsContext>& client_context, const std::shared_ptr<const TlsContext>& server_context,
       std::string_view host = "db.example.com", std::size_t size = 1U << 20)
      : client(TlsEngine::make(client_context, host).value()),
        server(TlsEngine::make(server_context).value()),
        piece(size) {}

  static std::vector<std::byte> taken(TlsEngine& from) {
    const auto bytes = from.outgoing();
    std::vector<std::byte> copy(bytes.begin(), bytes.end());
    from.consumed(copy.size());
    return copy;
  }
  // Carries what `from` has to say; `after` is called for each piece that arrived.
  template <typename After>
  void carry(TlsEngine& from, TlsEngine& to, After after) const {
    const auto bytes = taken(from);
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      to.feed(Bytes(bytes).subspan(at, std::min(piece, bytes.size() - at)));
      after();
    }
  }
  // Until both are there, or one gave up (its error) or nothing moves.
  Result<void> shake() {
    Error first;
    bool failed = false;
    const auto advance = [&](TlsEngine& engine) {
      const auto done = engine.handshake();
      if (!done && !failed) first = done.error();
      failed = failed || !done;
    };
    advance(client);
    for (int turn = 0; turn < 10; ++turn) {
      carry(client, server, [&] { advance(server); });
      carry(server, client, [&] { advance(client); });
    }
    if (failed) return std::unexpected(first);
    if (!client.established() || !server.established()) return fail(sqlstate::internal_error, "nothing moves");
    return {};
  }
  static std::string read_all(TlsEngine& from) {
    std::string text;
    std::vector<std::byte> buffer(1000);
    while (true) {
      const auto count = from.read(buffer);
      EXPECT_TRUE(count) << count.error().message;
      if (!count || *count == 0) return text;
      text += as_text(Bytes(buffer).first(*count));
    }
  }
  std::string send(TlsEngine& from, TlsEngine& to, std::string_view text) const {
    EXPECT_TRUE(from.write(as_bytes(text)));
    std::string read;
    carry(from, to, [&] { read += read_all(to); });
    return read;
  }

  TlsEngine client;
  TlsEngine server;
  std::size_t piece;
};

std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i * 7 + i / 251) % 26);
  return text;
}

TEST(TlsByteQueue, keeps_order_and_no_memory_once_empty) {
  tls::ByteQueue queue;
  const auto text = pattern(10000);
  std::string out;
  std::size_t in = 0;
  // Always behind by some bytes, so that what is consumed has to be made room of.
  while (out.size() < text.size()) {
    const auto count = std::min<std::size_t>(97, text.size() - in);
    queue.append(as_bytes(text).subspan(in, count));
    in += count;
    const auto ready = queue.view().first(std::min<std::size_t>(queue.view().size(), count > 0 ? 89 : 1000));
    out += as_text(ready);
    queue.consume(ready.size());
    EXPECT_LT(queue.memory(), 8 * text.size());
  }
  EXPECT_EQ(out, text);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.memory(), 0U);
}

TEST_F(TlsEngineTest, talks_both_ways) {
  Pair pair(client(), server());
  ASSERT_TRUE(pair.shake());
  EXPECT_EQ(pair.send(pair.client, pair.server, "SELECT 1"), "SELECT 1");
  EXPECT_EQ(pair.send(pair.server, pair.client, "1"), "1");
  EXPECT_EQ(pair.client.version(), "TLSv1.3");
  EXPECT_EQ(pair.client.cipher(), pair.server.cipher());
  EXPECT_TRUE(pair.client.cipher().starts_with("TLS_")) << pair.client.cipher();
}

TEST_F(TlsEngineTest, handshake_and_data_survive_every_cut) {
  const auto client_context = client();
  const auto server_context = server();
  for (std::size_t piece = 1; piece < 200; ++piece) {
    Pair pair(client_context, server_context, "db.example.com", piece);
    const auto shaken = pair.shake();
    ASSERT_TRUE(shaken) << piece << ": " << shaken.error().message;
    ASSERT_EQ(pair.send(pair.client, pair.server, "hello"), "hello") << piece;
    ASSERT_EQ(pair.send(pair.server, pair.client, "world"), "world") << piece;
  }
}

// One byte at each place of the stream arrives alone and late.
TEST_F(TlsEngineTest, each_flight_may_be_cut_anywhere) {
  const auto client_context = client();
  const auto server_context = server();
  for (std::size_t cut = 1; cut < 1500; cut += 7) {
    Pair pair(client_context, server_context);
    const auto in_two = [&](TlsEngine& from, TlsEngine& to) {
      const auto bytes = Pair::taken(from);
      const auto first = std::min(cut, bytes.size());
      to.feed(Bytes(bytes).first(first));
      ASSERT_TRUE(to.handshake());
      to.feed(Bytes(bytes).subspan(first));
      ASSERT_TRUE(to.handshake());
    };
    ASSERT_TRUE(pair.client.handshake());
    in_two(pair.client, pair.server);
    in_two(pair.server, pair.client);
    in_two(pair.client, pair.server);
    ASSERT_TRUE(pair.client.established() && pair.server.established()) << cut;
  }
}

TEST_F(TlsEngineTest, large_answers_pass_whole) {
  const auto text = pattern(3 << 20);
  for (const std::size_t piece : {1000U, 16384U, 1U << 22}) {
    Pair pair(client(), server(), "db.example.com", piece);
    ASSERT_TRUE(pair.shake());
    EXPECT_EQ(pair.send(pair.server, pair.client, text), text);
    EXPECT_EQ(pair.send(pair.client, pair.server, text), text);
  }
}

TEST_F(TlsEngineTest, records_to_clients_hold_8_kib_at_most) {
  Pair pair(client(), server());
  ASSERT_TRUE(pair.shake());
  ASSERT_TRUE(pair.server.write(as_bytes(pattern(100000))));
  const auto bytes = Pair::taken(pair.server);
  std::size_t records = 0;
  for (std::size_t at = 0; at < bytes.size(); ++records) {
    const std::size_t size = load_be<std::uint16_t>(bytes.data() + at + 3);
    EXPECT_LE(size, 8192U + 64U);
    at += 5 + size;
  }
  EXPECT_EQ(records, 13U);
}

TEST_F(TlsEngineTest, pending_plaintext_is_never_forgotten) {
  Pair pair(client(), server());
  ASSERT_TRUE(pair.shake());
  EXPECT_FALSE(pair.client.has_pending());
  // Three records in one segment, read with a buffer smaller than each.
  ASSERT_TRUE(pair.server.write(as_bytes("first")));
  ASSERT_TRUE(pair.server.write(as_bytes("second")));
  ASSERT_TRUE(pair.server.write(as_bytes("third")));
  pair.client.feed(Pair::taken(pair.server));
  std::string text;
  std::vector<std::byte> small(4);
  while (pair.client.has_pending()) {
    const auto count = pair.client.read(small).value();
    ASSERT_GT(count, 0U) << "said to have something";
    text += as_text(Bytes(small).first(count));
  }
  EXPECT_EQ(text, "firstsecondthird");
  EXPECT_EQ(pair.client.read(small).value(), 0U);
}

TEST_F(TlsEngineTest, part_of_a_record_is_nothing_pending_once_looked_at) {
  Pair pair(client(), server());
  ASSERT_TRUE(pair.shake());
  ASSERT_TRUE(pair.server.write(as_bytes("answer")));
  const auto bytes = Pair::taken(pair.server);
  std::vector<std::byte> buffer(100);
  pair.client.feed(Bytes(bytes).first(bytes.size() - 1));
  EXPECT_EQ(pair.client.read(buffer).value(), 0U);
  EXPECT_FALSE(pair.client.has_pending()) << "a wait for the socket would never come";
  pair.client.feed(Bytes(bytes).last(1));
  EXPECT_TRUE(pair.client.has_pending());
  EXPECT_EQ(pair.client.read(buffer).value(), 6U);
}

TEST_F(TlsEngineTest, a_larger_buffer_takes_all_records_at_once) {
  Pair pair(client(), server());
  ASSERT_TRUE(pair.shake());
  ASSERT_TRUE(pair.server.write(as_bytes(pattern(50000))));
  pair.client.feed(Pair::taken(pair.server));
  std::vector<std::byte> buffer(64U << 10);
  EXPECT_EQ(pair.client.read(buffer).value(), 50000U);
  EXPECT_FALSE(pair.client.has_pending());
}

TEST_F(TlsEngineTest, data_in_the_last_flight_of_the_handshake_is_kept) {
  // The client's Finished and its first words come in one segment.
  Pair pair(client(), server());
  ASSERT_TRUE(pair.client.handshake());
  pair.server.feed(Pair::taken(pair.client));
  ASSERT_TRUE(pair.server.handshake());
  pair.client.feed(Pair::taken(pair.server));
  ASSERT_TRUE(pair.client.handshake().value());
  ASSERT_TRUE(pair.client.write(as_bytes("startup")));
  pair.server.feed(Pair::taken(pair.client));
  ASSERT_TRUE(pair.server.handshake().value());
  EXPECT_TRUE(pair.server.has_pending());
  EXPECT_EQ(Pair::read_all(pair.server), "startup");
}

TEST_F(TlsEngineTest, moves_between_threads_of_control) {
  Pair pair(client(), server());
  ASSERT_TRUE(pair.shake());
  TlsEngine moved = std::move(pair.client);
  EXPECT_EQ(pair.send(moved, pair.server, "still here"), "still here");
  EXPECT_EQ(pair.send(pair.server, moved, "so am I"), "so am I");
}

TEST_F(TlsEngineTest, goodbye_is_told_apart_from_a_cut) {
  Pair pair(client(), server());
  ASSERT_TRUE(pair.shake());
  ASSERT_TRUE(pair.client.write(as_bytes("last words")));
  pair.client.close_notify();
  EXPECT_FALSE(pair.client.write(as_bytes("more")));
  EXPECT_FALSE(pair.server.peer_closed());
  pair.server.feed(Pair::taken(pair.client));
  EXPECT_EQ(Pair::read_all(pair.server), "last words");
  EXPECT_TRUE(pair.server.peer_closed());
  EXPECT_FALSE(pair.server.has_pending());
  // The other direction stays open until it says goodbye, too.
  EXPECT_TRUE(pair.server.write(as_bytes("answer")));
}

TEST_F(TlsEngineTest, verify_full_takes_the_names_of_the_certificate) {
  const auto client_context = client();
  const auto server_context = server();
  for (const char* host : {"db.example.com", "DB.EXAMPLE.COM", "a.wild.example.com", "127.0.0.1", "::1"}) {
    Pair pair(client_context, server_context, host);
    const auto shaken = pair.shake();
    EXPECT_TRUE(shaken) << host << ": " << shaken.error().message;
  }
  for (const char* host : {"other.example.com", "example.com", "a.b.wild.example.com", "wild.example.com", "127.0.0.2",
                           "::2", "server", "db.example.com.evil.org"}) {
    Pair pair(client_context, server_context, host);
    const auto shaken = pair.shake();
    ASSERT_FALSE(shaken) << host;
    EXPECT_EQ(shaken.error().state, sqlstate::connection_failure);
    EXPECT_TRUE(shaken.error().message.contains("mismatch")) << shaken.error().message;
  }
}

TEST_F(TlsEngineTest, verify_full_falls_back_to_the_common_name_without_alternatives) {
  const auto server_context = server_with({.name = "old.example.com"});
  Pair good(client(), server_context, "old.example.com");
  EXPECT_TRUE(good.shake());
  Pair bad(client(), server_context, "new.example.com");
  EXPECT_FALSE(bad.shake());
}

TEST_F(TlsEngineTest, verify_full_needs_a_host) {
  EXPECT_FALSE(TlsEngine::make(client(), ""));
}

TEST_F(TlsEngineTest, verify_ca_takes_any_name_and_none_takes_any_certificate) {
  const auto stranger = issue({.name = "stranger CA"});
  const auto foreign = TlsContext::client({.verify = Verify::ca, .ca = files_.certificate("stranger.crt", stranger)});
  const auto server_context = server();
  Pair other_name(client(Verify::ca), server_context, "other.example.com");
  EXPECT_TRUE(other_name.shake());
  Pair nothing(client(Verify::none), server_context, "other.example.com");
  EXPECT_TRUE(nothing.shake());
  Pair wrong_ca(foreign.value(), server_context);
  const auto shaken = wrong_ca.shake();
  ASSERT_FALSE(shaken);
  EXPECT_TRUE(shaken.error().message.contains("certificate of the server")) << shaken.error().message;
}

TEST_F(TlsEngineTest, certificates_out_of_their_time_are_refused) {
  Pair expired(client(Verify::ca), server_with({.from = -7200, .until = -3600}));
  const auto late = expired.shake();
  ASSERT_FALSE(late);
  EXPECT_TRUE(late.error().message.contains("expired")) << late.error().message;
  Pair future(client(Verify::ca), server_with({.from = 3600, .until = 7200}));
  const auto early = future.shake();
  ASSERT_FALSE(early);
  EXPECT_TRUE(early.error().message.contains("not yet valid")) << early.error().message;
}

TEST_F(TlsEngineTest, a_refused_handshake_leaves_an_alert_to_send) {
  Pair pair(client(), server(), "other.example.com");
  ASSERT_TRUE(pair.client.handshake());
  pair.server.feed(Pair::taken(pair.client));
  ASSERT_TRUE(pair.server.handshake());
  pair.client.feed(Pair::taken(pair.server));
  ASSERT_FALSE(pair.client.handshake());
  ASSERT_FALSE(pair.client.outgoing().empty());
  pair.server.feed(Pair::taken(pair.client));
  const auto told = pair.server.handshake();
  ASSERT_FALSE(told);
  EXPECT_TRUE(told.error().message.contains("alert")) << told.error().message;
  EXPECT_FALSE(pair.client.handshake()) << "an error is for good";
  EXPECT_FALSE(pair.client.write(as_bytes("x")));
}

TEST_F(TlsEngineTest, plaintext_instead_of_a_handshake_is_refused) {
  for (const std::string_view text :
       {std::string_view("\0\0\0\x8\x4\xd2\x16\x2f", 8), std::string_view("GET / HTTP/1.1\r\n\r\n")}) {
    auto engine = TlsEngine::make(server()).value();
    engine.feed(as_bytes(text));
    EXPECT_FALSE(engine.handshake());
  }
}

// What an attacker puts between the server's 'S' and its handshake.
TEST_F(TlsEngineTest, plaintext_stuffed_before_the_handshake_breaks_it) {
  Pair pair(client(), server());
  ASSERT_TRUE(pair.client.handshake());
  pair.server.feed(Pair::taken(pair.client));
  ASSERT_TRUE(pair.server.handshake());
  pair.client.feed(as_bytes(std::string_view("R\0\0\0\x8\0\0\0\0", 9)));
  pair.client.feed(Pair::taken(pair.server));
  EXPECT_FALSE(pair.client.handshake());
}

TEST_F(TlsEngineTest, a_bent_record_ends_the_connection_behind_what_came_before) {
  Pair pair(client(), server());
  ASSERT_TRUE(pair.shake());
  ASSERT_TRUE(pair.server.write(as_bytes("good")));
  auto bytes = Pair::taken(pair.server);
  ASSERT_TRUE(pair.server.write(as_bytes("bent")));
  auto bent = Pair::taken(pair.server);
  bent.back() ^= std::byte{1};
  bytes.insert(bytes.end(), bent.begin(), bent.end());
  pair.client.feed(bytes);
  std::vector<std::byte> buffer(100);
  EXPECT_EQ(pair.client.read(buffer).value(), 4U);
  EXPECT_TRUE(pair.client.has_pending()) << "the failure waits to be told";
  EXPECT_FALSE(pair.client.read(buffer));
  EXPECT_FALSE(pair.client.read(buffer));
}

TEST_F(TlsEngineTest, alpn_is_ours_on_both_sides) {
  Pair pair(client(), server());
  ASSERT_TRUE(pair.shake());
  EXPECT_EQ(pair.client.alpn(), "postgresql");
  EXPECT_EQ(pair.server.alpn(), "postgresql");
}

// A client of OpenSSL's own, so that it can ask for what ours never does.
struct ForeignClient {
  struct Free {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  ForeignClient() : context(SSL_CTX_new(TLS_client_method())) {}

  // What our engine says to its hello.
  Result<bool> hello(TlsEngine& engine) {
    ssl.reset(SSL_new(context.get()));
    BIO* in = BIO_new(BIO_s_mem());
    BIO* out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl.get(), in, out);
    EXPECT_LT(SSL_connect(ssl.get()), 1);
    std::vector<std::byte> bytes(4096);
    const int size = BIO_read(out, bytes.data(), static_cast<int>(bytes.size()));
    EXPECT_GT(size, 0);
    engine.feed(Bytes(bytes).first(static_cast<std::size_t>(std::max(size, 0))));
    return engine.handshake();
  }

  std::unique_ptr<SSL_CTX, Free> context;
  std::unique_ptr<SSL, Free> ssl;
};

TEST_F(TlsEngineTest, a_client_that_offers_other_protocols_only_is_refused) {
  const auto answer_to = [&](const std::string& offered) {
    ForeignClient foreign;
    SSL_CTX_set_alpn_protos(foreign.context.get(), reinterpret_cast<const unsigned char*>(offered.data()),
                            static_cast<unsigned>(offered.size()));
    auto engine = TlsEngine::make(server()).value();
    return foreign.hello(engine).has_value();
  };
  EXPECT_FALSE(answer_to("\x8http/1.1\x2h2"));
  EXPECT_TRUE(answer_to("\x2h2\xapostgresql"));
  EXPECT_TRUE(answer_to("")) << "an older libpq offers none";
}

TEST_F(TlsEngineTest, versions_before_1_2_are_refused) {
  ForeignClient foreign;
  SSL_CTX_set_security_level(foreign.context.get(), 0);
  SSL_CTX_set_min_proto_version(foreign.context.get(), TLS1_VERSION);
  SSL_CTX_set_max_proto_version(foreign.context.get(), TLS1_1_VERSION);
  auto engine = TlsEngine::make(server()).value();
  EXPECT_FALSE(foreign.hello(engine));
}

TEST_F(TlsEngineTest, both_sides_see_the_same_end_point) {
  const auto identity = issue({.alternative_names = "DNS:db.example.com", .issuer = &ca_});
  const auto context = TlsContext::server(
      {.certificate = files_.certificate("bound.crt", identity), .key = files_.key("bound.key", identity)});
  Pair pair(client(), context.value());
  ASSERT_TRUE(pair.shake());
  std::vector<std::byte> expected(32);
  ASSERT_EQ(
      X509_digest(identity.certificate.get(), EVP_sha256(), reinterpret_cast<unsigned char*>(expected.data()), nullptr),
      1);
  EXPECT_EQ(pair.client.end_point(), expected);
  EXPECT_EQ(pair.server.end_point(), expected);
}

TEST_F(TlsEngineTest, reload_is_another_context) {
  const auto old_context = server();
  Pair before(client(), old_context);
  ASSERT_TRUE(before.shake());
  const auto new_context = server_with({.alternative_names = "DNS:db.example.com"});
  Pair after(client(), new_context);
  ASSERT_TRUE(after.shake());
  EXPECT_NE(before.server.end_point(), after.server.end_point());
  EXPECT_EQ(before.send(before.client, before.server, "goes on"), "goes on");
}

TEST_F(TlsEngineTest, errors_name_the_file) {
  const auto identity = issue({.issuer = &ca_});
  const auto other = issue({.issuer = &ca_});
  const auto certificate = files_.certificate("a.crt", identity);
  const auto key = files_.key("a.key", identity);
  const auto server_error = [](const std::string& certificate_file, const std::string& key_file) {
    const auto made = TlsContext::server({.certificate = certificate_file, .key = key_file});
    return made ? std::string("none") : made.error().message;
  };
  EXPECT_EQ(server_error(certificate, key), "none");
  EXPECT_TRUE(server_error(files_.path("missing.crt"), key).contains("missing.crt\": No such file"));
  EXPECT_TRUE(server_error(certificate, files_.path("missing.key")).contains("missing.key\": No such file"));
  EXPECT_TRUE(server_error(files_.text("junk.crt", "junk"), key).contains("junk.crt"));
  EXPECT_TRUE(server_error(certificate, files_.text("junk.key", "junk")).contains("junk.key"));
  EXPECT_TRUE(server_error(certificate, files_.key("other.key", other)).contains("other.key"));
  EXPECT_TRUE(server_error(certificate, files_.key("locked.key", identity, "secret")).contains("locked.key"));
  EXPECT_TRUE(server_error("", "").contains("certificate"));

  const auto client_error = [](const TlsContext::ClientOptions& options) {
    const auto made = TlsContext::client(options);
    return made ? std::string("none") : made.error().message;
  };
  EXPECT_TRUE(client_error({.verify = Verify::ca, .ca = files_.path("missing.ca")}).contains("missing.ca"));
  EXPECT_TRUE(client_error({.verify = Verify::ca, .ca = files_.text("junk.ca", "junk")}).contains("junk.ca"));
  EXPECT_TRUE(client_error({.verify = Verify::ca}).contains("CA file"));
  EXPECT_TRUE(client_error({.certificate = certificate}).contains("key"));
  EXPECT_EQ(client_error({.certificate = certificate, .key = key}), "none");
  EXPECT_EQ(client_error({.verify = Verify::full}), "none") << "the system's CAs";
}

}  // namespace
}  // namespace holdfast::protocol
