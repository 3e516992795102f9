// Preloaded into the proxy: counts what its workers allocate. The counter lies in the file that HOLDFAST_ALLOCATIONS
// names, mapped shared, so that a test can read it while the proxy runs.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace {

std::atomic<std::uint64_t>* counter = nullptr;

// Threads are named after they began: asked until the answer is a worker's.
bool on_worker() {
  thread_local bool known = false;
  if (known) return true;
  std::array<char, 16> name{};
  if (::prctl(PR_GET_NAME, name.data()) != 0) return false;
  known = std::strncmp(name.data(), "worker-", 7) == 0;
  return known;
}

void note() {
  if (counter != nullptr && on_worker()) counter->fetch_add(1, std::memory_order_relaxed);
}

__attribute__((constructor)) void map_counter() {
  const char* path = std::getenv("HOLDFAST_ALLOCATIONS");
  if (path == nullptr) return;
  const int fd = ::open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void* memory = ::mmap(nullptr, sizeof(*counter), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (memory != MAP_FAILED) counter = static_cast<std::atomic<std::uint64_t>*>(memory);
}

}  // namespace

extern "C" {
// glibc's own entry points (malloc/malloc.c); the dynamic linker finds ours first.
void* __libc_malloc(std::size_t size);                     // NOLINT
void* __libc_calloc(std::size_t count, std::size_t size);  // NOLINT
void* __libc_realloc(void* memory, std::size_t size);      // NOLINT

void* malloc(std::size_t size) {
  note();
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  note();
  return __libc_calloc(count, size);
}
void* realloc(void* memory, std::size_t size) {
  note();
  return __libc_realloc(memory, size);
}
}
