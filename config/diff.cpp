#include "config/diff.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>

#include "config/problem.hpp"
#include "config/schema.hpp"

namespace holdfast::config {

namespace {

// One mapping of the configuration, under the path that stays the same when lists are reordered.
struct Entry {
  std::string path;  // empty: the process's level
  Applies applies;   // when it comes or goes
  std::vector<Reading> readings;
};

Applies applies_of(std::string_view path) {
  for (const auto& collection : collections()) {
    if (collection.path == path) return collection.applies;
  }
  return Applies::restart;
}

std::string address_of(const Listener& listener) {
  return listener.address + ":" + std::to_string(listener.port);
}

std::vector<Entry> entries_of(const Config& config) {
  std::vector<Entry> result{{"", Applies::live, readings(config)}};
  const auto add = [&](const std::string& path, std::string_view name, std::string_view kind, auto object_readings) {
    result.push_back({join(path, name), applies_of(kind), std::move(object_readings)});
  };
  for (const auto& listener : config.listeners) add("listen", address_of(listener), "listen", readings(listener));
  for (const auto& cluster : config.clusters) {
    add("clusters", cluster.name, "clusters", readings(cluster));
    for (const auto& member : cluster.members) {
      add(join("clusters", cluster.name) + ".members", member.name, "members", readings(member));
    }
  }
  for (const auto& database : config.databases) add("databases", database.name, "databases", readings(database));
  for (const auto& user : config.users) add("users", user.name, "users", readings(user));
  return result;
}

std::string path_of(const Entry& entry, const Key& key) {
  return entry.path.empty() ? std::string(key.path) : entry.path + '.' + std::string(key.path);
}

// The value in force: a setting that is not set means the default at the process's level, elsewhere the level above.
std::optional<Value> in_force(const Entry& entry, const Reading& reading) {
  if (reading.value || !entry.path.empty()) return reading.value;
  return reading.key->standard;
}

std::string print(const Key& key, const std::optional<Value>& value) {
  if (!value) return "";
  auto text = print_value(key, *value);
  return text.empty() && key.type != Type::secret ? "\"\"" : text;
}

// "cluster=main, pool.size=20": what the entry says beyond defaults
std::string summary(const Entry& entry) {
  std::string result;
  for (const auto& [key, value] : entry.readings) {
    if (!value || value == key->standard) continue;
    result += (result.empty() ? "" : ", ") + std::string(key->path) + "=" + print(*key, value);
  }
  return result.empty() ? "{}" : "{ " + result + " }";
}

void compare(const Entry& before, const Entry& after, std::vector<Change>& changes) {
  // Both lists come from the same table, so they have the same keys in the same order.
  for (std::size_t i = 0; i < before.readings.size(); ++i) {
    const auto& key = *before.readings[i].key;
    const auto old_value = in_force(before, before.readings[i]);
    const auto new_value = in_force(after, after.readings[i]);
    if (old_value == new_value) continue;
    changes.push_back({path_of(before, key), print(key, old_value), print(key, new_value), key.applies});
  }
}

// The users' file: users that were added or removed, or whose secret changed. A user with a password in `users:` is
// reported there.
void compare_credentials(const Config& before, const Config& after, std::vector<Change>& changes) {
  std::map<std::string_view, std::pair<const Secret*, const Secret*>> both;
  const auto listed = [](const Config& config, const std::string& name) {
    const auto* user = config.find_user(name);
    return user != nullptr && !user->password.empty();
  };
  for (const auto& credential : before.auth.credentials) {
    if (!listed(before, credential.user)) both[credential.user].first = &credential.secret;
  }
  for (const auto& credential : after.auth.credentials) {
    if (!listed(after, credential.user)) both[credential.user].second = &credential.secret;
  }
  for (const auto& [user, secrets] : both) {
    const auto& [old_secret, new_secret] = secrets;
    if (old_secret != nullptr && new_secret != nullptr && *old_secret == *new_secret) continue;
    changes.push_back({"auth.users_file[\"" + printable(user, 64) + "\"]", old_secret != nullptr ? "[secret]" : "",
                       new_secret != nullptr ? "[secret]" : "", Applies::live});
  }
}

// Gives `object` the values of `running` for the keys that only a restart changes.
template <class Object>
void keep_restart_keys(const Object& running, Object& object) {
  const auto old_values = readings(running);
  const auto targets = slots(object);
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (targets[i].key->applies != Applies::restart || !old_values[i].value) continue;
    targets[i].assign(*old_values[i].value);
  }
}

// The entries of a collection after a reload: where they come and go live, those of `loaded`, else those of `running`;
// an entry that both have is `loaded`'s, but for what needs a restart.
template <class T>
std::vector<T> adopt_entries(std::string_view kind, const std::vector<T>& running, const std::vector<T>& loaded,
                             auto&& name, auto&& adopt_one) {
  auto result = applies_of(kind) == Applies::live ? loaded : running;
  for (auto& entry : result) {
    const auto old_entry = std::ranges::find(running, name(entry), name);
    const auto new_entry = std::ranges::find(loaded, name(entry), name);
    if (old_entry == running.end() || new_entry == loaded.end()) continue;
    entry = *new_entry;
    adopt_one(*old_entry, entry);
  }
  return result;
}

void adopt_cluster(const Cluster& running, Cluster& loaded) {
  keep_restart_keys(running, loaded);
  loaded.members = adopt_entries(
      "members", running.members, loaded.members, [](const Member& member) { return member.name; },
      [](const Member& old, Member& entry) { keep_restart_keys(old, entry); });
}

}  // namespace

