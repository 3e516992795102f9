// The data path's system calls without glibc's wrappers.
//
// Why: in a process with threads each of glibc's recv, send and epoll_wait is a cancellation point, with two atomic
// operations around the call (sysdeps/nptl, __pthread_enable_asynccancel); syscall(2) is not. We never cancel threads.
// Sanitizer builds keep the wrappers: sanitizers know from them what the kernel wrote.
// Like the wrappers these return -1 and set errno on failure. Thread: any.
#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>

namespace holdfast::proxy::sys {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(SYS_epoll_wait)

inline ssize_t recv(int fd, void* bytes, std::size_t size) {
  return ::recv(fd, bytes, size, 0);
}
inline ssize_t send(int fd, const void* bytes, std::size_t size) {
  return ::send(fd, bytes, size, MSG_NOSIGNAL);
}
inline int epoll_wait(int epoll, epoll_event* events, int most, int milliseconds) {
  return ::epoll_wait(epoll, events, most, milliseconds);
}

#else

inline ssize_t recv(int fd, void* bytes, std::size_t size) {
  return ::syscall(SYS_recvfrom, fd, bytes, size, 0, nullptr, nullptr);
}
inline ssize_t send(int fd, const void* bytes, std::size_t size) {
  return ::syscall(SYS_sendto, fd, bytes, size, MSG_NOSIGNAL, nullptr, 0);
}
inline int epoll_wait(int epoll, epoll_event* events, int most, int milliseconds) {
  return static_cast<int>(::syscall(SYS_epoll_wait, epoll, events, most, milliseconds));
}

#endif

}  // namespace holdfast::proxy::sys
