#include "config/value.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>

#include "config/schema.hpp"
#include "config/suggest.hpp"
#include "config/units.hpp"
#include "config/words.hpp"
#include "config/yaml.hpp"

namespace holdfast::config {

namespace {

std::string list_words(std::span<const Word> words) {
  std::string result;
  for (const auto& word : words) {
    if (!word.available) continue;
    if (!result.empty()) result += ", ";
    result += word.text;
  }
  return result;
}

std::expected<std::string, std::string> parse_word(std::span<const Word> words, std::string_view text) {
  const auto found = std::ranges::find(words, text, &Word::text);
  if (found != words.end() && found->available) return std::string(text);
  const std::string shown = "'" + printable(text, 40) + "' ";
  if (found != words.end()) {
    return std::unexpected(shown + "is not available in this version; available: " + list_words(words));
  }
  std::vector<std::string_view> candidates;
  for (const auto& word : words) {
    if (word.available) candidates.push_back(word.text);
  }
  std::string message = shown + "is not one of " + list_words(words);
  if (const auto near = suggest(text, candidates)) message += "; did you mean '" + std::string(*near) + "'?";
  return std::unexpected(message);
}

std::expected<bool, std::string> parse_boolean(std::string_view text) {
  if (text == "true" || text == "on" || text == "yes") return true;
  if (text == "false" || text == "off" || text == "no") return false;
  return std::unexpected("'" + printable(text, 40) + "' is not true or false");
}

std::string print_number(const Key& key, std::uint64_t number) {
  if (key.type == Type::size) return print_size(number);
  if (key.type == Type::duration) return print_duration(Milliseconds(static_cast<Milliseconds::rep>(number)));
  return std::to_string(number);
}

std::expected<std::uint64_t, std::string> check_range(const Key& key, std::uint64_t number) {
  if (number == 0 && !key.zero.empty()) return number;
  const std::string or_zero = key.zero.empty() ? "" : ", or 0 for: " + std::string(key.zero);
  if (number < key.range.min) {
    return std::unexpected("is below the minimum, " + print_number(key, key.range.min) + or_zero);
  }
  if (number > key.range.max) {
    return std::unexpected("is above the maximum, " + print_number(key, key.range.max) + or_zero);
  }
  return number;
}

std::expected<Value, std::string> parse_number(const Key& key, std::string_view text) {
  std::expected<std::uint64_t, std::string> number = 0;
  if (key.zero.empty() || text != "off") {
    if (key.type == Type::duration) {
      const auto duration = parse_duration(text);
      if (!duration) return std::unexpected(duration.error());
      number = static_cast<std::uint64_t>(duration->count());
    } else {
      number = key.type == Type::size ? parse_size(text) : parse_integer(text);
    }
  }
  if (number) number = check_range(key, *number);
  if (!number) return std::unexpected(number.error());
  if (key.type == Type::duration) return Milliseconds(static_cast<Milliseconds::rep>(*number));
  return *number;
}

std::expected<std::string, std::string> parse_text(const std::string& text) {
  const bool control = std::ranges::any_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  if (control) return std::unexpected("must not contain control characters or line breaks");
  return text;
}

std::expected<Value, std::string> parse_scalar(const Key& key, const std::string& text) {
  const auto as_value = [](auto result) -> std::expected<Value, std::string> {
    if (!result) return std::unexpected(std::move(result.error()));
    return Value(std::move(*result));
  };
  switch (key.type) {
    case Type::boolean: return as_value(parse_boolean(text));
    case Type::integer:
    case Type::size:
    case Type::duration: return parse_number(key, text);
    case Type::word: return as_value(parse_word(key.words, text));
    case Type::text:
    case Type::file:
      if (text.empty() && key.required) return std::unexpected("must not be empty");
      return as_value(parse_text(text));
    case Type::secret:
      if (text.empty()) return std::unexpected("must not be empty");
      if (text.find('\0') != std::string::npos) return std::unexpected("must not contain a NUL byte");
      return Value(Secret(text));
    case Type::address: {
      if (text == "off" && !key.zero.empty()) return Value(std::get<Address>(*key.standard));
      return as_value(parse_address(text, std::get<Address>(*key.standard).port));
    }
    case Type::list:
    case Type::consistency: break;
  }
  return std::unexpected("can't be a single value");
}

std::expected<Value, ValueProblem> parse_list(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::list) {
    return std::unexpected(ValueProblem{node.place, "must be a list: [one, two]"});
  }
  std::vector<std::string> result;
  for (const auto& item : node.items) {
    if (item->kind != YamlNode::Kind::scalar || item->text.empty()) {
      return std::unexpected(ValueProblem{item->place, "each entry of the list must be a word"});
    }
    auto text = parse_text(item->text);
    if (!text) return std::unexpected(ValueProblem{item->place, text.error()});
    result.push_back(std::move(*text));
  }
  return result;
}

// `session`, 'bounded: 5s' in quotes, or the mapping { bounded: 5s }
std::expected<Value, ValueProblem> parse_consistency(const YamlNode& node) {
  constexpr auto how = "write { bounded: 5s }, with the greatest age of the data that reads may see";
  std::string word = node.text;
  std::string age;
  auto place = node.place;
  bool have_age = false;
  if (node.kind == YamlNode::Kind::mapping) {
    const bool good = node.entries.size() == 1 && node.entries[0].value->kind == YamlNode::Kind::scalar;
    if (!good) return std::unexpected(ValueProblem{place, how});
    word = node.entries[0].key;
    age = node.entries[0].value->text;
    place = node.entries[0].value->place;
    have_age = true;
  } else if (const auto colon = word.find(':'); colon != std::string::npos) {
    age = word.substr(std::min(word.size(), word.find_first_not_of(' ', colon + 1)));
    word.resize(colon);
    have_age = true;
  }
  if (const auto known = parse_word(words_of<ReadConsistency>, word); !known) {
    return std::unexpected(ValueProblem{node.place, known.error()});
  }
  const bool bounded = word == word_of(ReadConsistency::bounded);
  if (bounded != have_age) {
    return std::unexpected(ValueProblem{node.place, bounded ? how : "'" + word + "' takes no age"});
  }
  Consistency result;
  const auto found = std::ranges::find(words_of<ReadConsistency>, word, &Word::text);
  result.mode = static_cast<ReadConsistency>(found - words_of<ReadConsistency>.begin());
  if (!bounded) return result;
  const auto duration = parse_duration(age);
  if (!duration) return std::unexpected(ValueProblem{place, duration.error()});
  if (duration->count() == 0) return std::unexpected(ValueProblem{place, "must be more than 0; for that use `global`"});
  result.staleness = *duration;
  return result;
}

}  // namespace

