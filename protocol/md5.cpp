#include "protocol/md5.hpp"

#include <openssl/evp.h>

#include <array>

namespace holdfast::protocol {
namespace {

// 32 hexadecimal digits of md5(first second).
Result<std::string> md5_hex(std::string_view first, Bytes second) {
  std::string input(first);
  input.append(as_text(second));
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_Digest(input.data(), input.size(), digest.data(), &size, EVP_md5(), nullptr) != 1 || size != 16) {
    return fail(sqlstate::feature_not_supported, "MD5 is not available in this build of OpenSSL");
  }
  std::string text;
  for (unsigned i = 0; i < size; ++i) {
    text.push_back("0123456789abcdef"[digest[i] >> 4U]);
    text.push_back("0123456789abcdef"[digest[i] & 0xfU]);
  }
  return text;
}

}  // namespace

Result<std::string> md5_response(std::string_view user, std::string_view password, Bytes salt) {
  auto stored = md5_hex(password, as_bytes(user));
  if (!stored) return stored;
  auto salted = md5_hex(*stored, salt);
  if (!salted) return salted;
  return "md5" + *salted;
}

}  // namespace holdfast::protocol
