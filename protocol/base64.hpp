// Base64 as SCRAM needs it: RFC 4648, section 4, and strict.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/bytes.hpp"

namespace holdfast::protocol {

[[nodiscard]] std::string base64_encode(Bytes bytes);

// nullopt for whitespace, missing or misplaced padding, foreign characters, or a last character whose unused bits are
// not zero. Each value has exactly one text, so texts can be compared instead of values.
[[nodiscard]] std::optional<std::vector<std::byte>> base64_decode(std::string_view text);

}  // namespace holdfast::protocol
