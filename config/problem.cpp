#include "config/problem.hpp"

#include <algorithm>
#include <tuple>

namespace holdfast::config {

std::string printable(std::string_view text, std::size_t limit) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string result;
  for (const char c : text.substr(0, limit)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      result += "\\x";
      result += digits[byte >> 4U];
      result += digits[byte & 15U];
    } else {
      result += c;
    }
  }
  if (text.size() > limit) result += "…";
  return result;
}

std::string to_string(const Problem& problem) {
  std::string result = printable(problem.file, 4096);
  if (problem.line != 0) {
    result += ':' + std::to_string(problem.line);
    if (problem.column != 0) result += ':' + std::to_string(problem.column);
  }
  if (!result.empty()) result += ": ";
  if (!problem.key.empty()) result += printable(problem.key) + ": ";
  return result + printable(problem.message, 4096);
}

std::ostream& operator<<(std::ostream& out, const Problem& problem) {
  return out << to_string(problem);
}

void sort_by_place(Problems& problems) {
  std::ranges::sort(problems, {}, [](const Problem& problem) {
    return std::tie(problem.file, problem.line, problem.column, problem.key, problem.message);
  });
}

Place Origins::find(std::string_view path) const {
  while (!path.empty()) {
    if (const auto found = places.find(path); found != places.end()) return found->second;
    const auto cut = path.find_last_of(".[");
    path = cut == std::string_view::npos ? std::string_view{} : path.substr(0, cut);
  }
  return {};
}

std::string join(std::string_view path, std::string_view name) {
  const bool plain = !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
           c == '*';
  });
  std::string result(path);
  if (plain) return result.empty() ? std::string(name) : result + '.' + std::string(name);
  return result + "[\"" + printable(name, 64) + "\"]";
}

std::string join(std::string_view path, std::size_t index) {
  return std::string(path) + '[' + std::to_string(index) + ']';
}

}  // namespace holdfast::config