std::string_view name_of(Applies applies) {
  switch (applies) {
    case Applies::live: return "live";
    case Applies::restart: return "restart";
  }
  return "?";
}

std::vector<Change> diff(const Config& before, const Config& after) {
  const auto old_entries = entries_of(before);
  const auto new_entries = entries_of(after);
  const auto find = [](const std::vector<Entry>& entries, const std::string& path) {
    return std::ranges::find(entries, path, &Entry::path);
  };
  std::vector<Change> changes;
  for (const auto& entry : old_entries) {
    const auto found = find(new_entries, entry.path);
    if (found == new_entries.end()) {
      changes.push_back({entry.path, summary(entry), "", entry.applies});
    } else {
      compare(entry, *found, changes);
    }
  }
  for (const auto& entry : new_entries) {
    if (find(old_entries, entry.path) == old_entries.end()) {
      changes.push_back({entry.path, "", summary(entry), entry.applies});
    }
  }
  compare_credentials(before, after, changes);
  std::ranges::sort(changes, {},
                    [](const Change& change) { return std::tie(change.path, change.before, change.after); });
  return changes;
}

Config adopt(const Config& running, const Config& loaded) {
  Config result = loaded;
  keep_restart_keys(running, result);
  result.listeners = adopt_entries("listen", running.listeners, loaded.listeners, address_of,
                                   [](const Listener& old, Listener& entry) { keep_restart_keys(old, entry); });
  result.clusters = adopt_entries(
      "clusters", running.clusters, loaded.clusters, [](const Cluster& cluster) { return cluster.name; },
      adopt_cluster);
  std::erase_if(result.databases, [&](Database& database) {
    if (result.find_cluster(database.cluster) != nullptr) return false;
    const auto old = std::ranges::find(running.databases, database.name, &Database::name);
    if (old == running.databases.end()) return true;
    database = *old;
    return false;
  });
  return result;
}

std::string to_string(const Change& change) {
  std::string result = change.path + ": ";
  const bool entry = change.before.starts_with('{') || change.after.starts_with('{');
  if (change.before.empty()) {
    result += entry ? "added " + change.after : "(not set) -> " + change.after;
  } else if (change.after.empty()) {
    result += entry ? "removed " + change.before : change.before + " -> (not set)";
  } else if (change.before == change.after) {
    result += change.after + " changed";
  } else {
    result += change.before + " -> " + change.after;
  }
  if (change.applies == Applies::restart) result += " (after a restart)";
  return result;
}

std::ostream& operator<<(std::ostream& out, const Change& change) {
  return out << to_string(change);
}

}  // namespace holdfast::config
