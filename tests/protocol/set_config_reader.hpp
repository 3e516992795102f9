// Reads what change_settings() writes, strictly, as PostgreSQL's scanner would (scan.l: '…' and E'…').
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace holdfast::protocol::testing {

class SetConfigReader {
 public:
  explicit SetConfigReader(std::string_view sql) : sql_(sql) {}

  bool take(std::string_view text) {
    if (!sql_.starts_with(text)) return false;
    sql_.remove_prefix(text.size());
    return true;
  }
  [[nodiscard]] bool at_end() const { return sql_.empty(); }

  // A literal that reads the same whatever standard_conforming_strings says: no backslash outside of E''.
  std::optional<std::string> literal() {
    const bool escapes = take(" E'");
    if (!escapes && !take("'")) return std::nullopt;
    std::string value;
    while (!sql_.empty()) {
      if (take("''")) {
        value += '\'';
      } else if (take("'")) {
        return value;
      } else if (sql_.front() == '\\') {
        if (!escapes) return std::nullopt;
        if (take("\\\\")) {
          value += '\\';
        } else if (sql_.size() < 4 || !take("\\x")) {
          return std::nullopt;
        } else {
          value += static_cast<char>(std::stoi(std::string(sql_.substr(0, 2)), nullptr, 16));
          sql_.remove_prefix(2);
        }
      } else {
        if (static_cast<unsigned char>(sql_.front()) > 127) return std::nullopt;
        value += sql_.front();
        sql_.remove_prefix(1);
      }
    }
    return std::nullopt;
  }

 private:
  std::string_view sql_;
};

// Applies the statement to the settings. False if it is anything but a list of set_config() calls.
inline bool run_set_config(std::string_view sql, std::map<std::string, std::string>& settings) {
  if (sql.empty()) return true;
  SetConfigReader reader(sql);
  if (!reader.take("SELECT ")) return false;
  do {
    if (!reader.take("pg_catalog.set_config(")) return false;
    const auto name = reader.literal();
    if (!name || !reader.take(",")) return false;
    if (reader.take("NULL")) {
      settings.erase(*name);
    } else if (auto value = reader.literal(); value) {
      settings[*name] = *value;
    } else {
      return false;
    }
    if (!reader.take(",false) IS NULL")) return false;
  } while (reader.take(","));
  return reader.at_end();
}

}  // namespace holdfast::protocol::testing
