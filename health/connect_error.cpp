#include "health/connect_error.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <sstream>
#include <string_view>

namespace holdfast::health {

namespace {

bool says(std::string_view message, int error) {
  return message.find(std::strerror(error)) != std::string_view::npos;  // NOLINT(concurrency-mt-unsafe): static texts
}

// "…: FATAL:  57P03"; the severity may be in the server's language.
std::optional<std::string_view> sqlstate_of(std::string_view line) {
  constexpr std::size_t length = 5;
  constexpr std::string_view separator = ":  ";
  if (line.size() < length + separator.size()) return std::nullopt;
  const std::string_view state = line.substr(line.size() - length);
  const bool shaped =
      std::all_of(state.begin(), state.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z'); });
  if (!shaped || !line.substr(0, line.size() - length).ends_with(separator)) return std::nullopt;
  return state;
}

Grade grade_sqlstate(std::string_view state) {
  if (state.starts_with("57P")) return Grade::starting;  // starting, recovering, shutting down
  if (state.starts_with("53")) return Grade::too_many;   // slots, memory, disk: short of something, but alive
  return Grade::auth;
}

}  // namespace

Grade grade_connect_error(const std::string& message) {
  // With sslmode=prefer or allow there is a line per attempt; what the server said last counts most.
  std::optional<Grade> by_state;
  std::istringstream lines(message);
  for (std::string line; std::getline(lines, line);) {
    if (const auto state = sqlstate_of(line)) by_state = grade_sqlstate(*state);
  }
  if (by_state) return *by_state;

  for (const int ours : {EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL}) {
    if (says(message, ours)) return Grade::own_shortage;
  }
  if (says(message, ECONNREFUSED)) return Grade::refused;
  if (says(message, ENOENT) && message.find("on socket \"") != std::string::npos) return Grade::refused;
  for (const std::string_view tls : {"SSL", "certificate", "private key"}) {
    if (message.find(tls) != std::string::npos) return Grade::tls;
  }
  for (const std::string_view login : {"no password supplied", "SCRAM", "authentication method"}) {
    if (message.find(login) != std::string::npos) return Grade::auth;
  }
  return Grade::unreachable;
}

}  // namespace holdfast::health
