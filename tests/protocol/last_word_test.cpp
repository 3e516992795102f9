#include "protocol/last_word.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <ostream>
#include <string>

#include "protocol/message.hpp"

namespace holdfast::protocol {
namespace {

// The table in the header, row by row.
struct Row {
  friend void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }
  const char* name;
  char tag;
  const char* severity;
  const char* state;
  By by;
  std::optional<Ended> ended;
};

class LastWordRows : public ::testing::TestWithParam<Row> {};

TEST_P(LastWordRows, says_what_has_ended) {
  const Row& row = GetParam();
  const ErrorFields fields{.severity = row.severity, .severity_nonlocal = row.severity, .state = SqlState(row.state)};
  EXPECT_EQ(last_word(row.tag, fields, row.by), row.ended);
}

INSTANTIATE_TEST_SUITE_P(
    All, LastWordRows,
    ::testing::Values(Row{"admin_shutdown", 'E', "FATAL", "57P01", By::primary, Ended::either},
                      Row{"admin_shutdown_of_a_standby", 'E', "FATAL", "57P01", By::standby, Ended::either},
                      Row{"crash_shutdown", 'E', "FATAL", "57P02", By::primary, Ended::the_server},
                      Row{"cannot_connect_now", 'E', "FATAL", "57P03", By::primary, Ended::the_server},
                      Row{"panic", 'E', "PANIC", "53100", By::primary, Ended::the_server},
                      Row{"panic_of_a_shutdown", 'E', "PANIC", "57P01", By::primary, Ended::the_server},
                      Row{"immediate_shutdown", 'N', "WARNING", "57P01", By::primary, Ended::the_server},
                      Row{"crash_of_another", 'N', "WARNING", "57P02", By::primary, Ended::the_server},
                      Row{"conflict_on_a_standby", 'E', "FATAL", "40001", By::standby, Ended::the_server},
                      Row{"conflict_on_a_primary", 'E', "FATAL", "40001", By::primary, Ended::the_session},
                      Row{"idle_in_transaction", 'E', "FATAL", "25P03", By::primary, Ended::the_session},
                      Row{"idle_session", 'E', "FATAL", "57P05", By::primary, Ended::the_session},
                      Row{"dropped_database", 'E', "FATAL", "57P04", By::standby, Ended::the_session},
                      Row{"out_of_memory", 'E', "FATAL", "53200", By::primary, Ended::the_session},
                      Row{"error", 'E', "ERROR", "57P01", By::primary, std::nullopt},
                      Row{"notice", 'N', "NOTICE", "00000", By::primary, std::nullopt},
                      Row{"warning", 'N', "WARNING", "01000", By::primary, std::nullopt}),
    [](const auto& row) { return std::string(row.param.name); });

Out error(const char* severity, const char* state) {
  Out out;
  write_error(out, {.severity = severity, .state = SqlState(state), .message = "no"});
  return out;
}

TEST(PostmasterSays, that_it_lives_by_letting_in_or_by_any_refusal_but_its_own_state) {
  Out ok;
  write_authentication_ok(ok);
  EXPECT_EQ(postmaster_says(ok), Postmaster::lives);
  Out negotiate;
  write_negotiate_protocol_version(negotiate, {});
  EXPECT_EQ(postmaster_says(negotiate), Postmaster::lives);
  for (const char* state : {"28000", "3D000", "53300", "28P01", "0A000"}) {
    EXPECT_EQ(postmaster_says(error("FATAL", state)), Postmaster::lives) << state;
  }
}

TEST(PostmasterSays, that_it_takes_no_sessions_now) {
  for (const char* state : {"57P03", "57P01", "57P02"}) {
    EXPECT_EQ(postmaster_says(error("FATAL", state)), Postmaster::not_now) << state;
  }
}

TEST(PostmasterSays, nothing_before_its_error_is_whole) {
  const Out whole = error("FATAL", "57P03");
  for (std::size_t cut = 0; cut < whole.size(); ++cut) {
    EXPECT_FALSE(postmaster_says(Bytes(whole).first(cut))) << cut;
  }
}

TEST(PostmasterSays, nothing_that_counts_if_it_is_not_postgresql) {
  EXPECT_EQ(postmaster_says(as_bytes("HTTP/1.1 400")), Postmaster::no_answer);
  EXPECT_EQ(postmaster_says(as_bytes("E\xff\xff\xff\xff")), Postmaster::no_answer);
}

}  // namespace
}  // namespace holdfast::protocol
