#include "protocol/sql/reset.hpp"

#include <algorithm>
#include <cctype>
#include <utility>

#include "protocol/sql/words.hpp"

namespace holdfast::protocol::sql {
namespace {

// Nothing follows but a semicolon.
bool ends(Words& words) {
  auto end = words.next();
  if (end == ";") end = words.next();
  return end.empty();
}

// `word`: in lower case.
bool contains(std::string_view sql, std::string_view word) {
  const auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  return std::ranges::search(sql, word, same).begin() != sql.end();
}

}  // namespace

std::string reset_setting(std::string_view sql) {
  Words words(sql);
  const auto verb = words.next();
  std::string name = words.next();
  if (verb == "discard") {
    if (name != "all") return {};
    name = everything;
  } else if (verb == "reset") {
    if (name == "time" && words.next() == "zone") name = "timezone";
    if (name == "session") {
      if (words.next() != "authorization") return {};
      name = "session_authorization";
    }
  } else if (verb == "set") {
    if (name == "session") name = words.next();
    if (name == "local") return {};
    auto sign = words.next();
    if (name == "authorization" && sign == "default") return ends(words) ? "session_authorization" : std::string();
    if (name == "names" && (sign.empty() || sign == ";" || sign == "default")) {
      return sign != "default" || ends(words) ? "client_encoding" : std::string();
    }
    if (name == "time" && sign == "zone") {
      name = "timezone";
    } else if (sign != "=" && sign != "to") {
      return {};
    }
    const auto value = words.next();
    if (value != "default" && !(sign == "zone" && value == "local")) return {};
  } else {
    return {};
  }
  return ends(words) ? name : std::string();
}

bool may_reset(std::string_view sql) {
  for (const std::string_view word : {"reset", "default", "discard", "names", "zone"})
    if (contains(sql, word)) return true;
  return false;
}

bool may_reset_role(std::string_view sql) {
  return contains(sql, "role") || contains(sql, "authorization") || contains(sql, "discard");
}

std::optional<std::string> deallocated_name(std::string_view sql) {
  Words words(sql);
  if (words.next() != "deallocate") return std::nullopt;
  std::string name = words.next();
  auto end = words.next();
  if (name == "prepare" && !end.empty() && end != ";") {
    name = std::move(end);
    end = words.next();
  }
  if (name == "all" || name.empty()) return std::nullopt;
  if (end == ";") end = words.next();
  return end.empty() ? std::optional(std::move(name)) : std::nullopt;
}

}  // namespace holdfast::protocol::sql
