// Links over socket pairs, driven by a reactor without a thread of its own.
#include "proxy/io/link.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "protocol/tls_engine.hpp"
#include "tests/support/certificates.hpp"

namespace holdfast::proxy {
namespace {

// The link under test has the one end, the test the other.
class LinkTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()), 0);
    ASSERT_TRUE(link.attach(reactor, ends[0]));
    peer = ends[1];
  }
  void TearDown() override {
    if (peer >= 0) ::close(peer);
  }
  void peer_writes(const std::string& text) const {
    ASSERT_EQ(::send(peer, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  [[nodiscard]] std::string received() const { return std::string(protocol::as_text(link.received())); }
  // Takes what there is until the socket is empty, keeping all of it, as for a long message.
  void receive_all(std::size_t wanted) {
    while (link.receive(wanted) == Io::ok) {
    }
  }

  Reactor reactor;
  Link link;
  int peer = -1;
};

std::string pattern(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i % 23);
  return text;
}

TEST_F(LinkTest, shows_new_bytes_behind_what_was_kept) {
  peer_writes("abc");
  ASSERT_EQ(link.receive(), Io::ok);
  link.consume(1);
  link.keep_rest();
  peer_writes("def");
  ASSERT_EQ(link.receive(), Io::ok);
  EXPECT_EQ(received(), "bcdef");
}

// Two links share the reactor's memory; one that waits in the middle of a message must not see the other's bytes.
TEST_F(LinkTest, another_links_bytes_never_replace_what_is_shown) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()), 0);
  const auto mine = pattern(3000);
  const auto others = std::string(5000, 'x');
  peer_writes(mine);
  ASSERT_EQ(link.receive(), Io::ok);
  link.consume(10);
  {
    Link other;
    ASSERT_TRUE(other.attach(reactor, ends[0]));
    ASSERT_EQ(::send(ends[1], others.data(), others.size(), MSG_NOSIGNAL), static_cast<ssize_t>(others.size()));
    ASSERT_EQ(other.receive(), Io::ok);
    EXPECT_EQ(received(), mine.substr(10));
    peer_writes("more");
    ASSERT_EQ(link.receive(), Io::ok);
    EXPECT_EQ(received(), mine.substr(10) + "more");
    EXPECT_EQ(protocol::as_text(other.received()), others);
    ASSERT_EQ(::send(ends[1], others.data(), others.size(), MSG_NOSIGNAL), static_cast<ssize_t>(others.size()));
    ASSERT_EQ(other.receive(), Io::ok);
  }
  // The other is gone with bytes of its own in the shared memory.
  peer_writes("!");
  ASSERT_EQ(link.receive(), Io::ok);
  EXPECT_EQ(received(), mine.substr(10) + "more!");
  ::close(ends[1]);
}

