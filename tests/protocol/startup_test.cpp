#include "protocol/startup.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "protocol/frontend.hpp"

namespace holdfast::protocol {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;
using Kind = Startup::Action::Kind;
using enum Startup::Tls;

Out startup_packet(std::vector<NameValue> parameters, std::uint32_t version = protocol_3_0) {
  Out out;
  write_startup(out, version, parameters);
  return out;
}
Out ssl_request() {
  Out out;
  write_ssl_request(out);
  return out;
}
Out gssenc_request() {
  Out out;
  write_gssenc_request(out);
  return out;
}
// A packet of any code and body, with its true length.
Out packet(std::uint32_t code, std::string_view body) {
  Out out;
  Writer writer(out);
  writer.begin(0).u32(code).bytes(as_bytes(body));
  writer.end();
  return out;
}
Out operator+(Out a, const Out& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// The refusal of a machine that is expected to refuse `bytes`, whatever it waited for before.
StartupRefusal refusal(Startup& startup, Bytes bytes) {
  EXPECT_EQ(startup.next(bytes).kind, Kind::refuse);
  EXPECT_EQ(startup.state(), Startup::State::refused);
  EXPECT_EQ(startup.next(bytes).kind, Kind::refuse);  // for good
  return startup.refusal();
}
StartupRefusal refusal(Bytes bytes, Startup::Tls tls = unavailable) {
  Startup startup(tls);
  return refusal(startup, bytes);
}
StartupMessage started(const Out& bytes) {
  Startup startup(unavailable);
  const auto action = startup.next(bytes);
  EXPECT_EQ(action.kind, Kind::start) << startup.refusal().error.message;
  EXPECT_EQ(action.consumed, bytes.size());
  return startup.message();
}
// A machine behind its TLS handshake after SSLRequest.
Startup behind_ssl_request() {
  Startup startup(available);
  EXPECT_EQ(startup.next(ssl_request()).kind, Kind::accept_tls);
  startup.tls_established();
  EXPECT_EQ(startup.state(), Startup::State::encrypted);
  return startup;
}
Startup behind_direct_tls() {
  Startup startup(available);
  EXPECT_EQ(startup.next(as_bytes("\x16")).kind, Kind::direct_tls);
  startup.tls_established();
  return startup;
}

TEST(Startup, takes_a_startup_message_apart) {
  const auto message = started(startup_packet({{"user", "alice"},
                                               {"TimeZone", "UTC"},
                                               {"database", "shop"},
                                               {"options", "-c work_mem=8MB"},
                                               {"application_name", ""},
                                               {"TimeZone", "Europe/Berlin"}}));
  EXPECT_EQ(message.user, "alice");
  EXPECT_EQ(message.database, "shop");
  EXPECT_EQ(message.options, "-c work_mem=8MB");
  EXPECT_EQ(message.replication, Replication::none);
  EXPECT_EQ(message.parameters, (std::vector<StartupParameter>{
                                    {"TimeZone", "UTC"}, {"application_name", ""}, {"TimeZone", "Europe/Berlin"}}));
  EXPECT_FALSE(message.must_negotiate());
}

TEST(Startup, waits_for_every_byte_of_the_packet) {
  const auto bytes = startup_packet({{"user", "alice"}});
  Startup startup(available);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto action = startup.next(Bytes(bytes).first(size));
    ASSERT_EQ(action.kind, Kind::need_more) << size;
    EXPECT_EQ(action.consumed, 0U);
    EXPECT_EQ(action.wanted, size < 4 ? 8U : bytes.size());
  }
  EXPECT_EQ(startup.next(bytes).kind, Kind::start);
}

TEST(Startup, leaves_what_follows_the_startup_message) {
  const auto bytes = startup_packet({{"user", "alice"}});
  Startup startup(unavailable);
  EXPECT_EQ(startup.next(bytes + startup_packet({{"user", "bob"}})).consumed, bytes.size());
  EXPECT_EQ(startup.message().user, "alice");
}

TEST(Startup, refuses_a_second_startup_message) {
  const auto bytes = startup_packet({{"user", "alice"}});
  Startup startup(unavailable);
  ASSERT_EQ(startup.next(bytes).kind, Kind::start);
  EXPECT_EQ(refusal(startup, bytes).error.state, sqlstate::protocol_violation);
}

TEST(Startup, database_is_the_users_name_unless_given) {
  EXPECT_EQ(started(startup_packet({{"user", "alice"}})).database, "alice");
  EXPECT_EQ(started(startup_packet({{"user", "alice"}, {"database", ""}})).database, "alice");
}

TEST(Startup, the_last_of_two_users_counts_as_in_postgres) {
  EXPECT_EQ(started(startup_packet({{"user", "alice"}, {"user", "bob"}})).user, "bob");
}

TEST(Startup, refuses_a_startup_message_without_user) {
  for (const auto& bytes :
       {startup_packet({}), startup_packet({{"database", "shop"}}), startup_packet({{"user", ""}})}) {
    const auto refused = refusal(bytes);
    EXPECT_EQ(refused.error.state, sqlstate::invalid_authorization);
    EXPECT_EQ(refused.error.message, "no PostgreSQL user name specified in startup packet");
    EXPECT_TRUE(refused.tell);
  }
}

TEST(Startup, refuses_a_layout_without_its_terminator) {
  for (const auto body : {""sv, "user\0alice\0"sv, "user\0alice"sv, "user\0"sv, "user"sv, "user\0alice\0\0more"sv,
                          "user\0alice\0\0\0"sv, "user\0alice\0name\0"sv}) {
    const auto refused = refusal(packet(protocol_3_0, body));
    EXPECT_EQ(refused.error.state, sqlstate::protocol_violation);
    EXPECT_EQ(refused.error.message, "invalid startup packet layout: expected terminator as last byte");
  }
}

TEST(Startup, length_fields_at_their_extremes_are_refused_without_a_word) {
  for (const std::uint32_t length :
       {0U, 1U, 3U, 4U, 7U, max_startup_body + 5, 0x7fff'ffffU, 0x8000'0000U, 0xffff'ffffU}) {
    Out out;
    Writer(out).u32(length).u32(protocol_3_0);
    Startup startup(unavailable);
    // The length alone decides: nothing is waited for, nothing allocated.
    const auto refused = refusal(startup, Bytes(out).first(4));
    EXPECT_EQ(refused.error.message, "invalid length of startup packet") << length;
    EXPECT_FALSE(refused.tell);
  }
}

TEST(Startup, longest_packet_passes) {
  const std::string value(max_startup_body - 4 - "user\0u\0a\0\0\0"sv.size(), 'x');
  const auto bytes = startup_packet({{"user", "u"}, {"a", value}});
  ASSERT_EQ(bytes.size(), max_startup_body + 4);
  EXPECT_EQ(started(bytes).parameters.front().value, value);
  EXPECT_FALSE(refusal(startup_packet({{"user", "u"}, {"a", value + "x"}})).tell);
}

TEST(Startup, other_protocol_versions_are_refused_in_postgres_words) {
  for (const auto& [version, shown] : {std::pair{0x0002'0000U, "2.0"},
                                       {0x0004'0000U, "4.0"},
                                       {0U, "0.0"},
                                       {0xffff'ffffU, "65535.65535"},
                                       {80877105U, "1234.5681"}}) {
    const auto refused = refusal(startup_packet({{"user", "alice"}}, version));
    EXPECT_EQ(refused.error.state, sqlstate::feature_not_supported);
    EXPECT_EQ(refused.error.message, "unsupported frontend protocol "s + shown + ": server supports 3.0 to 3.0");
  }
}

TEST(Startup, newer_minor_versions_are_negotiated_down) {
  for (const std::uint32_t minor : {1U, 2U, 9999U}) {
    const auto message = started(startup_packet({{"user", "alice"}}, protocol_3_0 + minor));
    EXPECT_EQ(message.minor, minor);
    EXPECT_TRUE(message.must_negotiate());
  }
}

TEST(Startup, protocol_options_are_listed_and_not_taken_for_settings) {
  const auto message = started(startup_packet({{"user", "alice"}, {"_pq_.b", "1"}, {"_pq_.a", ""}, {"_PQ_.c", "2"}}));
  EXPECT_EQ(message.unknown_options, (std::vector{"_pq_.b"s, "_pq_.a"s}));
  EXPECT_EQ(message.parameters, (std::vector<StartupParameter>{{"_PQ_.c", "2"}}));
  EXPECT_TRUE(message.must_negotiate());
}

TEST(Startup, replication_is_read_as_postgres_reads_it) {
  const auto replication = [](std::string_view value) {
    return started(startup_packet({{"user", "alice"}, {"replication", value}})).replication;
  };
  for (const auto value : {"true"sv, "TRUE"sv, "t"sv, "1"sv, "on"sv, "y"sv, "Yes"sv}) {
    EXPECT_EQ(replication(value), Replication::physical) << value;
  }
  for (const auto value : {"false"sv, "F"sv, "0"sv, "of"sv, "off"sv, "no"sv}) {
    EXPECT_EQ(replication(value), Replication::none) << value;
  }
  EXPECT_EQ(replication("database"), Replication::database);
  for (const auto value : {""sv, "o"sv, "Database"sv, "truer"sv, "2"sv, "11"sv}) {
    const auto refused = refusal(startup_packet({{"user", "alice"}, {"replication", value}}));
    EXPECT_EQ(refused.error.state, "22023"sv);
    EXPECT_EQ(refused.error.message, "invalid value for parameter \"replication\": \"" + std::string(value) + "\"");
    EXPECT_FALSE(refused.hint.empty());
  }
}

TEST(Startup, answers_ssl_request_by_what_is_available) {
  Startup with(available);
  EXPECT_EQ(with.next(ssl_request()).kind, Kind::accept_tls);
  EXPECT_EQ(with.state(), Startup::State::handshake);
  EXPECT_FALSE(with.encrypted());
  Startup without(unavailable);
  const auto action = without.next(ssl_request());
  EXPECT_EQ(action.kind, Kind::reject);
  EXPECT_EQ(action.consumed, 8U);
  EXPECT_EQ(without.next(startup_packet({{"user", "alice"}})).kind, Kind::start);
  EXPECT_FALSE(without.encrypted());
}

TEST(Startup, session_over_tls_starts_encrypted) {
  auto startup = behind_ssl_request();
  EXPECT_EQ(startup.next(startup_packet({{"user", "alice"}})).kind, Kind::start);
  EXPECT_TRUE(startup.encrypted());
}

TEST(Startup, refuses_bytes_stuffed_behind_ssl_request) {
  for (const auto tls : {available, unavailable}) {
    for (const auto& stuffed : {startup_packet({{"user", "alice"}}), ssl_request(), Out{std::byte{0x16}}}) {
      const auto refused = refusal(ssl_request() + stuffed, tls);
      EXPECT_EQ(refused.error.state, sqlstate::protocol_violation);
      EXPECT_EQ(refused.error.message, "received unencrypted data after SSL request");
      EXPECT_FALSE(refused.detail.empty());
    }
  }
  EXPECT_EQ(refusal(gssenc_request() + ssl_request()).error.message,
            "received unencrypted data after GSSAPI encryption request");
}

TEST(Startup, reads_nothing_until_the_handshake_is_done) {
  Startup startup(available);
  ASSERT_EQ(startup.next(ssl_request()).kind, Kind::accept_tls);
  EXPECT_EQ(refusal(startup, startup_packet({{"user", "alice"}})).error.state, sqlstate::protocol_violation);
}

TEST(Startup, tls_established_out_of_turn_encrypts_nothing) {
  Startup startup(available);
  startup.tls_established();
  EXPECT_FALSE(startup.encrypted());
  ASSERT_EQ(startup.next(startup_packet({{"user", "alice"}})).kind, Kind::start);
  startup.tls_established();
  EXPECT_FALSE(startup.encrypted());
}

TEST(Startup, encryption_may_be_asked_for_once_of_each_kind_in_either_order) {
  Startup ssl_first(unavailable);
  EXPECT_EQ(ssl_first.next(ssl_request()).kind, Kind::reject);
  EXPECT_EQ(ssl_first.next(gssenc_request()).kind, Kind::reject);
  EXPECT_EQ(ssl_first.next(startup_packet({{"user", "alice"}})).kind, Kind::start);
  Startup gss_first(available);
  EXPECT_EQ(gss_first.next(gssenc_request()).kind, Kind::reject);
  EXPECT_EQ(gss_first.next(ssl_request()).kind, Kind::accept_tls);
  Startup ssl_twice(unavailable);
  EXPECT_EQ(ssl_twice.next(ssl_request()).kind, Kind::reject);
  EXPECT_EQ(refusal(ssl_twice, ssl_request()).error.message,
            "unsupported frontend protocol 1234.5679: server supports 3.0 to 3.0");
  Startup gss_twice(unavailable);
  EXPECT_EQ(gss_twice.next(gssenc_request()).kind, Kind::reject);
  EXPECT_EQ(refusal(gss_twice, gssenc_request()).error.message,
            "unsupported frontend protocol 1234.5680: server supports 3.0 to 3.0");
}

TEST(Startup, no_encryption_is_asked_for_under_tls) {
  auto ssl = behind_ssl_request();
  EXPECT_EQ(refusal(ssl, ssl_request()).error.state, sqlstate::feature_not_supported);
  auto gss = behind_ssl_request();
  EXPECT_EQ(refusal(gss, gssenc_request()).error.state, sqlstate::feature_not_supported);
}

TEST(Startup, direct_tls_leaves_the_handshake_in_the_bytes) {
  Startup startup(available);
  const auto action = startup.next(as_bytes("\x16\x03\x01\x02\x00\x01"sv));
  EXPECT_EQ(action.kind, Kind::direct_tls);
  EXPECT_EQ(action.consumed, 0U);
  startup.tls_established();
  EXPECT_EQ(startup.next(startup_packet({{"user", "alice"}})).kind, Kind::start);
  EXPECT_TRUE(startup.encrypted());
}

TEST(Startup, direct_tls_where_there_is_none_is_closed_without_a_word) {
  EXPECT_FALSE(refusal(as_bytes("\x16\x03\x01"sv), unavailable).tell);
}

TEST(Startup, direct_tls_is_for_the_first_byte_only) {
  Startup rejected(unavailable);
  ASSERT_EQ(rejected.next(ssl_request()).kind, Kind::reject);
  EXPECT_FALSE(refusal(rejected, as_bytes("\x16\x03\x01\x02"sv)).tell);
  auto nested = behind_direct_tls();
  EXPECT_FALSE(refusal(nested, as_bytes("\x16\x03\x01\x02"sv)).tell);
}

TEST(Startup, encryption_requests_under_direct_tls_are_answered_no_once) {
  auto startup = behind_direct_tls();
  EXPECT_EQ(startup.next(ssl_request()).kind, Kind::reject);
  EXPECT_EQ(startup.next(gssenc_request()).kind, Kind::reject);
  EXPECT_TRUE(startup.encrypted());
  EXPECT_EQ(refusal(startup, ssl_request()).error.state, sqlstate::feature_not_supported);
}

TEST(Startup, encryption_request_with_a_body_is_refused) {
  EXPECT_EQ(refusal(packet(ssl_request_code, "x"), available).error.message, "invalid length of startup packet");
  EXPECT_EQ(refusal(packet(gssenc_request_code, "x"), available).error.message, "invalid length of startup packet");
}

TEST(Startup, cancel_request_gives_pid_and_secret) {
  for (const std::size_t size : {std::size_t{4}, std::size_t{32}, std::size_t{256}}) {
    const Out secret(size, std::byte{0xab});
    Out bytes;
    write_cancel_request(bytes, 0x8000'0001U, secret);
    Startup startup(unavailable);
    const auto action = startup.next(bytes);
    EXPECT_EQ(action.kind, Kind::cancel);
    EXPECT_EQ(action.consumed, bytes.size());
    EXPECT_EQ(startup.cancel_request().pid, 0x8000'0001U);
    EXPECT_EQ(startup.cancel_request().secret, secret);
  }
  auto encrypted = behind_ssl_request();
  Out bytes;
  write_cancel_request(bytes, 1, Out(4));
  EXPECT_EQ(encrypted.next(bytes).kind, Kind::cancel);
}

TEST(Startup, cancel_request_of_another_size_is_refused_without_a_word) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{3}, std::size_t{4}, std::size_t{7}, std::size_t{261}}) {
    EXPECT_FALSE(refusal(packet(cancel_request_code, std::string(size, 'x'))).tell) << size;
  }
}

TEST(Startup, other_protocols_are_closed_without_a_word) {
  for (const auto bytes : {"GET / HTTP/1.1\r\n"sv, "SSH-2.0-x\r\n"sv, "Q\0\0\0\5\0"sv}) {
    EXPECT_FALSE(refusal(as_bytes(bytes)).tell) << bytes;
  }
}

TEST(Startup, names_its_states) {
  EXPECT_EQ(name_of(Startup(available).state()), "opening");
  EXPECT_EQ(name_of(behind_ssl_request().state()), "encrypted");
}

using Parameters = std::vector<StartupParameter>;

TEST(ParseOptions, knows_the_three_ways_to_set_a_parameter) {
  EXPECT_EQ(*parse_options("-c work_mem=8MB -cgeqo=off --search-path=a,b"),
            (Parameters{{"work_mem", "8MB"}, {"geqo", "off"}, {"search_path", "a,b"}}));
}

TEST(ParseOptions, keeps_order_and_repetitions) {
  EXPECT_EQ(*parse_options("-c a=1 -c b=2 -c a=3"), (Parameters{{"a", "1"}, {"b", "2"}, {"a", "3"}}));
}

TEST(ParseOptions, nothing_and_white_space_are_no_options) {
  EXPECT_TRUE(parse_options("")->empty());
  EXPECT_TRUE(parse_options(" \t\n\v\f\r ")->empty());
  EXPECT_EQ(*parse_options("  -c\ta=1\n"), (Parameters{{"a", "1"}}));
}

TEST(ParseOptions, backslash_escapes_one_character) {
  EXPECT_EQ(*parse_options(R"(-c search_path=a,\ b -c x=\\ -c y=\n)"),
            (Parameters{{"search_path", "a, b"}, {"x", "\\"}, {"y", "n"}}));
  EXPECT_EQ(*parse_options(R"(-c a=1\)"), (Parameters{{"a", "1"}}));  // unterminated: dropped
  EXPECT_EQ(*parse_options(R"(-c\ a=1)"), (Parameters{{" a", "1"}}));
}

TEST(ParseOptions, only_dashes_of_names_become_underscores) {
  EXPECT_EQ(*parse_options("-c app.a-b=c-d"), (Parameters{{"app.a_b", "c-d"}}));
}

TEST(ParseOptions, values_may_be_empty_and_hold_equal_signs) {
  EXPECT_EQ(*parse_options("-c a= --b=c=d"), (Parameters{{"a", ""}, {"b", "c=d"}}));
}

TEST(ParseOptions, value_of_c_is_the_next_argument_whatever_it_looks_like) {
  EXPECT_EQ(*parse_options("-c --a=1"), (Parameters{{"__a", "1"}}));
}

TEST(ParseOptions, knows_the_switches_of_the_command_postgres) {
  EXPECT_EQ(*parse_options("-d 0"), (Parameters{{"log_min_messages", "notice"}}));
  EXPECT_EQ(*parse_options("-d1"), (Parameters{{"log_min_messages", "debug1"}}));
  EXPECT_EQ(*parse_options("-d 5x"), (Parameters{{"log_min_messages", "debug5"},
                                                 {"log_statement", "all"},
                                                 {"debug_print_parse", "true"},
                                                 {"debug_print_plan", "true"},
                                                 {"debug_print_rewritten", "true"}}));
  EXPECT_EQ(*parse_options("-e -S 4096 -fs -f hash -ft -tpa -t pl -te"),
            (Parameters{{"datestyle", "euro"},
                        {"work_mem", "4096"},
                        {"enable_seqscan", "false"},
                        {"enable_hashjoin", "false"},
                        {"enable_tidscan", "false"},
                        {"log_parser_stats", "true"},
                        {"log_planner_stats", "true"},
                        {"log_executor_stats", "true"}}));
  // What only the operator of the server may say, the server refuses.
  EXPECT_EQ(*parse_options("-B 16 -F -O -P -s"), (Parameters{{"shared_buffers", "16"},
                                                             {"fsync", "false"},
                                                             {"allow_system_table_mods", "true"},
                                                             {"ignore_system_indexes", "true"},
                                                             {"log_statement_stats", "true"}}));
  EXPECT_EQ(*parse_options("-n -T -b -j -E -C x -D /tmp -r file -v 3"), Parameters{});
}

TEST(ParseOptions, takes_several_switches_in_one_argument) {
  EXPECT_EQ(*parse_options("-nefs"), (Parameters{{"datestyle", "euro"}, {"enable_seqscan", "false"}}));
  EXPECT_EQ(*parse_options("-ec a=1"), (Parameters{{"datestyle", "euro"}, {"a", "1"}}));
  EXPECT_EQ(*parse_options("-e-a=1"), (Parameters{{"datestyle", "euro"}, {"a", "1"}}));
  EXPECT_EQ(*parse_options("-d -e"), (Parameters{{"log_min_messages", "notice"}}));
}

TEST(ParseOptions, refuses_in_postgres_words) {
  const std::vector<std::pair<std::string_view, std::string_view>> cases = {
      {"-c", "invalid command-line argument for server process: -c"},
      {"-c a=1 -c", "invalid command-line argument for server process: -c"},
      {"-c a", "-c a requires a value"},
      {"-cab", "-c ab requires a value"},
      {"--a-b", "--a-b requires a value"},
      {"-x", "invalid command-line argument for server process: -x"},
      {"-d", "invalid command-line argument for server process: -d"},
      {"-f x", "invalid command-line argument for server process: x"},
      {"-fx", "invalid command-line argument for server process: -fx"},
      {"-tx", "invalid command-line argument for server process: -tx"},
      {"-ex", "invalid command-line argument for server process: -ex"},
      {"-", "invalid command-line argument for server process: -"},
      {"word", "invalid command-line argument for server process: word"},
      {"\\", "invalid command-line argument for server process: "},
      {"-- -c a=1", "invalid command-line argument for server process: -c"},
  };
  for (const auto& [options, message] : cases) {
    const auto result = parse_options(options);
    ASSERT_FALSE(result) << options;
    EXPECT_EQ(result.error().message, message);
    EXPECT_EQ(result.error().state, "42601"sv);
  }
  EXPECT_EQ(parse_options("-c =1").error().state, "42704"sv);
}

TEST(ParseOptions, two_dashes_end_the_switches) {
  EXPECT_EQ(*parse_options("-c a=1 --"), (Parameters{{"a", "1"}}));
}

}  // namespace
}  // namespace holdfast::protocol
