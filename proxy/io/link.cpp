#include "proxy/io/link.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "proxy/io/syscalls.hpp"

namespace holdfast::proxy {
namespace {

// Bytes kept between reads are moved to the front of scratch memory if there are at most this many; longer remainders
// are parts of one long message and grow in the inbox.
constexpr std::size_t short_rest = 8 * 1024;
constexpr std::size_t inbox_step = 64 * 1024;
// Ciphertext of one recv: room for two records of the largest size.
constexpr std::size_t cipher_size = 34 * 1024;

}  // namespace

Link::~Link() {
  close();
  if (reactor_ != nullptr) reactor_->forget_scratch(*this);
}

bool Link::attach(Reactor& reactor, int fd) {
  reactor_ = &reactor;
  inbox_.lend_from(reactor.blocks());
  return watch_.attach(reactor, fd);
}

bool Link::attach_baggage(Reactor& reactor, Baggage baggage) {
  tls_ = std::move(baggage.tls);
  return attach(reactor, baggage.fd);
}

Link::Baggage Link::detach() {
  return {.fd = watch_.detach(), .tls = std::move(tls_)};
}

Result<void> Link::start_tls(std::shared_ptr<const protocol::TlsContext> context, std::string_view host) {
  auto engine = protocol::TlsEngine::make(std::move(context), host);
  if (!engine) return std::unexpected(engine.error());
  tls_ = std::make_unique<protocol::TlsEngine>(std::move(*engine));
  // With direct TLS the first bytes have been received already.
  if (const auto early = received_.empty() ? inbox_.view() : received_; !early.empty()) {
    tls_->feed(early);
    received_ = {};
    inbox_.keep({});
  }
  return {};
}

Task<Result<void>> Link::handshake() {
  for (;;) {
    auto done = tls_->handshake();
    if (!flush_tls()) co_return fail(sqlstate::connection_failure, "connection lost during the TLS handshake");
    while (done && unsent()) {
      co_await watch_.writable();
      if (!open() || !flush_tls())
        co_return fail(sqlstate::connection_failure, "connection lost during the TLS handshake");
    }
    if (!done) co_return std::unexpected(done.error());
    if (*done) co_return Result<void>{};
    co_await watch_.readable();
    if (!open()) co_return fail(sqlstate::connection_failure, "connection closed during the TLS handshake");
    keep_rest();
    auto buffer = reactor_->scratch(*this);
    const auto got = sys::recv(watch_.fd(), buffer.data(), buffer.size());
    if (got > 0) {
      tls_->feed(buffer.first(static_cast<std::size_t>(got)));
      if (static_cast<std::size_t>(got) < buffer.size()) watch_.drained();
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
      co_return fail(sqlstate::connection_failure, "peer closed the connection during the TLS handshake");
    } else if (errno == EAGAIN) {
      watch_.drained();
    }
  }
}

void Link::close() {
  if (!open()) return;
  if (tls_ && tls_->established()) {
    tls_->close_notify();
    flush_tls();
  }
  drop();
}

void Link::abort() {
  if (!open()) return;
  const linger none{.l_onoff = 1, .l_linger = 0};  // socket(7): close() then discards what is unsent, and resets
  ::setsockopt(watch_.fd(), SOL_SOCKET, SO_LINGER, &none, sizeof none);
  drop();
}

// Closes without a message to the peer. Unsent bytes are discarded with the connection: unsent() is false from here on.
void Link::drop() {
  watch_.close();
  tls_.reset();
  // Received bytes stay until the link is destroyed: a caller may be in the middle of reading them.
  std::vector<std::byte>().swap(unsent_);  // `= {}` would keep the memory
  sent_ = 0;
}

void Link::mute() {
  muted_ = true;
  std::vector<std::byte>().swap(unsent_);
  sent_ = 0;
  watch_.wake_writers();
}

// The peer takes no more.
void Link::broke() {
  if (outlives_peer_)
    mute();
  else
    close();
}

bool Link::may_receive() const {
  return watch_.may_read() || (tls_ && tls_->has_pending());
}

Link::Room Link::room(std::size_t wanted) {
  const auto kept = inbox_.size();
  const auto scratch = reactor_->scratch(*this);
  if (kept <= short_rest && wanted <= scratch.size()) return {scratch.subspan(kept), kept, true};
  // No more than what has come, whatever length is claimed: memory grows with the bytes that were really sent.
  const auto missing = wanted > kept ? wanted - kept : 0;
  const auto bytes = inbox_.room(std::clamp(missing, inbox_step, std::max(inbox_step, kept)));
  received_ = inbox_.view();  // the inbox may have moved, and the read may return nothing
  return {bytes, 0, false};
}

void Link::show(const Room& room, std::size_t count) {
  if (!room.in_scratch) {
    inbox_.add(count);
    received_ = inbox_.view();
    return;
  }
  auto* front = room.bytes.data() - room.kept;
  if (room.kept > 0) {
    std::memcpy(front, inbox_.view().data(), room.kept);
    inbox_.keep({});
  }
  received_ = {front, room.kept + count};
}

Io Link::receive(std::size_t wanted) {
  if (!open()) return Io::closed;
  keep_rest();
  return tls_ ? receive_tls(wanted) : receive_plain(wanted);
}

Io Link::receive_plain(std::size_t wanted) {
  const auto where = room(wanted);
  for (;;) {
    const auto got = sys::recv(watch_.fd(), where.bytes.data(), where.bytes.size());
    if (got > 0) {
      // A short read means that nothing is left, unless the stream has ended: after a hang-up reading goes on.
      if (static_cast<std::size_t>(got) < where.bytes.size()) watch_.drained();
      show(where, static_cast<std::size_t>(got));
      return Io::ok;
    }
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN && !watch_.hung_up()) {
      watch_.drained();
      return Io::would_block;
    }
    return Io::closed;
  }
}

