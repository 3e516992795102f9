// Which settings of an application's own (app.user) a text makes or asks for: names are literals mostly, which no shape
// has. Read only where somebody else's settings are on the server: by far most texts never come here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

namespace holdfast::protocol::sql {

// A few names, as hashes; or too many, or some that nobody knows. Thread: any; a plain value.
class CustomNames {
 public:
  // In lower case: PostgreSQL compares names so (guc_name_compare, src/backend/utils/misc/guc.c).
  void add(std::string_view name) { add(std::hash<std::string_view>{}(name)); }
  void add(const CustomNames& others) {
    for (std::size_t i = 0; i < others.size(); ++i) add(others.names_[i]);
    if (others.unknown()) add_unknown();
  }
  void add_unknown() { held_ |= some_unknown; }
  void clear() { *this = {}; }

  [[nodiscard]] bool empty() const { return held_ == 0; }
  // All of `others` are among them.
  [[nodiscard]] bool cover(const CustomNames& others) const {
    if (others.unknown()) return false;
    for (std::size_t i = 0; i < others.size(); ++i) {
      if (!has(others.names_[i])) return false;
    }
    return true;
  }
  // Some of `others` may be among them.
  [[nodiscard]] bool meet(const CustomNames& others) const {
    if (empty() || others.empty()) return false;
    if (unknown() || others.unknown()) return true;
    for (std::size_t i = 0; i < others.size(); ++i) {
      if (has(others.names_[i])) return true;
    }
    return false;
  }

 private:
  static constexpr std::size_t most = 6;
  static constexpr std::uint8_t some_unknown = 0x80;

  [[nodiscard]] std::size_t size() const { return held_ & ~some_unknown; }
  [[nodiscard]] bool unknown() const { return (held_ & some_unknown) != 0; }
  [[nodiscard]] bool has(std::size_t name) const {
    for (std::size_t i = 0; i < size(); ++i) {
      if (names_[i] == name) return true;
    }
    return false;
  }
  void add(std::size_t name) {
    if (has(name)) return;
    if (size() == most) {
      add_unknown();
    } else {
      names_[size()] = name;
      ++held_;
    }
  }

  std::array<std::size_t, most> names_{};
  std::uint8_t held_ = 0;  // how many, and whether there are others: empty() is asked for every answer
};

struct CustomSettings {
  CustomNames names;    // that the text makes, for certain and before it does anything that could ask for them
  bool whole = false;   // it does nothing else: it consists of BEGIN, SET and SELECT set_config(…)
  bool others = false;  // … and sets some of PostgreSQL's own settings as well
};
// BEGIN; SET LOCAL app.user = 'x'; SELECT set_config('app.role', $1, true), …; then whatever it likes.
[[nodiscard]] CustomSettings custom_settings_made(std::string_view sql);
// The names in current_setting('app.user') and SHOW app.user, of a text that has one of these.
[[nodiscard]] CustomNames custom_settings_asked(std::string_view sql);

}  // namespace holdfast::protocol::sql
