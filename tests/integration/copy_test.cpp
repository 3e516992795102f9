// Messages that were begun and not finished when their server has answered everything: a COPY fails while data flows.
// PostgreSQL reads the rest of such a message before anything else, so nobody else's bytes may come there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>

#include <ostream>
#include <thread>

#include "tests/support/endpoint.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

// One server connection for everybody: whoever comes next gets the one that was just left, or none.
class Copying : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
    server_->exec("CREATE TABLE numbers (v int); GRANT ALL ON numbers TO app");
  }
  static void TearDownTestSuite() { delete server_; }

  void SetUp() override {
    server_->exec("TRUNCATE numbers");
    proxy_.emplace(endpoint(
        {.members = member_yaml(*server_), .workers = 1, .pool = "mode: transaction, size: 1, wait_timeout: 5s"}));
  }
  [[nodiscard]] std::unique_ptr<PeerConnection> client() const { return wire::log_in(proxy_->port()); }
  // The process behind the only server connection.
  static pid_t backend() {
    return std::stoi(server_->scalar("SELECT pid FROM pg_stat_activity WHERE usename = 'app'"));
  }

  static Server* server_;
  std::optional<Holdfast> proxy_;
};
Server* Copying::server_ = nullptr;

const std::string bad_row = wire::copy_data("not a number\n");
const std::string large_data = wire::copy_data(std::string(1'000'000, '1'));
const std::string long_fail = wire::copy_fail(std::string(9'000, 'f'));  // PostgreSQL takes no longer one

// What a client sends until its server has answered everything but still waits for the rest of `cut`.
struct Cut {
  friend void PrintTo(const Cut& cut, std::ostream* out) { *out << cut.name; }
  const char* name;
  std::string begins;  // a COPY, up to CopyInResponse; may be empty
  bool cancelled;      // pg_cancel_backend() before what follows: it strikes behind the next whole message
  std::string whole;   // in one write with the beginning of `cut`
  const std::string* cut;
  std::size_t sent;
  const char* answers;
};

class CutMessage : public Copying, public ::testing::WithParamInterface<Cut> {
 protected:
  // Until the server has said ReadyForQuery.
  void begin(PeerConnection& peer) const {
    const auto& cut = GetParam();
    if (!cut.begins.empty()) {
      peer.send(cut.begins);
      ASSERT_EQ(peer.read_until('G'), "G");
    }
    if (cut.cancelled) {
      ASSERT_EQ(server_->scalar("SELECT pg_cancel_backend(" + std::to_string(backend()) + ")"), "t");
    }
    peer.send(cut.whole + cut.cut->substr(0, cut.sent));
    ASSERT_EQ(peer.read_until('Z'), cut.answers);
  }
  static std::string rest() { return GetParam().cut->substr(GetParam().sent); }
};

// The client that began the message falls silent: somebody else's statement is not taken for its rest, and does not
// wait for it.
TEST_P(CutMessage, of_a_silent_client_takes_nothing_from_the_next) {
  auto silent = client();
  auto next = client();
  begin(*silent);
  next->send(wire::query("SELECT 42"));
  EXPECT_EQ(wire::read_value(*next), "42");
}

// The rest comes after all, while somebody else is served: it belongs to nobody, and its client goes on.
TEST_P(CutMessage, whose_rest_comes_late_leaves_both_clients_well) {
  auto slow = client();
  auto next = client();
  begin(*slow);
  next->send(wire::query("SELECT 42"));
  slow->send(rest() + wire::query("SELECT 43"));
  EXPECT_EQ(wire::read_value(*next), "42");
  EXPECT_EQ(wire::read_value(*slow), "43");
  next->send(wire::query("SELECT count(*) FROM numbers"));
  EXPECT_EQ(wire::read_value(*next), "0");
}

// A client that goes away in the middle of it takes no server along.
TEST_P(CutMessage, of_a_client_that_leaves_takes_nothing_from_the_next) {
  auto next = client();
  {
    auto leaving = client();
    begin(*leaving);
    leaving->reset();
  }
  for (int i = 0; i < 3; ++i) {
    next->send(wire::query("SELECT 42"));
    EXPECT_EQ(wire::read_value(*next), "42");
  }
}

const std::string copy = wire::query("COPY numbers FROM STDIN");
INSTANTIATE_TEST_SUITE_P(
    All, CutMessage,
    ::testing::Values(Cut{"data_behind_a_bad_row", copy, false, bad_row, &large_data, 300'000, "EZ"},
                      Cut{"datas_header_behind_a_bad_row", copy, false, bad_row, &large_data, 5, "EZ"},
                      Cut{"fail_behind_a_bad_row", copy, false, bad_row, &long_fail, 3'000, "EZ"},
                      Cut{"data_of_a_cancelled_copy", copy, true, wire::copy_data("1\n"), &large_data, 300'000, "EZ"},
                      // The server drops CopyData outside a COPY, but reads it.
                      Cut{"data_behind_a_finished_copy", copy, false, wire::copy_data("") + wire::copy_done(),
                          &large_data, 300'000, "CZ"},
                      Cut{"data_behind_a_query", "", false, wire::query("SELECT 1"), &large_data, 300'000, "TDCZ"},
                      Cut{"fail_behind_a_query", "", false, wire::query("SELECT 1"), &long_fail, 3'000, "TDCZ"}),
    [](const auto& cut) { return std::string(cut.param.name); });

// By the extended protocol, as libpq does it: a Sync in front of the data, which the COPY ignores, and one behind it,
// which ends the failure.
TEST_F(Copying, that_fails_in_the_extended_protocol_ends_with_its_sync) {
  auto slow = client();
  auto next = client();
  slow->send(wire::parse("", "COPY numbers FROM STDIN") + wire::bind("") + wire::execute() + wire::sync());
  ASSERT_EQ(slow->read_until('G'), "12G");
  slow->send(bad_row + large_data.substr(0, 300'000));
  ASSERT_EQ(slow->read_until('E'), "E");
  next->send(wire::query("SELECT 42"));
  slow->send(large_data.substr(300'000) + wire::copy_done() + wire::sync());
  EXPECT_EQ(slow->read_until('Z'), "Z");
  EXPECT_EQ(wire::read_value(*next), "42");
  slow->send(wire::query("SELECT 43"));
  EXPECT_EQ(wire::read_value(*slow), "43");
}

// A Query, Parse or Bind of which a part is there when the last answer has come is answered once it is whole, on
// whatever server: somebody else's statement in between is no part of it.
TEST_F(Copying, half_a_statement_waits_for_its_rest_and_holds_up_nobody) {
  const std::string digits(300'000, '0');
  const auto by_query = wire::query("SELECT " + digits + "43");
  const auto by_parse = wire::parse("", "SELECT " + digits + "43") + wire::bind("") + wire::execute() + wire::sync();
  for (const auto& statement : {by_query, by_parse}) {
    auto slow = client();
    auto next = client();
    slow->send(wire::query("SELECT 1") + statement.substr(0, 150'000));
    ASSERT_EQ(slow->read_until('Z'), "TDCZ");
    next->send(wire::query("SELECT 42"));
    EXPECT_EQ(wire::read_value(*next), "42");
    slow->send(statement.substr(150'000));
    EXPECT_EQ(wire::read_value(*slow), "43");
  }
}

// Bytes of the client still wait for the server's socket when the COPY has failed. When they are out, everything is
// answered, and the client may never speak again: the server is somebody else's.
TEST_F(Copying, that_failed_gives_its_server_back_when_the_rest_is_sent) {
  auto idle = client();
  auto next = client();
  idle->send(wire::query("COPY numbers FROM STDIN"));
  ASSERT_EQ(idle->read_until('G'), "G");
  const pid_t process = backend();
  // A server that reads nothing: everything up to the client's socket fills.
  ASSERT_TRUE(halt(process));
  // As long as what the proxy reads at once, so that its passes end between messages.
  constexpr std::size_t size = 64 * 1024;
  const auto first = wire::copy_data("not a number\n" + std::string(size - 5 - 13, '1'));
  const auto further = wire::copy_data(std::string(size - 5, '1'));
  std::atomic<bool> all_sent = false;
  std::thread sender([&] {
    try {
      idle->send(first);
      for (int i = 0; i < 1500; ++i) idle->send(further);
      all_sent = true;
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
  });
  int full = 0;
  EXPECT_TRUE(wait_until(10s, [&] {
    pollfd writable{.fd = idle->fd(), .events = POLLOUT, .revents = 0};
    full = ::poll(&writable, 1, 0) == 0 ? full + 1 : 0;
    return full == 20 || all_sent;
  }));
  EXPECT_FALSE(all_sent) << "the sockets took everything: the test shows nothing";
  EXPECT_EQ(::kill(process, SIGCONT), 0);
  EXPECT_EQ(idle->read_until('Z'), "EZ");
  sender.join();
  next->send(wire::query("SELECT 42"));
  EXPECT_EQ(wire::read_value(*next), "42");
}

}  // namespace
}  // namespace holdfast::testing
