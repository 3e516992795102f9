#include "protocol/sql/reset.hpp"

#include <algorithm>
#include <cctype>
#include <utility>

namespace holdfast::protocol::sql {
namespace {

bool is_word(char byte) {
  const auto value = static_cast<unsigned char>(byte);
  return std::isalnum(value) != 0 || byte == '_' || byte == '$' || byte == '.' || value > 127;
}

// Words (dotted names as one), quoted names and single signs; blanks and comments are skipped.
class Words {
 public:
  explicit Words(std::string_view sql) : rest_(sql) {}

  std::string next() {
    skip_blanks();
    std::string word;
    while (!rest_.empty()) {
      if (rest_[0] == '"') {
        quoted(word);
      } else if (is_word(rest_[0])) {
        word += static_cast<char>(std::tolower(static_cast<unsigned char>(rest_[0])));
        rest_.remove_prefix(1);
      } else {
        break;
      }
    }
    if (word.empty() && !rest_.empty()) {
      word = rest_.substr(0, 1);
      rest_.remove_prefix(1);
    }
    return word;
  }

 private:
  void quoted(std::string& word) {
    rest_.remove_prefix(1);
    while (!rest_.empty()) {
      const char byte = rest_[0];
      rest_.remove_prefix(1);
      if (byte == '"') {
        if (!rest_.starts_with('"')) return;
        rest_.remove_prefix(1);
      }
      word += byte;
    }
  }

  void skip_blanks() {
    for (;;) {
      while (!rest_.empty() && std::isspace(static_cast<unsigned char>(rest_[0])) != 0) rest_.remove_prefix(1);
      if (rest_.starts_with("--")) {
        rest_.remove_prefix(std::min(rest_.size(), rest_.find('\n')));
      } else if (rest_.starts_with("/*")) {
        skip_comment();
      } else {
        return;
      }
    }
  }

  void skip_comment() {
    int depth = 0;
    do {
      if (rest_.starts_with("/*")) {
        ++depth;
        rest_.remove_prefix(2);
      } else if (rest_.starts_with("*/")) {
        --depth;
        rest_.remove_prefix(2);
      } else {
        rest_.remove_prefix(1);
      }
    } while (depth > 0 && !rest_.empty());
  }

  std::string_view rest_;
};

}  // namespace

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
