#include "tests/support/reaper.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <system_error>

namespace holdfast::testing::reaper {
namespace {

// Everything a stopped process does is kill -9 away; ipcrm takes the one SysV segment that a killed postmaster leaves.
constexpr const char* script = R"sh(
trap '' INT TERM HUP
pids= dirs=
without() { out=; for item in $1; do [ "$item" = "$2" ] || out="$out $item"; done; echo "$out"; }
kill_tree() {
  kill -STOP "$1" 2>/dev/null
  for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do (kill_tree "$child"); done
  kill -KILL "$1" 2>/dev/null
}
while read -r verb what; do
  case $verb in
    +p) pids="$pids $what" ;;
    -p) pids=$(without "$pids" "$what") ;;
    +d) dirs="$dirs $what" ;;
    -d) dirs=$(without "$dirs" "$what") ;;
  esac
done
for pid in $pids; do kill_tree "$pid"; done
for dir in $dirs; do
  for file in "$dir"/*/postmaster.pid; do
    [ -f "$file" ] && ipcrm -m "$(sed -n 7p "$file" | awk '{print $2}')" 2>/dev/null
  done
  rm -rf "$dir"
done
)sh";

int start() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe2");
  const pid_t child = ::fork();
  if (child < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (child == 0) {
    ::setsid();  // Ctrl-C on the test is not for the reaper
    const int null = ::open("/dev/null", O_RDWR);
    ::dup2(ends[0], 0);
    ::dup2(null, 1);  // or a test driver would wait for the end of the pipe that the reaper inherited
    ::dup2(null, 2);
    ::close_range(3, ~0U, 0);
    ::execl("/bin/sh", "sh", "-c", script, static_cast<char*>(nullptr));
    ::_exit(127);
  }
  ::close(ends[0]);
  return ends[1];
}

void say(const std::string& line) {
  static const int pipe = start();
  const std::string text = line + "\n";  // below PIPE_BUF: one write is one line, whatever the threads
  if (::write(pipe, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    throw std::system_error(errno, std::generic_category(), "the reaper is gone");
}

}  // namespace

void note(pid_t process) {
  say("+p " + std::to_string(process));
}
void forget(pid_t process) {
  say("-p " + std::to_string(process));
}
void note(const std::filesystem::path& folder) {
  say("+d " + folder.string());
}
void forget(const std::filesystem::path& folder) {
  say("-d " + folder.string());
}

}  // namespace holdfast::testing::reaper
