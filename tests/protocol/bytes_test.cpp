#include "protocol/bytes.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace holdfast::protocol {
namespace {

using namespace std::string_view_literals;

TEST(Bytes, loads_and_stores_in_network_order) {
  std::byte buffer[8];
  store_be<std::uint64_t>(buffer, 0x0102030405060708ULL);
  EXPECT_EQ(as_text(buffer), "\1\2\3\4\5\6\7\10"sv);
  EXPECT_EQ(load_be<std::uint64_t>(buffer), 0x0102030405060708ULL);
  EXPECT_EQ(load_be<std::uint32_t>(buffer), 0x01020304U);
  EXPECT_EQ(load_be<std::uint16_t>(buffer), 0x0102U);
  EXPECT_EQ(load_be<std::uint8_t>(buffer + 7), 8U);
}

TEST(Reader, reads_fields_in_order_and_ends_complete) {
  Reader reader(as_bytes("\xff\x01\x02\xff\xff\xff\xfename\0\0tail"sv));
  EXPECT_EQ(reader.u8(), 0xff);
  EXPECT_EQ(reader.u16(), 0x0102);
  EXPECT_EQ(reader.i32(), -2);
  EXPECT_EQ(reader.text(), "name");
  EXPECT_EQ(reader.text(), "");
  EXPECT_FALSE(reader.complete());
  EXPECT_EQ(as_text(reader.rest()), "tail");
  EXPECT_TRUE(reader.complete());
}

TEST(Reader, read_beyond_the_end_fails_for_good) {
  Reader reader(as_bytes("\1\2\3"sv));
  EXPECT_EQ(reader.u32(), 0U);
  EXPECT_FALSE(reader.ok());
  // What was there is gone: no later read may succeed on a message that is out of step.
  EXPECT_EQ(reader.u8(), 0U);
  EXPECT_EQ(reader.remaining(), 0U);
  EXPECT_FALSE(reader.complete());
}

TEST(Reader, refuses_a_count_near_the_top_of_its_type) {
  Reader reader(as_bytes("abc"sv));
  EXPECT_TRUE(reader.bytes(std::numeric_limits<std::size_t>::max()).empty());
  EXPECT_FALSE(reader.ok());
}

TEST(Reader, text_without_its_nul_fails) {
  Reader reader(as_bytes("name"sv));
  EXPECT_EQ(reader.text(), "");
  EXPECT_FALSE(reader.ok());
}

TEST(Reader, empty_bytes_are_complete_and_hold_no_text) {
  Reader reader(Bytes{});
  EXPECT_TRUE(reader.complete());
  EXPECT_EQ(reader.text(), "");
  EXPECT_FALSE(reader.ok());
}

TEST(Writer, length_counts_itself_and_the_body_but_not_the_tag) {
  std::vector<std::byte> out;
  Writer writer(out);
  writer.begin('Z').letter('I');
  writer.end();
  writer.begin(0).u32(0x00030000).u8(0);
  writer.end();
  EXPECT_EQ(as_text(out), "Z\0\0\0\5I\0\0\0\11\0\3\0\0\0"sv);
}

TEST(Writer, what_it_writes_a_reader_reads) {
  std::vector<std::byte> out;
  Writer(out).u8(1).u16(2).u32(3).u64(4).letter('x').text("text").bytes(as_bytes("raw"));
  Reader reader(out);
  EXPECT_EQ(reader.u8(), 1U);
  EXPECT_EQ(reader.u16(), 2U);
  EXPECT_EQ(reader.u32(), 3U);
  EXPECT_EQ(reader.u64(), 4U);
  EXPECT_EQ(reader.letter(), 'x');
  EXPECT_EQ(reader.text(), "text");
  EXPECT_EQ(as_text(reader.rest()), "raw");
  EXPECT_TRUE(reader.complete());
}

}  // namespace
}  // namespace holdfast::protocol
