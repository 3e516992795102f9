#include "tests/support/scripted_peer.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <system_error>

namespace holdfast::testing {
namespace {

constexpr std::size_t largest_message = 64UL << 20;  // a test that expects more is wrong

[[noreturn]] void throw_errno(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

std::string big_endian(std::uint32_t value) {
  const std::uint32_t network = htonl(value);
  std::string bytes(sizeof network, '\0');
  std::memcpy(bytes.data(), &network, sizeof network);
  return bytes;
}

std::uint32_t from_big_endian(const std::string& bytes) {
  std::uint32_t network = 0;
  std::memcpy(&network, bytes.data(), sizeof network);
  return ntohl(network);
}

std::string shown(std::string_view bytes) {
  std::string result;
  for (const char byte : bytes.substr(0, 200)) {
    if (byte >= ' ' && byte <= '~') {
      result += byte;
    } else {
      constexpr const char* digits = "0123456789abcdef";
      const auto value = static_cast<unsigned char>(byte);
      result += {'\\', 'x', digits[value >> 4U], digits[value & 15U]};
    }
  }
  return result + (bytes.size() > 200 ? "…" : "");
}

}  // namespace

int connect_to(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw_errno("socket");
  const auto address = loopback(port);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    ::close(fd);
    throw std::system_error(error, std::generic_category(), "connect");
  }
  return fd;
}

PeerConnection::~PeerConnection() {
  close();
}

void PeerConnection::send(std::string_view bytes) {
  while (!bytes.empty()) {
    pollfd writable{.fd = fd_, .events = POLLOUT, .revents = 0};
    const int ready = ::poll(&writable, 1, static_cast<int>(bound_.count()));
    if (ready == 0) throw ScriptError("the peer doesn't take more bytes within the bound");
    if (ready < 0) {
      if (errno == EINTR) continue;
      throw_errno("poll");
    }
    const auto sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EAGAIN || errno == EINTR) continue;
      throw_errno("send");
    }
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

void PeerConnection::send_in_pieces(std::string_view bytes, std::size_t piece) {
  const int one = 1;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  for (; !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size()))) send(bytes.substr(0, piece));
}

void PeerConnection::wait_readable() {
  pollfd readable{.fd = fd_, .events = POLLIN, .revents = 0};
  int ready = 0;
  do {
    ready = ::poll(&readable, 1, static_cast<int>(bound_.count()));
  } while (ready < 0 && errno == EINTR);
  if (ready < 0) throw_errno("poll");
  if (ready == 0) throw ScriptError("nothing came within the bound");
}

std::string PeerConnection::read_exactly(std::size_t size) {
  std::string bytes(size, '\0');
  for (std::size_t got = 0; got < size;) {
    wait_readable();
    const auto count = ::recv(fd_, bytes.data() + got, size - got, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0)
      throw ScriptError(std::string(count == 0 ? "the peer closed" : std::strerror(errno)) + " after " +
                        std::to_string(got) + " of " + std::to_string(size) +
                        " bytes: " + shown(std::string_view(bytes).substr(0, got)));
    got += static_cast<std::size_t>(count);
  }
  return bytes;
}

void PeerConnection::expect(std::string_view bytes) {
  const auto got = read_exactly(bytes.size());
  if (got != bytes) throw ScriptError("expected " + shown(bytes) + ", got " + shown(got));
}

PeerMessage PeerConnection::read_message() {
  const char type = read_exactly(1).front();
  auto message = read_startup();
  message.type = type;
  return message;
}

PeerMessage PeerConnection::read_startup() {
  const auto length = from_big_endian(read_exactly(4));
  if (length < 4 || length > largest_message) throw ScriptError("message length " + std::to_string(length));
  return {.type = 0, .body = read_exactly(length - 4)};
}

std::string PeerConnection::read_until(char type) {
  std::string types;
  do {
    types += read_message().type;
  } while (types.back() != type);
  return types;
}

