#include "protocol/framer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

#include "protocol/backend.hpp"
#include "protocol/frontend.hpp"

namespace holdfast::protocol {
namespace {

using namespace std::string_literals;
using namespace std::string_view_literals;

// A message as a framer's frames gave it, put together again.
struct Message {
  char tag = 0;
  std::uint32_t length = 0;
  std::string body;
  friend bool operator==(const Message&, const Message&) = default;
};
std::ostream& operator<<(std::ostream& out, const Message& m) {
  return out << m.tag << '(' << m.body << ')';
}

struct Outcome {
  std::vector<Message> messages;
  std::size_t frames = 0;
  bool failed = false;
  bool at_boundary = true;
};

// Feeds `stream` in pieces that end at `cuts` (ascending) and at its end.
Outcome run(Framer framer, Bytes stream, std::vector<std::size_t> cuts) {
  Outcome outcome;
  cuts.push_back(stream.size());
  std::size_t parsed = 0;
  for (const std::size_t received : cuts) {
    while (true) {
      const Frame frame = framer.next(stream.subspan(parsed, received - parsed));
      if (frame.kind == Frame::Kind::need_more) {
        EXPECT_GT(frame.wanted, received - parsed);
        break;
      }
      if (frame.kind == Frame::Kind::error) {
        outcome.failed = true;
        return outcome;
      }
      ++outcome.frames;
      if (frame.kind == Frame::Kind::start) {
        outcome.messages.push_back({frame.tag, frame.length, std::string(as_text(frame.body()))});
      } else {
        EXPECT_EQ(frame.tag, outcome.messages.back().tag);
        outcome.messages.back().body += as_text(frame.body());
      }
      EXPECT_EQ(frame.last, framer.at_boundary());
      parsed += frame.bytes.size();
    }
  }
  outcome.at_boundary = framer.at_boundary();
  return outcome;
}

Out client_stream() {
  Out out;
  write_parse(out, "s1", "SELECT $1", as_bytes("\0\0\0\x17"sv));
  write_bind(out, "", "s1");
  write_describe(out, {.kind = 'P', .name = ""});
  write_execute(out, "", 10);
  write_flush(out);
  write_sync(out);
  write_query(out, "SELECT 1");
  write_copy_fail(out, "stop");
  write_terminate(out);
  return out;
}

Bytes header(Out& out, char tag, std::uint32_t length) {
  out.clear();
  Writer(out).letter(tag).u32(length).text("SELECT 1");
  return out;
}

TEST(Framer, finds_every_message_of_a_stream) {
  const auto stream = client_stream();
  const auto outcome = run(Framer(Direction::from_client), stream, {});
  ASSERT_EQ(outcome.messages.size(), 9U);
  EXPECT_EQ(outcome.frames, 9U);
  EXPECT_FALSE(outcome.failed);
  EXPECT_TRUE(outcome.at_boundary);
  EXPECT_EQ(outcome.messages[6], (Message{'Q', 13, "SELECT 1\0"s}));
  EXPECT_EQ(outcome.messages[8], (Message{'X', 4, ""}));
}

TEST(Framer, cut_at_every_byte_gives_the_same_messages) {
  const auto stream = client_stream();
  const auto whole = run(Framer(Direction::from_client), stream, {}).messages;
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    EXPECT_EQ(run(Framer(Direction::from_client), stream, {cut}).messages, whole) << "cut at " << cut;
  }
}

TEST(Framer, bytes_one_by_one_give_the_same_messages) {
  const auto stream = client_stream();
  std::vector<std::size_t> cuts(stream.size());
  for (std::size_t i = 0; i < cuts.size(); ++i) cuts[i] = i;
  const auto outcome = run(Framer(Direction::from_client), stream, cuts);
  EXPECT_EQ(outcome.messages, run(Framer(Direction::from_client), stream, {}).messages);
  EXPECT_TRUE(outcome.at_boundary);
}

TEST(Framer, whole_body_waits_until_it_is_complete) {
  Out out;
  write_query(out, "SELECT 1");
  Framer framer(Direction::from_client);
  for (std::size_t size = 0; size < out.size(); ++size) {
    const Frame frame = framer.next(Bytes(out).first(size));
    EXPECT_EQ(frame.kind, Frame::Kind::need_more);
    EXPECT_EQ(frame.wanted, size < header_size ? header_size : out.size());
  }
  const Frame frame = framer.next(out);
  EXPECT_EQ(frame.kind, Frame::Kind::start);
  EXPECT_TRUE(frame.last);
  EXPECT_EQ(frame.bytes.size(), out.size());
}

TEST(Framer, whole_body_over_the_limit_comes_in_pieces) {
  Out out;
  write_query(out, std::string(100, 'x'));
  Framer framer(Direction::from_client, {.whole_limit = 50});
  Frame frame = framer.next(Bytes(out).first(20));
  ASSERT_EQ(frame.kind, Frame::Kind::start);
  EXPECT_FALSE(frame.last);
  EXPECT_EQ(frame.length, 105U);
  EXPECT_EQ(framer.remaining(), out.size() - 20);
  EXPECT_FALSE(framer.at_boundary());
  frame = framer.next(Bytes(out).subspan(20));
  EXPECT_EQ(frame.kind, Frame::Kind::more);
  EXPECT_TRUE(frame.last);
  EXPECT_TRUE(framer.at_boundary());
}

TEST(Framer, whole_body_at_the_limit_is_whole) {
  Out out;
  write_query(out, std::string(45, 'x'));  // length word 50
  Framer framer(Direction::from_client, {.whole_limit = 50});
  EXPECT_EQ(framer.next(Bytes(out).first(out.size() - 1)).kind, Frame::Kind::need_more);
  EXPECT_TRUE(framer.next(out).last);
}

TEST(Framer, head_body_starts_with_its_head) {
  Out out;
  Writer writer(out);
  writer.begin(client::bind).text("portal").text("statement").bytes(Out(200));
  writer.end();
  Framer framer(Direction::from_client, {.head_limit = 32});
  EXPECT_EQ(framer.next(Bytes(out).first(31)).wanted, 32U);
  const Frame frame = framer.next(Bytes(out).first(40));
  EXPECT_EQ(frame.kind, Frame::Kind::start);
  EXPECT_EQ(frame.bytes.size(), 40U);
  EXPECT_FALSE(frame.last);
}

TEST(Framer, streamed_body_passes_with_its_header_alone) {
  Out out;
  const std::string_view value(std::string_view("0123456789"));
  write_data_row(out, std::vector<std::optional<std::string_view>>{value});
  Framer framer(Direction::from_server);
  const Frame frame = framer.next(Bytes(out).first(header_size));
  EXPECT_EQ(frame.kind, Frame::Kind::start);
  EXPECT_FALSE(frame.last);
  EXPECT_TRUE(frame.body().empty());
  EXPECT_EQ(framer.next({}).kind, Frame::Kind::need_more);
}

TEST(Framer, length_fields_at_their_extremes) {
  Out out;
  for (const std::uint32_t length :
       {0U, 1U, 2U, 3U, max_message_length + 1, 0x7fff'ffffU, 0x8000'0000U, 0xffff'ffffU}) {
    Framer framer(Direction::from_client);
    const Frame frame = framer.next(header(out, client::query, length));
    EXPECT_EQ(frame.kind, Frame::Kind::error) << length;
    EXPECT_EQ(framer.error().state, sqlstate::protocol_violation);
    EXPECT_NE(framer.error().message.find(std::to_string(length)), std::string::npos);
    EXPECT_FALSE(framer.at_boundary());
  }
}

TEST(Framer, shortest_and_longest_lengths_pass) {
  Out out;
  Framer shortest(Direction::from_client);
  const Frame empty = shortest.next(header(out, client::query, 4));
  EXPECT_TRUE(empty.last);
  EXPECT_EQ(empty.bytes.size(), header_size);
  Framer longest(Direction::from_client);
  const Frame frame = longest.next(header(out, client::query, max_message_length));
  EXPECT_EQ(frame.kind, Frame::Kind::start);  // over the limit for whole bodies: in pieces
  EXPECT_EQ(frame.bytes.size() + longest.remaining(), std::size_t{max_message_length} + 1);
}

TEST(Framer, tag_of_the_other_direction_is_refused_before_its_length_is_there) {
  Framer framer(Direction::from_client);
  EXPECT_EQ(framer.next(as_bytes("R")).kind, Frame::Kind::error);
  EXPECT_EQ(framer.error().message, "invalid message type 82");
}

TEST(Framer, stays_failed) {
  Out out;
  Framer framer(Direction::from_client);
  EXPECT_EQ(framer.next(header(out, client::query, 3)).kind, Frame::Kind::error);
  out.clear();
  write_sync(out);
  EXPECT_EQ(framer.next(out).kind, Frame::Kind::error);
}

TEST(Framer, knows_every_tag_of_both_directions) {
  for (const char tag : "BCdcfDEHFPpQSX"sv) {
    EXPECT_NE(body_of(Direction::from_client, tag), Body::unknown) << tag;
    EXPECT_STRNE(name_of(Direction::from_client, tag), "unknown message");
  }
  for (const char tag : "RK23CWdcGHDIEVvnNAtS1sZT"sv) {
    EXPECT_NE(body_of(Direction::from_server, tag), Body::unknown) << tag;
    EXPECT_STRNE(name_of(Direction::from_server, tag), "unknown message");
  }
  const auto known = [](Direction direction) {
    int count = 0;
    for (int tag = -128; tag < 128; ++tag) count += body_of(direction, static_cast<char>(tag)) != Body::unknown ? 1 : 0;
    return count;
  };
  EXPECT_EQ(known(Direction::from_client), 14);
  EXPECT_EQ(known(Direction::from_server), 24);
}

}  // namespace
}  // namespace holdfast::protocol
