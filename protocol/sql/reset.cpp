#include "protocol/sql/reset.hpp"

#include <utility>

#include "protocol/sql/words.hpp"

namespace holdfast::protocol::sql {

std::string reset_setting(std::string_view sql) {
  Words words(sql);
  const auto verb = words.next();
  std::string name = words.next();
  if (verb == "discard") {
    if (name != "all") return {};
  } else if (verb == "reset") {
    if (name == "time" && words.next() == "zone") name = "timezone";
  } else if (verb == "set") {
    if (name == "session") name = words.next();
    if (name == "local") return {};
    auto sign = words.next();
    if (name == "time" && sign == "zone") {
      name = "timezone";
    } else if (sign != "=" && sign != "to") {
      return {};
    }
    if (words.next() != "default") return {};
  } else {
    return {};
  }
  auto end = words.next();
  if (end == ";") end = words.next();
  return end.empty() ? name : std::string();
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
