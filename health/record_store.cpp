#include "health/record_store.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

namespace holdfast::health {

namespace {

constexpr std::size_t largest_record = 64UL << 10U;  // a thousand members that were refused

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool open() const { return fd_ >= 0; }

 private:
  int fd_;
};

std::string last_error() {
  return std::generic_category().message(errno);
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const auto written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

}  // namespace

RecordStore::RecordStore(std::string directory, Report report)
    : directory_(std::move(directory)), report_(std::move(report)) {
  if (!directory_.empty()) thread_ = std::thread([this] { run(); });
}

RecordStore::~RecordStore() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

std::string RecordStore::path(std::string_view cluster) const {
  return directory_ + "/" + record_file_name(cluster);
}

Result<std::optional<Record>> RecordStore::load(const std::string& cluster) {
  if (directory_.empty()) return std::nullopt;
  const Descriptor file(::open(path(cluster).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.open()) {
    if (errno == ENOENT) return std::nullopt;
    return fail(sqlstate::internal_error, last_error());
  }
  std::array<char, largest_record + 1> buffer{};
  std::size_t size = 0;
  while (size < buffer.size()) {
    const auto got = ::read(file.get(), buffer.data() + size, buffer.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(sqlstate::internal_error, last_error());
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size > largest_record) return fail(sqlstate::internal_error, "it is too long to be a record");
  auto record = parse_record({buffer.data(), size}, cluster);
  if (!record) return std::unexpected(std::move(record.error()));
  const std::scoped_lock lock(mutex_);
  present_.insert(cluster);
  return std::move(*record);
}

void RecordStore::keep(const Record& record) {
  if (directory_.empty()) return;
  {
    const std::scoped_lock lock(mutex_);
    waiting_.insert_or_assign(record.cluster, record);
  }
  changed_.notify_one();
}

bool RecordStore::removed(const std::string& cluster) {
  {
    const std::scoped_lock lock(mutex_);
    if (!present_.contains(cluster)) return false;
  }
  struct stat status {};
  // A directory that can't be looked into says nothing about its files.
  const bool gone =
      ::stat(directory_.c_str(), &status) == 0 && ::stat(path(cluster).c_str(), &status) != 0 && errno == ENOENT;
  if (!gone) return false;
  const std::scoped_lock lock(mutex_);
  present_.erase(cluster);
  return true;
}

void RecordStore::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (waiting_.empty()) return;
    const Record record = waiting_.extract(waiting_.begin()).mapped();
    lock.unlock();
    const auto error = write(record);
    report_(record.cluster, error);
    lock.lock();
    if (error.empty()) present_.insert(record.cluster);
  }
}

// The reason why it failed, or nothing.
std::string RecordStore::write(const Record& record) const {
  const auto target = path(record.cluster);
  const auto beside = target + ".new";
  const auto failed = [&](const char* what) { return std::string(what) + ": " + last_error(); };
  {
    const Descriptor file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
    if (!file.open()) return failed("open");
    if (!write_all(file.get(), to_text(record))) return failed("write");
    if (::fsync(file.get()) != 0) return failed("fsync");
  }
  if (std::rename(beside.c_str(), target.c_str()) != 0) return failed("rename");
  const Descriptor folder(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!folder.open() || ::fsync(folder.get()) != 0) return failed("fsync of the directory");
  return {};
}

}  // namespace holdfast::health
