#include "tests/support/process.hpp"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <system_error>

#include "tests/support/files.hpp"
#include "tests/support/reaper.hpp"
#include "tests/support/wait.hpp"

extern char** environ;

namespace holdfast::testing {
namespace {

[[noreturn]] void throw_errno(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

std::vector<std::string> environment_of(const Command& command) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const auto overridden = std::ranges::any_of(command.environment, [&](const auto& pair) {
      return text.starts_with(pair.first) && text.substr(pair.first.size()).starts_with('=');
    });
    if (!overridden) result.emplace_back(text);
  }
  for (const auto& [name, value] : command.environment) result.push_back(name + "=" + value);
  return result;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (auto& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

// Between fork and exec only async-signal-safe calls: everything is prepared before.
pid_t spawn(const Command& command) {
  std::vector<std::string> arguments = {command.program};
  arguments.insert(arguments.end(), command.arguments.begin(), command.arguments.end());
  auto environment = environment_of(command);
  const auto argv = pointers(arguments);
  const auto envp = pointers(environment);
  const auto user = command.as_postgres ? server_user() : std::nullopt;

  const int in = ::open(command.input.c_str(), O_RDONLY | O_CLOEXEC);
  const int out = ::open(command.output.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (in < 0 || out < 0) throw_errno("opening input or output of " + command.program);
  int report[2];  // the child says here why exec failed; a successful exec closes it
  if (::pipe2(report, O_CLOEXEC) != 0) throw_errno("pipe2");

  const pid_t child = ::fork();
  if (child < 0) throw_errno("fork");
  if (child == 0) {
    ::dup2(in, 0);
    ::dup2(out, 1);
    ::dup2(out, 2);
    ::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);  // also what another thread opened without the flag
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::signal(SIGPIPE, SIG_DFL);
    if (!user || (::setgroups(0, nullptr) == 0 && ::setgid(user->gid) == 0 && ::setuid(user->uid) == 0))
      ::execvpe(argv[0], argv.data(), envp.data());
    const int error = errno;
    [[maybe_unused]] const auto written = ::write(report[1], &error, sizeof error);
    ::_exit(127);
  }
  ::close(in);
  ::close(out);
  ::close(report[1]);
  int error = 0;
  const auto got = ::read(report[0], &error, sizeof error);
  ::close(report[0]);
  if (got > 0) {
    ::waitpid(child, nullptr, 0);
    throw std::system_error(error, std::generic_category(), "starting " + command.program);
  }
  reaper::note(child);
  return child;
}

void collect_descendants(pid_t process, std::vector<pid_t>& found) {
  std::error_code gone;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/task", gone)) {
    std::ifstream children(task.path() / "children");
    for (pid_t child = 0; children >> child;) {
      found.push_back(child);
      collect_descendants(child, found);
    }
  }
}

}  // namespace

Process::Process(const Command& command) : pid_(spawn(command)) {}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), exit_code_(std::exchange(other.exit_code_, std::nullopt)) {}

Process& Process::operator=(Process&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(exit_code_, other.exit_code_);
  return *this;
}

Process::~Process() {
  if (pid_ > 0) kill_tree();
}

std::optional<int> Process::wait_for(std::chrono::milliseconds bound) {
  if (exit_code_ || pid_ <= 0) return exit_code_;
  // A pidfd becomes readable when the process ends: an event, no polling.
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
  if (pidfd < 0) throw_errno("pidfd_open");
  pollfd waited{.fd = pidfd, .events = POLLIN, .revents = 0};
  const auto deadline = std::chrono::steady_clock::now() + bound;
  int ready = 0;
  do {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    ready = ::poll(&waited, 1, static_cast<int>(std::max<std::int64_t>(0, left.count())));
  } while (ready < 0 && errno == EINTR);
  ::close(pidfd);
  if (ready <= 0) return std::nullopt;
  int status = 0;
  if (::waitpid(pid_, &status, 0) != pid_) throw_errno("waitpid");
  reaper::forget(pid_);
  exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return exit_code_;
}

bool Process::running() {
  return pid_ > 0 && !wait_for(std::chrono::milliseconds(0));
}

void Process::signal(int number) const {
  if (pid_ > 0 && !exit_code_) ::kill(pid_, number);
}

std::vector<pid_t> Process::tree() const {
  if (pid_ <= 0 || exit_code_) return {};
  std::vector<pid_t> found = {pid_};
  collect_descendants(pid_, found);
  return found;
}

void Process::signal_tree(int number) const {
  if (pid_ <= 0 || exit_code_) return;
  signal(number);
  const auto processes = tree();
  std::for_each(processes.begin() + 1, processes.end(), [&](pid_t process) { ::kill(process, number); });
}

void Process::kill_tree() {
  if (!running()) return;
  signal(SIGSTOP);
  for (const pid_t process : tree()) ::kill(process, SIGKILL);
  static_cast<void>(wait_for(std::chrono::seconds(20)));
}

bool is_alive(pid_t process) {
  // proc(5), stat: "pid (name) state …"; the name may hold anything, so its last bracket counts.
  const auto stat = read_file("/proc/" + std::to_string(process) + "/stat");
  const auto bracket = stat.rfind(") ");
  return bracket != std::string::npos && stat.size() > bracket + 2 && stat[bracket + 2] != 'Z' &&
         stat[bracket + 2] != 'X';
}

long peak_memory(pid_t process) {
  std::ifstream status("/proc/" + std::to_string(process) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stol(line.substr(6));
  }
  return 0;
}

int run(const Command& command, std::chrono::milliseconds bound) {
  Process process(command);
  const auto code = process.wait_for(bound);
  if (!code) throw std::runtime_error(command.program + " did not end in time");
  return *code;
}

std::string run_checked(Command command, std::chrono::milliseconds bound) {
  const TempDir folder;
  command.output = folder.path() / "output";
  const int code = run(command, bound);
  auto output = read_file(command.output);
  if (code != 0) throw std::runtime_error(command.program + " ended with " + std::to_string(code) + ":\n" + output);
  return output;
}

bool halt(pid_t pid) {
  if (::kill(pid, SIGSTOP) != 0) return false;
  return wait_until(std::chrono::seconds(5), [pid] {
    for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
      std::ifstream file(task.path() / "stat");
      const std::string text{std::istreambuf_iterator<char>(file), {}};
      const auto name_ends = text.rfind(") ");  // proc(5): pid (name) state
      if (name_ends == std::string::npos || text[name_ends + 2] != 'T') return false;
    }
    return true;
  });
}

}  // namespace holdfast::testing
