// How fast the framer finds message boundaries, which costs something for every byte that the proxy forwards. Two
// streams: small messages (a pipelined extended query and its answer), where the cost is per message; DataRows of 8
// KiB, where the cost is per read and none of the body may be touched.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/backend.hpp"
#include "protocol/framer.hpp"
#include "protocol/frontend.hpp"

namespace {

using namespace holdfast::protocol;

// As many bytes as the proxy would get in one read.
constexpr std::size_t stream_size = std::size_t{64} * 1024;

Out small_requests() {
  Out out;
  while (out.size() < stream_size) {
    write_bind(out, "", "s1");
    write_describe(out, {.kind = 'P', .name = ""});
    write_execute(out, "");
    write_sync(out);
  }
  return out;
}

Out small_answers() {
  Out out;
  while (out.size() < stream_size) {
    write_bind_complete(out);
    write_row_description(out, std::array<std::string_view, 1>{"abalance"});
    write_data_row(out, std::array<std::optional<std::string_view>, 1>{"-4711"});
    write_command_complete(out, "SELECT 1");
    write_ready_for_query(out, 'I');
  }
  return out;
}

Out wide_rows() {
  const std::string value(8192, 'x');
  Out out;
  while (out.size() < stream_size) {
    write_data_row(out, std::array<std::optional<std::string_view>, 1>{value});
  }
  return out;
}

// Frames the stream over and over, in reads of `read` bytes.
void frame(benchmark::State& state, Direction direction, const Out& stream, std::size_t read) {
  std::int64_t messages = 0;
  for (auto _ : state) {
    Framer framer(direction);
    std::size_t parsed = 0;
    for (std::size_t received = 0; received < stream.size();) {
      received = std::min(received + read, stream.size());
      while (true) {
        const Frame found = framer.next(Bytes(stream).subspan(parsed, received - parsed));
        if (found.kind == Frame::Kind::error) return state.SkipWithError("the stream is broken");
        if (found.kind == Frame::Kind::need_more) break;
        messages += found.last ? 1 : 0;
        parsed += found.bytes.size();
      }
    }
    benchmark::DoNotOptimize(parsed);
  }
  state.SetItemsProcessed(messages);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(stream.size()));
}

void framer_small_requests(benchmark::State& state) {
  frame(state, Direction::from_client, small_requests(), static_cast<std::size_t>(state.range(0)));
}
void framer_small_answers(benchmark::State& state) {
  frame(state, Direction::from_server, small_answers(), static_cast<std::size_t>(state.range(0)));
}
void framer_wide_rows(benchmark::State& state) {
  frame(state, Direction::from_server, wide_rows(), static_cast<std::size_t>(state.range(0)));
}

// The argument: bytes per read.
BENCHMARK(framer_small_requests)->Arg(1460)->Arg(65536);
BENCHMARK(framer_small_answers)->Arg(1460)->Arg(65536);
BENCHMARK(framer_wide_rows)->Arg(1460)->Arg(65536);

}  // namespace
