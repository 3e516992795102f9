// Errors that PostgreSQL sends without being asked: a message of a batch fails, and neither Sync nor Flush has come.
//
// The kind: the proxy waits for the end of a batch to know where it goes, and its client waits for the error. Tried: a
// text with a syntax error, a table that is missing, a name that is unknown or in use, in a block and right behind a
// BEGIN, prepared, in session mode.
#include <gtest/gtest.h>

#include <ostream>

#include "tests/support/endpoint.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

struct Unasked {
  friend void PrintTo(const Unasked& unasked, std::ostream* out) { *out << unasked.name; }
  const char* name;
  std::string bytes;
  const char* sqlstate;
};

class UnaskedErrors : public ::testing::TestWithParam<Unasked> {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
  }
  static void TearDownTestSuite() { delete server_; }

  static Server* server_;
};
Server* UnaskedErrors::server_ = nullptr;

TEST_P(UnaskedErrors, come_at_once_and_the_batch_ends_with_its_sync) {
  for (const char* mode : {"transaction", "session"}) {
    const Holdfast proxy(
        endpoint({.members = member_yaml(*server_), .workers = 1, .pool = std::string("size: 2, mode: ") + mode}));
    for (const bool in_block : {false, true}) {
      SCOPED_TRACE(std::string(mode) + (in_block ? ", in a block" : ""));
      auto client = wire::log_in(proxy.port());
      client->send(wire::parse("known", "SELECT 1") + wire::sync());
      ASSERT_EQ(client->read_until('Z'), "1Z");
      if (in_block) {
        client->send(wire::query("BEGIN"));
        ASSERT_EQ(client->read_until('Z'), "CZ");
      }
      client->send(GetParam().bytes);
      EXPECT_EQ(wire::read_error(*client), GetParam().sqlstate);
      client->send(wire::sync());
      EXPECT_EQ(client->read_until('Z'), "Z") << "the error is told once";
      client->send(wire::query(in_block ? "ROLLBACK" : "SELECT 42"));
      EXPECT_EQ(client->read_until('Z'), in_block ? "CZ" : "TDCZ");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Of, UnaskedErrors,
    ::testing::Values(Unasked{"a_syntax_error", wire::parse("", "selec 1"), "42601"},
                      Unasked{"a_table_that_is_missing", wire::parse("", "SELECT * FROM nowhere"), "42P01"},
                      Unasked{"a_named_statement", wire::parse("s", "SELECT * FROM nowhere"), "42P01"},
                      Unasked{"an_unknown_name", wire::bind("unknown"), "26000"},
                      Unasked{"an_unknown_name_to_describe", wire::describe("unknown"), "26000"},
                      Unasked{"a_name_in_use", wire::parse("known", "SELECT 2"), "42P05"},
                      Unasked{"an_unknown_portal", wire::execute(), "34000"},
                      Unasked{"the_second_message", wire::bind("known") + wire::parse("", "selec 1"), "42601"},
                      Unasked{"what_runs", wire::parse("", "SELECT 1/0") + wire::bind("") + wire::execute(), "22012"}),
    [](const auto& unasked) { return std::string(unasked.param.name); });

}  // namespace
}  // namespace holdfast::testing
