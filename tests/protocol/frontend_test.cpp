#include "protocol/frontend.hpp"

#include <gtest/gtest.h>

#include <string>

#include "protocol/framer.hpp"
#include "protocol/message.hpp"

namespace holdfast::protocol {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;

// The body of the only message in `out`, framed as a receiver would.
Bytes body(const Out& out, char tag) {
  Framer framer(Direction::from_client);
  const Frame frame = framer.next(out);
  EXPECT_EQ(frame.kind, Frame::Kind::start);
  EXPECT_EQ(frame.tag, tag);
  EXPECT_TRUE(frame.last);
  EXPECT_EQ(frame.bytes.size(), out.size());
  return frame.body();
}

// No front of `whole`, and `whole` with a byte more, may pass as a message.
template <typename Parse>
void expect_exact(Bytes whole, Parse parse) {
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto result = parse(whole.first(size));
    ASSERT_FALSE(result) << "cut at " << size;
    EXPECT_EQ(result.error().state, sqlstate::protocol_violation);
    EXPECT_FALSE(result.error().message.empty());
  }
  ASSERT_TRUE(parse(whole));
  Out longer(whole.begin(), whole.end());
  longer.push_back(std::byte{0});
  EXPECT_FALSE(parse(longer));
}

TEST(Frontend, query_comes_back_as_written) {
  Out out;
  write_query(out, "SELECT 'ä'");
  EXPECT_EQ(*parse_query(body(out, 'Q')), "SELECT 'ä'");
  expect_exact(body(out, 'Q'), parse_query);
}

TEST(Frontend, query_of_no_text_is_a_query) {
  Out out;
  write_query(out, "");
  EXPECT_EQ(*parse_query(body(out, 'Q')), "");
}

TEST(Frontend, query_with_a_nul_inside_is_refused) {
  EXPECT_FALSE(parse_query(as_bytes("SELECT 1\0; DROP\0"sv)));
}

TEST(Frontend, parse_comes_back_as_written) {
  Out out;
  write_parse(out, "s1", "SELECT $1, $2", as_bytes("\0\0\0\x17\0\0\x10\0"sv));
  const auto parse = parse_parse(body(out, 'P'));
  ASSERT_TRUE(parse);
  EXPECT_EQ(parse->name, "s1");
  EXPECT_EQ(parse->sql, "SELECT $1, $2");
  ASSERT_EQ(parse->type_count(), 2U);
  EXPECT_EQ(parse->type(0), 23U);
  EXPECT_EQ(parse->type(1), 4096U);
  expect_exact(body(out, 'P'), parse_parse);
}

