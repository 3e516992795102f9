// From YAML to a Config: every mistake in the file is reported at once, each with its place; a file with a mistake
// gives no Config at all. Reads the files that the configuration names (passwords, users). For start-up, --check and
// the control thread's reload; it blocks on files, so never on a worker. Throws nothing but std::bad_alloc.
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "config/model.hpp"
#include "config/problem.hpp"

namespace holdfast::config {

// What a good file gives: warnings are for the log, origins say where each value was written.
struct Loaded {
  Config config;
  Problems warnings;
  Origins origins;
};

// Reads the file at `path` (at most 1 MiB, regular files only), checks it and everything it refers to.
// Relative file names inside are taken from the folder that `path` is in.
// Errors: all of them, sorted by place; the list is never empty.
[[nodiscard]] std::expected<Loaded, Problems> load(const std::string& path);

// The same for text in memory; `name` is the file's name in problems, and relative file names are seen from its
// directory.
[[nodiscard]] std::expected<Loaded, Problems> load_text(std::string_view text, const std::string& name);

}  // namespace holdfast::config
