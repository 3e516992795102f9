// Shared by tls_context.cpp and tls_engine.cpp. Includes OpenSSL's headers: include this file nowhere else.
#pragma once

#include <openssl/bio.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "protocol/tls_engine.hpp"

namespace holdfast::protocol {
namespace tls {

enum class Side : std::uint8_t { server, client };

template <auto free_function>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    free_function(object);
  }
};
using BioMethod = std::unique_ptr<BIO_METHOD, Free<BIO_meth_free>>;
using Context = std::unique_ptr<SSL_CTX, Free<SSL_CTX_free>>;
using Session = std::unique_ptr<SSL, Free<SSL_free>>;

// Empties OpenSSL's error queue of this thread and returns it as text.
[[nodiscard]] std::string openssl_reason();
// A BIO between an SSL and a Queues, which is its data.
[[nodiscard]] BioMethod make_queue_bio();

// A queue of bytes. It owns no memory while empty: an idle connection costs nothing here.
class ByteQueue {
 public:
  [[nodiscard]] Bytes view() const { return Bytes(bytes_).subspan(start_); }
  [[nodiscard]] bool empty() const { return start_ == bytes_.size(); }

  void append(Bytes bytes) {
    // Consumed bytes are removed once they are the larger part: each byte moves at most once.
    if (start_ > bytes_.size() / 2) {
      bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(start_));
      start_ = 0;
    }
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  void consume(std::size_t count) {
    start_ += std::min(count, bytes_.size() - start_);
    if (!empty()) return;
    std::vector<std::byte>().swap(bytes_);  // `= {}` would keep the memory
    start_ = 0;
  }
  [[nodiscard]] std::size_t memory() const { return bytes_.capacity(); }

 private:
  std::vector<std::byte> bytes_;
  std::size_t start_ = 0;
};

struct Queues {
  ByteQueue incoming;
  ByteQueue outgoing;
};

}  // namespace tls

struct TlsContext::Impl {
  static Result<std::unique_ptr<Impl>> make(tls::Side side);

  tls::Side side = tls::Side::server;
  Verify verify = Verify::none;
  tls::BioMethod queue_bio;  // outlives every SSL: engines keep the context
  tls::Context context;
};

}  // namespace holdfast::protocol
