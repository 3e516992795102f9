// The floor that proxies are measured against: it moves bytes between a client and a server and parses none of them.
//
//   holdfast_forwarder PORT HOST SERVER_PORT       listens on 127.0.0.1:PORT
//   holdfast_forwarder PORT /path/of/the/socket    the same, to a Unix socket
//
// It makes as few system calls as a proxy with two sockets can: one thread, edge-triggered epoll, one receive buffer
// for all. A short read means that the socket is drained, so it is not read again. A round trip costs six calls:
// epoll_wait, recv and send in each direction. Every client has a server connection of its own for its whole life.
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <list>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace {

constexpr std::size_t buffer_size = 64 * 1024;
constexpr int reads_in_a_row = 16;  // Then other sockets have their turn: a stream of bulk data must not starve them.

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

struct Address {
  sockaddr_storage storage = {};
  socklen_t size = 0;
  [[nodiscard]] const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

std::optional<Address> unix_address(std::string_view path) {
  sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  if (path.size() >= sizeof name.sun_path) return std::nullopt;
  std::memcpy(name.sun_path, path.data(), path.size());
  Address address{.storage = {}, .size = sizeof name};
  std::memcpy(&address.storage, &name, sizeof name);
  return address;
}

std::optional<Address> tcp_address(const char* host, const char* port) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host, port, &hints, &found) != 0) return std::nullopt;
  Address address{.storage = {}, .size = found->ai_addrlen};
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  ::freeaddrinfo(found);
  return address;
}

void send_at_once(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // A Unix socket refuses it and needs none.
}

// A non-blocking socket that is connected or, over TCP, connecting; -1 if the server refuses at once. A Unix socket is
// connected while it still blocks: a non-blocking one could return EAGAIN for ever.
int connect_to(const Address& server) {
  const bool local = server.storage.ss_family == AF_UNIX;
  const int fd = ::socket(server.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | (local ? 0 : SOCK_NONBLOCK), 0);
  if (fd < 0) fail("socket");
  send_at_once(fd);
  if (::connect(fd, server.get(), server.size) != 0 && errno != EINPROGRESS) {
    ::close(fd);
    return -1;
  }
  if (local) ::fcntl(fd, F_SETFL, O_NONBLOCK);
  return fd;
}

int listen_on(std::uint16_t port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) fail("socket");
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail("bind");
  if (::listen(fd, SOMAXCONN) != 0) fail("listen");
  return fd;
}

struct Pair;

// One of the two sockets of a pair, and its state as last reported by the kernel.
struct Side {
  Pair* pair = nullptr;
  int fd = -1;
  bool readable = false;    // There may be unread bytes, or an unread end of stream.
  bool ending = false;      // An end of stream was announced: a short read isn't the last one.
  bool read_ended = false;  // The peer's end of stream was read.
  bool blocked = false;     // It can't send until EPOLLOUT: it is connecting, or its send buffer is full.
  bool shut = false;        // It is sent no more bytes: it was shut down, or sending failed.
  std::vector<char> kept;   // What could not be sent to it. Until it is sent, the other side isn't read.
};

struct Pair {
  Side client;
  Side server;
  std::list<Pair>::iterator self;
  [[nodiscard]] Side& opposite(const Side& side) { return &side == &client ? server : client; }
};

class Forwarder {
 public:
  Forwarder(std::uint16_t port, const Address& server) : server_(server), listener_(listen_on(port)) {
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    ::sigprocmask(SIG_BLOCK, &ends, nullptr);
    const int signals = ::signalfd(-1, &ends, SFD_CLOEXEC);
    if (epoll_ < 0 || signals < 0) fail("epoll_create1 or signalfd");
    watch(EPOLL_CTL_ADD, listener_, EPOLLIN, &listener_);
    watch(EPOLL_CTL_ADD, signals, EPOLLIN, nullptr);
  }

  // Returns after SIGTERM or SIGINT.
  void run() {
    std::array<epoll_event, 128> events;
    for (;;) {
      const int count = ::epoll_wait(epoll_, events.data(), events.size(), -1);
      if (count < 0 && errno != EINTR) fail("epoll_wait");
      for (const auto& event : std::span(events).first(static_cast<std::size_t>(std::max(0, count)))) {
        if (event.data.ptr == nullptr) return;
        if (event.data.ptr == &listener_)
          accept();
        else
          handle(*static_cast<Side*>(event.data.ptr), event.events);
      }
      over_.clear();  // Later events of the same turn may have named them.
    }
  }

