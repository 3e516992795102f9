// Ends a test program's outside processes and folders when the program itself can't.
#pragma once

#include <sys/types.h>

#include <filesystem>

namespace holdfast::testing::reaper {

// One shell process per test program, started by the first call. It reads a pipe; at its end (the test program is gone,
// however it went) it kills what is still noted, with all descendants, and removes the noted folders. PR_SET_PDEATHSIG
// would not do: it follows the thread that forked, and is lost when the child changes its user.
// Thread-safe.
void note(pid_t process);
void forget(pid_t process);
void note(const std::filesystem::path& folder);
void forget(const std::filesystem::path& folder);

}  // namespace holdfast::testing::reaper
