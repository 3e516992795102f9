// The words of a text, for those who read only a few of them.
#pragma once

#include <string>
#include <string_view>

namespace holdfast::protocol::sql {

// Words (dotted names as one, in lower case), quoted names, strings and single signs; blanks and comments are skipped.
class Words {
 public:
  explicit Words(std::string_view sql) : rest_(sql) {}

  // Empty: the end. A string has its apostrophes: 'app.user'. One with a backslash, which may be an escape, is "'?".
  std::string next();

 private:
  void quoted(std::string& word);
  void string(std::string& word);
  void skip_blanks();
  void skip_comment();

  std::string_view rest_;
};

}  // namespace holdfast::protocol::sql
