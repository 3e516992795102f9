// Files that contain secrets or are read at start-up: bounded reads, and a check of who else may read them.
#pragma once

#include <cstddef>
#include <expected>
#include <string>
#include <string_view>

#include "config/model.hpp"

namespace holdfast::config {

// A file's content, and a warning about its permissions.
struct FileText {
  std::string text;
  std::string warning;  // for Problem::message: "can be read by everybody (mode 0644): chmod 600"; empty: none
};

// Reads a regular file of at most `limit` bytes; never blocks on a FIFO or a device. A file that everybody may write is
// refused; one that everybody may read gives a warning (Kubernetes mounts secrets with 0644 unless told otherwise).
// Error: a sentence with the reason, without the path.
[[nodiscard]] std::expected<FileText, std::string> read_private_file(const std::string& path, std::size_t limit);

// The same checks without reading: exists, regular, readable, not writable by everybody. `secret`: warn if
// world-readable. Returns the warning, maybe empty.
[[nodiscard]] std::expected<std::string, std::string> inspect_file(const std::string& path, bool secret);

// A password out of a file: one trailing newline (LF or CRLF) goes; more than one line, NUL bytes and nothing are
// errors.
struct SecretText {
  Secret secret;
  std::string warning;
};
[[nodiscard]] std::expected<SecretText, std::string> read_secret_file(const std::string& path);
[[nodiscard]] std::expected<Secret, std::string> read_secret_environment(const std::string& variable);

// `path` as seen from the folder of the file `base`, when relative.
[[nodiscard]] std::string resolve_path(const std::string& base, const std::string& path);

}  // namespace holdfast::config
