#include "tests/support/tcp_relay.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>
#include <vector>

#include "tests/support/scripted_peer.hpp"

namespace holdfast::testing {
namespace {

constexpr std::size_t piece = 64 * 1024;

}  // namespace

TcpRelay::TcpRelay(int target_port)
    : target_port_(target_port),
      listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (listener_ < 0 || wake_ < 0 || ::bind(listener_, reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      ::listen(listener_, 128) != 0 || ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    throw std::system_error(errno, std::generic_category(), "listening");
  }
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { run(); });
}

TcpRelay::~TcpRelay() {
  stop_ = true;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_, &one, sizeof one);
  thread_.join();
  for (auto& pair : pairs_) {
    ::close(pair.client.fd);
    ::close(pair.server.fd);
  }
  ::close(listener_);
  ::close(wake_);
}

void TcpRelay::reset_all() {
  std::unique_lock lock(mutex_);
  const int mine = ++resets_wanted_;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_, &one, sizeof one);
  done_.wait(lock, [&] { return resets_done_ >= mine; });
}

void TcpRelay::hold_requests(bool hold) {
  holding_ = hold;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(wake_, &one, sizeof one);
}

void TcpRelay::close_behind(const std::string& text) {
  const std::lock_guard lock(mutex_);
  closed_behind_ = false;
  last_words_ = text;
}

void TcpRelay::close_with_reset(int fd) {
  const linger none{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
  ::close(fd);
}

void TcpRelay::accept_one() {
  const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (client < 0) return;
  try {
    const int server = connect_to(target_port_);
    const int one = 1;
    ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    ::setsockopt(server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    pairs_.push_back({.client = {.fd = client}, .server = {.fd = server}});
  } catch (const std::system_error&) {
    ::close(client);  // the server is down
  }
}

// Sends what waits. False: the connection is broken.
bool TcpRelay::push(End& to) {
  while (!to.unsent.empty()) {
    const auto sent = ::send(to.fd, to.unsent.data(), to.unsent.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) return errno == EAGAIN || errno == EINTR;
    to.unsent.erase(0, static_cast<std::size_t>(sent));
  }
  return true;
}

// `passed`: what came.
bool TcpRelay::pass(End& from, End& to, std::string& passed) {
  std::string bytes(piece, '\0');
  const auto got = ::recv(from.fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) {
    from.ended = true;
    ::shutdown(to.fd, SHUT_WR);
    return !to.ended;
  }
  passed = bytes.substr(0, static_cast<std::size_t>(got));
  to.unsent += passed;
  return push(to);
}

bool TcpRelay::were_last_words(const std::string& said) {
  const std::lock_guard lock(mutex_);
  if (last_words_.empty() || !said.contains(last_words_)) return false;
  last_words_.clear();
  return true;
}

void TcpRelay::run() {
  while (!stop_) {
    std::vector<pollfd> waited{{.fd = listener_, .events = POLLIN, .revents = 0},
                               {.fd = wake_, .events = POLLIN, .revents = 0}};
    const bool holding = holding_;
    const auto events = [](const End& self, const End& other, bool held) {
      short wanted = 0;
      if (!self.ended && other.unsent.empty() && !held) wanted |= POLLIN;
      if (!self.unsent.empty()) wanted |= POLLOUT;
      return wanted;
    };
    for (const auto& pair : pairs_) {
      const auto client = events(pair.client, pair.server, holding);
      const auto server = events(pair.server, pair.client, false);
      // Without a wish poll would still tell of errors, again and again.
      waited.push_back({.fd = client == 0 ? -1 : pair.client.fd, .events = client, .revents = 0});
      waited.push_back({.fd = server == 0 ? -1 : pair.server.fd, .events = server, .revents = 0});
    }
    if (::poll(waited.data(), waited.size(), -1) < 0) continue;
    std::uint64_t count = 0;
    [[maybe_unused]] const auto got = ::read(wake_, &count, sizeof count);
    std::size_t at = 2;
    for (auto pair = pairs_.begin(); pair != pairs_.end();) {
      const auto client = waited[at++].revents;
      const auto server = waited[at++].revents;
      bool good = true;
      if ((client & POLLOUT) != 0) good = push(pair->client);
      if (good && (server & POLLOUT) != 0) good = push(pair->server);
      std::string asked;
      std::string said;
      if (good && (client & (POLLIN | POLLHUP | POLLERR)) != 0) good = pass(pair->client, pair->server, asked);
      if (good && (server & (POLLIN | POLLHUP | POLLERR)) != 0) good = pass(pair->server, pair->client, said);
      const bool last = were_last_words(said);
      if (good && !last) {
        ++pair;
        continue;
      }
      ::close(pair->client.fd);
      ::close(pair->server.fd);
      pair = pairs_.erase(pair);
      if (last) closed_behind_ = true;
    }
    if (waited[0].revents != 0) accept_one();
    const std::lock_guard lock(mutex_);
    if (resets_done_ == resets_wanted_) continue;
    for (auto& pair : pairs_) {
      close_with_reset(pair.client.fd);
      close_with_reset(pair.server.fd);
    }
    pairs_.clear();
    resets_done_ = resets_wanted_;
    done_.notify_all();
  }
}

}  // namespace holdfast::testing
