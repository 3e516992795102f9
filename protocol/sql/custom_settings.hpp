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
    for (std::size_t i = 0; i < others.size_; ++i) add(others.names_[i]);
    unknown_ |= others.unknown_;
  }
  void add_unknown() { unknown_ = true; }
  void clear() { *this = {}; }

  [[nodiscard]] bool empty() const { return size_ == 0 && !unknown_; }
  // All of `others` are among them.
  [[nodiscard]] bool cover(const CustomNames& others) const {
    if (others.unknown_) return false;
    for (std::size_t i = 0; i < others.size_; ++i) {
      if (!has(others.names_[i])) return false;
    }
    return true;
  }
  // Some of `others` may be among them.
  [[nodiscard]] bool meet(const CustomNames& others) const {
    if (empty() || others.empty()) return false;
    if (unknown_ || others.unknown_) return true;
    for (std::size_t i = 0; i < others.size_; ++i) {
      if (has(others.names_[i])) return true;
    }
    return false;
  }

 private:
  static constexpr std::size_t most = 6;

  [[nodiscard]] bool has(std::size_t name) const {
    for (std::size_t i = 0; i < size_; ++i) {
      if (names_[i] == name) return true;
    }
    return false;
  }
  void add(std::size_t name) {
    if (has(name)) return;
    if (size_ == most) {
      unknown_ = true;
    } else {
      names_[size_++] = name;
    }
  }

  std::array<std::size_t, most> names_{};
  std::uint8_t size_ = 0;
  bool unknown_ = false;
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
