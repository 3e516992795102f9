#include "protocol/sql/custom_settings.hpp"

#include <algorithm>
#include <cctype>
#include <optional>
#include <string>

#include "protocol/sql/words.hpp"

namespace holdfast::protocol::sql {
namespace {

bool is_custom(std::string_view name) {
  return name.find('.') != std::string_view::npos;
}

bool is_string(std::string_view word) {
  return word.size() > 1 && word.front() == '\'';
}

// The name in a literal, in lower case; nothing if it can't be read.
std::optional<std::string> name_in(std::string_view word) {
  if (!is_string(word) || word.back() != '\'' || word.size() < 2) return std::nullopt;
  std::string name(word.substr(1, word.size() - 2));
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

bool ends(std::string_view word) {
  return word.empty() || word == ";";
}

// set_config('app.user', 'x', true) with nothing but constants, casts and parameters in it. Behind the name of the
// function; false: it is something else.
bool read_set_config(Words& words, CustomSettings& made) {
  if (words.next() != "(") return false;
  const auto name = name_in(words.next());
  if (!name) return false;
  for (int commas = 0;;) {
    const auto word = words.next();
    if (word.empty() || word == "(" || word == ";") return false;
    if (word == ",") ++commas;
    const bool known = is_string(word) || word == "true" || word == "false" || word == "null" || word == "," ||
                       word == ":" || word == "text" || word == "bool" || word == "boolean" || word.front() == '$';
    if (word == ")") {
      if (commas != 2) return false;
      break;
    }
    if (!known) return false;
  }
  if (is_custom(*name)) {
    made.names.add(*name);
  } else {
    made.others = true;
  }
  return true;
}

// SELECT set_config(…) [AS x], …: behind the SELECT.
bool read_select(Words& words, CustomSettings& made) {
  CustomSettings here = made;
  for (;;) {
    const auto function = words.next();
    if (function != "set_config" && function != "pg_catalog.set_config") return false;
    if (!read_set_config(words, here)) return false;
    auto word = words.next();
    if (word == "as") {
      words.next();
      word = words.next();
    }
    if (word == ",") continue;
    if (!ends(word)) return false;
    made = here;
    return true;
  }
}

// SET [LOCAL | SESSION] app.user = …: behind the SET.
bool read_set(Words& words, CustomSettings& made) {
  auto name = words.next();
  if (name == "local" || name == "session") name = words.next();
  const auto sign = words.next();
  if (sign != "=" && sign != "to") return false;
  for (auto word = words.next(); !ends(word); word = words.next()) {
    if (word == "'?") return false;
  }
  if (is_custom(name)) {
    made.names.add(name);
  } else {
    made.others = true;
  }
  return true;
}

}  // namespace

CustomSettings custom_settings_made(std::string_view sql) {
  CustomSettings made;
  Words words(sql);
  for (;;) {
    auto word = words.next();
    if (word.empty()) break;
    if (word == ";") continue;
    if (word == "begin" || word == "start") {
      while (!ends(word)) word = words.next();
    } else if (word == "set") {
      if (!read_set(words, made)) return made;
    } else if (word != "select" || !read_select(words, made)) {
      return made;
    }
  }
  made.whole = true;
  return made;
}

CustomNames custom_settings_asked(std::string_view sql) {
  CustomNames asked;
  Words words(sql);
  bool found = false;
  for (auto word = words.next(); !word.empty(); word = words.next()) {
    if (word == "show") {
      const auto name = words.next();
      found = true;
      if (is_custom(name)) asked.add(name);
    } else if (word == "current_setting" || word.ends_with(".current_setting")) {
      words.next();
      const auto name = name_in(words.next());
      auto behind = words.next();  // it may go on: 'app' || '.user'
      if (behind == ":" && words.next() == ":" && words.next() == "text") behind = words.next();
      found = true;
      if (!name || (behind != "," && behind != ")")) {
        asked.add_unknown();
      } else if (is_custom(*name)) {
        asked.add(*name);
      }
    } else if (word.find("current_setting") != std::string::npos || word == "'?") {
      asked.add_unknown();
    }
  }
  if (!found) asked.add_unknown();  // it is written in another way
  return asked;
}

}  // namespace holdfast::protocol::sql
