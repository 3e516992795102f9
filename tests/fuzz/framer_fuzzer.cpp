// Framer: any stream, in pieces of any size. Byte 0 of the input: bit 0 the direction, bit 1 small limits, the rest the
// size of the pieces. Frames must cover the stream without a gap, and the pieces must not change where messages begin.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "protocol/framer.hpp"
#include "tests/fuzz/check.hpp"

using namespace holdfast::protocol;

namespace {

// Where each message begins in the stream, and whether the stream broke.
struct Borders {
  std::vector<std::size_t> starts;
  bool failed = false;
  friend bool operator==(const Borders&, const Borders&) = default;
};

Borders borders(Bytes stream, Direction direction, Framer::Limits limits, std::size_t piece) {
  Framer framer(direction, limits);
  Borders found;
  std::size_t parsed = 0;
  std::size_t received = std::min(piece, stream.size());
  while (true) {
    const bool was_at_boundary = framer.at_boundary();
    const Bytes window = stream.subspan(parsed, received - parsed);
    const Frame frame = framer.next(window);
    switch (frame.kind) {
      case Frame::Kind::error:
        FUZZ_CHECK(!framer.error().message.empty());
        FUZZ_CHECK(framer.next(window).kind == Frame::Kind::error);
        found.failed = true;
        return found;
      case Frame::Kind::need_more:
        FUZZ_CHECK(frame.wanted > window.size());
        if (received == stream.size()) return found;
        received = std::min(received + piece, stream.size());
        break;
      case Frame::Kind::start:
        FUZZ_CHECK(was_at_boundary);
        FUZZ_CHECK(frame.bytes.size() >= header_size && frame.bytes.data() == window.data());
        FUZZ_CHECK(frame.bytes.size() + framer.remaining() == std::size_t{frame.length} + 1);
        FUZZ_CHECK(frame.last == framer.at_boundary());
        found.starts.push_back(parsed);
        parsed += frame.bytes.size();
        break;
      case Frame::Kind::more:
        FUZZ_CHECK(!was_at_boundary);
        FUZZ_CHECK(!frame.bytes.empty() && frame.bytes.data() == window.data());
        FUZZ_CHECK(frame.last == framer.at_boundary());
        parsed += frame.bytes.size();
        break;
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto direction = (data[0] & 1) != 0 ? Direction::from_server : Direction::from_client;
  const auto limits = (data[0] & 2) != 0 ? Framer::Limits{.whole_limit = 32, .head_limit = 16} : Framer::Limits{};
  const std::size_t piece = std::size_t{data[0]} / 4 + 1;
  const Bytes stream = std::as_bytes(std::span(data + 1, size - 1));
  const auto whole = borders(stream, direction, limits, stream.size() + 1);
  FUZZ_CHECK(borders(stream, direction, limits, piece) == whole);
  FUZZ_CHECK(borders(stream, direction, limits, 1) == whole);
  return 0;
}
