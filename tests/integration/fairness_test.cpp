// One worker, one client that never lets its socket run dry: others are served all the same, and deadlines expire. Each
// flood is of messages that the proxy answers by itself, so that no server slows it down.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <ostream>
#include <thread>

#include "tests/support/endpoint.hpp"
#include "tests/support/tcp_relay.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

// Sends `piece` again and again, as fast as the proxy takes it, and reads what comes, each on a thread of its own.
class Flood {
 public:
  Flood(std::unique_ptr<PeerConnection> peer, const std::string& piece) : peer_(std::move(peer)) {
    while (block_.size() < 64 * 1024) block_ += piece;
    // Room for its answers while the reader has no processor: a proxy that can't send would have to pause.
    const int room = 128 << 20;
    if (::setsockopt(peer_->fd(), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) != 0) {
      ::setsockopt(peer_->fd(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    }
    writer_ = std::thread([this] { write(); });
    reader_ = std::thread([this] { read(); });
  }
  Flood(const Flood&) = delete;
  Flood& operator=(const Flood&) = delete;
  ~Flood() {
    stop_ = true;
    peer_->interrupt();
    writer_.join();
    reader_.join();
  }
  // Blocks taken so far, by the proxy and the sockets in between.
  [[nodiscard]] int sent() const { return sent_; }
  // Until more of it is taken than is on its way now. False: it has ended.
  [[nodiscard]] bool goes_on() const {
    const int before = sent_;
    return wait_until(10s, [&] { return sent_ > before + 1; });
  }

 private:
  void write() {
    try {
      for (; !stop_; ++sent_) peer_->send(block_);
    } catch (const std::exception&) {
      // The end; goes_on() tells when it came too early.
    }
  }
  void read() {
    std::string bytes(1 << 20, '\0');
    while (!stop_ && ::recv(peer_->fd(), bytes.data(), bytes.size(), 0) > 0) {
    }
  }

  std::unique_ptr<PeerConnection> peer_;
  std::string block_;
  std::atomic<bool> stop_{false};
  std::atomic<int> sent_{0};
  std::thread writer_;
  std::thread reader_;
};

struct Kind {
  friend void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }
  const char* name;
  std::string before;       // sent once and answered
  const char* answers;      // … by these
  std::string piece;        // of the flood
  bool lost_block = false;  // after `before` its server is lost
};

class Fairness : public ::testing::TestWithParam<Kind> {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
  }
  static void TearDownTestSuite() { delete server_; }

  // The flooding client, ready to flood.
  [[nodiscard]] std::unique_ptr<PeerConnection> client() {
    const auto& kind = GetParam();
    auto peer = wire::log_in(proxy_.port());
    // The kernel grows the receive buffer of a reader that keeps up (tcp(7), tcp_moderate_rcvbuf), and CopyData outside
    // a COPY is dropped as fast as it comes. Then there is always more than one read takes, however slow the answers.
    const auto dropped = wire::copy_data(std::string(60'000, 'x'));
    for (int i = 0; i < 2000; ++i) peer->send(dropped);
    if (kind.before.empty()) return peer;
    peer->send(kind.before);
    EXPECT_EQ(peer->read_until('Z'), kind.answers);
    if (kind.lost_block) {
      relay_.reset_all();
      EXPECT_TRUE(
          wait_until(10s, [&] { return proxy_.metric("holdfast_answers_lost_total{sqlstate=\"40001\"}") == 1; }));
    }
    return peer;
  }
  static void run_up(const Flood& flood) {
    ASSERT_TRUE(wait_until(10s, [&] { return flood.sent() > 20; })) << flood.sent();
  }

  TcpRelay relay_{server_->port()};
  Holdfast proxy_{endpoint({.members = "      - { name: pg1, host: 127.0.0.1, port: " +
                                       std::to_string(relay_.port()) + " }\n",
                            .workers = 1,
                            .pool = "size: 4, wait_timeout: 30s",
                            .more = "timeouts: { idle_in_transaction: 1s }\n"})};
  static Server* server_;
};
Server* Fairness::server_ = nullptr;

TEST_P(Fairness, others_are_answered_while_one_client_floods) {
  auto other = proxy_.connect();
  auto peer = client();
  const Flood flood(std::move(peer), GetParam().piece);
  run_up(flood);
  for (int i = 0; i < 10; ++i) {
    other.ask("SELECT " + std::to_string(i));
    ASSERT_TRUE(other.answered(10s)) << "query " << i;
    EXPECT_EQ(other.answer().at(0).at(0), std::to_string(i));
  }
  EXPECT_TRUE(flood.goes_on());
}

TEST_P(Fairness, others_log_in_while_one_client_floods) {
  auto peer = client();
  const Flood flood(std::move(peer), GetParam().piece);
  run_up(flood);
  EXPECT_TRUE(Connection::attempt(proxy_.conninfo()).has_value());
  EXPECT_TRUE(flood.goes_on());
}

TEST_P(Fairness, deadlines_expire_while_one_client_floods) {
  auto peer = client();
  auto idle = wire::log_in(proxy_.port());
  idle->send(wire::query("BEGIN"));
  EXPECT_EQ(idle->read_until('Z'), "CZ");
  const Flood flood(std::move(peer), GetParam().piece);
  run_up(flood);
  EXPECT_EQ(wire::sqlstate(idle->read_message()), "25P03");
  EXPECT_TRUE(flood.goes_on());
}

INSTANTIATE_TEST_SUITE_P(All, Fairness,
                         ::testing::Values(Kind{"syncs", "", "", wire::sync()},
                                           Kind{"empty_blocks", "", "", wire::query("BEGIN") + wire::query("COMMIT")},
                                           Kind{"known_parses", wire::parse("", "SELECT 1") + wire::sync(), "1Z",
                                                wire::parse("", "SELECT 1") + wire::sync()},
                                           Kind{"late_copy_data", "", "", wire::copy_data("1\n")},
                                           Kind{"statements_of_a_lost_block", wire::query("BEGIN; SELECT 1"), "CTDCZ",
                                                wire::query("SELECT 1"), true}),
                         [](const auto& kind) { return std::string(kind.param.name); });

}  // namespace
}  // namespace holdfast::testing