std::expected<Address, std::string> parse_address(std::string_view text, std::uint16_t standard_port) {
  const std::string shown = "'" + printable(text, 60) + "' ";
  Address result{"", standard_port};
  auto host = text;
  std::string_view port;
  bool brackets = false;
  if (text.starts_with('[')) {
    const auto close = text.find(']');
    if (close == std::string_view::npos) return std::unexpected(shown + "lacks a closing ]: write [::1]:6432");
    const auto rest = text.substr(close + 1);
    if (!rest.empty() && !rest.starts_with(':')) return std::unexpected(shown + "has something after the ]");
    host = text.substr(1, close - 1);
    if (!rest.empty()) port = rest.substr(1);
    if (!rest.empty() && port.empty()) return std::unexpected(shown + "has no port after the colon");
    brackets = true;
  } else if (const auto colon = text.rfind(':'); colon != std::string_view::npos) {
    // A bare IPv6 address and one with a port can't be told apart.
    if (!text.starts_with('/') && text.find(':') != colon) {
      return std::unexpected(shown + "is not an address: write IPv6 in brackets, as in [::1]:6432");
    }
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (port.empty()) return std::unexpected(shown + "has no port after the colon");
  }
  if (!port.empty()) {
    const auto number = parse_integer(port);
    if (!number || *number > 65535) return std::unexpected(shown + "has no valid port: 1 to 65535");
    result.port = static_cast<std::uint16_t>(*number);
  }
  result.host = std::string(host);
  if (host.starts_with('/') && !brackets) return result;
  std::array<unsigned char, sizeof(in6_addr)> scratch{};
  if (inet_pton(brackets ? AF_INET6 : AF_INET, result.host.c_str(), scratch.data()) != 1) {
    return std::unexpected(
        shown + "is not an address: write an IP address and a port, as in 127.0.0.1:" + std::to_string(standard_port));
  }
  return result;
}

std::expected<Value, ValueProblem> parse_value(const Key& key, const YamlNode& node) {
  if (node.kind == YamlNode::Kind::null) {
    return std::unexpected(ValueProblem{node.place, "has no value: give one, or remove the line"});
  }
  if (key.type == Type::list) return parse_list(node);
  if (key.type == Type::consistency && node.kind != YamlNode::Kind::list) return parse_consistency(node);
  if (node.kind != YamlNode::Kind::scalar) {
    const std::string found = node.kind == YamlNode::Kind::list ? "list" : "mapping";
    return std::unexpected(ValueProblem{node.place, "must be one value, not a " + found});
  }
  auto value = parse_scalar(key, node.text);
  if (!value) return std::unexpected(ValueProblem{node.place, std::move(value.error())});
  return *std::move(value);
}

std::string print_value(const Key& key, const Value& value) {
  struct Printer {
    const Key& key;
    std::string operator()(bool v) const { return v ? "true" : "false"; }
    std::string operator()(std::uint64_t v) const { return print_number(key, v); }
    std::string operator()(Milliseconds v) const { return print_duration(v); }
    std::string operator()(const std::string& v) const { return v; }
    std::string operator()(const Secret& v) const { return v.empty() ? "" : "[secret]"; }
    std::string operator()(const std::vector<std::string>& v) const {
      std::string result = "[";
      for (const auto& item : v) result += (result.size() > 1 ? ", " : "") + item;
      return result + "]";
    }
    std::string operator()(const Address& v) const {
      if (v.host.empty()) return "off";
      const bool six = v.host.find(':') != std::string::npos && !v.host.starts_with('/');
      return (six ? "[" + v.host + "]" : v.host) + ":" + std::to_string(v.port);
    }
    std::string operator()(const Consistency& v) const {
      const std::string word(word_of(v.mode));
      return v.mode == ReadConsistency::bounded ? word + ": " + print_duration(v.staleness) : word;
    }
  };
  return std::visit(Printer{key}, value);
}

}  // namespace holdfast::config
