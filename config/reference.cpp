#include "config/reference.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "config/schema.hpp"
#include "config/value.hpp"

namespace holdfast::config {

namespace {

struct Section {
  Scope scope;
  std::string_view title;
};

constexpr Section sections[] = {
    {Scope::process, "Top level"},
    {Scope::listener, "listen: entries of a list"},
    {Scope::cluster, "clusters.NAME"},
    {Scope::member, "clusters.NAME.members: entries of a list"},
    {Scope::database, "databases.NAME"},
    {Scope::user, "users.NAME"},
    {Scope::session, "Session settings: at the top level, in a listener, a database or a user; the most specific wins"},
};

bool is_session(const Key* key) {
  return std::ranges::find(keys(Scope::session), key) != keys(Scope::session).end();
}

// The keys that belong to a section alone.
std::vector<const Key*> own_keys(Scope scope) {
  std::vector<const Key*> result;
  for (const auto* key : keys(scope)) {
    if (scope == Scope::session || !is_session(key)) result.push_back(key);
  }
  return result;
}

std::string join_words(const Key& key, std::string_view separator) {
  std::string result;
  for (const auto& word : key.words) {
    if (!word.available) continue;
    if (!result.empty()) result += separator;
    result += word.text;
  }
  return result;
}

std::string type_text(const Key& key) {
  switch (key.type) {
    case Type::word: return join_words(key, " | ");
    case Type::consistency: return "global | session | eventual | { bounded: DURATION }";
    case Type::address: return "address";
    case Type::secret: return "secret (also " + std::string(key.path) + "_file, " + std::string(key.path) + "_env)";
    default: return std::string(name_of(key.type));
  }
}

std::string number_text(const Key& key, std::uint64_t number) {
  if (key.type == Type::duration) return print_value(key, Milliseconds(static_cast<Milliseconds::rep>(number)));
  return print_value(key, number);
}

bool has_range(const Key& key) {
  return key.type == Type::integer || key.type == Type::size || key.type == Type::duration;
}

// "1 to 100000; 0: no limit"
std::string range_text(const Key& key) {
  std::string result;
  if (has_range(key)) {
    const bool open = key.range.max == Range{}.max;
    result = open ? "from " + number_text(key, key.range.min)
                  : number_text(key, key.range.min) + " to " + number_text(key, key.range.max);
  }
  if (!key.zero.empty()) {
    result +=
        (result.empty() ? "" : "; ") + std::string(key.type == Type::address ? "off: " : "0: ") + std::string(key.zero);
  }
  return result;
}

std::string standard_text(const Key& key) {
  if (key.required) return "(required)";
  if (!key.standard) return "(none)";
  auto text = print_value(key, *key.standard);
  return text.empty() ? "\"\"" : text;
}

// Where a session setting that is not for every level may be set: " Only at the top level."
std::string levels_text(const Key& key) {
  const bool everywhere = key.levels.process && key.levels.listener && key.levels.database && key.levels.user;
  return everywhere ? "" : " Only " + to_string(key.levels) + ".";
}

// ---- YAML -------------------------------------------------------------------------------------------------------

void comment(std::ostream& out, std::string_view indent, std::string text) {
  constexpr std::size_t width = 110;
  while (!text.empty()) {
    auto cut = text.size() <= width ? text.size() : text.rfind(' ', width);
    if (cut == std::string::npos || cut == 0) cut = text.size();
    out << indent << "# " << text.substr(0, cut) << '\n';
    text.erase(0, std::min(text.size(), cut + 1));
  }
}

// A sample for each value that has no default, so that the whole is a configuration.
std::string_view sample(std::string_view path) {
  if (path == "address") return "127.0.0.1:6432";
  if (path == "name") return "pg1";
  if (path == "host") return "127.0.0.1";
  if (path == "cluster") return "main";
  return "…";
}

// Settings without a default and without a sample are comments. `bullet`: the mapping is an entry of a list.
void yaml_keys(std::ostream& out, const std::vector<const Key*>& list, const std::string& indent, bool bullet = false) {
  std::string group;
  for (const auto* key : list) {
    const auto dot = key->path.find('.');
    const auto parent = dot == std::string_view::npos ? std::string() : std::string(key->path.substr(0, dot));
    const auto leaf = dot == std::string_view::npos ? key->path : key->path.substr(dot + 1);
    if (parent != group && !parent.empty()) out << indent << parent << ":\n";
    group = parent;
    const auto inner = parent.empty() ? indent : indent + "  ";
    auto facts = type_text(*key);
    if (const auto range = range_text(*key); !range.empty()) facts += ", " + range;
    if (key->applies == Applies::restart) facts += ", changes with a restart";
    comment(out, inner, std::string(key->doc) + levels_text(*key) + " [" + facts + "]");
    const bool commented = !key->required && (!key->standard || key->type == Type::secret);
    const std::string value = commented || key->required ? std::string(sample(key->path)) : standard_text(*key);
    if (bullet) {
      out << indent.substr(2) << "- ";
      bullet = false;
    } else {
      out << inner << (commented ? "# " : "");
    }
    out << leaf << ": " << value << '\n';
  }
}

void print_yaml(std::ostream& out) {
  out << "# Every setting of holdfast with its default. Lines that begin with `# name: …` have no default.\n"
         "# Durations and sizes carry units: 500ms, 30s, 5m, 1h, 1d; 512kB, 16MB, 1GB (powers of 1024).\n\n";
  yaml_keys(out, own_keys(Scope::process), "");
  out << "\n# Session settings: here, in a listener, a database or a user; the most specific wins.\n";
  yaml_keys(out, own_keys(Scope::session), "");
  const auto heading = [&](std::string_view collection, const std::string& indent, std::string_view name = {}) {
    if (indent.empty()) out << '\n';
    const auto found = std::ranges::find(collections(), collection, &Collection::path);
    comment(out, indent, std::string(found->doc));
    out << indent << collection << ":\n";
    if (!name.empty()) out << indent << "  " << name << ":\n";
  };
  heading("listen", "");
  yaml_keys(out, own_keys(Scope::listener), "    ", true);
  heading("clusters", "", "main");
  yaml_keys(out, own_keys(Scope::cluster), "    ");
  heading("members", "    ");
  yaml_keys(out, own_keys(Scope::member), "        ", true);
  heading("databases", "", "\"*\"");
  yaml_keys(out, own_keys(Scope::database), "    ");
  heading("users", "", "app");
  yaml_keys(out, own_keys(Scope::user), "    ");
}

// ---- Markdown ---------------------------------------------------------------------------------------------------

std::string cell(std::string text) {
  for (std::size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) text.insert(at, 1, '\\');
  return text;
}

void print_markdown(std::ostream& out) {
  out << "# Settings\n\nEvery setting of this version, as `holdfast --reference` prints them.\n";
  for (const auto& section : sections) {
    out << "\n## " << section.title << "\n\n| Setting | Type | Default | Range | Changes | Meaning |\n"
        << "|---|---|---|---|---|---|\n";
    for (const auto* key : own_keys(section.scope)) {
      out << "| `" << key->path << "` | " << cell(type_text(*key)) << " | " << cell(standard_text(*key)) << " | "
          << cell(range_text(*key)) << " | " << (key->applies == Applies::live ? "on reload" : "on restart") << " | "
          << cell(std::string(key->doc)) << levels_text(*key) << " |\n";
    }
  }
}

}  // namespace

std::optional<ReferenceFormat> parse_reference_format(std::string_view text) {
  if (text == "yaml") return ReferenceFormat::yaml;
  if (text == "markdown") return ReferenceFormat::markdown;
  if (text == "json-schema") return ReferenceFormat::json_schema;
  return std::nullopt;
}

void print_json_schema(std::ostream& out);  // json_schema.cpp

void print_reference(std::ostream& out, ReferenceFormat format) {
  switch (format) {
    case ReferenceFormat::yaml: return print_yaml(out);
    case ReferenceFormat::markdown: return print_markdown(out);
    case ReferenceFormat::json_schema: return print_json_schema(out);
  }
}

}  // namespace holdfast::config
