#include "protocol/client_errors.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "protocol/backend.hpp"
#include "protocol/framer.hpp"

namespace holdfast::protocol {
namespace {

std::vector<Tell> all() {
  std::vector<Tell> every;
  for (auto i = 0; i < static_cast<int>(Tell::count_); ++i) every.push_back(static_cast<Tell>(i));
  return every;
}

std::string number(Tell what) {
  return "row " + std::to_string(static_cast<int>(what)) + ": " + std::string(telling(what).text);
}

// One ErrorResponse, which `out` holds alone.
ErrorFields fields_of(const std::vector<std::byte>& out) {
  Framer framer(Direction::from_server);
  const Frame frame = framer.next(out);
  EXPECT_EQ(frame.kind, Frame::Kind::start);
  EXPECT_EQ(frame.tag, server::error_response);
  EXPECT_TRUE(frame.last);
  EXPECT_EQ(frame.bytes.size(), out.size());
  const auto fields = parse_error(frame.body());
  EXPECT_TRUE(fields);
  return fields.value_or(ErrorFields{});
}

TEST(ToldTest, everything_has_a_text_and_the_sqlstate_of_an_error) {
  for (const Tell what : all()) {
    SCOPED_TRACE(number(what));
    const Telling& row = telling(what);
    EXPECT_FALSE(row.text.empty());
    const std::string state(row.state.view());
    EXPECT_EQ(state.size(), 5U);
    EXPECT_TRUE(std::ranges::all_of(state, [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z'); }));
    const std::string kind = state.substr(0, 2);
    EXPECT_FALSE(kind == "00" || kind == "01" || kind == "02") << "success and warnings are no errors";
  }
}

TEST(ToldTest, a_placeholder_is_the_first_or_the_second_argument) {
  for (const Tell what : all()) {
    SCOPED_TRACE(number(what));
    const auto text = telling(what).text;
    for (auto at = text.find('$'); at != std::string_view::npos; at = text.find('$', at + 1)) {
      ASSERT_LT(at + 1, text.size());
      EXPECT_TRUE(text[at + 1] == '1' || text[at + 1] == '2');
    }
    EXPECT_EQ(telling(what).hint.find('$'), std::string_view::npos) << "hints are literal";
  }
}

TEST(ToldTest, every_placeholder_is_filled_and_none_is_left_over) {
  for (const Tell what : all()) {
    SCOPED_TRACE(number(what));
    const auto text = telling(what).text;
    const Error error = told(what, {"<first>", "<second>"});
    EXPECT_EQ(error.message.find('$'), std::string::npos);
    EXPECT_EQ(error.message.contains("<first>"), text.contains("$1"));
    EXPECT_EQ(error.message.contains("<second>"), text.contains("$2"));
    EXPECT_EQ(told(what).message.find('$'), std::string::npos) << "an argument that is not given is empty";
  }
}

TEST(ToldTest, a_text_without_placeholders_is_told_as_it_stands) {
  for (const Tell what : all()) {
    const Telling& row = telling(what);
    if (row.text.contains('$')) continue;
    const Error error = told(what);
    EXPECT_EQ(error.message, row.text);
    EXPECT_EQ(error.hint, row.hint);
    EXPECT_EQ(error.state, row.state);
  }
}

TEST(ToldTest, arguments_stand_where_the_texts_want_them) {
  EXPECT_EQ(told(Tell::unknown_database, {"shop"}).message, "database \"shop\" does not exist");
  EXPECT_EQ(told(Tell::too_many_clients).message, "too many clients");
  EXPECT_EQ(told(Tell::too_many_clients, {" of this listener"}).message, "too many clients of this listener");
  EXPECT_EQ(told(Tell::no_primary, {"200", ": none answers"}).message,
            "there has been no primary for 200 ms (hold_timeout): none answers");
  EXPECT_EQ(told(Tell::no_primary, {"200"}).message, "there has been no primary for 200 ms (hold_timeout)");
  EXPECT_EQ(told(Tell::no_server, {"50", "4"}).message,
            "no server connection became free within 50 ms (wait_timeout; pool.size is 4)");
  EXPECT_EQ(told(Tell::unexpected_message, {"CopyBothResponse"}).message, "unexpected message CopyBothResponse");
}

TEST(ToldTest, an_argument_is_no_template) {
  EXPECT_EQ(told(Tell::unknown_database, {"$2 $1 $", "no"}).message, "database \"$2 $1 $\" does not exist");
}

TEST(ToldTest, an_argument_more_than_a_text_wants_is_left_out) {
  EXPECT_EQ(told(Tell::canceled, {"a", "b"}).message, "canceling statement due to user request");
}

TEST(ToldTest, the_connection_ends_with_these_and_with_no_others) {
  const std::set<Tell> fatal{
      Tell::tls_required,      Tell::too_many_clients,   Tell::too_many_log_ins, Tell::log_in_timed_out,
      Tell::no_replication,    Tell::unknown_database,   Tell::no_cancel_key,    Tell::session_lost,
      Tell::too_many_messages, Tell::unexpected_message, Tell::shutting_down,    Tell::idle_in_transaction,
      Tell::idle_session,      Tell::broken_invariant,   Tell::message_too_slow, Tell::synchronization_lost};
  for (const Tell what : all()) EXPECT_EQ(telling(what).fatal, fatal.contains(what)) << number(what);
}

TEST(ToldTest, a_loss_is_told_by_the_states_that_drivers_know) {
  EXPECT_EQ(telling(Tell::outcome_unknown).state, "08007");
  EXPECT_EQ(telling(Tell::rolled_back).state, "40001");
  EXPECT_EQ(telling(Tell::in_failed_transaction).state, "25P02");
  EXPECT_EQ(telling(Tell::session_lost).state, "57P01");
  EXPECT_EQ(telling(Tell::canceled).state, "57014");
  EXPECT_EQ(telling(Tell::statement_unknown).state, "26000");
  EXPECT_EQ(telling(Tell::statement_exists).state, "42P05");
}

TEST(ToldTest, what_is_written_is_an_error_response_that_clients_can_read) {
  for (const Tell what : all()) {
    SCOPED_TRACE(number(what));
    std::vector<std::byte> out;
    write_told(out, what, {"<first>", "<second>"});
    const ErrorFields fields = fields_of(out);
    const Error error = told(what, {"<first>", "<second>"});
    EXPECT_EQ(fields.severity, telling(what).fatal ? "FATAL" : "ERROR");
    EXPECT_EQ(fields.severity_nonlocal, fields.severity);
    EXPECT_EQ(fields.ends_session(), telling(what).fatal);
    EXPECT_EQ(fields.state, error.state);
    EXPECT_EQ(fields.message, error.message);
    EXPECT_EQ(fields.hint, error.hint);
  }
}

TEST(ToldTest, what_a_client_sent_can_not_break_the_message) {
  std::vector<std::byte> out;
  write_told(out, Tell::unknown_database, {std::string_view("a\0Mforged", 9)});
  const ErrorFields fields = fields_of(out);
  EXPECT_EQ(fields.state, "3D000");
  EXPECT_EQ(fields.message, "database \"a");
}

TEST(ToldTest, is_appended_to_what_is_there) {
  std::vector<std::byte> out;
  write_ready_for_query(out, 'I');
  const auto before = out.size();
  write_told(out, Tell::canceled);
  EXPECT_EQ(fields_of({out.begin() + static_cast<std::ptrdiff_t>(before), out.end()}).state, "57014");
}

}  // namespace
}  // namespace holdfast::protocol
