// Folders, files and ports that belong to one test, and the user that runs servers.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>
#include <utility>

namespace holdfast::testing {

// The user that runs PostgreSQL when the test runs as root (PostgreSQL refuses root); nothing: the test's own user.
struct ServerUser {
  uid_t uid = 0;
  gid_t gid = 0;
};
std::optional<ServerUser> server_user();

// A lock between processes of this user, held while the object lives (flock: the kernel lets go when its owner dies).
class FileLock {
 public:
  explicit FileLock(const std::filesystem::path& path);                       // waits for it
  static std::optional<FileLock> attempt(const std::filesystem::path& path);  // nothing when somebody has it
  FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileLock& operator=(FileLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

// A new folder below TMPDIR, owned by the user that runs servers, removed by the destructor (or by the reaper).
class TempDir {
 public:
  explicit TempDir(const std::string& prefix = "holdfast-test-");
  TempDir(TempDir&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TempDir& operator=(TempDir&&) = delete;
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir();

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// A TCP port on 127.0.0.1 that no other test on this machine gets while this object lives, also while nobody listens on
// it (a dead primary keeps its address). Taken below the ephemeral range, so that no outgoing connection lands on it.
class Port {
 public:
  Port();  // throws std::runtime_error when none of the range is free

  [[nodiscard]] int number() const { return number_; }

 private:
  int number_ = 0;
  std::optional<FileLock> lock_;  // on a file named after the port
};

// TMPDIR or /tmp, with holdfast-test-<uid> below it: what test programs share (template clusters, port locks).
std::filesystem::path shared_test_folder();
// Gives `path` to the user that runs servers (nothing to do when the test isn't root).
void give_to_postgres(const std::filesystem::path& path);
// The whole file; empty when it can't be read.
std::string read_file(const std::filesystem::path& path);
// Replaces the file; throws std::runtime_error when that fails.
void write_file(const std::filesystem::path& path, const std::string& text);

}  // namespace holdfast::testing
