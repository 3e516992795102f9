// Settings: the input, split at NULs, is names and values of two clients (an empty name changes the client). Going from
// the one's settings to the other's and back must be readable SQL that does just that.
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/parameters.hpp"
#include "protocol/reported.hpp"
#include "tests/fuzz/check.hpp"
#include "tests/protocol/set_config_reader.hpp"

using namespace holdfast::protocol;

namespace {

void check_reported(const std::vector<Parameter>& all) {
  ReportedTable table;
  ReportedRef set;
  std::map<std::string, std::string> expected;
  for (const auto& [name, value] : all) {
    const auto next = table.with(set, name, value);
    if (!next) continue;
    set = *next;
    expected[name] = value;
    FUZZ_CHECK(set.find(name) != nullptr && *set.find(name) == value);
  }
  std::map<std::string, std::string> told;
  difference({}, set, RoleReports::pass,
             [&](std::string_view name, std::string_view value) { FUZZ_CHECK(told.emplace(name, value).second); });
  FUZZ_CHECK(told == expected);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::vector<Parameter> of[2];
  std::vector<Parameter> all;
  std::size_t client = 0;
  const auto word = [&rest] {
    const auto found = rest.substr(0, rest.find('\0'));
    rest.remove_prefix(std::min(found.size() + 1, rest.size()));
    return std::string(found);
  };
  while (!rest.empty()) {
    std::string name = word();
    if (name.empty()) {
      client = 1 - client;
      continue;
    }
    of[client].push_back({std::move(name), word()});
    all.push_back(of[client].back());
  }
  SettingsTable table;
  const SettingsRef sets[] = {{}, table.intern(of[0]), table.intern(of[1])};
  std::map<std::string, std::string> server;
  SettingsRef now;
  for (const std::size_t next : {1U, 2U, 1U, 0U, 2U, 0U}) {
    FUZZ_CHECK(holdfast::protocol::testing::run_set_config(change_settings(now, sets[next]), server));
    now = sets[next];
    FUZZ_CHECK(server.size() == now.parameters().size());
    for (const auto& [name, value] : now.parameters()) FUZZ_CHECK(server.at(name) == value && *now.find(name) == value);
  }
  check_reported(all);
  return 0;
}
