#include "config/userlist.hpp"

#include <algorithm>
#include <map>
#include <optional>

#include "config/units.hpp"

namespace holdfast::config {

namespace {

constexpr std::string_view verifier_prefix = "SCRAM-SHA-256$";

bool is_md5(std::string_view secret) {
  return secret.size() == 35 && secret.starts_with("md5") &&
         secret.substr(3).find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_base64(std::string_view text, std::size_t decoded) {
  static constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.empty() || text.size() % 4 != 0) return false;
  std::size_t padding = 0;
  while (padding < 2 && text.ends_with('=')) {
    text.remove_suffix(1);
    ++padding;
  }
  if (text.find_first_not_of(alphabet) != std::string_view::npos) return false;
  return decoded == 0 || (text.size() + padding) / 4 * 3 - padding == decoded;
}

// SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>, keys of 32 bytes (PostgreSQL's scram-common.c,
// parse_scram_secret in auth-scram.c)
bool is_verifier(std::string_view secret) {
  secret.remove_prefix(verifier_prefix.size());
  const auto dollar = secret.find('$');
  if (dollar == std::string_view::npos) return false;
  const auto first = secret.substr(0, dollar);
  const auto second = secret.substr(dollar + 1);
  const auto salt = first.find(':');
  const auto server = second.find(':');
  if (salt == std::string_view::npos || server == std::string_view::npos) return false;
  const auto iterations = parse_integer(first.substr(0, salt));
  return iterations && *iterations > 0 && *iterations <= 0x7fffffff && is_base64(first.substr(salt + 1), 0) &&
         is_base64(second.substr(0, server), 32) && is_base64(second.substr(server + 1), 32);
}

class Reader {
 public:
  Reader(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  std::expected<std::vector<Credential>, Problems> run() {
    while (!text_.empty()) {
      const auto end = text_.find('\n');
      auto line = text_.substr(0, end);
      text_.remove_prefix(end == std::string_view::npos ? text_.size() : end + 1);
      if (line.ends_with('\r')) line.remove_suffix(1);
      ++number_;
      read_line(line);
    }
    if (!problems_.empty()) return std::unexpected(std::move(problems_));
    return std::move(result_);
  }

 private:
  void complain(std::size_t column, std::string message) {
    problems_.push_back({file_, number_, static_cast<unsigned>(column + 1), "", std::move(message)});
  }

  static void skip_blanks(std::string_view line, std::size_t& at) {
    while (at < line.size() && (line[at] == ' ' || line[at] == '\t')) ++at;
  }

  // "…" with quotes doubled inside; moves `at` behind it. Nothing: complained.
  std::optional<std::string> quoted(std::string_view line, std::size_t& at, std::string_view what) {
    const auto start = at;
    if (at >= line.size() || line[at] != '"') {
      complain(at, "the " + std::string(what) + " in double quotes is missing here: a line is \"name\" \"secret\"");
      return std::nullopt;
    }
    std::string value;
    for (++at; at < line.size(); ++at) {
      if (line[at] != '"') {
        value += line[at];
      } else if (at + 1 < line.size() && line[at + 1] == '"') {
        value += line[at++];
      } else {
        ++at;
        return value;
      }
    }
    complain(start, "the " + std::string(what) + "'s closing quote is missing; a quote inside is written twice");
    return std::nullopt;
  }

  void read_line(std::string_view line) {
    std::size_t at = 0;
    skip_blanks(line, at);
    if (at == line.size() || line[at] == ';' || line[at] == '#') return;
    const auto name_at = at;
    auto name = quoted(line, at, "name");
    if (!name) return;
    skip_blanks(line, at);
    const auto secret_at = at;
    auto secret = quoted(line, at, "secret");
    if (!secret) return;
    skip_blanks(line, at);
    if (at < line.size() && line[at] != ';' && line[at] != '#') {
      // PgBouncer ignores what follows; here it is more likely a quote that was not doubled.
      return complain(at, "nothing but a comment may follow the secret; a quote inside it is written twice");
    }
    if (!check(*name, name_at, *secret, secret_at)) return;
    result_.push_back({*std::move(name), Secret(*std::move(secret))});
  }

  bool check(const std::string& name, std::size_t name_at, const std::string& secret, std::size_t secret_at) {
    const auto before = problems_.size();
    const auto has_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
    if (name.empty()) complain(name_at, "the name is empty");
    if (std::ranges::any_of(name, has_control)) complain(name_at, "the name contains control characters");
    const auto [earlier, fresh] = lines_.emplace(name, number_);
    if (!fresh) {
      complain(name_at, "user '" + printable(name, 64) + "' is given twice; the first is in line " +
                            std::to_string(earlier->second));
    }
    if (const auto wrong = judge_secret(secret)) complain(secret_at, *wrong);
    return problems_.size() == before;
  }

  std::string_view text_;
  const std::string& file_;
  unsigned number_ = 0;
  std::map<std::string, unsigned, std::less<>> lines_;
  std::vector<Credential> result_;
  Problems problems_;
};

}  // namespace

std::optional<std::string> judge_secret(std::string_view secret) {
  if (secret.empty()) return "the secret is empty: no client could log in with it";
  if (secret.find('\0') != std::string_view::npos) return "the secret contains a NUL byte";
  if (is_md5(secret)) {
    return "this is an md5 hash, and SCRAM can't be verified from one: set password_encryption to scram-sha-256, set "
           "the role's password again and copy its verifier from pg_authid.rolpassword";
  }
  if (secret.starts_with(verifier_prefix) && !is_verifier(secret)) {
    return "this SCRAM verifier is damaged: it must be SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>";
  }
  return std::nullopt;
}

std::expected<std::vector<Credential>, Problems> parse_userlist(std::string_view text, const std::string& file) {
  return Reader(text, file).run();
}

}  // namespace holdfast::config
