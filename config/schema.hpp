// The one table of settings. Loading, validation, suggestions, the reference, the JSON schema and the reload's diff all
// derive from it; to add a setting, add its field to model.hpp and its line to settings.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/diff.hpp"
#include "config/model.hpp"
#include "config/value.hpp"

namespace holdfast::config {

enum class Type : std::uint8_t {
  boolean,
  integer,
  size,
  duration,
  word,
  text,
  file,
  list,
  address,
  consistency,
  secret
};
[[nodiscard]] std::string_view name_of(Type type);

// The mappings of the file. `session`: the settings that four of them share.
enum class Scope : std::uint8_t { process, listener, cluster, member, database, user, session };

// A value of an enum; one that is known but not built yet is refused with these words.
struct Word {
  std::string_view text;
  bool available = true;
};

// In the type's own unit: a count, bytes, or milliseconds. Both ends belong to it.
struct Range {
  std::uint64_t min = 0;
  std::uint64_t max = std::numeric_limits<std::uint64_t>::max();
};

// Where a session setting may be set. What belongs to a pool is not a listener's: its clients share the pools of the
// others.
struct Levels {
  bool process = true;
  bool listener = true;
  bool database = true;
  bool user = true;
  std::string_view why = {};  // not at the other levels: "a pool serves the clients of all listeners"
};
[[nodiscard]] bool allows(const Levels& levels, Scope scope);
// "at the top level, in a database or in a user"
[[nodiscard]] std::string to_string(const Levels& levels);

// The facts of one setting. A secret `password` brings `password_file` and `password_env` with it.
struct Key {
  std::string_view path;  // inside its mapping: "pool.hold_timeout"
  std::string_view doc;   // a sentence or two
  Range range = {};
  std::string_view zero = {};  // what 0 (or `off`) means; empty: nothing special
  Applies applies = Applies::live;
  bool required = false;
  Levels levels = {};
  // filled in from the field it is bound to
  Type type = Type::text;
  std::span<const Word> words = {};
  std::optional<Value> standard = {};  // the default; none: nothing, or required
};

// A key together with the field of one object that it stands for. Lives as long as the object.
struct Slot {
  const Key* key;
  std::function<void(Value)> assign;
};
// A key with the value that an object has; none: not set at this level.
struct Reading {
  const Key* key;
  std::optional<Value> value;
};

// All keys of a mapping, in the order of the reference. For process, listener, database and user the session's come
// last.
[[nodiscard]] std::span<const Key* const> keys(Scope scope);

[[nodiscard]] std::vector<Slot> slots(Config& object);
[[nodiscard]] std::vector<Slot> slots(Listener& object);
[[nodiscard]] std::vector<Slot> slots(Cluster& object);
[[nodiscard]] std::vector<Slot> slots(Member& object);
[[nodiscard]] std::vector<Slot> slots(Database& object);
[[nodiscard]] std::vector<Slot> slots(User& object);

[[nodiscard]] std::vector<Reading> readings(const Config& object);
[[nodiscard]] std::vector<Reading> readings(const Listener& object);
[[nodiscard]] std::vector<Reading> readings(const Cluster& object);
[[nodiscard]] std::vector<Reading> readings(const Member& object);
[[nodiscard]] std::vector<Reading> readings(const Database& object);
[[nodiscard]] std::vector<Reading> readings(const User& object);

// What `level` sets replaces the value in `into`.
void merge(const SessionSettings& level, EffectiveSettings& into);

// Whether an entry that comes or goes is taken up by a running process.
struct Collection {
  std::string_view path;  // "listen", "clusters", "members", "databases", "users"
  Scope inside;           // the mapping that it is in
  Scope entries;          // what its entries are
  Applies applies;        // to an entry that came or went
  std::string_view doc;
};
[[nodiscard]] std::span<const Collection> collections();

}  // namespace holdfast::config
