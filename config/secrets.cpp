#include "config/secrets.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

namespace holdfast::config {

namespace {

constexpr std::size_t longest_secret = 64UL << 10U;

class File {
 public:
  explicit File(const std::string& path)
      // O_NONBLOCK: opening a FIFO must not wait for a writer; regular files don't care.
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  File(File&&) = delete;
  File& operator=(File&&) = delete;
  [[nodiscard]] int fd() const { return fd_; }

 private:
  int fd_;
};

std::string reason(int error) {
  return std::generic_category().message(error);
}

std::string octal(mode_t mode) {
  std::string result = "0";
  for (const unsigned shift : {6U, 3U, 0U}) result += static_cast<char>('0' + ((mode >> shift) & 7U));
  return result;
}

// Checks an open file. The warning, maybe empty; or why it can't be used.
std::expected<std::string, std::string> judge(int fd, bool secret) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return std::unexpected("can't be examined: " + reason(errno));
  if (!S_ISREG(status.st_mode)) return std::unexpected("is not a regular file");
  const auto mode = octal(status.st_mode);
  if ((status.st_mode & S_IWOTH) != 0U) {
    return std::unexpected("can be written by everybody (mode " + mode + "): chmod o-w");
  }
  if (secret && (status.st_mode & S_IROTH) != 0U) return "can be read by everybody (mode " + mode + "): chmod o-r";
  return "";
}

std::expected<std::string, std::string> read_all(int fd, std::size_t limit) {
  std::string text;
  std::array<char, 16384> chunk;
  for (;;) {
    const auto got = ::read(fd, chunk.data(), chunk.size());
    if (got == 0) return text;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected("can't be read: " + reason(errno));
    text.append(chunk.data(), static_cast<std::size_t>(got));
    if (text.size() > limit) return std::unexpected("is larger than " + std::to_string(limit >> 10U) + " KiB");
  }
}

}  // namespace

std::expected<FileText, std::string> read_private_file(const std::string& path, std::size_t limit) {
  const File file(path);
  if (file.fd() < 0) return std::unexpected("can't be opened: " + reason(errno));
  auto warning = judge(file.fd(), true);
  if (!warning) return std::unexpected(std::move(warning.error()));
  auto text = read_all(file.fd(), limit);
  if (!text) return std::unexpected(std::move(text.error()));
  return FileText{*std::move(text), *std::move(warning)};
}

std::expected<std::string, std::string> inspect_file(const std::string& path, bool secret) {
  const File file(path);
  if (file.fd() < 0) return std::unexpected("can't be opened: " + reason(errno));
  return judge(file.fd(), secret);
}

std::expected<SecretText, std::string> read_secret_file(const std::string& path) {
  auto file = read_private_file(path, longest_secret);
  if (!file) return std::unexpected(std::move(file.error()));
  auto& text = file->text;
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  if (text.empty()) return std::unexpected("is empty");
  if (text.find('\n') != std::string::npos) return std::unexpected("contains more than one line");
  if (text.find('\0') != std::string::npos) return std::unexpected("contains a NUL byte");
  return SecretText{Secret(std::move(text)), std::move(file->warning)};
}

std::expected<Secret, std::string> read_secret_environment(const std::string& variable) {
  // Read at start-up and on reload, by the only thread that touches the environment; setenv is never called.
  const char* value = std::getenv(variable.c_str());  // NOLINT(concurrency-mt-unsafe)
  if (value == nullptr) return std::unexpected("is not in the environment");
  if (*value == '\0') return std::unexpected("is empty in the environment");
  return Secret(value);
}

std::string resolve_path(const std::string& base, const std::string& path) {
  if (path.empty() || path.front() == '/') return path;
  return (std::filesystem::path(base).parent_path() / path).string();
}

}  // namespace holdfast::config
