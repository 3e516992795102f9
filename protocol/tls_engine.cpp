#include "protocol/tls_engine.hpp"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <array>
#include <cstring>
#include <limits>
#include <utility>

#include "protocol/tls_impl.hpp"

namespace holdfast::protocol {
namespace {

tls::Queues& queues_of(BIO* bio) {
  return *static_cast<tls::Queues*>(BIO_get_data(bio));
}

int bio_read(BIO* bio, char* out, int size) {
  BIO_clear_retry_flags(bio);
  auto& incoming = queues_of(bio).incoming;
  if (incoming.empty() || size <= 0) {
    BIO_set_retry_read(bio);
    return -1;
  }
  const Bytes bytes = incoming.view();
  const std::size_t count = std::min(bytes.size(), static_cast<std::size_t>(size));
  std::memcpy(out, bytes.data(), count);
  incoming.consume(count);
  return static_cast<int>(count);
}

int bio_write(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  if (size <= 0) return 0;
  queues_of(bio).outgoing.append(as_bytes({bytes, static_cast<std::size_t>(size)}));
  return size;
}

// OpenSSL's own file BIOs return 1 for a flush and 0 for commands that they don't know.
long bio_control(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

bool is_address(const std::string& host) {
  std::array<unsigned char, sizeof(in6_addr)> address{};
  return inet_pton(AF_INET, host.c_str(), address.data()) == 1 ||
         inet_pton(AF_INET6, host.c_str(), address.data()) == 1;
}

}  // namespace

tls::BioMethod tls::make_queue_bio() {
  BioMethod method(BIO_meth_new(BIO_TYPE_SOURCE_SINK, "byte queues"));
  if (!method || BIO_meth_set_read(method.get(), bio_read) != 1 || BIO_meth_set_write(method.get(), bio_write) != 1 ||
      BIO_meth_set_ctrl(method.get(), bio_control) != 1) {
    return nullptr;
  }
  return method;
}

struct TlsEngine::Impl {
  std::shared_ptr<const TlsContext> context;
  tls::Queues queues;  // the SSL's BIO points here: an Impl stays where it is
  tls::Session ssl;
  Error error;
  bool failed = false;
  bool established = false;
  bool drained = true;  // the last read found no complete record
  bool said_goodbye = false;

  // Why an SSL_* call returned `result`. True: more must be fed first.
  Result<bool> judge(int result, std::string_view doing);
  std::unexpected<Error> broken(std::string message);
};

std::unexpected<Error> TlsEngine::Impl::broken(std::string message) {
  error = {.state = sqlstate::connection_failure, .message = std::move(message)};
  failed = true;
  return std::unexpected(error);
}

Result<bool> TlsEngine::Impl::judge(int result, std::string_view doing) {
  switch (SSL_get_error(ssl.get(), result)) {
    case SSL_ERROR_WANT_READ: return true;
    case SSL_ERROR_ZERO_RETURN: return true;  // the peer said goodbye: peer_closed()
    default: break;
  }
  std::string reason = tls::openssl_reason();
  const long verified = SSL_get_verify_result(ssl.get());
  if (!established && verified != X509_V_OK) {
    reason = std::string("certificate of the server: ") + X509_verify_cert_error_string(verified);
  }
  return broken("TLS " + std::string(doing) + " failed: " + reason);
}

TlsEngine::TlsEngine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsEngine::~TlsEngine() = default;
TlsEngine::TlsEngine(TlsEngine&&) noexcept = default;
TlsEngine& TlsEngine::operator=(TlsEngine&&) noexcept = default;

Result<TlsEngine> TlsEngine::make(std::shared_ptr<const TlsContext> context, std::string_view host) {
  ERR_clear_error();
  const auto give_up = [] { return fail(sqlstate::internal_error, "cannot begin TLS: " + tls::openssl_reason()); };
  auto impl = std::make_unique<Impl>();
  const auto& shared = *context->impl_;
  impl->ssl.reset(SSL_new(shared.context.get()));
  BIO* bio = BIO_new(shared.queue_bio.get());
  if (!impl->ssl || bio == nullptr) {
    BIO_free(bio);
    return give_up();
  }
  BIO_set_data(bio, &impl->queues);
  BIO_set_init(bio, 1);
  SSL* ssl = impl->ssl.get();
  SSL_set_bio(ssl, bio, bio);  // owns it, both ways

  if (shared.side == tls::Side::server) {
    SSL_set_accept_state(ssl);
  } else {
    SSL_set_connect_state(ssl);
    std::string name(host);
    const bool address = is_address(name);
    // Addresses are no server names (RFC 6066, section 3).
    if (!name.empty() && !address &&
        SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name.data()) != 1) {
      return give_up();
    }
    if (shared.verify == TlsContext::Verify::full) {
      if (name.empty()) return fail(sqlstate::internal_error, "verify-full needs the name of the host");
      SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
      const int set =
          address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name.c_str()) : SSL_set1_host(ssl, name.c_str());
      if (set != 1) return give_up();
    }
  }
  impl->context = std::move(context);
  return TlsEngine(std::move(impl));
}

