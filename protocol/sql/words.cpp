#include "protocol/sql/words.hpp"

#include <algorithm>
#include <cctype>

namespace holdfast::protocol::sql {
namespace {

bool is_word(char byte) {
  const auto value = static_cast<unsigned char>(byte);
  return std::isalnum(value) != 0 || byte == '_' || byte == '$' || byte == '.' || value > 127;
}

}  // namespace

std::string Words::next() {
  skip_blanks();
  std::string word;
  if (rest_.starts_with('\'')) {
    string(word);
    return word;
  }
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

void Words::quoted(std::string& word) {
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

void Words::string(std::string& word) {
  word += '\'';
  rest_.remove_prefix(1);
  bool escapes = false;
  while (!rest_.empty()) {
    const char byte = rest_[0];
    rest_.remove_prefix(1);
    escapes |= byte == '\\';
    word += byte;
    if (byte != '\'') continue;
    if (!rest_.starts_with('\'')) break;
    rest_.remove_prefix(1);
  }
  if (escapes) word = "'?";
}

void Words::skip_blanks() {
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

void Words::skip_comment() {
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

}  // namespace holdfast::protocol::sql
