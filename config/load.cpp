#include "config/load.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "config/mapping.hpp"
#include "config/schema.hpp"
#include "config/secrets.hpp"
#include "config/userlist.hpp"
#include "config/validate.hpp"
#include "config/yaml.hpp"

namespace holdfast::config {

namespace {

constexpr std::size_t largest_userlist = 16UL << 20U;

using Kind = YamlNode::Kind;

// Walks the tree with the schema at hand; complains and goes on.
class Loader {
 public:
  explicit Loader(const std::string& file) { draft_.loaded.origins.file = file; }

  std::expected<Loaded, Problems> run(std::string_view text) {
    auto parsed = parse_yaml(text, draft_.file());
    draft_.problems = std::move(parsed.problems);
    const bool mapping = parsed.root && (parsed.root->kind == Kind::mapping || parsed.root->kind == Kind::null);
    if (parsed.root && !mapping) {
      draft_.complain(parsed.root->place, "", "must be a mapping of settings: `key: value` lines");
    } else if (mapping) {
      read_process(*parsed.root);
      read_users_file();
      add_findings();
    }
    sort_by_place(draft_.problems);
    if (!draft_.problems.empty()) return std::unexpected(std::move(draft_.problems));
    sort_by_place(draft_.loaded.warnings);
    return std::move(draft_.loaded);
  }

  [[nodiscard]] bool has_literal_secret() const { return draft_.literal_secret; }

 private:
  using Found = Mapping::Found;

  template <class Object>
  Found read_mapping(Scope scope, const std::string& path, const YamlNode& node, Object& object) {
    return Mapping(draft_, scope, path, slots(object)).read(node);
  }

  // A list of mappings; `read(path, node)` for each.
  void each_item(const Found& found, std::string_view collection, const std::string& parent, auto&& read) {
    const auto entry = found.find(collection);
    if (entry == found.end()) return;
    const auto& [key, place, value] = *entry->second;
    const auto path = parent.empty() ? std::string(collection) : parent + '.' + std::string(collection);
    draft_.note(path, place);
    if (value->kind == Kind::null) return;
    if (value->kind != Kind::list) {
      return draft_.complain(value->place, path, "must be a list: begin each entry with `- `");
    }
    for (std::size_t i = 0; i < value->items.size(); ++i) {
      const auto item_path = join(path, i);
      draft_.note(item_path, value->items[i]->place);
      read(item_path, *value->items[i]);
    }
  }

  // A mapping of names to mappings; `read(path, entry)` for each.
  void each_name(const Found& found, std::string_view collection, auto&& read) {
    const auto entry = found.find(collection);
    if (entry == found.end()) return;
    const auto& [key, place, value] = *entry->second;
    const std::string path(collection);
    draft_.note(path, place);
    if (value->kind == Kind::null) return;
    if (value->kind != Kind::mapping) {
      return draft_.complain(value->place, path, "must be a mapping: the name, a colon, and the settings below it");
    }
    for (const auto& named : value->entries) {
      const auto item_path = join(path, named.key);
      draft_.note(item_path, named.place);
      if (named.key.empty() || std::ranges::any_of(named.key, [](unsigned char c) { return c < 0x20 || c == 0x7f; })) {
        draft_.complain(named.place, item_path, "a name must not be empty or contain control characters");
        continue;
      }
      read(item_path, named);
    }
  }

  void read_process(const YamlNode& root) {
    auto& config = draft_.loaded.config;
    const auto found = read_mapping(Scope::process, "", root, config);
    each_item(found, "listen", "", [&](const std::string& path, const YamlNode& node) {
      read_mapping(Scope::listener, path, node, config.listeners.emplace_back());
    });
    each_name(found, "clusters", [&](const std::string& path, const YamlEntry& entry) {
      auto& cluster = config.clusters.emplace_back();
      cluster.name = entry.key;
      const auto inside = read_mapping(Scope::cluster, path, *entry.value, cluster);
      each_item(inside, "members", path, [&](const std::string& member_path, const YamlNode& node) {
        read_mapping(Scope::member, member_path, node, cluster.members.emplace_back());
      });
    });
    each_name(found, "databases", [&](const std::string& path, const YamlEntry& entry) {
      auto& database = config.databases.emplace_back();
      database.name = entry.key;
      read_mapping(Scope::database, path, *entry.value, database);
    });
    each_name(found, "users", [&](const std::string& path, const YamlEntry& entry) {
      auto& user = config.users.emplace_back();
      user.name = entry.key;
      read_mapping(Scope::user, path, *entry.value, user);
    });
    resolve_files();
  }

  // Relative names are those seen from the configuration's folder.
  void resolve_files() {
    const auto resolve = [&](auto& object) {
      for (const auto& reading : readings(object)) {
        if (reading.key->type != Type::file || !reading.value) continue;
        const auto& path = std::get<std::string>(*reading.value);
        const auto full = resolve_path(draft_.file(), path);
        if (full == path) continue;
        for (const auto& slot : slots(object)) {
          if (slot.key == reading.key) slot.assign(full);
        }
      }
    };
    resolve(draft_.loaded.config);
    for (auto& listener : draft_.loaded.config.listeners) resolve(listener);
    for (auto& cluster : draft_.loaded.config.clusters) resolve(cluster);
  }

  void read_users_file() {
    auto& auth = draft_.loaded.config.auth;
    const std::string key = "auth.users_file";
    if (!auth.users_file.empty()) {
      const auto place = draft_.loaded.origins.find(key);
      const auto text = read_private_file(auth.users_file, largest_userlist);
      if (!text) return draft_.complain(place, key, "file '" + auth.users_file + "' " + text.error());
      if (!text->warning.empty()) draft_.warn(place, key, "file '" + auth.users_file + "' " + text->warning);
      auto users = parse_userlist(text->text, auth.users_file);
      if (users) {
        auth.credentials = *std::move(users);
        if (auth.credentials.empty()) draft_.warn(place, key, "file '" + auth.users_file + "' contains no user");
      } else {
        draft_.problems.insert(draft_.problems.end(), users.error().begin(), users.error().end());
      }
    }
    for (const auto& user : draft_.loaded.config.users) {
      if (!user.password.empty()) auth.credentials.push_back({user.name, user.password});
    }
  }

  // What validate() says, unless it merely follows from a problem that has been reported.
  void add_findings() {
    auto findings = validate(draft_.loaded.config, draft_.loaded.origins);
    for (auto& error : findings.errors) {
      const bool follows = std::ranges::any_of(draft_.problems, [&](const Problem& earlier) {
        return earlier.file == draft_.file() && !earlier.key.empty() && error.key.starts_with(earlier.key);
      });
      if (!follows) draft_.problems.push_back(std::move(error));
    }
    std::ranges::move(findings.warnings, std::back_inserter(draft_.loaded.warnings));
  }

  Draft draft_;
};

}  // namespace

std::expected<Loaded, Problems> load(const std::string& path) {
  auto text = read_private_file(path, largest_document);
  if (!text) return std::unexpected(Problems{{path, 0, 0, "", text.error()}});
  Loader loader(path);
  auto loaded = loader.run(text->text);
  // World-readable is normal for a configuration, unless it contains passwords.
  if (loaded && loader.has_literal_secret() && !text->warning.empty()) {
    loaded->warnings.insert(loaded->warnings.begin(),
                            {path, 0, 0, "", "contains passwords and " + text->warning + ", or use password_file"});
  }
  return loaded;
}

std::expected<Loaded, Problems> load_text(std::string_view text, const std::string& name) {
  return Loader(name).run(text);
}

}  // namespace holdfast::config
