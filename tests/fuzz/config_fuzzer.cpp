// Hostile configurations and users' files. Byte 0 chooses which, the rest is the text. Whatever the text, there is a
// Config or a list of problems that can be printed; a Config is equal to itself in a diff and adopts itself.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "config/diff.hpp"
#include "config/load.hpp"
#include "config/userlist.hpp"
#include "tests/fuzz/check.hpp"

using namespace holdfast::config;

namespace {

void check_problems(const Problems& problems) {
  FUZZ_CHECK(!problems.empty());
  for (const auto& problem : problems) {
    FUZZ_CHECK(!problem.message.empty());
    for (const char c : to_string(problem)) FUZZ_CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  }
}

void fuzz_yaml(std::string_view text) {
  const auto loaded = load_text(text, "fuzz.yaml");
  if (!loaded) return check_problems(loaded.error());
  const auto& config = loaded->config;
  FUZZ_CHECK(!config.listeners.empty() && !config.clusters.empty() && !config.databases.empty());
  FUZZ_CHECK(diff(config, config).empty());
  FUZZ_CHECK(adopt(config, config) == config);
  for (const auto& database : config.databases) FUZZ_CHECK(config.find_cluster(database.cluster) != nullptr);
}

void fuzz_userlist(std::string_view text) {
  const auto users = parse_userlist(text, "userlist.txt");
  if (!users) return check_problems(users.error());
  // What was read can be written and read again.
  const auto quote = [](std::string_view word) {
    std::string result = "\"";
    for (const char c : word) result += c == '"' ? std::string("\"\"") : std::string(1, c);
    return result + '"';
  };
  std::string written;
  for (const auto& user : *users) written += quote(user.user) + ' ' + quote(user.secret.reveal()) + '\n';
  const auto again = parse_userlist(written, "userlist.txt");
  FUZZ_CHECK(again && *again == *users);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (data[0] == 'u') {
    fuzz_userlist(text);
  } else {
    fuzz_yaml(text);
  }
  return 0;
}
