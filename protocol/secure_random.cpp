#include "protocol/secure_random.hpp"

#include <openssl/rand.h>

#include <array>

#include "protocol/base64.hpp"

namespace holdfast::protocol {

Result<void> secure_random(MutableBytes out) {
  if (RAND_bytes(reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(out.size())) != 1) {
    return fail(sqlstate::internal_error, "the random number generator of OpenSSL is not usable");
  }
  return {};
}

Result<std::string> random_nonce() {
  std::array<std::byte, 18> raw{};
  if (auto filled = secure_random(raw); !filled) return std::unexpected(filled.error());
  return base64_encode(raw);
}

}  // namespace holdfast::protocol
