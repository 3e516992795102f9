#include "protocol/backend.hpp"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "protocol/framer.hpp"
#include "protocol/message.hpp"

namespace holdfast::protocol {
namespace {

using namespace std::string_view_literals;

Bytes body(const Out& out, char tag) {
  Framer framer(Direction::from_server);
  const Frame frame = framer.next(out);
  EXPECT_EQ(frame.kind, Frame::Kind::start);
  EXPECT_EQ(frame.tag, tag);
  EXPECT_TRUE(frame.last);
  EXPECT_EQ(frame.bytes.size(), out.size());
  return frame.body();
}

template <typename Parse>
void expect_exact(Bytes whole, Parse parse) {
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto result = parse(whole.first(size));
    ASSERT_FALSE(result) << "cut at " << size;
    EXPECT_EQ(result.error().state, sqlstate::protocol_violation);
  }
  ASSERT_TRUE(parse(whole));
  Out longer(whole.begin(), whole.end());
  longer.push_back(std::byte{0});
  EXPECT_FALSE(parse(longer));
}

TEST(Backend, error_is_sent_with_the_fields_that_drivers_need) {
  Out out;
  write_error(out, {.severity = "FATAL",
                    .state = sqlstate::admin_shutdown,
                    .message = "terminating connection",
                    .detail = "why",
                    .hint = "what to do"});
  EXPECT_EQ(as_text(body(out, 'E')), "SFATAL\0VFATAL\0C57P01\0Mterminating connection\0Dwhy\0Hwhat to do\0\0"sv);
}

TEST(Backend, error_comes_back_as_written) {
  Out out;
  write_error(out, {.state = sqlstate::query_canceled, .message = "canceled", .hint = "try again"});
  const auto fields = parse_error(body(out, 'E'));
  ASSERT_TRUE(fields);
  EXPECT_EQ(fields->severity, "ERROR");
  EXPECT_EQ(fields->severity_nonlocal, "ERROR");
  EXPECT_EQ(fields->state, "57014"sv);
  EXPECT_EQ(fields->message, "canceled");
  EXPECT_EQ(fields->detail, "");
  EXPECT_EQ(fields->hint, "try again");
  EXPECT_FALSE(fields->ends_session());
  expect_exact(body(out, 'E'), parse_error);
}

TEST(Backend, notice_has_the_tag_of_a_notice) {
  Out out;
  write_notice(out, {.severity = "WARNING", .state = SqlState{"01000"}, .message = "careful"});
  EXPECT_EQ(as_text(body(out, 'N')), "SWARNING\0VWARNING\0C01000\0Mcareful\0\0"sv);
}

TEST(Backend, error_texts_end_at_a_nul_so_that_no_field_can_be_smuggled_in) {
  Out out;
  write_error(out, {.state = sqlstate::internal_error, .message = "name \"a\0C00000\0\0\""sv});
  EXPECT_EQ(parse_error(body(out, 'E'))->state, "XX000"sv);
  EXPECT_EQ(parse_error(body(out, 'E'))->message, "name \"a");
}

TEST(Backend, error_of_a_real_server_is_read_in_full) {
  const auto fields =
      parse_error(as_bytes("SFATAL\0VFATAL\0C23505\0Mduplicate\0DKey\0Hno\0P12\0Wctx\0spublic\0ttab\0ccol\0nuniq\0"
                           "Fnbtinsert.c\0L671\0R_bt_check_unique\0\0"sv));
  ASSERT_TRUE(fields);
  EXPECT_TRUE(fields->ends_session());
  EXPECT_EQ(fields->position, "12");
  EXPECT_EQ(fields->where, "ctx");
  EXPECT_EQ(fields->schema, "public");
  EXPECT_EQ(fields->table, "tab");
  EXPECT_EQ(fields->column, "col");
  EXPECT_EQ(fields->constraint, "uniq");
  EXPECT_EQ(fields->file, "nbtinsert.c");
  EXPECT_EQ(fields->line, "671");
  EXPECT_EQ(fields->routine, "_bt_check_unique");
}

TEST(Backend, error_without_or_with_an_odd_sqlstate_counts_as_internal) {
  EXPECT_EQ(parse_error(as_bytes("SERROR\0Mno\0\0"sv))->state, "XX000"sv);
  EXPECT_EQ(parse_error(as_bytes("C4260\0\0"sv))->state, "XX000"sv);
  EXPECT_EQ(parse_error(as_bytes("C426011\0\0"sv))->state, "XX000"sv);
  EXPECT_EQ(parse_error(as_bytes("C\0\0"sv))->state, "XX000"sv);
}

TEST(Backend, error_without_v_takes_the_severity_from_s) {
  EXPECT_TRUE(parse_error(as_bytes("SPANIC\0\0"sv))->ends_session());
  EXPECT_FALSE(parse_error(as_bytes("SFATAL\0VERROR\0\0"sv))->ends_session());
}

TEST(Backend, error_without_any_field_or_with_unknown_ones_is_an_error) {
  EXPECT_TRUE(parse_error(as_bytes("\0"sv)));
  EXPECT_EQ(parse_error(as_bytes("?what\0Mtext\0\xff\0\0"sv))->message, "text");
}

TEST(Backend, error_body_that_is_cut_is_refused) {
  EXPECT_FALSE(parse_error({}));
  EXPECT_FALSE(parse_error(as_bytes("SERROR\0Mno"sv)));
  EXPECT_FALSE(parse_error(as_bytes("SERROR\0Mno\0"sv)));
  EXPECT_FALSE(parse_error(as_bytes("SERROR\0\0Mno\0\0"sv)));
}

TEST(Backend, parameter_status_comes_back_as_written) {
  Out out;
  write_parameter_status(out, "search_path", "\"$user\", public");
  EXPECT_EQ(parse_parameter_status(body(out, 'S'))->name, "search_path");
  EXPECT_EQ(parse_parameter_status(body(out, 'S'))->value, "\"$user\", public");
  expect_exact(body(out, 'S'), parse_parameter_status);
}

TEST(Backend, ready_for_query_knows_three_states) {
  for (int status = 0; status < 256; ++status) {
    const auto byte = static_cast<std::byte>(status);
    EXPECT_EQ(parse_ready_for_query({&byte, 1}).has_value(), "ITE"sv.find(static_cast<char>(status)) != "ITE"sv.npos);
  }
  Out out;
  write_ready_for_query(out, 'T');
  EXPECT_EQ(*parse_ready_for_query(body(out, 'Z')), 'T');
  expect_exact(body(out, 'Z'), parse_ready_for_query);
}

TEST(Backend, key_data_has_a_secret_of_4_to_256_bytes) {
  for (const std::size_t size : {std::size_t{4}, std::size_t{32}, std::size_t{256}}) {
    Out out;
    write_backend_key_data(out, 0xffff'fff0U, Out(size, std::byte{7}));
    const auto key = parse_backend_key_data(body(out, 'K'));
    ASSERT_TRUE(key);
    EXPECT_EQ(key->pid, 0xffff'fff0U);
    EXPECT_EQ(key->secret.size(), size);
  }
  for (const std::size_t size : {std::size_t{0}, std::size_t{3}, std::size_t{257}}) {
    Out out;
    write_backend_key_data(out, 1, Out(size));
    EXPECT_FALSE(parse_backend_key_data(body(out, 'K'))) << size;
  }
  EXPECT_FALSE(parse_backend_key_data(as_bytes("\0\0\0"sv)));
}

TEST(Backend, command_complete_comes_back_as_written) {
  Out out;
  write_command_complete(out, "INSERT 0 1");
  EXPECT_EQ(*parse_command_complete(body(out, 'C')), "INSERT 0 1");
  expect_exact(body(out, 'C'), parse_command_complete);
}

TEST(Backend, a_command_tag_says_what_was_discarded) {
  const auto said = [](std::string_view tag) {
    std::vector<std::byte> out;
    write_command_complete(out, tag);
    return discarded_by(body(out, 'C'));
  };
  EXPECT_EQ(said("DISCARD ALL"), Discarded::everything);
  EXPECT_EQ(said("DEALLOCATE ALL"), Discarded::statements);
  EXPECT_EQ(said("DEALLOCATE"), Discarded::one_statement);
  for (const char* tag : {"RESET", "UNLISTEN", "DISCARD PLANS", "DISCARD TEMP", "SELECT 1", ""}) {
    EXPECT_EQ(said(tag), Discarded::nothing) << tag;
  }
  EXPECT_EQ(discarded_by({}), Discarded::nothing) << "malformed";
}

TEST(Backend, notification_comes_back_as_written) {
  Out out;
  write_notification(out, {.pid = 42, .channel = "jobs", .payload = ""});
  const auto notification = parse_notification(body(out, 'A'));
  ASSERT_TRUE(notification);
  EXPECT_EQ(notification->pid, 42U);
  EXPECT_EQ(notification->channel, "jobs");
  EXPECT_EQ(notification->payload, "");
  expect_exact(body(out, 'A'), parse_notification);
}

TEST(Backend, authentication_requests_come_back_as_written) {
  const auto kind = [](const Out& out) { return parse_authentication(body(out, 'R'))->kind; };
  Out ok;
  write_authentication_ok(ok);
  EXPECT_EQ(kind(ok), AuthenticationKind::ok);
  expect_exact(body(ok, 'R'), parse_authentication);
  Out cleartext;
  write_authentication_cleartext(cleartext);
  EXPECT_EQ(kind(cleartext), AuthenticationKind::cleartext_password);
  Out md5;
  write_authentication_md5(md5, std::array{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}});
  EXPECT_EQ(kind(md5), AuthenticationKind::md5_password);
  EXPECT_EQ(as_text(parse_authentication(body(md5, 'R'))->data), "\1\2\3\4");
  expect_exact(body(md5, 'R'), parse_authentication);
  Out next;
  write_authentication_sasl_continue(next, as_bytes("r=x,s=y,i=4096"));
  EXPECT_EQ(kind(next), AuthenticationKind::sasl_continue);
  EXPECT_EQ(as_text(parse_authentication(body(next, 'R'))->data), "r=x,s=y,i=4096");
  Out last;
  write_authentication_sasl_final(last, as_bytes("v=z"));
  EXPECT_EQ(kind(last), AuthenticationKind::sasl_final);
}

TEST(Backend, authentication_of_an_unknown_method_is_refused) {
  for (const auto code : {"\0\0\0\1"sv, "\0\0\0\15"sv, "\x7f\xff\xff\xff"sv, "\x80\0\0\0"sv, "\xff\xff\xff\xff"sv}) {
    EXPECT_EQ(parse_authentication(as_bytes(code)).error().state, sqlstate::feature_not_supported);
  }
}

TEST(Backend, sasl_mechanisms_come_back_in_order) {
  Out out;
  write_authentication_sasl(out, std::array{"SCRAM-SHA-256-PLUS"sv, "SCRAM-SHA-256"sv});
  const auto request = parse_authentication(body(out, 'R'));
  ASSERT_EQ(request->kind, AuthenticationKind::sasl);
  EXPECT_EQ(*parse_sasl_mechanisms(request->data), (std::vector{"SCRAM-SHA-256-PLUS"sv, "SCRAM-SHA-256"sv}));
  expect_exact(request->data, parse_sasl_mechanisms);
  EXPECT_FALSE(parse_sasl_mechanisms(as_bytes("\0"sv)));  // a list of nothing
}

TEST(Backend, negotiation_names_the_version_and_the_options) {
  Out out;
  write_negotiate_protocol_version(out, std::array{"_pq_.a"sv, "_pq_.b"sv});
  EXPECT_EQ(as_text(body(out, 'v')), "\0\3\0\0\0\0\0\2_pq_.a\0_pq_.b\0"sv);
}

TEST(Backend, messages_without_a_body_are_five_bytes) {
  Out out;
  write_parse_complete(out);
  write_bind_complete(out);
  write_close_complete(out);
  write_no_data(out);
  write_empty_query_response(out);
  write_portal_suspended(out);
  EXPECT_EQ(as_text(out),
            "1\0\0\0\4"
            "2\0\0\0\4"
            "3\0\0\0\4"
            "n\0\0\0\4I\0\0\0\4s\0\0\0\4"sv);
}

TEST(Backend, rows_of_text_are_described_and_tell_null_from_empty) {
  Out description;
  write_row_description(description, std::array{"name"sv});
  EXPECT_EQ(as_text(body(description, 'T')),
            "\0\1name\0"  // one column
            "\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0"sv);
  Out row;
  write_data_row(row, std::array<std::optional<std::string_view>, 3>{"a"sv, std::nullopt, ""sv});
  EXPECT_EQ(as_text(body(row, 'D')), "\0\3\0\0\0\1a\xff\xff\xff\xff\0\0\0\0"sv);
}

}  // namespace
}  // namespace holdfast::protocol
