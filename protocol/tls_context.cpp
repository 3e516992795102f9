#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <array>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "protocol/tls_impl.hpp"

namespace holdfast::protocol {
namespace {

// The wire form of the one protocol: a length byte and the name.
constexpr std::array<unsigned char, 11> alpn_list{10, 'p', 'o', 's', 't', 'g', 'r', 'e', 's', 'q', 'l'};

std::unexpected<Error> bad_file(const std::string& what, const std::string& file) {
  return fail(sqlstate::internal_error, "cannot use " + what + " \"" + file + "\": " + tls::openssl_reason());
}

// We open the file first: OpenSSL's own message for a missing file doesn't name it.
Result<void> readable(const std::string& what, const std::string& file) {
  if (std::ifstream(file).is_open()) return {};
  return fail(sqlstate::internal_error, "cannot read " + what + " \"" + file + "\": " + std::strerror(errno));
}

// Without this, OpenSSL would prompt on the terminal.
int no_passphrase(char*, int, int, void*) {
  return 0;
}

// A client that offers protocols, but not ours, has the wrong port; one that offers none is an older libpq.
int select_alpn(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* offered,
                unsigned offered_size, void*) {
  unsigned char* selected = nullptr;
  if (SSL_select_next_proto(&selected, size, alpn_list.data(), alpn_list.size(), offered, offered_size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = selected;
  return SSL_TLSEXT_ERR_OK;
}

Result<void> load_pair(SSL_CTX* context, const std::string& certificate, const std::string& key) {
  if (auto there = readable("certificate", certificate); !there) return there;
  if (auto there = readable("private key", key); !there) return there;
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1)
    return bad_file("certificate", certificate);
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return bad_file("private key (one without a passphrase)", key);
  }
  if (SSL_CTX_check_private_key(context) != 1) {
    return bad_file("private key, which must belong to certificate \"" + certificate + "\",", key);
  }
  return {};
}

}  // namespace

namespace tls {

std::string openssl_reason() {
  std::string reason;
  while (const unsigned long code = ERR_get_error()) {
    if (!reason.empty()) reason += "; ";
    const char* text = ERR_reason_error_string(code);
    reason += text != nullptr ? text : "error " + std::to_string(code);
  }
  return reason.empty() ? "no reason given" : reason;
}

}  // namespace tls

TlsContext::TlsContext(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsContext::~TlsContext() = default;

Result<std::unique_ptr<TlsContext::Impl>> TlsContext::Impl::make(tls::Side side) {
  ERR_clear_error();
  auto impl = std::make_unique<Impl>();
  impl->side = side;
  impl->queue_bio = tls::make_queue_bio();
  impl->context.reset(SSL_CTX_new(side == tls::Side::server ? TLS_server_method() : TLS_client_method()));
  SSL_CTX* context = impl->context.get();
  if (context == nullptr || !impl->queue_bio || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1) {
    return fail(sqlstate::internal_error, "cannot set up TLS: " + tls::openssl_reason());
  }
  SSL_CTX_set_options(
      context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  // No read-ahead: what one recv returned is in our queue already, and OpenSSL's buffer is freed between records.
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_default_passwd_cb(context, no_passphrase);
  return impl;
}

Result<std::shared_ptr<const TlsContext>> TlsContext::server(const ServerOptions& options) {
  auto impl = Impl::make(tls::Side::server);
  if (!impl) return std::unexpected(impl.error());
  SSL_CTX* context = (*impl)->context.get();
  if (auto loaded = load_pair(context, options.certificate, options.key); !loaded) {
    return std::unexpected(loaded.error());
  }
  SSL_CTX_set_alpn_select_cb(context, select_alpn, nullptr);
  SSL_CTX_set_max_send_fragment(context, 8192);
  return std::shared_ptr<const TlsContext>(new TlsContext(std::move(*impl)));
}

Result<std::shared_ptr<const TlsContext>> TlsContext::client(const ClientOptions& options) {
  auto impl = Impl::make(tls::Side::client);
  if (!impl) return std::unexpected(impl.error());
  (*impl)->verify = options.verify;
  SSL_CTX* context = (*impl)->context.get();
  if (SSL_CTX_set_alpn_protos(context, alpn_list.data(), alpn_list.size()) != 0) {
    return fail(sqlstate::internal_error, "cannot set up TLS: " + tls::openssl_reason());
  }
  if (options.verify != Verify::none) {
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
    if (!options.ca.empty()) {
      if (auto there = readable("CA file", options.ca); !there) return std::unexpected(there.error());
      ERR_clear_error();
      if (SSL_CTX_load_verify_file(context, options.ca.c_str()) != 1) return bad_file("CA file", options.ca);
    } else if (options.verify == Verify::ca) {
      return fail(sqlstate::internal_error, "verify-ca needs a CA file");
    } else if (SSL_CTX_set_default_verify_paths(context) != 1) {
      return fail(sqlstate::internal_error, "cannot use the system's CA certificates: " + tls::openssl_reason());
    }
  }
  if (options.certificate.empty() != options.key.empty()) {
    return fail(sqlstate::internal_error, "a client certificate and its key are needed together");
  }
  if (!options.certificate.empty()) {
    if (auto loaded = load_pair(context, options.certificate, options.key); !loaded) {
      return std::unexpected(loaded.error());
    }
  }
  return std::shared_ptr<const TlsContext>(new TlsContext(std::move(*impl)));
}

}  // namespace holdfast::protocol