Io Link::receive_tls(std::size_t wanted) {
  const auto where = room(wanted);
  std::size_t filled = 0;
  std::array<std::byte, cipher_size> cipher;  // NOLINT: filled by recv
  for (;;) {
    while (filled < where.bytes.size()) {
      const auto got = tls_->read(where.bytes.subspan(filled));
      if (!got) {
        flush_tls();  // the alert
        return Io::closed;
      }
      if (*got == 0) break;
      filled += *got;
    }
    if (filled > 0) {
      show(where, filled);
      return Io::ok;
    }
    if (tls_->peer_closed()) return Io::closed;
    if (!watch_.may_read()) return Io::would_block;
    const auto got = sys::recv(watch_.fd(), cipher.data(), cipher.size());
    if (got > 0) {
      if (static_cast<std::size_t>(got) < cipher.size()) watch_.drained();
      tls_->feed({cipher.data(), static_cast<std::size_t>(got)});
    } else if (got < 0 && errno == EINTR) {
      continue;
    } else if (got < 0 && errno == EAGAIN && !watch_.hung_up()) {
      watch_.drained();
      return Io::would_block;
    } else {
      return Io::closed;
    }
  }
}

void Link::unread(protocol::Bytes bytes) {
  if (bytes.empty()) return;
  keep_rest();
  Inbox together(&reactor_->blocks());
  const auto rest = inbox_.view();
  auto space = together.room(bytes.size() + rest.size());
  std::memcpy(space.data(), bytes.data(), bytes.size());
  if (!rest.empty()) std::memcpy(space.data() + bytes.size(), rest.data(), rest.size());
  together.add(bytes.size() + rest.size());
  inbox_ = std::move(together);
  received_ = inbox_.view();
}

bool Link::tls_unsent() const {
  return !tls_->outgoing().empty();
}

std::size_t Link::unsent_bytes() const {
  return unsent_.size() - sent_ + (tls_ ? tls_->outgoing().size() : 0);
}

Sent Link::send(protocol::Bytes bytes) {
  if (!open()) return Sent::untouched;
  if (muted_) return Sent::lost;
  return tls_ ? send_tls(bytes) : send_plain(bytes);
}

Sent Link::send_plain(protocol::Bytes bytes) {
  const auto all = bytes.size();
  if (unsent_.empty()) {
    while (!bytes.empty()) {
      const auto sent = sys::send(watch_.fd(), bytes.data(), bytes.size());
      if (sent >= 0) {
        bytes = bytes.subspan(static_cast<std::size_t>(sent));
        continue;
      }
      if (errno == EINTR) continue;
      if (errno != EAGAIN) {
        broke();
        return bytes.size() == all ? Sent::untouched : Sent::lost;
      }
      watch_.blocked();
      break;
    }
  }
  if (!bytes.empty()) keep_unsent(bytes);
  return Sent::taken;
}

// Apart from send_plain(), which mostly has nothing to keep.
[[gnu::noinline]] void Link::keep_unsent(protocol::Bytes bytes) {
  unsent_.insert(unsent_.end(), bytes.begin(), bytes.end());
}

Sent Link::send_tls(protocol::Bytes bytes) {
  // Earlier records that could not be sent yet come before these.
  const auto before = tls_->outgoing().size();
  if (!tls_->write(bytes)) {
    flush_tls();
    broke();
    return Sent::lost;
  }
  std::size_t left = 0;
  if (flush_tls(&left)) return Sent::taken;
  return left <= before ? Sent::untouched : Sent::lost;
}

bool Link::flush() {
  if (tls_) return flush_tls();
  while (sent_ < unsent_.size()) {
    const auto sent = sys::send(watch_.fd(), unsent_.data() + sent_, unsent_.size() - sent_);
    if (sent >= 0) {
      sent_ += static_cast<std::size_t>(sent);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) {
      watch_.blocked();
      return true;
    }
    broke();
    return open();
  }
  std::vector<std::byte>().swap(unsent_);  // `= {}` would keep the memory
  sent_ = 0;
  return true;
}

// False: the connection broke, and the link is closed. Adds the number of bytes that the socket took to `left`.
bool Link::flush_tls(std::size_t* left) {
  while (tls_ && !muted_ && !tls_->outgoing().empty()) {
    const auto out = tls_->outgoing();
    const auto sent = sys::send(watch_.fd(), out.data(), out.size());
    if (sent >= 0) {
      tls_->consumed(static_cast<std::size_t>(sent));
      if (left != nullptr) *left += static_cast<std::size_t>(sent);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) {
      watch_.blocked();
      return true;
    }
    if (outlives_peer_) {
      mute();
      return true;
    }
    drop();
    return false;
  }
  return open();
}

Task<bool> Link::drain() {
  ++draining_;
  bool good = open();
  while (good && unsent()) {
    co_await watch_.writable();
    good = open() && flush();
  }
  if (--draining_ == 0 && quiet_) reactor_->schedule(std::exchange(quiet_, {}));
  co_return good&& open();
}

Task<> Link::quiet() {
  struct Awaiter {
    Link& link;
    [[nodiscard]] bool await_ready() const { return link.draining_ == 0; }
    void await_suspend(std::coroutine_handle<> handle) const { link.quiet_ = handle; }
    void await_resume() const {}
  };
  Awaiter awaiter{*this};
  co_await awaiter;
}

}  // namespace holdfast::proxy