void TlsEngine::feed(Bytes ciphertext) {
  if (ciphertext.empty()) return;
  impl_->queues.incoming.append(ciphertext);
  impl_->drained = false;
}

Result<bool> TlsEngine::handshake() {
  if (impl_->failed) return std::unexpected(impl_->error);
  if (impl_->established) return true;
  ERR_clear_error();
  const int result = SSL_do_handshake(impl_->ssl.get());
  if (result != 1) {
    auto more = impl_->judge(result, "handshake");
    if (!more) return std::unexpected(more.error());
    if (peer_closed()) return impl_->broken("TLS handshake failed: closed by the peer");
    return false;
  }
  impl_->established = true;
  return true;
}

bool TlsEngine::established() const {
  return impl_->established;
}

Result<std::size_t> TlsEngine::read(MutableBytes out) {
  if (impl_->failed) return std::unexpected(impl_->error);
  if (!impl_->established) return impl_->broken("TLS read before the handshake");
  std::size_t total = 0;
  ERR_clear_error();
  // Each turn returns at most one record.
  while (total < out.size()) {
    std::size_t count = 0;
    const int result = SSL_read_ex(impl_->ssl.get(), out.data() + total, out.size() - total, &count);
    if (result == 1) {
      total += count;
      continue;
    }
    auto more = impl_->judge(result, "read");
    // What came before the error is valid; the next call returns the error.
    if (!more && total == 0) return std::unexpected(more.error());
    impl_->drained = more.has_value();
    break;
  }
  return total;
}

Result<void> TlsEngine::write(Bytes plaintext) {
  if (impl_->failed) return std::unexpected(impl_->error);
  if (!impl_->established || impl_->said_goodbye) return impl_->broken("TLS write outside of the connection");
  if (plaintext.empty()) return {};
  ERR_clear_error();
  // The queue takes everything, so a write is never partial and never has to wait.
  std::size_t written = 0;
  const int result = SSL_write_ex(impl_->ssl.get(), plaintext.data(), plaintext.size(), &written);
  if (result == 1 && written == plaintext.size()) return {};
  return impl_->broken("TLS write failed: " + tls::openssl_reason());
}

Bytes TlsEngine::outgoing() const {
  return impl_->queues.outgoing.view();
}
void TlsEngine::consumed(std::size_t count) {
  impl_->queues.outgoing.consume(count);
}

bool TlsEngine::has_pending() const {
  if (!impl_->established) return !impl_->queues.incoming.empty();
  // A failure that read() has not returned yet counts as pending.
  if (impl_->drained) return false;
  return impl_->failed || !impl_->queues.incoming.empty() || SSL_has_pending(impl_->ssl.get()) == 1;
}

void TlsEngine::close_notify() {
  if (!impl_->established || impl_->failed || impl_->said_goodbye) return;
  impl_->said_goodbye = true;
  ERR_clear_error();
  SSL_shutdown(impl_->ssl.get());  // 0: sent but not answered; we don't wait for the answer
  ERR_clear_error();
}

bool TlsEngine::peer_closed() const {
  return (SSL_get_shutdown(impl_->ssl.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
}

std::string_view TlsEngine::alpn() const {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(impl_->ssl.get(), &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

std::string_view TlsEngine::version() const {
  return SSL_get_version(impl_->ssl.get());
}
std::string_view TlsEngine::cipher() const {
  return SSL_get_cipher_name(impl_->ssl.get());
}

std::optional<std::vector<std::byte>> TlsEngine::end_point() const {
  SSL* ssl = impl_->ssl.get();
  const bool server = impl_->context->impl_->side == tls::Side::server;
  X509* certificate = server ? SSL_get_certificate(ssl) : SSL_get0_peer_certificate(ssl);
  int digest = NID_undef;
  if (certificate == nullptr || X509_get_signature_info(certificate, &digest, nullptr, nullptr, nullptr) != 1) {
    return std::nullopt;
  }
  // RFC 5929, section 4.1: where the signature's digest is MD5 or SHA-1, SHA-256 takes its place.
  const EVP_MD* type = digest == NID_md5 || digest == NID_sha1 ? EVP_sha256() : EVP_get_digestbynid(digest);
  if (digest == NID_undef || type == nullptr) return std::nullopt;
  std::array<std::byte, EVP_MAX_MD_SIZE> bytes{};
  unsigned size = 0;
  if (X509_digest(certificate, type, reinterpret_cast<unsigned char*>(bytes.data()), &size) != 1) return std::nullopt;
  return std::vector<std::byte>(bytes.begin(), bytes.begin() + size);
}

}  // namespace holdfast::protocol
