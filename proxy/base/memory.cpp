#include "proxy/base/memory.hpp"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace holdfast::proxy {

void settle_allocator() {
#if defined(__GLIBC__)
  constexpr int own_mapping = 256 << 10;
  ::mallopt(M_MMAP_THRESHOLD, own_mapping);
  ::mallopt(M_TRIM_THRESHOLD, 2 * own_mapping);
#endif
}

void trim_heaps() {
#if defined(__GLIBC__)
  ::malloc_trim(0);
#endif
}

}  // namespace holdfast::proxy
