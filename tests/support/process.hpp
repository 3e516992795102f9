// Outside processes of a test: started as the right user, ended whatever happens to the test.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace holdfast::testing {

// What to start. `program` is a path or a name to look for in PATH.
struct Command {
  std::string program;
  std::vector<std::string> arguments = {};
  std::vector<std::pair<std::string, std::string>> environment = {};  // added to the test's own
  std::filesystem::path output = "/dev/null";                         // stdout and stderr, appended
  std::filesystem::path input = "/dev/null";
  bool as_postgres = false;  // as OS user postgres when the test runs as root (PostgreSQL refuses root)
};

// A child process. Owned by one thread at a time. Its destructor kills it with all its descendants. If the test itself
// dies, the reaper does so: a small shell process per test program that notices the end of a pipe.
// Call order: constructor (starts it) → signal* → wait_for or kill_tree.
class Process {
 public:
  explicit Process(const Command& command);  // throws std::system_error when it can't be started
  Process(Process&&) noexcept;
  Process& operator=(Process&&) noexcept;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process();

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] bool running();  // reaps it when it has ended
  // Exit code, 128 + signal when a signal ended it (as shells say), nothing when it still runs after `bound`.
  [[nodiscard]] std::optional<int> wait_for(std::chrono::milliseconds bound);

  void signal(int number) const;       // to the process only; nothing happens when it has ended
  void signal_tree(int number) const;  // first to the process, then to all its descendants
  void kill_tree();  // SIGKILL to all of them at once: the parent is stopped first, so that it forks no more
  [[nodiscard]] std::vector<pid_t> tree() const;  // itself and its descendants, parents first

 private:
  pid_t pid_ = -1;
  std::optional<int> exit_code_;
};

// Whether a process, not necessarily ours, still runs. One that has ended and isn't collected by its parent yet
// doesn't.
bool is_alive(pid_t process);

// The most resident memory that a running process has had so far, in kB (VmHWM of proc(5)); 0 when it can't be read.
long peak_memory(pid_t process);

// Runs to its end and returns its exit code (128 + signal); kills it and throws std::runtime_error after `bound`.
int run(const Command& command, std::chrono::milliseconds bound = std::chrono::seconds(60));
// The same, but throws std::runtime_error with the output when the exit code isn't 0. Returns the output.
std::string run_checked(Command command, std::chrono::milliseconds bound = std::chrono::seconds(60));

// Stops a process (SIGSTOP). True once every thread of it stands still: what is sent to it afterwards is not seen
// before SIGCONT.
[[nodiscard]] bool halt(pid_t pid);

}  // namespace holdfast::testing
