// The JSON Schema (2020-12) of a configuration, for editors that check while one writes. Built from the same table.
#include <map>
#include <ostream>
#include <string>

#include "config/reference.hpp"
#include "config/schema.hpp"
#include "config/value.hpp"

namespace holdfast::config {

namespace {

std::string quoted(std::string_view text) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (byte < 0x20) {
      result += "\\u00";
      result += digits[byte >> 4U];
      result += digits[byte & 15U];
    } else {
      result += c;
    }
  }
  return result + '"';
}

// The shape of a value; what it can't express (the range of a duration) is left to holdfast --check.
std::string shape(const Key& key) {
  switch (key.type) {
    case Type::boolean: return R"("type":"boolean")";
    case Type::integer: {
      const auto least = key.zero.empty() ? key.range.min : 0;
      std::string result = R"("type":"integer","minimum":)" + std::to_string(least);
      if (key.range.max != Range{}.max) result += R"(,"maximum":)" + std::to_string(key.range.max);
      return result;
    }
    case Type::duration: return R"("type":["string","integer"],"pattern":"^(off|0|[0-9]+ ?(ms|s|m|h|d))$","maximum":0)";
    case Type::size:
      return R"("type":["string","integer"],"pattern":"^(off|0|[0-9]+ ?([kKmMgGtT][iI]?)?[bB])$","maximum":0)";
    case Type::word: {
      std::string result = R"("enum":[)";
      for (const auto& word : key.words) {
        if (!word.available) continue;
        if (!result.ends_with('[')) result += ',';
        result += quoted(word.text);
      }
      return result + ']';
    }
    case Type::list: return R"("type":"array","items":{"type":"string"})";
    case Type::consistency:
      return R"("anyOf":[{"enum":["session","global","eventual"]},{"type":"string","pattern":"^bounded: *[0-9]+ ?(ms|s|m|h|d)$"},)"
             R"({"type":"object","required":["bounded"],"properties":{"bounded":{"type":"string"}},"additionalProperties":false}])";
    case Type::address:
    case Type::text:
    case Type::file:
    case Type::secret: return R"("type":"string")";
  }
  return "";
}

std::string standard(const Key& key) {
  const auto text = print_value(key, *key.standard);
  const bool bare = key.type == Type::boolean || key.type == Type::integer;
  if (key.type == Type::list) return "[]";  // no list has entries by default
  return bare ? text : quoted(text);
}

// Settings grouped as they are written: a tree of at most a few levels.
struct Tree {
  std::map<std::string, Tree, std::less<>> inside;
  std::string schema;  // of a leaf
};

void put(Tree& tree, std::string_view path, std::string schema) {
  const auto dot = path.find('.');
  auto& next = tree.inside[std::string(path.substr(0, dot))];
  if (dot == std::string_view::npos) {
    next.schema = std::move(schema);
  } else {
    put(next, path.substr(dot + 1), std::move(schema));
  }
}

std::string object(Scope scope);

std::string print(const Tree& tree, const std::string& required = "") {
  if (!tree.schema.empty()) return tree.schema;
  std::string result = R"({"type":["object","null"],"additionalProperties":false,)" + required + R"("properties":{)";
  bool first = true;
  for (const auto& [name, inner] : tree.inside) {
    result += (first ? "\n" : ",\n") + quoted(name) + ':' + print(inner);
    first = false;
  }
  return result + "}}";
}

std::string object(Scope scope) {
  Tree tree;
  std::string required;
  for (const auto* key : keys(scope)) {
    std::string schema = "{" + shape(*key) + ",\"description\":" + quoted(key->doc);
    if (key->standard && key->type != Type::secret) {
      schema += ",\"default\":" + standard(*key);
    }
    schema += '}';
    if (key->type == Type::secret) {
      put(tree, std::string(key->path) + "_file", schema);
      put(tree, std::string(key->path) + "_env", schema);
    }
    put(tree, key->path, std::move(schema));
    if (key->required) required += (required.empty() ? "" : ",") + quoted(key->path);
  }
  for (const auto& collection : collections()) {
    if (collection.inside != scope) continue;
    const bool list = collection.entries == Scope::listener || collection.entries == Scope::member;
    put(tree, collection.path,
        std::string("{\"description\":") + quoted(collection.doc) +
            (list ? R"(,"type":"array","items":)" : R"(,"type":"object","additionalProperties":)") +
            object(collection.entries) + "}");
  }
  return print(tree, required.empty() ? "" : "\"required\":[" + required + "],");
}

}  // namespace

void print_json_schema(std::ostream& out) {
  out << R"({"$schema":"https://json-schema.org/draft/2020-12/schema","title":"holdfast","allOf":[)"
      << object(Scope::process) << "]}\n";
}

}  // namespace holdfast::config
