// A RESET leads to what the client asked for at start-up, as on a server of its own, whatever stands beside it: a block
// that it is in front of, that fails or is rolled back; further statements of its batch or string.
//
// The kind: the pooled server's own default is another, so the proxy puts the settings back, and not everywhere can it
// do so at once. Each script is played on PostgreSQL and through the proxy; all that shows in the end must be the same.
#include <gtest/gtest.h>

#include <ostream>

#include "tests/support/endpoint.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

struct Reset {
  friend void PrintTo(const Reset& reset, std::ostream* out) { *out << reset.name; }
  const char* name;
  std::vector<std::string> turns;  // each is answered by one ReadyForQuery
};

class Resets : public ::testing::TestWithParam<Reset> {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
    server_->exec("CREATE ROLE one; CREATE ROLE two; GRANT one, two TO app");
  }
  static void TearDownTestSuite() { delete server_; }
  // How each turn ends, and what holds behind those that leave no block.
  static std::string seen(int port) {
    auto peer = wire::log_in(
        port, {{"options", "-c DateStyle=German -c TimeZone=America/New_York -c app.x=start -c role=one"}});
    std::string text;
    for (const auto& turn : GetParam().turns) {
      peer->send(turn);
      std::string told;
      for (;;) {
        const auto message = peer->read_message();
        if (message.type == 'E') told += wire::sqlstate(message) + " ";
        if (message.type != 'Z') continue;
        text += told + message.body + " ";
        break;
      }
      if (!text.ends_with("I ")) continue;
      for (const char* setting : {"DateStyle", "TimeZone", "app.x", "role"}) {
        peer->send(wire::query(std::string("SHOW ") + setting));
        text += wire::read_value(*peer) + "; ";
      }
    }
    return text;
  }

  static Server* server_;
};
Server* Resets::server_ = nullptr;

TEST_P(Resets, lead_to_the_settings_of_the_start) {
  const auto wanted = seen(server_->port());
  for (const char* mode : {"transaction", "session"}) {
    SCOPED_TRACE(mode);
    const Holdfast proxy(
        endpoint({.members = member_yaml(*server_), .workers = 1, .pool = std::string("size: 1, mode: ") + mode}));
    EXPECT_EQ(seen(proxy.port()), wanted);
    EXPECT_EQ(Connection(proxy.conninfo()).scalar("SHOW DateStyle"), "ISO, MDY");
  }
}

std::string batch(const std::vector<std::string>& statements) {
  std::string bytes;
  for (const auto& sql : statements) bytes += wire::parse("", sql) + wire::bind("") + wire::execute();
  return bytes + wire::sync();
}
const std::string own =
    wire::query("SET DateStyle TO 'Postgres, YMD'; SET TimeZone TO 'UTC'; SET app.x TO 'own'; SET ROLE two");
const std::string rollback = wire::query("ROLLBACK");

INSTANTIATE_TEST_SUITE_P(
    All, Resets,
    ::testing::Values(
        Reset{"discard_in_front_of_a_block_that_fails", {own, batch({"DISCARD ALL", "BEGIN", "SELECT 1/0"}), rollback}},
        Reset{"reset_in_front_of_a_block_that_fails", {own, batch({"RESET ALL", "BEGIN", "SELECT 1/0"}), rollback}},
        Reset{"discard_in_front_of_a_block_that_is_rolled_back", {own, batch({"DISCARD ALL", "BEGIN"}), rollback}},
        Reset{"discard_in_front_of_a_block_that_is_committed",
              {own, batch({"DISCARD ALL", "BEGIN"}), wire::query("COMMIT")}},
        Reset{"discard_in_front_of_a_block_that_is_revived",
              {own, batch({"DISCARD ALL", "BEGIN", "SAVEPOINT a", "SELECT 1/0"}), wire::query("ROLLBACK TO a"),
               rollback}},
        Reset{"reset_whose_block_ends_in_front_of_another",
              {own, wire::query("BEGIN"), batch({"RESET ALL", "COMMIT", "BEGIN", "SELECT 1/0"}), rollback}},
        Reset{"reset_in_a_block_that_fails_behind_a_savepoint",
              {own, wire::query("BEGIN"), batch({"RESET TimeZone", "SAVEPOINT a", "SELECT 1/0"}),
               wire::query("ROLLBACK TO a"), wire::query("COMMIT")}},
        Reset{"reset_in_a_block_under_a_local_setting",
              {own, wire::query("BEGIN"), wire::query("RESET TimeZone"), wire::query("SET LOCAL TimeZone TO 'UTC'"),
               wire::query("COMMIT")}},
        Reset{"reset_that_is_skipped", {own, batch({"SELECT 1/0", "RESET TimeZone", "RESET ALL"})}},
        Reset{"reset_in_a_failed_block",
              {own, wire::query("BEGIN"), wire::query("RESET nosuch"), wire::query("DISCARD ALL"),
               wire::query("RESET ALL"), wire::query("RELEASE a"), wire::execute() + wire::sync(), rollback}},
        Reset{"reset_and_set_again", {own, batch({"RESET TimeZone", "SET TimeZone TO 'Asia/Tokyo'"})}},
        Reset{"two_resets", {own, batch({"RESET TimeZone", "RESET app.x"})}},
        Reset{"reset_of_all_keeps_the_role", {own, wire::query("RESET ALL")}},
        Reset{"reset_of_all_in_a_batch_keeps_the_role", {wire::query("SET ROLE NONE"), batch({"RESET ALL"})}},
        Reset{"reset_of_the_role", {own, wire::query("RESET ROLE")}},
        Reset{"reset_of_the_role_in_a_batch", {own, batch({"RESET ROLE"})}},
        Reset{"reset_of_the_authorization", {own, wire::query("RESET SESSION AUTHORIZATION")}},
        Reset{"reset_of_the_time_zone", {own, wire::query("SET TIME ZONE LOCAL")}},
        // As drivers that pool connections do it.
        Reset{"string_of_a_driver",
              {own, wire::query("SET SESSION AUTHORIZATION DEFAULT;RESET ALL;CLOSE ALL;UNLISTEN *;"
                                "SELECT pg_advisory_unlock_all();DISCARD SEQUENCES;DISCARD TEMP")}},
        Reset{"string_that_begins_a_block_and_fails", {own, wire::query("RESET ALL; BEGIN; SELECT 1/0"), rollback}},
        Reset{"string_that_commits_and_begins",
              {own, wire::query("BEGIN"), wire::query("RESET ALL; COMMIT; BEGIN; SELECT 1/0"), rollback}}),
    [](const auto& reset) { return std::string(reset.param.name); });

}  // namespace
}  // namespace holdfast::testing
