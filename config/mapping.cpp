#include "config/mapping.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "config/secrets.hpp"
#include "config/suggest.hpp"

namespace holdfast::config {

using Kind = YamlNode::Kind;

void Draft::complain(Place place, const std::string& key, std::string message) {
  problems.push_back({file(), place.line, place.column, key, std::move(message)});
}

void Draft::warn(Place place, const std::string& key, std::string message) {
  loaded.warnings.push_back({file(), place.line, place.column, key, std::move(message)});
}

Mapping::Mapping(Draft& draft, Scope scope, std::string path, std::vector<Slot> slots)
    : draft_(draft), scope_(scope), path_(std::move(path)), slots_(std::move(slots)) {}

Mapping::Found Mapping::read(const YamlNode& node) {
  if (node.kind != Kind::null && node.kind != Kind::mapping) {
    draft_.complain(node.place, path_, "must be a mapping of settings: `key: value` lines, or { key: value }");
    return {};
  }
  read_group(node, "");
  for (const auto& slot : slots_) {
    if (slot.key->required && !given_.contains(slot.key)) {
      draft_.complain(node.place, path_of(slot.key->path), "is missing: " + std::string(slot.key->doc));
    }
    if (const auto sources = secrets_.find(slot.key); sources != secrets_.end()) read_secret(slot, sources->second);
  }
  return std::move(found_);
}

std::string Mapping::path_of(std::string_view relative) const {
  return path_.empty() ? std::string(relative) : path_ + '.' + std::string(relative);
}

void Mapping::read_group(const YamlNode& node, const std::string& group) {
  for (const auto& entry : node.entries) {
    if (entry.key.find('.') != std::string::npos) {
      // Else `pool.size: 1` would slip past the check for keys given twice.
      draft_.complain(entry.place, path_of(printable(entry.key, 64)),
                      "is not a setting: groups are nested, as in `pool: { size: 20 }`");
      continue;
    }
    read_entry(entry, group.empty() ? entry.key : group + '.' + entry.key);
  }
}

void Mapping::read_entry(const YamlEntry& entry, const std::string& key) {
  if (note_secret(entry, key)) return;
  if (const auto* slot = find_slot(key)) {
    given_.insert(slot->key);
    return read_value(*slot, entry);
  }
  if (is_group(key)) return read_nested(entry, key);
  for (const auto& collection : collections()) {
    if (collection.inside == scope_ && collection.path == key) {
      found_[collection.path] = &entry;
      return;
    }
  }
  if (const auto* misplaced = find_misplaced(key)) return complain_misplaced(entry, *misplaced);
  draft_.complain(entry.place, path_of(printable(key, 64)), "is not a setting" + hint(key));
}

void Mapping::complain_misplaced(const YamlEntry& entry, const Key& key) {
  const Levels here{.process = scope_ == Scope::process,
                    .listener = scope_ == Scope::listener,
                    .database = scope_ == Scope::database,
                    .user = scope_ == Scope::user};
  draft_.complain(
      entry.place, path_of(key.path),
      "can't be set " + to_string(here) + ": " + std::string(key.levels.why) + "; set it " + to_string(key.levels));
}

// A secret's own key, or that key with `_file` or `_env` at its end. False: it is none of these.
bool Mapping::note_secret(const YamlEntry& entry, const std::string& key) {
  static constexpr std::pair<std::string_view, Source> endings[] = {
      {"", Source::literal}, {"_file", Source::file}, {"_env", Source::environment}};
  for (const auto& [ending, source] : endings) {
    if (!key.ends_with(ending)) continue;
    const auto* slot = find_slot(std::string_view(key).substr(0, key.size() - ending.size()));
    if (slot == nullptr || slot->key->type != Type::secret) continue;
    secrets_[slot->key].push_back({source, key, &entry});
    return true;
  }
  return false;
}

void Mapping::read_nested(const YamlEntry& entry, const std::string& key) {
  draft_.note(path_of(key), entry.place);
  if (entry.value->kind == Kind::mapping) return read_group(*entry.value, key);
  if (entry.value->kind == Kind::null) return;
  draft_.complain(entry.value->place, path_of(key), "must be a mapping of settings: " + list_words_in(key));
}

void Mapping::read_value(const Slot& slot, const YamlEntry& entry) {
  const auto path = path_of(slot.key->path);
  auto value = parse_value(*slot.key, *entry.value);
  if (!value) return complain_value(entry, path, std::move(value.error()));
  draft_.note(path, entry.value->place);
  slot.assign(*std::move(value));
}

void Mapping::read_secret(const Slot& slot, const std::vector<SecretSource>& sources) {
  if (sources.size() > 1) {
    const std::string name(slot.key->path);
    return draft_.complain(sources[1].entry->place, path_of(sources[1].key),
                           "only one of " + name + ", " + name + "_file and " + name + "_env may be given");
  }
  const auto& [source, key, entry] = sources.front();
  const auto path = path_of(key);
  auto value = parse_value(*slot.key, *entry->value);
  if (!value) return complain_value(*entry, path, std::move(value.error()));
  const auto place = entry->value->place;
  draft_.note(path_of(slot.key->path), place);
  auto secret = std::get<Secret>(*std::move(value));
  switch (source) {
    case Source::literal: {
      draft_.literal_secret = true;
      return slot.assign(std::move(secret));
    }
    case Source::file: {
      const auto name = resolve_path(draft_.file(), secret.reveal());
      auto content = read_secret_file(name);
      if (!content) return draft_.complain(place, path, "file '" + name + "' " + content.error());
      if (!content->warning.empty()) draft_.warn(place, path, "file '" + name + "' " + content->warning);
      return slot.assign(std::move(content->secret));
    }
    case Source::environment: {
      auto content = read_secret_environment(secret.reveal());
      if (!content) return draft_.complain(place, path, "variable '" + secret.reveal() + "' " + content.error());
      return slot.assign(*std::move(content));
    }
  }
}

// A value that is missing has no place of its own: then the key's is given.
void Mapping::complain_value(const YamlEntry& entry, const std::string& path, ValueProblem problem) {
  const bool absent = entry.value->kind == Kind::null;
  draft_.complain(absent ? entry.place : problem.place, path, std::move(problem.message));
}

const Slot* Mapping::find_slot(std::string_view key) const {
  const auto found = std::ranges::find_if(slots_, [&](const Slot& slot) { return slot.key->path == key; });
  return found == slots_.end() ? nullptr : &*found;
}

// A session setting that belongs to other levels than this one.
const Key* Mapping::find_misplaced(std::string_view key) const {
  const bool has_session_settings = allows({}, scope_);
  if (!has_session_settings) return nullptr;
  for (const auto* setting : keys(Scope::session)) {
    if (setting->path == key) return setting;
  }
  return nullptr;
}

bool Mapping::is_group(std::string_view key) const {
  return std::ranges::any_of(slots_, [&](const Slot& slot) {
    return slot.key->path.starts_with(key) && slot.key->path.substr(key.size()).starts_with('.');
  });
}

// The words that are allowed directly inside `group` ("" for the mapping itself).
std::vector<std::string_view> Mapping::words_in(std::string_view group) const {
  std::vector<std::string_view> result;
  const auto add = [&](std::string_view word) {
    if (std::ranges::find(result, word) == result.end()) result.push_back(word);
  };
  for (const auto& slot : slots_) {
    auto path = slot.key->path;
    if (!group.empty()) {
      if (!path.starts_with(group) || !path.substr(group.size()).starts_with('.')) continue;
      path.remove_prefix(group.size() + 1);
    }
    add(path.substr(0, path.find('.')));
  }
  if (!group.empty()) return result;
  for (const auto& collection : collections()) {
    if (collection.inside == scope_) add(collection.path);
  }
  return result;
}

std::string Mapping::list_words_in(std::string_view group) const {
  std::string result;
  for (const auto word : words_in(group)) result += (result.empty() ? "" : ", ") + std::string(word);
  return result;
}

// What may have been meant: a neighbour with a similar name, or a setting of another mapping.
std::string Mapping::hint(const std::string& key) const {
  // No reader needs that many hints, and a hostile file of a hundred thousand keys must not take a minute.
  constexpr std::size_t most_hints = 200;
  if (draft_.problems.size() >= most_hints) return "";
  const auto dot = key.rfind('.');
  const auto group = dot == std::string::npos ? std::string() : key.substr(0, dot);
  const auto word = dot == std::string::npos ? key : key.substr(dot + 1);
  const auto neighbours = words_in(group);
  if (const auto near = suggest(word, neighbours)) return "; did you mean '" + std::string(*near) + "'?";
  if (const auto elsewhere = find_elsewhere(word); !elsewhere.empty()) return "; did you mean " + elsewhere + "?";
  return "; the settings here are: " + list_words_in(group);
}

// `pool_size` → 'pool.size', `hold_timeout` → 'pool.hold_timeout', `workers` in a listener → 'workers' at the top.
std::string Mapping::find_elsewhere(std::string_view word) const {
  const auto matches = [&](std::string_view path) {
    std::string flat(path);
    std::ranges::replace(flat, '.', '_');
    return flat == word || path.substr(path.rfind('.') + 1) == word;
  };
  for (const auto& slot : slots_) {
    if (matches(slot.key->path)) return "'" + path_of(slot.key->path) + "'";
  }
  static constexpr std::pair<Scope, std::string_view> places[] = {
      {Scope::process, "at the top level"}, {Scope::listener, "in an entry of `listen`"},
      {Scope::cluster, "in a cluster"},     {Scope::member, "in a member of a cluster"},
      {Scope::database, "in a database"},   {Scope::user, "in a user"}};
  for (const auto& [scope, where] : places) {
    for (const auto* key : keys(scope)) {
      if (scope != scope_ && matches(key->path)) return "'" + std::string(key->path) + "' " + std::string(where);
    }
  }
  return "";
}

}  // namespace holdfast::config