TEST(Frontend, parse_with_as_many_types_as_fit) {
  const Out types(std::size_t{65'535} * 4);
  Out out;
  write_parse(out, "", "SELECT", types);
  const auto parse = parse_parse(body(out, 'P'));
  ASSERT_TRUE(parse);
  EXPECT_EQ(parse->type_count(), 65'535U);
}

TEST(Frontend, parse_type_count_at_its_extremes) {
  for (const auto count : {"\0\2"sv, "\x7f\xff"sv, "\x80\0"sv, "\xff\xff"sv}) {
    const std::string message = "s\0SELECT\0"s + std::string(count) + "\0\0\0\x17"s;
    EXPECT_FALSE(parse_parse(as_bytes(message)));
  }
  EXPECT_FALSE(parse_parse(as_bytes("s\0SELECT\0\0\0\0\0\0\x17"sv)));  // none announced, one there
}

TEST(Frontend, bind_head_of_a_whole_message) {
  Out out;
  write_bind(out, "c1", "s1");
  const auto head = parse_bind_head(body(out, 'B'), Extent::whole);
  ASSERT_TRUE(head && *head);
  EXPECT_EQ((*head)->portal, "c1");
  EXPECT_EQ((*head)->statement, "s1");
  EXPECT_EQ((*head)->size, 6U);
}

TEST(Frontend, bind_head_of_a_front_asks_for_more_until_the_names_are_there) {
  const auto bytes = as_bytes("portal\0statement\0\0\0"sv);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto head = parse_bind_head(bytes.first(size), Extent::front);
    ASSERT_TRUE(head);
    EXPECT_EQ(head->has_value(), size >= 17) << size;
    EXPECT_EQ(parse_bind_head(bytes.first(size), Extent::whole).has_value(), size >= 17) << size;
  }
}

TEST(Frontend, describe_and_close_come_back_as_written) {
  Out describe;
  write_describe(describe, {.kind = 'S', .name = "s1"});
  EXPECT_EQ(parse_describe(body(describe, 'D'))->kind, 'S');
  EXPECT_EQ(parse_describe(body(describe, 'D'))->name, "s1");
  expect_exact(body(describe, 'D'), parse_describe);
  Out close;
  write_close(close, {.kind = 'P', .name = ""});
  EXPECT_EQ(parse_close(body(close, 'C'))->kind, 'P');
  EXPECT_EQ(parse_close(body(close, 'C'))->name, "");
  expect_exact(body(close, 'C'), parse_close);
}

TEST(Frontend, describe_of_another_kind_is_refused_in_postgres_words) {
  const auto result = parse_describe(as_bytes("x\0"sv));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "invalid DESCRIBE message subtype 120");
  EXPECT_EQ(parse_close(as_bytes("\0\0"sv)).error().message, "invalid CLOSE message subtype 0");
}

TEST(Frontend, execute_comes_back_as_written) {
  for (const std::int32_t rows : {0, 1, -1, INT32_MAX, INT32_MIN}) {
    Out out;
    write_execute(out, "c1", rows);
    EXPECT_EQ(parse_execute(body(out, 'E'))->portal, "c1");
    EXPECT_EQ(parse_execute(body(out, 'E'))->max_rows, rows);
    expect_exact(body(out, 'E'), parse_execute);
  }
}

TEST(Frontend, password_comes_back_as_written) {
  Out out;
  write_password(out, std::string(65'535, 'p'));
  EXPECT_EQ(parse_password(body(out, 'p'))->size(), 65'535U);
  Out small;
  write_password(small, "secret");
  expect_exact(body(small, 'p'), parse_password);
}

TEST(Frontend, sasl_initial_tells_no_data_from_empty_data) {
  Out none;
  write_sasl_initial(none, "SCRAM-SHA-256", std::nullopt);
  EXPECT_FALSE(parse_sasl_initial(body(none, 'p'))->data);
  Out empty;
  write_sasl_initial(empty, "SCRAM-SHA-256", Bytes{});
  ASSERT_TRUE(parse_sasl_initial(body(empty, 'p'))->data);
  Out data;
  write_sasl_initial(data, "SCRAM-SHA-256", as_bytes("n,,n=,r=x"));
  const auto parsed = parse_sasl_initial(body(data, 'p'));
  EXPECT_EQ(parsed->mechanism, "SCRAM-SHA-256");
  EXPECT_EQ(as_text(*parsed->data), "n,,n=,r=x");
  expect_exact(body(data, 'p'), parse_sasl_initial);
}

TEST(Frontend, sasl_data_length_at_its_extremes) {
  for (const auto size : {"\0\0\0\2"sv, "\x7f\xff\xff\xff"sv, "\x80\0\0\0"sv, "\xff\xff\xff\xfe"sv}) {
    EXPECT_FALSE(parse_sasl_initial(as_bytes("SCRAM\0"s + std::string(size) + "x")));
  }
  EXPECT_FALSE(parse_sasl_initial(as_bytes("SCRAM\0\xff\xff\xff\xffx"sv)));  // no data, and yet a byte
}

TEST(Frontend, messages_without_a_body_are_five_bytes) {
  Out out;
  write_sync(out);
  write_flush(out);
  write_terminate(out);
  EXPECT_EQ(as_text(out), "S\0\0\0\4H\0\0\0\4X\0\0\0\4"sv);
}

TEST(Frontend, bind_goes_out_under_another_name) {
  Out original;
  Writer writer(original);
  writer.begin(client::bind).text("c1").text("client_name").u16(1).u16(0).u16(1).u32(2).bytes(as_bytes("42")).u16(0);
  writer.end();
  for (const std::string_view name : {"_hf17"sv, ""sv, "a_much_longer_name_than_before"sv}) {
    const auto head = parse_bind_head(body(original, 'B'), Extent::whole);
    Out out;
    const auto replaced = rewrite_bind(out, original, **head, name);
    ASSERT_TRUE(replaced);
    const auto rest = Bytes(original).subspan(*replaced);
    out.insert(out.end(), rest.begin(), rest.end());
    const Bytes rewritten = body(out, 'B');  // the corrected length frames it exactly
    const auto new_head = parse_bind_head(rewritten, Extent::whole);
    EXPECT_EQ((*new_head)->portal, "c1");
    EXPECT_EQ((*new_head)->statement, name);
    EXPECT_EQ(as_text(rewritten.subspan((*new_head)->size)), as_text(rest));
  }
}

TEST(Frontend, bind_is_rewritten_from_its_front_alone) {
  Out original;
  write_bind(original, "", "s1");
  const Bytes front = Bytes(original).first(header_size + 4);
  const auto head = parse_bind_head(front.subspan(header_size), Extent::front);
  ASSERT_TRUE(head && *head);
  Out out;
  EXPECT_EQ(*rewrite_bind(out, front, **head, "other"), front.size());
  EXPECT_EQ(load_be<std::uint32_t>(out.data() + 1), original.size() - 1 + 3);
}

TEST(Frontend, bind_that_would_get_too_long_is_refused_and_nothing_is_written) {
  Out front;
  Writer(front).letter(client::bind).u32(max_message_length).text("").text("s");
  const auto head = parse_bind_head(Bytes(front).subspan(header_size), Extent::front);
  Out out;
  EXPECT_EQ(rewrite_bind(out, front, **head, "ss").error().state, sqlstate::program_limit_exceeded);
  EXPECT_TRUE(out.empty());
  EXPECT_TRUE(rewrite_bind(out, front, **head, "t"));
}

}  // namespace
}  // namespace holdfast::protocol
