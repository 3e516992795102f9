// One connection, plain or TLS: non-blocking reads and writes, a buffer for what could not be sent yet, readiness as
// awaitables. Thread: its worker's. A link owns memory only while bytes wait in it.
#pragma once

#include <memory>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/error.hpp"
#include "protocol/tls_engine.hpp"
#include "proxy/io/inbox.hpp"
#include "proxy/io/reactor.hpp"
#include "proxy/io/task.hpp"

namespace holdfast::proxy {

enum class Io : std::uint8_t { ok, would_block, closed };

// What became of bytes that were to be sent.
enum class Sent : std::uint8_t {
  taken,      // the socket has taken them, or will: the rest is kept
  lost,       // the connection broke (and is closed): some of them may have been sent
  untouched,  // it broke before one byte of them was sent, encrypted or not
};

class Link {
 public:
  Link() = default;
  ~Link();

  [[nodiscard]] bool attach(Reactor& reactor, int fd);
  // Received bytes are taken for the beginning of the handshake (direct TLS). After an SSLRequest there must be none:
  // the caller has checked that.
  [[nodiscard]] Result<void> start_tls(std::shared_ptr<const protocol::TlsContext> context, std::string_view host);
  [[nodiscard]] bool encrypted() const { return tls_ != nullptr; }
  [[nodiscard]] protocol::TlsEngine* tls() const { return tls_.get(); }
  // Drives the handshake to its end; an error says what went wrong.
  Task<Result<void>> handshake();

  [[nodiscard]] Watch& watch() { return watch_; }
  [[nodiscard]] bool open() const { return watch_.open(); }
  // Sends close_notify on TLS, then closes. Safe to call twice. received() stays readable.
  void close();
  // Closes with a reset: the kernel sends nothing more of what it was given. Otherwise a peer that is out of reach would
  // get it when it is back, long after somebody was told that the connection is lost.
  void abort();

  // One recv. received() then gives what was kept and the new bytes behind it. They may lie in the reactor's scratch
  // memory until another link receives: after a co_await received() gives the same bytes, but elsewhere, and spans of
  // them are invalid. `wanted`: the total number of bytes that would make progress, a hint.
  Io receive(std::size_t wanted = 0);
  [[nodiscard]] protocol::Bytes received() const { return received_; }
  void consume(std::size_t count) { received_ = received_.subspan(count); }
  void keep_rest() {
    inbox_.keep(received_);
    received_ = inbox_.view();
  }
  // Goes back to an earlier received() of the same pass: what was consumed since is there again.
  void rewind(protocol::Bytes earlier) { received_ = {earlier.data(), received_.data() + received_.size()}; }
  // Puts bytes back in front of what was received.
  void unread(protocol::Bytes bytes);
  // Memory of what is kept, and forgetting it: for a link that is closed, when memory is short.
  [[nodiscard]] std::size_t kept_memory() const { return inbox_.memory(); }
  void forget_received() {
    received_ = {};
    inbox_.keep({});
  }
  // The socket may be readable, or plaintext waits inside the TLS engine: receive() need not wait for readable().
  [[nodiscard]] bool may_receive() const;

  // Sends what the socket takes now and keeps the rest.
  Sent send(protocol::Bytes bytes);
  // Bytes wait to be sent. False for a closed link, which sends nothing any more.
  [[nodiscard]] bool unsent() const { return !unsent_.empty() || (tls_ != nullptr && tls_unsent() && !muted_); }
  [[nodiscard]] std::size_t unsent_bytes() const;
  // A peer that breaks off while it is sent something doesn't close the link any more: it mutes it.
  void outlive_peer() { outlives_peer_ = true; }
  // Nobody listens: nothing is sent from here on, and who waits in drain() goes on. Receiving goes on.
  void mute();
  // Waits until everything is sent. False: the connection broke.
  Task<bool> drain();
  // Waits until no coroutine is inside drain() any more: before a link is destroyed. Close it first.
  Task<> quiet();

  // For a hand-over: the socket and the TLS engine, with no received and no unsent bytes.
  struct Baggage {
    int fd = -1;
    std::unique_ptr<protocol::TlsEngine> tls;
  };
  [[nodiscard]] Baggage detach();
  [[nodiscard]] bool attach_baggage(Reactor& reactor, Baggage baggage);

 private:
  [[nodiscard]] bool tls_unsent() const;
  Io receive_plain(std::size_t wanted);
  Io receive_tls(std::size_t wanted);
  bool flush();
  bool flush_tls(std::size_t* left = nullptr);
  Sent send_plain(protocol::Bytes bytes);
  void keep_unsent(protocol::Bytes bytes);
  Sent send_tls(protocol::Bytes bytes);
  void drop();
  void broke();
  // Where the next bytes go: behind those kept, in scratch memory while those are few.
  struct Room {
    protocol::MutableBytes bytes;
    std::size_t kept;  // bytes of the inbox that belong before them, when in_scratch
    bool in_scratch;
  };
  [[nodiscard]] Room room(std::size_t wanted);
  void show(const Room& room, std::size_t count);

  Reactor* reactor_ = nullptr;
  Watch watch_;
  Inbox inbox_;
  protocol::Bytes received_;
  std::vector<std::byte> unsent_;
  std::size_t sent_ = 0;  // of unsent_
  std::unique_ptr<protocol::TlsEngine> tls_;
  std::coroutine_handle<> quiet_;
  unsigned draining_ = 0;
  bool outlives_peer_ = false;
  bool muted_ = false;
};

}  // namespace holdfast::proxy
