// A YAML document as a bounded tree with places, built from yaml-cpp's events rather than its Node, because Node keeps
// duplicate keys silently and unfolds aliases without a bound. Internal to load.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/problem.hpp"

namespace holdfast::config {

inline constexpr std::size_t largest_document = 1U << 20U;  // bytes

struct YamlNode;
using YamlPointer = std::shared_ptr<const YamlNode>;

struct YamlEntry {
  std::string key;
  Place place;  // of the key
  YamlPointer value;
};

struct YamlNode {
  enum class Kind : std::uint8_t { null, scalar, list, mapping };
  Kind kind = Kind::null;
  Place place;
  std::string text;                // of a scalar
  std::vector<YamlPointer> items;  // of a list
  std::vector<YamlEntry> entries;  // of a mapping, in the file's order, no key twice
  std::size_t weight = 1;          // nodes below and including this one, with aliases unfolded
};

// One document of UTF-8 text. Refused: more than 1 MiB, control characters, depth over 32, more than 200,000 nodes with
// aliases unfolded, several documents, tags, merge keys, keys that are no scalars, and keys given twice. Aliases of
// whole values are fine. An empty text gives a null node.
struct ParsedYaml {
  YamlPointer root;   // null pointer: the text could not be read to its end
  Problems problems;  // with a root: what is wrong with it so far, so that the settings can be judged as well
};
[[nodiscard]] ParsedYaml parse_yaml(std::string_view text, const std::string& file);

}  // namespace holdfast::config
