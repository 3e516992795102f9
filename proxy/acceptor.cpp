#include "proxy/acceptor.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "proxy/base/log.hpp"

namespace holdfast::proxy {
namespace {

constexpr int backlog = 4096;  // the kernel limits it to net.core.somaxconn

std::string peer_name(const sockaddr_storage& peer) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (peer.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(peer);
    ::inet_ntop(AF_INET, &v4.sin_addr, text.data(), text.size());
    return std::string(text.data()) + ":" + std::to_string(ntohs(v4.sin_port));
  }
  if (peer.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(peer);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text.data(), text.size());
    return "[" + std::string(text.data()) + "]:" + std::to_string(ntohs(v6.sin6_port));
  }
  return "unix";
}

}  // namespace

Acceptor::Acceptor(boost::asio::io_context& context, std::size_t index, Deliver deliver)
    : socket_(context), timer_(context), deliver_(std::move(deliver)), index_(index) {}

Acceptor::~Acceptor() {
  close();
}

Result<void> Acceptor::listen(const config::Listener& listener) {
  sockaddr_storage storage{};
  socklen_t size = 0;
  std::string where = listener.address + ":" + std::to_string(listener.port);
  if (listener.address.starts_with('/')) {
    auto& un = reinterpret_cast<sockaddr_un&>(storage);
    unix_path_ = listener.address + "/.s.PGSQL." + std::to_string(listener.port);
    where = unix_path_;
    if (unix_path_.size() >= sizeof un.sun_path)
      return fail(sqlstate::connection_failure, "socket path is too long: " + where);
    un.sun_family = AF_UNIX;
    std::memcpy(un.sun_path, unix_path_.c_str(), unix_path_.size() + 1);
    size = sizeof un;
    ::unlink(unix_path_.c_str());
  } else if (auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
             ::inet_pton(AF_INET, listener.address.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(listener.port);
    size = sizeof v4;
  } else if (auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
             ::inet_pton(AF_INET6, listener.address.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(listener.port);
    size = sizeof v6;
  } else {
    return fail(sqlstate::connection_failure, "listen address is not an IP address or a path: " + listener.address);
  }
  const auto failed = [&where](const char* what) {
    return fail(sqlstate::connection_failure,
                std::string(what) + " " + where + ": " + std::system_category().message(errno));
  };
  const int fd = ::socket(storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return failed("can't make a socket for");
  const int one = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (storage.ss_family == AF_INET6) ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&storage), size) != 0 || ::listen(fd, backlog) != 0) {
    auto result = failed("can't listen on");
    ::close(fd);
    return result;
  }
  if (!unix_path_.empty()) ::chmod(unix_path_.c_str(), 0777);
  socket_.assign(fd);
  return {};
}

void Acceptor::start() {
  wait();
}

void Acceptor::close() {
  boost::system::error_code ignored;
  socket_.close(ignored);
  timer_.cancel();
  if (!unix_path_.empty()) ::unlink(std::exchange(unix_path_, {}).c_str());
}

void Acceptor::wait() {
  socket_.async_wait(boost::asio::posix::descriptor_base::wait_read, [this](boost::system::error_code error) {
    if (!error && socket_.is_open()) accept_some();
  });
}

void Acceptor::accept_some() {
  for (;;) {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    const int fd =
        ::accept4(socket_.native_handle(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      const int one = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
      deliver_({.fd = fd, .listener = index_, .peer = peer_name(peer)});
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN) {
      wait();
      return;
    }
    log_event(LogLevel::error, "accept_failed",
              {{"reason", std::system_category().message(errno)}, {"next_try_ms", std::to_string(pause.count())}});
    timer_.expires_after(pause);
    timer_.async_wait([this](boost::system::error_code error) {
      if (!error && socket_.is_open()) wait();
    });
    return;
  }
}

}  // namespace holdfast::proxy