// A long message's beginning lies in the inbox, which grows before the read that then gives nothing.
TEST_F(LinkTest, keeps_what_was_received_when_a_read_gives_nothing) {
  const auto text = pattern(64 * 1024);
  peer_writes(text);
  ASSERT_EQ(link.receive(), Io::ok);
  ASSERT_EQ(link.receive(200'000), Io::would_block);
  EXPECT_EQ(received(), text);
  ASSERT_EQ(link.receive(2'000'000), Io::would_block);
  EXPECT_EQ(received(), text);
}

TEST_F(LinkTest, long_message_in_pieces_comes_together) {
  const auto text = pattern(150'000);
  std::size_t at = 0;
  while (at < text.size()) {
    const auto size = std::min<std::size_t>(30'000, text.size() - at);
    peer_writes(text.substr(at, size));
    at += size;
    receive_all(text.size());
  }
  EXPECT_EQ(received(), text);
  link.consume(149'990);
  link.keep_rest();
  peer_writes("next");
  ASSERT_EQ(link.receive(), Io::ok);
  EXPECT_EQ(received(), text.substr(149'990) + "next");
}

TEST_F(LinkTest, close_leaves_received_bytes_readable) {
  const auto text = pattern(20'000);
  peer_writes(text);
  ASSERT_EQ(link.receive(), Io::ok);
  link.keep_rest();
  link.close();
  EXPECT_FALSE(link.open());
  EXPECT_EQ(received(), text);
  link.consume(5);
  EXPECT_EQ(received(), text.substr(5));
  EXPECT_EQ(link.receive(), Io::closed);
}

TEST_F(LinkTest, send_to_a_peer_that_is_gone_closes) {
  ::close(std::exchange(peer, -1));
  EXPECT_EQ(link.send(protocol::as_bytes("hello")), Sent::untouched);
  EXPECT_FALSE(link.open());
}

TEST_F(LinkTest, unread_bytes_come_first) {
  peer_writes("world");
  ASSERT_EQ(link.receive(), Io::ok);
  link.unread(protocol::as_bytes("hello "));
  EXPECT_EQ(received(), "hello world");
}

TEST_F(LinkTest, rewind_shows_what_was_consumed_in_this_pass) {
  peer_writes("abcdef");
  ASSERT_EQ(link.receive(), Io::ok);
  const auto start = link.received();
  link.consume(4);
  link.rewind(start);
  EXPECT_EQ(received(), "abcdef");
}

// Reads until the peer's end is empty.
std::size_t drain_peer(int peer) {
  std::array<char, 65536> buffer{};
  std::size_t total = 0;
  for (;;) {
    const auto got = ::recv(peer, buffer.data(), buffer.size(), 0);
    if (got <= 0) return total;
    total += static_cast<std::size_t>(got);
  }
}

Task<> drain_then_stop(Link& link, Reactor& reactor, bool& result) {
  result = co_await link.drain();
  reactor.stop();
}

// A client that has said goodbye may go while it is answered: what it asked for goes on.
TEST_F(LinkTest, outlives_a_peer_that_breaks_off) {
  link.outlive_peer();
  EXPECT_EQ(link.send(protocol::as_bytes(pattern(1 << 20))), Sent::taken);
  EXPECT_TRUE(link.unsent());
  ::close(std::exchange(peer, -1));
  link.send(protocol::as_bytes("more"));
  Gate gate;
  bool drained = false;
  spawn(gate, drain_then_stop(link, reactor, drained));
  reactor.run();
  EXPECT_TRUE(drained) << "nothing is left to be sent";
  EXPECT_TRUE(link.open());
  EXPECT_FALSE(link.unsent());
}

TEST_F(LinkTest, sends_nothing_once_it_is_muted) {
  EXPECT_EQ(link.send(protocol::as_bytes(pattern(1 << 20))), Sent::taken);
  EXPECT_TRUE(link.unsent());
  link.mute();
  EXPECT_FALSE(link.unsent());
  EXPECT_EQ(link.send(protocol::as_bytes("more")), Sent::lost);
  EXPECT_TRUE(link.open());
  peer_writes("abc");
  EXPECT_EQ(link.receive(), Io::ok);
}

TEST_F(LinkTest, drain_ends_when_everything_is_sent) {
  const auto text = pattern(4'000'000);
  ASSERT_EQ(link.send(protocol::as_bytes(text)), Sent::taken);
  ASSERT_TRUE(link.unsent());
  bool drained = false;
  Gate gate;
  spawn(gate, drain_then_stop(link, reactor, drained));
  ASSERT_EQ(gate.inside(), 1U);
  std::size_t taken = 0;
  std::thread reader([this, &taken, &text] {
    while (taken < text.size()) taken += drain_peer(peer);
  });
  reactor.run();
  reader.join();
  EXPECT_TRUE(drained);
  EXPECT_FALSE(link.unsent());
  EXPECT_EQ(gate.inside(), 0U);
  EXPECT_EQ(taken, text.size());
}

TEST_F(LinkTest, close_ends_both_drains_and_then_quiet) {
  const auto text = pattern(4'000'000);
  ASSERT_EQ(link.send(protocol::as_bytes(text)), Sent::taken);
  bool first = true;
  bool second = true;
  Gate gate;
  spawn(gate, drain_then_stop(link, reactor, first));
  spawn(gate, drain_then_stop(link, reactor, second));
  ASSERT_EQ(gate.inside(), 2U);
  link.close();
  reactor.run();
  EXPECT_FALSE(first);
  EXPECT_FALSE(second);
  EXPECT_EQ(gate.inside(), 0U);
}

// Its peer neither reads nor closes.
TEST_F(LinkTest, muting_ends_both_drains) {
  ASSERT_EQ(link.send(protocol::as_bytes(pattern(4'000'000))), Sent::taken);
  bool first = false;
  bool second = false;
  Gate gate;
  spawn(gate, drain_then_stop(link, reactor, first));
  spawn(gate, drain_then_stop(link, reactor, second));
  ASSERT_EQ(gate.inside(), 2U);
  link.mute();
  reactor.post([this] { reactor.stop(); });
  reactor.run();
  EXPECT_TRUE(first);
  EXPECT_TRUE(second);
  EXPECT_EQ(gate.inside(), 0U);
}

// ---- TLS ------------------------------------------------------------------------------------------------------------

// The link speaks TLS as it does to a server; its peer is that server, and reads nothing.
class TlsLinkTest : public LinkTest {
 protected:
  void SetUp() override {
    LinkTest::SetUp();
    const auto files = testing::shared_certificates();
    const auto server =
        protocol::TlsContext::server({.certificate = files.server.string(), .key = files.server_key.string()});
    ASSERT_TRUE(server) << server.error().message;
    const auto client = protocol::TlsContext::client({});
    ASSERT_TRUE(client) << client.error().message;
    auto ours = std::make_unique<protocol::TlsEngine>(protocol::TlsEngine::make(*client).value());
    theirs = std::make_unique<protocol::TlsEngine>(protocol::TlsEngine::make(*server).value());
    const auto pass = [](protocol::TlsEngine& from, protocol::TlsEngine& to) {
      const auto size = from.outgoing().size();
      to.feed(from.outgoing());
      from.consumed(size);
    };
    for (int i = 0; i < 10 && !(ours->established() && theirs->established()); ++i) {
      ASSERT_TRUE(ours->handshake());
      pass(*ours, *theirs);
      ASSERT_TRUE(theirs->handshake());
      pass(*theirs, *ours);
    }
    auto baggage = link.detach();
    baggage.tls = std::move(ours);
    ASSERT_TRUE(link.attach_baggage(reactor, std::move(baggage)));
    ASSERT_EQ(link.send(protocol::as_bytes("hello")), Sent::taken);
    ASSERT_FALSE(link.unsent());
  }
  // The connection breaks: the next system call on it fails.
  void reset() { ::close(std::exchange(peer, -1)); }
  // Nothing is left to wait for: a session that asks whether bytes are unsent must not wait for a socket that is gone.
  void expect_closed_for_good() {
    EXPECT_FALSE(link.open());
    EXPECT_FALSE(link.unsent());
    EXPECT_EQ(link.unsent_bytes(), 0U);
    EXPECT_EQ(link.send(protocol::as_bytes("more")), Sent::untouched);
    EXPECT_EQ(link.receive(), Io::closed);
    bool drained = true;
    Gate gate;
    spawn(gate, drain_then_stop(link, reactor, drained));
    EXPECT_EQ(gate.inside(), 0U) << "drain() waits";
    EXPECT_FALSE(drained);
    link.close();
    EXPECT_FALSE(link.unsent());
  }

  std::unique_ptr<protocol::TlsEngine> theirs;
};

// Whoever sent may take it back: not a byte has left.
TEST_F(TlsLinkTest, send_to_a_peer_that_is_gone_leaves_the_bytes_untouched_and_nothing_unsent) {
  reset();
  EXPECT_EQ(link.send(protocol::as_bytes("hello")), Sent::untouched);
  expect_closed_for_good();
}

TEST_F(TlsLinkTest, reset_while_bytes_wait_leaves_nothing_unsent) {
  const auto text = pattern(4'000'000);
  ASSERT_EQ(link.send(protocol::as_bytes(text)), Sent::taken);
  ASSERT_TRUE(link.unsent());
  bool drained = true;
  Gate gate;
  spawn(gate, drain_then_stop(link, reactor, drained));
  ASSERT_EQ(gate.inside(), 1U);
  reset();
  reactor.run();
  EXPECT_FALSE(drained);
  EXPECT_EQ(gate.inside(), 0U);
  expect_closed_for_good();
}

// What stands behind bytes that could not leave can't have left either, whatever became of those.
TEST_F(TlsLinkTest, send_behind_bytes_that_wait_is_untouched_when_the_connection_breaks) {
  const auto text = pattern(4'000'000);
  ASSERT_EQ(link.send(protocol::as_bytes(text)), Sent::taken);
  ASSERT_TRUE(link.unsent());
  reset();
  EXPECT_EQ(link.send(protocol::as_bytes("hello")), Sent::untouched);
  expect_closed_for_good();
}

// Bytes that are no TLS: the alert can't be delivered either.
TEST_F(TlsLinkTest, broken_record_of_a_peer_that_is_gone_leaves_nothing_unsent) {
  peer_writes(std::string(100, 'x'));
  reset();
  EXPECT_EQ(link.receive(), Io::closed);
  link.close();
  expect_closed_for_good();
}

}  // namespace
}  // namespace holdfast::proxy
