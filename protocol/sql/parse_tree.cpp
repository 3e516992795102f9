#include "protocol/sql/parse_tree.hpp"

#include <cstring>

namespace holdfast::protocol::sql {
namespace {

// Reads what libpg_query writes. It writes no blanks outside strings, but they are tolerated.
class JsonReader {
 public:
  JsonReader(std::string_view json, std::vector<ParseTree::Value>& values)
      : at_(json.data()), end_(json.data() + json.size()), values_(values) {}

  bool read() {
    do {
      if (!value()) return false;
      // After a value: close what ends here, then a comma leads to the next value.
      while (!open_.empty() && closes()) close();
      if (open_.empty()) return blanks() == '\0' && at_ == end_;
      if (just_opened_) continue;
      if (blanks() != ',') return false;
      ++at_;
    } while (true);
  }

 private:
  char blanks() {
    while (at_ < end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r')) ++at_;
    return at_ < end_ ? *at_ : '\0';
  }
  bool closes() {
    char c = blanks();
    return c == (values_[open_.back()].kind == ParseTree::Kind::object ? '}' : ']');
  }
  void close() {
    ++at_;
    values_[open_.back()].end = static_cast<ParseTree::Index>(values_.size());
    open_.pop_back();
    just_opened_ = false;
  }
  bool string(std::string_view& text) {
    if (blanks() != '"') return false;
    const char* from = ++at_;
    while (at_ < end_ && *at_ != '"') at_ += *at_ == '\\' ? 2 : 1;
    if (at_ >= end_) return false;
    text = {from, static_cast<std::size_t>(at_ - from)};
    ++at_;
    return true;
  }
  bool value() {
    just_opened_ = false;
    ParseTree::Value value;
    if (!open_.empty() && values_[open_.back()].kind == ParseTree::Kind::object) {
      if (!string(value.key) || blanks() != ':') return false;
      ++at_;
    }
    switch (blanks()) {
      case '\0': return false;
      case '{':
      case '[':
        value.kind = *at_ == '{' ? ParseTree::Kind::object : ParseTree::Kind::array;
        ++at_;
        open_.push_back(static_cast<ParseTree::Index>(values_.size()));
        values_.push_back(value);
        just_opened_ = true;
        return true;
      case '"':
        value.kind = ParseTree::Kind::string;
        if (!string(value.text)) return false;
        break;
      default: {
        const char* from = at_;
        while (at_ < end_ && std::strchr(",}] \n\t\r", *at_) == nullptr) ++at_;
        if (at_ == from) return false;
        value.text = {from, static_cast<std::size_t>(at_ - from)};
      }
    }
    value.end = static_cast<ParseTree::Index>(values_.size() + 1);
    values_.push_back(value);
    return true;
  }

  const char* at_;
  const char* end_;
  std::vector<ParseTree::Value>& values_;
  std::vector<ParseTree::Index> open_;
  bool just_opened_ = false;
};

}  // namespace

std::optional<ParseTree> ParseTree::read(std::string_view json) {
  ParseTree tree;
  // A value takes about 15 bytes of text.
  tree.values_.reserve(json.size() / 12 + 16);
  if (!JsonReader(json, tree.values_).read()) return std::nullopt;
  return tree;
}

ParseTree::Index ParseTree::first(Index parent) const {
  return parent != none && parent + 1 < values_[parent].end ? parent + 1 : none;
}

ParseTree::Index ParseTree::next(Index parent, Index child) const {
  Index following = values_[child].end;
  return following < values_[parent].end ? following : none;
}

ParseTree::Index ParseTree::member(Index parent, std::string_view key) const {
  for (Index at = first(parent); at != none; at = next(parent, at)) {
    if (values_[at].key == key) return at;
  }
  return none;
}

std::string_view ParseTree::text(Index parent, std::string_view key) const {
  Index at = member(parent, key);
  return at == none ? std::string_view{} : values_[at].text;
}

std::size_t ParseTree::count(Index parent) const {
  std::size_t count = 0;
  for (Index at = first(parent); at != none; at = next(parent, at)) ++count;
  return count;
}

}  // namespace holdfast::protocol::sql
