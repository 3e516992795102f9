// Unpredictable bytes: nonces, salts, cancel keys.
#pragma once

#include <string>

#include "protocol/bytes.hpp"
#include "protocol/error.hpp"

namespace holdfast::protocol {

// Fills `out` from OpenSSL's CSPRNG (RAND_bytes, seeded by the kernel, safe across fork and from any thread).
// An error means that the generator can't be trusted: refuse the operation that needed the bytes.
[[nodiscard]] Result<void> secure_random(MutableBytes out);

// 18 random bytes as 24 base64 characters: a SCRAM nonce of the size PostgreSQL uses (SCRAM_RAW_NONCE_LEN).
[[nodiscard]] Result<std::string> random_nonce();

}  // namespace holdfast::protocol
