// One mapping of the file read by the schema: settings, groups (`pool: {…}`), secrets, and suggestions for what is none
// of these. Internal to load.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "config/load.hpp"
#include "config/problem.hpp"
#include "config/schema.hpp"
#include "config/value.hpp"
#include "config/yaml.hpp"

namespace holdfast::config {

// What a load has made of the files so far, with the mistakes in them; everything that reads adds to it and goes on.
struct Draft {
  Loaded loaded;
  Problems problems;
  bool literal_secret = false;  // the configuration itself contains a password

  [[nodiscard]] const std::string& file() const { return loaded.origins.file; }
  void complain(Place place, const std::string& key, std::string message);
  void warn(Place place, const std::string& key, std::string message);
  void note(const std::string& path, Place place) { loaded.origins.places[path] = place; }
};

// Reads one mapping into the fields behind `slots`. Used once, then thrown away; `node` must outlive it.
class Mapping {
 public:
  // A collection inside of it ("members"), whose entries are read by the caller, which knows the object.
  using Found = std::map<std::string_view, const YamlEntry*>;

  // `path` is where the mapping stands: "clusters.main"; empty at the top.
  Mapping(Draft& draft, Scope scope, std::string path, std::vector<Slot> slots);

  Found read(const YamlNode& node);

 private:
  enum class Source : std::uint8_t { literal, file, environment };
  struct SecretSource {
    Source source;
    std::string key;  // as written: "monitor.password_file"
    const YamlEntry* entry;
  };

  [[nodiscard]] std::string path_of(std::string_view relative) const;
  void read_group(const YamlNode& node, const std::string& group);
  void read_entry(const YamlEntry& entry, const std::string& key);
  bool note_secret(const YamlEntry& entry, const std::string& key);
  void read_nested(const YamlEntry& entry, const std::string& key);
  void read_value(const Slot& slot, const YamlEntry& entry);
  void read_secret(const Slot& slot, const std::vector<SecretSource>& sources);
  void complain_value(const YamlEntry& entry, const std::string& path, ValueProblem problem);
  void complain_misplaced(const YamlEntry& entry, const Key& key);

  [[nodiscard]] const Slot* find_slot(std::string_view key) const;
  [[nodiscard]] const Key* find_misplaced(std::string_view key) const;
  [[nodiscard]] bool is_group(std::string_view key) const;
  [[nodiscard]] std::vector<std::string_view> words_in(std::string_view group) const;
  [[nodiscard]] std::string list_words_in(std::string_view group) const;
  [[nodiscard]] std::string hint(const std::string& key) const;
  [[nodiscard]] std::string find_elsewhere(std::string_view word) const;

  Draft& draft_;
  Scope scope_;
  std::string path_;
  std::vector<Slot> slots_;
  Found found_;
  std::set<const Key*> given_;
  std::map<const Key*, std::vector<SecretSource>> secrets_;
};

}  // namespace holdfast::config
