// PostgreSQL's old password hash, for servers that still ask for it (manual, 55.2.1, AuthenticationMD5Password).
#pragma once

#include <string>
#include <string_view>

#include "protocol/bytes.hpp"
#include "protocol/error.hpp"

namespace holdfast::protocol {

// The PasswordMessage that answers AuthenticationMD5Password: "md5" and the 32 hexadecimal digits of
// md5(md5(password user) salt). Fails where OpenSSL has no MD5 (FIPS).
[[nodiscard]] Result<std::string> md5_response(std::string_view user, std::string_view password, Bytes salt);

}  // namespace holdfast::protocol
