// Messages that have no answer of their own, with a body that they must not have.
//
// The kind: PostgreSQL reports an error that belongs to no answer (a Flush with a body), and skips what follows until a
// Sync. Whoever is served next by that server must get neither the error nor the silence. Tried: alone, behind answers, in
// a batch, in a block, in front of and behind a COPY's data, followed by a Sync, by a Query or by the client's end.
#include <gtest/gtest.h>

#include <ostream>

#include "tests/support/endpoint.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

const std::string bad_flush = message_bytes('H', "noise");
const std::string bad_sync = message_bytes('S', "noise");
const std::string run = wire::parse("", "SELECT 1") + wire::bind("") + wire::execute();

struct Malformed {
  friend void PrintTo(const Malformed& malformed, std::ostream* out) { *out << malformed.name; }
  const char* name;
  std::string bytes;  // up to the client's end, or to the ReadyForQuery of `syncs` units
  int units;
};

class MalformedMessage : public ::testing::TestWithParam<Malformed> {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
    server_->exec("CREATE TABLE copied (a int); GRANT ALL ON copied TO app");
  }
  static void TearDownTestSuite() { delete server_; }

  // The types of all messages, with the SQLSTATEs of errors.
  static std::string heard(PeerConnection& client, int units) {
    std::string all;
    while (units > 0) {
      const auto message = client.read_message();
      all += message.type;
      if (message.type == 'E') all += "(" + wire::sqlstate(message) + ")";
      if (message.type == 'Z') --units;
    }
    return all;
  }

  static Server* server_;
};
Server* MalformedMessage::server_ = nullptr;

TEST_P(MalformedMessage, is_its_clients_own_error) {
  auto direct = wire::log_in(server_->port());
  direct->send(GetParam().bytes);
  const auto expected = heard(*direct, GetParam().units);
  for (const char* mode : {"transaction", "session"}) {
    SCOPED_TRACE(mode);
    const Holdfast proxy(
        endpoint({.members = member_yaml(*server_), .workers = 1, .pool = std::string("size: 1, mode: ") + mode}));
    {
      auto client = wire::log_in(proxy.port());
      client->send(GetParam().bytes);
      EXPECT_EQ(heard(*client, GetParam().units), expected);
      client->send(GetParam().bytes);
    }
    // Its server is the next client's, who hears its own answers and nothing else.
    auto next = wire::log_in(proxy.port());
    next->send(wire::query("SELECT 42"));
    EXPECT_EQ(heard(*next, 1), "TDCZ");
    next->send(run + wire::sync());
    EXPECT_EQ(heard(*next, 1), "12DCZ");
    EXPECT_EQ(proxy.metric("holdfast_servers"), 1.0);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Of, MalformedMessage,
    ::testing::Values(
        Malformed{"a_flush_alone", bad_flush, 0},
        Malformed{"a_flush_and_a_sync", bad_flush + wire::sync(), 1},
        Malformed{"a_flush_and_a_query_that_is_skipped", bad_flush + wire::query("SELECT 1") + wire::sync(), 1},
        Malformed{"a_flush_behind_a_query", wire::query("SELECT pg_sleep(0.05)") + bad_flush + wire::sync(), 2},
        Malformed{"a_flush_behind_a_query_and_nothing", wire::query("SELECT pg_sleep(0.05)") + bad_flush, 1},
        Malformed{"a_flush_in_a_batch", run + bad_flush + run + wire::sync(), 1},
        Malformed{"a_flush_behind_a_good_one", run + wire::flush() + bad_flush + wire::sync(), 1},
        Malformed{"a_flush_behind_an_error", wire::parse("", "selec") + bad_flush + wire::sync(), 1},
        Malformed{"a_flush_in_a_block",
                  wire::query("BEGIN") + wire::query("SELECT 1") + bad_flush + wire::sync() + wire::query("ROLLBACK"),
                  4},
        Malformed{"a_flush_behind_a_begin", wire::query("BEGIN") + bad_flush + wire::sync() + wire::query("ROLLBACK"), 3},
        Malformed{"a_flush_in_a_copy",
                  wire::query("COPY copied FROM STDIN") + wire::copy_data("1\n") + bad_flush + wire::copy_data("2\n") +
                      wire::copy_done(),
                  1},
        Malformed{"a_flush_behind_a_copy",
                  wire::query("COPY copied FROM STDIN") + wire::copy_done() + bad_flush + wire::sync(), 2},
        Malformed{"a_sync", bad_sync, 1},
        Malformed{"a_sync_behind_a_parse", wire::parse("", "SELECT 1") + bad_sync, 1},
        Malformed{"a_sync_behind_a_batch", run + bad_sync, 1},
        Malformed{"a_sync_in_a_block", wire::query("BEGIN") + bad_sync + wire::query("ROLLBACK"), 3}),
    [](const auto& malformed) { return std::string(malformed.param.name); });

}  // namespace
}  // namespace holdfast::testing
