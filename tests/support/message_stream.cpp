#include "tests/support/message_stream.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstdint>
#include <system_error>

#include "protocol/bytes.hpp"

namespace holdfast::testing {

MessageStream::MessageStream(int port) : peer_(connect_to(port)) {
  const int on = 1;
  ::setsockopt(peer_.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void MessageStream::send(std::string_view bytes) {
  try {
    peer_.send(bytes);
  } catch (const std::system_error&) {
    // next() tells of the end.
  }
}

PeerMessage MessageStream::next(std::chrono::milliseconds bound) {
  constexpr std::size_t header = 5;  // type and length
  for (;;) {
    if (got_.size() - used_ >= header) {
      const auto length = protocol::load_be<std::uint32_t>(protocol::as_bytes(got_).data() + used_ + 1);
      if (got_.size() - used_ > length) {
        PeerMessage message{.type = got_[used_], .body = got_.substr(used_ + header, length - 4)};
        used_ += 1 + length;
        return message;
      }
    }
    got_.erase(0, used_);
    used_ = 0;
    pollfd readable{.fd = peer_.fd(), .events = POLLIN, .revents = 0};
    const int ready = ::poll(&readable, 1, static_cast<int>(bound.count()));
    if (ready == 0) throw ScriptError("nothing came within the bound");
    char buffer[16384];
    const auto count = ready < 0 ? -1 : ::recv(peer_.fd(), buffer, sizeof buffer, 0);
    if (count <= 0) return {};
    got_.append(buffer, static_cast<std::size_t>(count));
  }
}

}  // namespace holdfast::testing
