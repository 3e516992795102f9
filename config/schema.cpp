#include "config/schema.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "config/binding.hpp"

namespace holdfast::config {

namespace {

std::vector<const Key*> collect(const auto& table, Scope scope) {
  std::vector<const Key*> result;
  for (const auto& binding : table) result.push_back(&binding.key);
  for (const auto& binding : session_table()) {
    if (allows(binding.key.levels, scope)) result.push_back(&binding.key);
  }
  return result;
}

template <class Object, class B>
void add_slots(std::vector<Slot>& to, Object& object, const std::vector<B>& table) {
  for (const auto& binding : table) {
    to.push_back({&binding.key, [&object, assign = binding.assign](Value value) { assign(object, std::move(value)); }});
  }
}

template <class Object>
std::vector<Slot> all_slots(Object& object, const std::vector<Binding<Object>>& table, SessionSettings* settings,
                            Scope scope) {
  std::vector<Slot> result;
  add_slots(result, object, table);
  if (settings == nullptr) return result;
  for (const auto& binding : session_table()) {
    if (!allows(binding.key.levels, scope)) continue;
    result.push_back(
        {&binding.key, [settings, assign = binding.assign](Value value) { assign(*settings, std::move(value)); }});
  }
  return result;
}

template <class Object>
std::vector<Reading> all_readings(const Object& object, const std::vector<Binding<Object>>& table,
                                  const SessionSettings* settings, Scope scope) {
  std::vector<Reading> result;
  for (const auto& binding : table) result.push_back({&binding.key, binding.read(object)});
  if (settings == nullptr) return result;
  for (const auto& binding : session_table()) {
    if (allows(binding.key.levels, scope)) result.push_back({&binding.key, binding.read(*settings)});
  }
  return result;
}

constexpr std::array<Collection, 5> all_collections{{
    {"listen", Scope::process, Scope::listener, Applies::restart, "Where clients connect: a list."},
    {"clusters", Scope::process, Scope::cluster, Applies::restart, "The PostgreSQL clusters, by name."},
    {"members", Scope::cluster, Scope::member, Applies::live, "The servers of the cluster: a list."},
    {"databases", Scope::process, Scope::database, Applies::live,
     "The databases that clients may ask for, by name; \"*\" stands for any other."},
    {"users", Scope::process, Scope::user, Applies::live, "Settings of single users, by name."},
}};

}  // namespace

bool allows(const Levels& levels, Scope scope) {
  switch (scope) {
    case Scope::process: return levels.process;
    case Scope::listener: return levels.listener;
    case Scope::database: return levels.database;
    case Scope::user: return levels.user;
    case Scope::session: return true;
    case Scope::cluster:
    case Scope::member: return false;
  }
  return false;
}

std::string to_string(const Levels& levels) {
  const std::pair<bool, std::string_view> places[] = {{levels.process, "at the top level"},
                                                      {levels.listener, "in a listener"},
                                                      {levels.database, "in a database"},
                                                      {levels.user, "in a user"}};
  const auto count = std::ranges::count(places, true, &std::pair<bool, std::string_view>::first);
  std::string result;
  std::ptrdiff_t written = 0;
  for (const auto& [allowed, place] : places) {
    if (!allowed) continue;
    if (written > 0) result += written + 1 == count ? " or " : ", ";
    result += place;
    ++written;
  }
  return result;
}

std::string_view name_of(Type type) {
  switch (type) {
    case Type::boolean: return "boolean";
    case Type::integer: return "integer";
    case Type::size: return "size";
    case Type::duration: return "duration";
    case Type::word: return "word";
    case Type::text: return "text";
    case Type::file: return "file";
    case Type::list: return "list";
    case Type::address: return "address";
    case Type::consistency: return "consistency";
    case Type::secret: return "secret";
  }
  return "?";
}

std::span<const Key* const> keys(Scope scope) {
  static const auto process = collect(process_table(), Scope::process);
  static const auto listener = collect(listener_table(), Scope::listener);
  static const auto cluster = collect(cluster_table(), Scope::cluster);
  static const auto member = collect(member_table(), Scope::member);
  static const auto database = collect(database_table(), Scope::database);
  static const auto user = collect(user_table(), Scope::user);
  static const auto session = collect(std::vector<Binding<Config>>{}, Scope::session);
  switch (scope) {
    case Scope::process: return process;
    case Scope::listener: return listener;
    case Scope::cluster: return cluster;
    case Scope::member: return member;
    case Scope::database: return database;
    case Scope::user: return user;
    case Scope::session: return session;
  }
  return {};
}

std::vector<Slot> slots(Config& object) {
  return all_slots(object, process_table(), &object.settings, Scope::process);
}
std::vector<Slot> slots(Listener& object) {
  return all_slots(object, listener_table(), &object.settings, Scope::listener);
}
std::vector<Slot> slots(Cluster& object) {
  return all_slots(object, cluster_table(), nullptr, Scope::cluster);
}
std::vector<Slot> slots(Member& object) {
  return all_slots(object, member_table(), nullptr, Scope::member);
}
std::vector<Slot> slots(Database& object) {
  return all_slots(object, database_table(), &object.settings, Scope::database);
}
std::vector<Slot> slots(User& object) {
  return all_slots(object, user_table(), &object.settings, Scope::user);
}

std::vector<Reading> readings(const Config& object) {
  return all_readings(object, process_table(), &object.settings, Scope::process);
}
std::vector<Reading> readings(const Listener& object) {
  return all_readings(object, listener_table(), &object.settings, Scope::listener);
}
std::vector<Reading> readings(const Cluster& object) {
  return all_readings(object, cluster_table(), nullptr, Scope::cluster);
}
std::vector<Reading> readings(const Member& object) {
  return all_readings(object, member_table(), nullptr, Scope::member);
}
std::vector<Reading> readings(const Database& object) {
  return all_readings(object, database_table(), &object.settings, Scope::database);
}
std::vector<Reading> readings(const User& object) {
  return all_readings(object, user_table(), &object.settings, Scope::user);
}

void merge(const SessionSettings& level, EffectiveSettings& into) {
  for (const auto& binding : session_table()) binding.merge(level, into);
}

std::span<const Collection> collections() {
  return all_collections;
}

}  // namespace holdfast::config
