// What is wrong with a configuration, so that a person finds the place and can correct it. Plain values.
#pragma once

#include <functional>
#include <map>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace holdfast::config {

// A place in a file. Lines and columns count from 1, as editors do (yaml-cpp's Mark counts from 0); 0: no place known.
struct Place {
  unsigned line = 0;
  unsigned column = 0;
  friend bool operator==(const Place&, const Place&) = default;
};

// One error or warning. `key` is the path of the setting ("clusters.main.members[1].host") and may be empty.
// `message` says what to do about it and never contains a secret.
struct Problem {
  std::string file;
  unsigned line = 0;
  unsigned column = 0;
  std::string key;
  std::string message;
  friend bool operator==(const Problem&, const Problem&) = default;
};
using Problems = std::vector<Problem>;

// "holdfast.yaml:12:9: pool.size: must be at least 1". Control characters of the file's text are shown as \xNN, so that
// a hostile file can't write on the operator's terminal.
[[nodiscard]] std::string to_string(const Problem& problem);
std::ostream& operator<<(std::ostream& out, const Problem& problem);

// By file, then line, column and key: the order in which a person corrects them.
void sort_by_place(Problems& problems);

// Text from outside made fit for one line of output: control characters as \xNN, cut after `limit` bytes.
[[nodiscard]] std::string printable(std::string_view text, std::size_t limit = 200);

// Where each setting was written: paths, as in Problem::key, to places of one file. A setting that was not written has
// none.
struct Origins {
  std::string file;
  std::map<std::string, Place, std::less<>> places;

  // The place of `path`, else of the nearest thing around it, else none.
  [[nodiscard]] Place find(std::string_view path) const;
};

// One step into a collection: "databases" + "*" → `databases.*`; names with other characters are quoted:
// `users["a.b"]`.
[[nodiscard]] std::string join(std::string_view path, std::string_view name);
// "listen" + 0 → `listen[0]`
[[nodiscard]] std::string join(std::string_view path, std::size_t index);

}  // namespace holdfast::config
