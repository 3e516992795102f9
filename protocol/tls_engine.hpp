// TLS without a socket: OpenSSL over two byte queues.
//
//      socket --recv--> feed()  -->  | incoming |            | --> read()   plaintext
//                                    |          |  OpenSSL   |
//      socket <--send-- outgoing() <-| outgoing |            | <-- write()  plaintext
//
// After every call that may produce ciphertext (all of them except feed(): a read may answer a key update) check
// outgoing(), send it with one send, and call consumed(). After every feed() call read() until it returns 0: then the
// caller has everything that OpenSSL has decrypted, and has_pending() is false.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/error.hpp"

namespace holdfast::protocol {

// Certificates and rules, loaded once. Immutable and safe to use from any thread; engines keep it alive. To reload,
// make another one: live connections keep the one they began with. TLS 1.2 and above; no compression, no renegotiation,
// no session tickets (as in PostgreSQL: libpq doesn't resume).
class TlsContext {
 public:
  enum class Verify : std::uint8_t {
    none,  // encrypts only
    ca,    // the chain leads to a certificate of the CA file
    full,  // and the certificate is for the host's name or address
  };
  // PEM files. A key with a passphrase is refused: there is no terminal to ask on.
  struct ServerOptions {
    std::string certificate;  // with its chain
    std::string key;
  };
  struct ClientOptions {
    Verify verify = Verify::none;
    std::string ca;  // empty with Verify::full: the system's CAs; with Verify::ca: an error, any of them would do
    std::string certificate;  // optional, with its key
    std::string key;
  };
  // Both read files and block: call them when a configuration is loaded, not on a worker. Errors name the file and say
  // what is wrong with it. The server selects the ALPN protocol "postgresql" and refuses clients that offer only
  // others. The client offers it.
  [[nodiscard]] static Result<std::shared_ptr<const TlsContext>> server(const ServerOptions& options);
  [[nodiscard]] static Result<std::shared_ptr<const TlsContext>> client(const ClientOptions& options);

  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

 private:
  friend class TlsEngine;
  struct Impl;
  explicit TlsContext(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// One connection's TLS. Thread: one at a time; may move with its link to another. It owns no buffers while idle.
// An error is final: every later call returns it again. Send what is in outgoing() (an alert) before closing.
class TlsEngine {
 public:
  // Takes the context's side. `host`: for a client, used for SNI (names only) and Verify::full (names and addresses).
  [[nodiscard]] static Result<TlsEngine> make(std::shared_ptr<const TlsContext> context, std::string_view host = {});

  ~TlsEngine();
  TlsEngine(TlsEngine&&) noexcept;
  TlsEngine& operator=(TlsEngine&&) noexcept;

  // Ciphertext from the peer; copied. The queue is not bounded here: feed what one recv returned, then read.
  void feed(Bytes ciphertext);

  // True once established. The client's first call, with nothing fed, produces its hello.
  [[nodiscard]] Result<bool> handshake();
  [[nodiscard]] bool established() const;

  // Reads plaintext into `out`, as much as there is and fits. 0: nothing until more is fed (or peer_closed()).
  [[nodiscard]] Result<std::size_t> read(MutableBytes out);
  // Takes all of it, in records of at most 8 KiB towards clients (libpq's non-blocking users lose sight of what is
  // pending in longer ones) and 16 KiB towards servers. Only once established. Watch outgoing().size() for
  // back-pressure.
  [[nodiscard]] Result<void> write(Bytes plaintext);

  [[nodiscard]] Bytes outgoing() const;
  void consumed(std::size_t count);  // of outgoing()

  // read() would return data or an error without more being fed. Check this before waiting for the socket.
  [[nodiscard]] bool has_pending() const;

  // Puts a close_notify alert into outgoing(). Nothing can be written afterwards.
  void close_notify();
  // The peer sent close_notify: an end of stream after it is clean; without it an attacker may have cut the stream.
  [[nodiscard]] bool peer_closed() const;

  // Once established:
  [[nodiscard]] std::string_view alpn() const;     // "postgresql" or empty; required for TLS without SSLRequest
  [[nodiscard]] std::string_view version() const;  // "TLSv1.3"
  [[nodiscard]] std::string_view cipher() const;   // "TLS_AES_256_GCM_SHA384"
  // tls-server-end-point (RFC 5929): the digest of the server's certificate, which is ours on the server's side. None
  // for certificates whose signature names no digest (Ed25519): then there is no channel binding.
  [[nodiscard]] std::optional<std::vector<std::byte>> end_point() const;

 private:
  struct Impl;
  explicit TlsEngine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace holdfast::protocol