 private:
  void watch(int operation, int fd, std::uint32_t events, void* owner) {
    epoll_event event = {};
    event.events = events;
    event.data.ptr = owner;
    if (::epoll_ctl(epoll_, operation, fd, &event) != 0) fail("epoll_ctl");
  }
  // Asks for EPOLLOUT only while it is needed: a Unix socket reports it after every read of its peer. This also makes
  // the kernel report again whether the socket is readable.
  void watch(int operation, Side& side) {
    watch(operation, side.fd, EPOLLIN | EPOLLRDHUP | EPOLLET | (side.blocked ? EPOLLOUT : 0U), &side);
  }

  void accept() {
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) {
      if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return;
      fail("accept4");
    }
    send_at_once(client);
    const int server = connect_to(server_);
    if (server < 0) {
      ::close(client);
      return;
    }
    auto& pair = pairs_.emplace_back();
    pair.self = std::prev(pairs_.end());
    pair.client = {.pair = &pair, .fd = client};
    pair.server = {.pair = &pair, .fd = server, .blocked = true};
    watch(EPOLL_CTL_ADD, pair.client);
    watch(EPOLL_CTL_ADD, pair.server);
  }

  void handle(Side& side, std::uint32_t events) {
    if (side.fd < 0) return;  // It was closed earlier in this turn.
    Side& opposite = side.pair->opposite(side);
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) side.ending = true;
    if (side.ending || (events & EPOLLIN) != 0) side.readable = true;
    if (side.blocked && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) flush(side);
    if (!pump(opposite, side) || !pump(side, opposite) || (side.shut && opposite.shut)) close(*side.pair);
  }

  // Moves bytes from one side to the other as long as the other takes them. False: the connection that it reads is
  // broken.
  bool pump(Side& from, Side& to) {
    for (int reads = 0; from.readable && !to.blocked; ++reads) {
      if (reads == reads_in_a_row) {
        watch(EPOLL_CTL_MOD, from);
        return true;
      }
      const auto got = ::recv(from.fd, buffer_.data(), buffer_.size(), 0);
      const auto size = static_cast<std::size_t>(std::max<ssize_t>(got, 0));
      if (size < buffer_.size() && !(from.ending && size > 0)) from.readable = false;
      if (got < 0) return errno == EAGAIN;
      if (got == 0) from.read_ended = true;
      send(to, {buffer_.data(), size});
    }
    if (from.read_ended && !to.blocked && !to.shut) {
      ::shutdown(to.fd, SHUT_WR);
      to.shut = true;
    }
    return true;
  }

  // Sends, and keeps what the socket doesn't take. Bytes for a side that takes no more are dropped, but what that side
  // sent last is still read.
  void send(Side& to, std::span<const char> bytes) {
    if (to.shut || bytes.empty()) return;
    const auto sent = ::send(to.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
      to.shut = true;
      return;
    }
    const auto rest = bytes.subspan(static_cast<std::size_t>(std::max<ssize_t>(sent, 0)));
    if (rest.empty()) return;
    to.kept.assign(rest.begin(), rest.end());
    to.blocked = true;
    watch(EPOLL_CTL_MOD, to);
  }

  // After EPOLLOUT: sends what was kept first.
  void flush(Side& to) {
    const auto rest = std::exchange(to.kept, {});
    to.blocked = false;
    send(to, rest);
    if (!to.blocked) watch(EPOLL_CTL_MOD, to);
  }

  void close(Pair& pair) {
    ::close(pair.client.fd);
    ::close(pair.server.fd);
    pair.client.fd = pair.server.fd = -1;
    over_.splice(over_.end(), pairs_, pair.self);
  }

  Address server_;
  int listener_;
  int epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  std::list<Pair> pairs_;
  std::list<Pair> over_;  // closed in this turn of the loop
  std::vector<char> buffer_ = std::vector<char>(buffer_size);
};

void allow_many_files() {
  rlimit files = {};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
}

}  // namespace

int main(int count, char** values) {
  const std::span arguments(values, static_cast<std::size_t>(count));
  std::uint16_t port = 0;
  std::optional<Address> server;
  if (count == 3) server = unix_address(arguments[2]);
  if (count == 4) server = tcp_address(arguments[2], arguments[3]);
  const std::string_view number = count > 1 ? arguments[1] : "";
  const auto parsed = std::from_chars(number.data(), number.data() + number.size(), port);
  if (!server || parsed.ec != std::errc() || parsed.ptr != number.data() + number.size()) {
    std::fputs("usage: holdfast_forwarder PORT HOST SERVER_PORT | PORT /path/of/the/socket\n", stderr);
    return 2;
  }
  try {
    allow_many_files();
    Forwarder(port, *server).run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "holdfast_forwarder: %s\n", error.what());
    return 1;
  }
  return 0;
}
