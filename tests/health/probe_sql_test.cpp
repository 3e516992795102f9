#include "health/probe_sql.hpp"

#include <gtest/gtest.h>

namespace holdfast::health {
namespace {

const ServerConstants constants{.system_identifier = 7, .started = 99, .server_version = 150004};

Row primary_row() {
  return {"f", "0/30406B0", "0000000A", {}, {}, "off", {}, {}, {}, {}, {}, {}, {}};
}
Row standby_row() {
  return {"t", "1/0", {}, "1", "1/28", "off", {}, "8583", "streaming", "10.0.0.1", "5432", "2", "1500"};
}

TEST(ProbeSql, parses_positions) {
  EXPECT_EQ(parse_lsn("0/400E9C8"), 0x400E9C8U);
  EXPECT_EQ(parse_lsn("A/00000001"), 0xA00000001U);
  EXPECT_EQ(parse_lsn("FFFFFFFF/FFFFFFFF"), ~std::uint64_t{0});
  for (const char* bad : {"", "/", "1/", "/1", "1", "100000000/0", "1/G", "1/1 "}) EXPECT_FALSE(parse_lsn(bad)) << bad;
}

TEST(ProbeSql, reads_a_primary) {
  const auto seen = read_state(primary_row(), constants);
  ASSERT_TRUE(seen);
  EXPECT_FALSE(seen->in_recovery);
  EXPECT_EQ(seen->timeline, 10U);
  EXPECT_EQ(seen->lsn, 0x30406B0U);
  EXPECT_FALSE(seen->receiver);
  EXPECT_FALSE(seen->read_only);
  EXPECT_EQ(seen->system_identifier, 7U);
  EXPECT_EQ(seen->started, 99);
}

TEST(ProbeSql, reads_the_senders_of_a_primary) {
  Row row = primary_row();
  EXPECT_TRUE(read_state(row, constants)->senders.empty());
  row[6] = "4711 10.0.0.2 1700000000000001 0/3040000,broken,4712 - 1700000000000002 1/0,4713,4714 ::1 x 1/0,";
  const std::vector<Sender> wanted = {
      {.process = 4711, .address = "10.0.0.2", .replied = 1700000000000001, .flushed = 0x3040000},
      {.process = 4712, .address = {}, .replied = 1700000000000002, .flushed = 0x100000000}};
  EXPECT_EQ(read_state(row, constants)->senders, wanted);
}

TEST(ProbeSql, reads_a_standby_whose_receiver_knows_more_than_its_control_file) {
  const auto seen = read_state(standby_row(), constants);
  ASSERT_TRUE(seen);
  EXPECT_TRUE(seen->in_recovery);
  EXPECT_EQ(seen->timeline, 2U);
  EXPECT_EQ(seen->received, 0x100000028U);
  ASSERT_TRUE(seen->receiver);
  EXPECT_TRUE(seen->receiver->visible);
  EXPECT_EQ(seen->receiver->status, ReceiverStatus::streaming);
  EXPECT_EQ(seen->receiver->silence, std::chrono::milliseconds(1500));
}

TEST(ProbeSql, receiver_without_pg_monitor_shows_its_existence_only) {
  Row row = standby_row();
  for (const std::size_t hidden : {8, 9, 10, 11, 12}) row[hidden].reset();
  const auto seen = read_state(row, constants);
  ASSERT_TRUE(seen && seen->receiver);
  EXPECT_FALSE(seen->receiver->visible);
  EXPECT_EQ(seen->receiver->status, ReceiverStatus::other);
  EXPECT_EQ(seen->timeline, 1U);
}

TEST(ProbeSql, standby_that_has_replayed_nothing_has_no_position) {
  Row row = standby_row();
  row[1].reset();
  const auto seen = read_state(row, constants);
  ASSERT_TRUE(seen);
  EXPECT_FALSE(seen->lsn);
}

TEST(ProbeSql, refuses_rows_that_make_no_sense) {
  EXPECT_FALSE(read_state({}, constants));
  Row row = primary_row();
  row[2] = "xyz";
  EXPECT_FALSE(read_state(row, constants));
  row = primary_row();
  row[1].reset();
  EXPECT_FALSE(read_state(row, constants));
  EXPECT_FALSE(read_position({"t"}));
  EXPECT_FALSE(read_constants(primary_row(), 150004));
}

TEST(ProbeSql, system_identifiers_beyond_63_bits_survive) {
  Row row = primary_row();
  row.insert(row.end(), {"-1", "16777216", "8192", "1795341974870479"});
  const auto read = read_constants(row, 150004);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->system_identifier, ~std::uint64_t{0});
  EXPECT_EQ(read->segment_size, 16U << 20);
}

}  // namespace
}  // namespace holdfast::health
