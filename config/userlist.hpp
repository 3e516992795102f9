// The users' file, in the format of PgBouncer's userlist.txt (its manual, "Authentication file format"):
//   "name" "secret"     ; a comment
// A quote inside is doubled. `secret` is a SCRAM verifier as in pg_authid.rolpassword
// (SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>) or a password in clear.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/model.hpp"
#include "config/problem.hpp"

namespace holdfast::config {

// Why a user's secret can't be used, without showing it; nothing if it is a password or a whole SCRAM verifier.
[[nodiscard]] std::optional<std::string> judge_secret(std::string_view secret);

// `file` names the text in problems. All errors at once, none of which shows a secret. md5 hashes are refused: SCRAM
// can't be verified from them.
[[nodiscard]] std::expected<std::vector<Credential>, Problems> parse_userlist(std::string_view text,
                                                                              const std::string& file);

}  // namespace holdfast::config
