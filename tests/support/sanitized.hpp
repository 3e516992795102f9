// Whether the tests and what they start were built with a sanitizer: its allocator takes memory and makes system calls of
// its own, so that neither can be counted.
#pragma once

namespace holdfast::testing {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

}  // namespace holdfast::testing
