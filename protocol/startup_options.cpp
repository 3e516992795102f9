// `options` of a StartupMessage: a backend's command line.
#include <cstdlib>
#include <utility>

#include "protocol/startup.hpp"

namespace holdfast::protocol {
namespace {

constexpr SqlState syntax_error{"42601"};
constexpr SqlState undefined_object{"42704"};

// As isspace() in the C locale, which is what a server uses here.
bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// pg_split_opts (src/backend/utils/init/postinit.c). A backslash at the very end escapes nothing and is dropped.
std::vector<std::string> split_options(std::string_view text) {
  std::vector<std::string> arguments;
  std::size_t i = 0;
  while (true) {
    while (i < text.size() && is_space(text[i])) ++i;
    if (i == text.size()) return arguments;
    std::string argument;
    bool escaped = false;
    for (; i < text.size() && (escaped || !is_space(text[i])); ++i) {
      if (!escaped && text[i] == '\\') {
        escaped = true;
      } else {
        escaped = false;
        argument.push_back(text[i]);
      }
    }
    arguments.push_back(std::move(argument));
  }
}

// "name=value" of a switch; `shown` is the switch as PostgreSQL's message quotes it.
Result<StartupParameter> parse_assignment(std::string_view text, std::string_view shown) {
  const auto equals = text.find('=');
  if (equals == std::string_view::npos) {
    return fail(syntax_error, std::string(shown).append(text).append(" requires a value"));
  }
  if (equals == 0) return fail(undefined_object, "unrecognized configuration parameter \"\"");
  StartupParameter parameter{.name = std::string(text.substr(0, equals)),
                             .value = std::string(text.substr(equals + 1))};
  for (char& c : parameter.name) {
    if (c == '-') c = '_';
  }
  return parameter;
}

// The switches of process_postgres_switches (src/backend/tcop/postgres.c, version 15), which a client may send as well.
// Those without a setting are ignored, or are heeded only when they come from the operating system's command line.
struct Switch {
  char letter;
  bool takes_value;
  const char* name = nullptr;   // of the setting
  const char* value = nullptr;  // null: the switch's own
};
constexpr Switch switches[] = {
    {'c', true},
    {'-', true},
    {'d', true},
    {'f', true},
    {'t', true},
    {'B', true, "shared_buffers"},
    {'N', true, "max_connections"},
    {'S', true, "work_mem"},
    {'W', true, "post_auth_delay"},
    {'h', true, "listen_addresses"},
    {'k', true, "unix_socket_directories"},
    {'p', true, "port"},
    {'F', false, "fsync", "false"},
    {'O', false, "allow_system_table_mods", "true"},
    {'P', false, "ignore_system_indexes", "true"},
    {'e', false, "datestyle", "euro"},
    {'i', false, "listen_addresses", "*"},
    {'l', false, "ssl", "true"},
    {'s', false, "log_statement_stats", "true"},
    {'C', true},
    {'D', true},
    {'r', true},
    {'v', true},
    {'E', false},
    {'T', false},
    {'b', false},
    {'j', false},
    {'n', false},
};

const Switch* find_switch(char letter) {
  for (const Switch& known : switches) {
    if (known.letter == letter) return &known;
  }
  return nullptr;
}

// set_debug_options.
void set_debug_options(std::string_view text, std::vector<StartupParameter>& parameters) {
  // As atoi() reads it; no level is higher than 5, but PostgreSQL says so, not we.
  const int level = std::atoi(std::string(text).c_str());
  parameters.push_back({.name = "log_min_messages", .value = level > 0 ? "debug" + std::to_string(level) : "notice"});
  if (level >= 2) parameters.push_back({.name = "log_statement", .value = "all"});
  if (level >= 3) parameters.push_back({.name = "debug_print_parse", .value = "true"});
  if (level >= 4) parameters.push_back({.name = "debug_print_plan", .value = "true"});
  if (level >= 5) parameters.push_back({.name = "debug_print_rewritten", .value = "true"});
}

// set_plan_disabling_options: only the first letter counts.
const char* plan_setting(char letter) {
  switch (letter) {
    case 's': return "enable_seqscan";
    case 'i': return "enable_indexscan";
    case 'o': return "enable_indexonlyscan";
    case 'b': return "enable_bitmapscan";
    case 't': return "enable_tidscan";
    case 'n': return "enable_nestloop";
    case 'm': return "enable_mergejoin";
    case 'h': return "enable_hashjoin";
    default: return nullptr;
  }
}

// get_stats_option_name.
const char* stats_setting(std::string_view text) {
  if (text.starts_with("pa")) return "log_parser_stats";
  if (text.starts_with("pl")) return "log_planner_stats";
  if (text.starts_with("e")) return "log_executor_stats";
  return nullptr;
}

// A switch with a value, other than -c and --. False: PostgreSQL doesn't know the value.
bool apply_switch(const Switch& known, std::string_view value, std::vector<StartupParameter>& parameters) {
  const char* name = known.name;
  std::string setting(value);
  switch (known.letter) {
    case 'd': set_debug_options(value, parameters); return true;
    case 'f':
      name = value.empty() ? nullptr : plan_setting(value[0]);
      setting = "false";
      break;
    case 't':
      name = stats_setting(value);
      setting = "true";
      break;
    default:
      if (name == nullptr) return true;
  }
  if (name == nullptr) return false;
  parameters.push_back({.name = name, .value = std::move(setting)});
  return true;
}

std::unexpected<Error> invalid_argument(std::string_view argument) {
  return fail(syntax_error, "invalid command-line argument for server process: " + std::string(argument));
}

}  // namespace

Result<std::vector<StartupParameter>> parse_options(std::string_view options) {
  const auto arguments = split_options(options);
  std::vector<StartupParameter> parameters;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view argument = arguments[i];
    // As getopt() does: "--" ends the switches, and the first argument that is none is the invalid one.
    if (argument == "--" && i + 1 == arguments.size()) break;
    if (argument == "--" || argument.size() < 2 || argument[0] != '-') {
      return invalid_argument(argument == "--" ? arguments[i + 1] : argument);
    }
    // One argument may hold several switches; the first that takes a value takes the rest, or else the next argument,
    // whatever that looks like.
    for (std::size_t at = 1; at < arguments[i].size(); ++at) {
      const char letter = argument[at];
      const Switch* known = find_switch(letter);
      if (known == nullptr) return invalid_argument(argument);
      if (!known->takes_value) {
        if (known->name != nullptr) parameters.push_back({.name = known->name, .value = known->value});
        continue;
      }
      if (at + 1 == argument.size() && i + 1 == arguments.size()) return invalid_argument(argument);
      const std::string_view value = at + 1 < argument.size() ? argument.substr(at + 1) : arguments[++i];
      if (letter == 'c' || letter == '-') {
        auto parameter = parse_assignment(value, letter == 'c' ? "-c " : "--");
        if (!parameter) return std::unexpected(std::move(parameter.error()));
        parameters.push_back(*std::move(parameter));
      } else if (!apply_switch(*known, value, parameters)) {
        return invalid_argument(arguments[i]);
      }
      break;
    }
  }
  return parameters;
}

}  // namespace holdfast::protocol