std::string PeerConnection::read_until_end() {
  std::string bytes;
  char buffer[16384];
  while (true) {
    wait_readable();
    const auto count = ::recv(fd_, buffer, sizeof buffer, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count == 0 || (count < 0 && errno == ECONNRESET)) return bytes;
    if (count < 0) throw_errno("recv");
    bytes.append(buffer, static_cast<std::size_t>(count));
  }
}

void PeerConnection::expect_end() {
  if (const auto rest = read_until_end(); !rest.empty()) throw ScriptError("before the end came " + shown(rest));
}

void PeerConnection::shutdown_write() {
  ::shutdown(fd_, SHUT_WR);
}

void PeerConnection::close() {
  const std::scoped_lock lock(closing_);
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void PeerConnection::interrupt() {
  const std::scoped_lock lock(closing_);
  if (fd_ >= 0) ::shutdown(fd_, SHUT_RDWR);
}

void PeerConnection::reset() {
  const linger none{.l_onoff = 1, .l_linger = 0};  // tcp(7): close() then sends RST
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &none, sizeof none);
  close();
}

void PeerConnection::accept_login() {
  // Message flow of the manual, chapter 55.2.1; 80877103 is SSLRequest, 80877104 GSSENCRequest.
  auto startup = read_startup();
  while (startup.body == big_endian(80877103) || startup.body == big_endian(80877104)) {
    send("N");
    startup = read_startup();
  }
  const auto status = [](const std::string& name, const std::string& value) {
    return message_bytes('S', name + '\0' + value + '\0');
  };
  send(message_bytes('R', big_endian(0)) + status("server_version", "15.0") + status("client_encoding", "UTF8") +
       status("standard_conforming_strings", "on") + message_bytes('K', big_endian(4711) + big_endian(42)) +
       message_bytes('Z', "I"));
}

std::string message_bytes(char type, std::string_view body) {
  std::string bytes;
  if (type != 0) bytes += type;
  return bytes + big_endian(static_cast<std::uint32_t>(body.size() + 4)) + std::string(body);
}

std::string startup_bytes(const std::vector<std::pair<std::string, std::string>>& parameters, int protocol) {
  std::string body = big_endian(static_cast<std::uint32_t>(protocol));
  for (const auto& [name, value] : parameters) body += name + '\0' + value + '\0';
  return message_bytes(0, body + '\0');
}

ScriptedServer::ScriptedServer(Script script)
    : script_(std::move(script)),
      listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      stop_(::eventfd(0, EFD_CLOEXEC)) {
  auto address = loopback(0);
  socklen_t size = sizeof address;
  if (listener_ < 0 || stop_ < 0 ||
      ::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener_, 128) != 0 || ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw_errno("listening");
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_loop(); });
}

ScriptedServer::~ScriptedServer() {
  finish();
}

void ScriptedServer::accept_loop() {
  while (true) {
    pollfd waited[] = {{.fd = listener_, .events = POLLIN, .revents = 0},
                       {.fd = stop_, .events = POLLIN, .revents = 0}};
    if (::poll(waited, 2, -1) < 0) continue;
    if (waited[1].revents != 0) return;
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    ++accepted_;
    const std::scoped_lock lock(mutex_);
    auto& connection = connections_.emplace_back(fd);  // a list: it stays where it is
    sessions_.emplace_back([this, &connection] { run_script(connection); });
  }
}

void ScriptedServer::run_script(PeerConnection& connection) {
  try {
    script_(connection);
  } catch (const std::exception& error) {
    const std::scoped_lock lock(mutex_);
    if (!finishing_) failures_.emplace_back(error.what());
  }
  connection.close();
}

void ScriptedServer::finish() {
  if (finished_) return;
  finished_ = true;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(stop_, &one, sizeof one);
  acceptor_.join();
  {
    // What still runs is ended by the end of the test, which is no failure of the script.
    const std::scoped_lock lock(mutex_);
    finishing_ = true;
    for (auto& connection : connections_) connection.interrupt();
  }
  for (auto& session : sessions_) session.join();
  ::close(listener_);
  ::close(stop_);
  for (const auto& failure : failures_) ADD_FAILURE() << "scripted server: " << failure;
}

}  // namespace holdfast::testing
