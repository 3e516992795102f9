#include "tests/support/files.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>
#include <system_error>

#include "tests/support/reaper.hpp"

namespace holdfast::testing {
namespace {

[[noreturn]] void throw_errno(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

std::filesystem::path temp_root() {
  const char* configured = std::getenv("TMPDIR");
  return configured != nullptr && *configured != '\0' ? configured : "/tmp";
}

bool can_listen(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw_errno("socket");
  const int one = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);  // as servers do: TIME_WAIT is no hindrance
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool bound = ::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  ::close(fd);
  return bound;
}

}  // namespace

std::optional<ServerUser> server_user() {
  if (::geteuid() != 0) return std::nullopt;
  const passwd* entry = ::getpwnam("postgres");
  if (entry == nullptr) throw std::runtime_error("tests run as root need an OS user named postgres to run servers");
  return ServerUser{.uid = entry->pw_uid, .gid = entry->pw_gid};
}

FileLock::FileLock(const std::filesystem::path& path) : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
  if (fd_ < 0) throw_errno(path.string());
  while (::flock(fd_, LOCK_EX) != 0)
    if (errno != EINTR) throw_errno("flock " + path.string());
}

std::optional<FileLock> FileLock::attempt(const std::filesystem::path& path) {
  FileLock lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (lock.fd_ < 0) throw_errno(path.string());
  if (::flock(lock.fd_, LOCK_EX | LOCK_NB) != 0) return std::nullopt;
  return lock;
}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

TempDir::TempDir(const std::string& prefix) {
  std::string pattern = (temp_root() / (prefix + "XXXXXX")).string();
  if (::mkdtemp(pattern.data()) == nullptr) throw_errno("mkdtemp " + pattern);
  path_ = pattern;
  reaper::note(path_);
  give_to_postgres(path_);
}

TempDir::~TempDir() {
  if (path_.empty()) return;
  std::error_code ignored;  // a server that is being killed may still write; the reaper's rm -rf comes after it
  std::filesystem::remove_all(path_, ignored);
  if (!ignored) reaper::forget(path_);
}

Port::Port() {
  constexpr int first = 20000;  // below net.ipv4.ip_local_port_range
  constexpr int count = 12000;
  const auto locks = shared_test_folder() / "ports";
  std::filesystem::create_directories(locks);
  const int start = static_cast<int>(std::random_device{}() % count);
  for (int i = 0; i < count; ++i) {
    const int port = first + (start + i) % count;
    auto lock = FileLock::attempt(locks / std::to_string(port));
    if (!lock || !can_listen(port)) continue;
    number_ = port;
    lock_ = std::move(lock);
    return;
  }
  throw std::runtime_error("no free port from 20000 to 31999");
}

std::filesystem::path shared_test_folder() {
  const auto path = temp_root() / ("holdfast-test-" + std::to_string(::geteuid()));
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) throw_errno(path.string());
  struct stat status{};
  // TMPDIR is open to everybody: what somebody else put there under our name is not ours.
  if (::lstat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode) || status.st_uid != ::geteuid())
    throw std::runtime_error(path.string() + " isn't a folder of this user");
  return path;
}

void give_to_postgres(const std::filesystem::path& path) {
  const auto user = server_user();
  if (user && ::chown(path.c_str(), user->uid, user->gid) != 0) throw_errno("chown " + path.string());
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file) throw std::runtime_error("can't write " + path.string());
}

}  // namespace holdfast::testing
