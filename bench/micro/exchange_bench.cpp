// The exchange per query: what it costs to know which request an answer belongs to. Budget: a few nanoseconds per
// message.
#include <benchmark/benchmark.h>

#include <string_view>

#include "protocol/exchange.hpp"

namespace holdfast::protocol {
namespace {

const Bytes idle_status = as_bytes("I");

// One simple query with `state.range(0)` rows.
void exchange_query(benchmark::State& state) {
  Exchange exchange;
  const auto rows = state.range(0);
  for (auto _ : state) {
    exchange.sent({.tag = client::query, .cookie = 1});
    benchmark::DoNotOptimize(exchange.received(server::row_description, {}));
    for (auto row = rows; row > 0; --row) benchmark::DoNotOptimize(exchange.received(server::data_row, {}));
    benchmark::DoNotOptimize(exchange.received(server::command_complete, {}));
    benchmark::DoNotOptimize(exchange.received(server::ready_for_query, idle_status));
    benchmark::DoNotOptimize(exchange.may_release());
  }
  state.SetItemsProcessed(state.iterations() * (4 + rows));
}
BENCHMARK(exchange_query)->Arg(1)->Arg(1000);

// Bind, Describe, Execute, Sync of a prepared statement; Parse answered locally.
void exchange_batch(benchmark::State& state) {
  Exchange exchange;
  for (auto _ : state) {
    exchange.answered_locally(client::parse, 1);
    for (const char tag : std::string_view("BDES")) exchange.sent({.tag = tag, .cookie = 2});
    for (const char tag : std::string_view("2TDC")) {
      benchmark::DoNotOptimize(exchange.received(tag, {}));
      benchmark::DoNotOptimize(exchange.before().size());
    }
    benchmark::DoNotOptimize(exchange.received(server::ready_for_query, idle_status));
  }
  state.SetItemsProcessed(state.iterations() * 10);
}
BENCHMARK(exchange_batch);

// A pipeline of `state.range(0)` batches, all sent before the first answer.
void exchange_pipeline(benchmark::State& state) {
  Exchange exchange;
  for (auto _ : state) {
    for (auto i = state.range(0); i > 0; --i)
      for (const char tag : std::string_view("BES")) exchange.sent({.tag = tag, .cookie = 2});
    for (auto i = state.range(0); i > 0; --i) {
      for (const char tag : std::string_view("2DC")) benchmark::DoNotOptimize(exchange.received(tag, {}));
      benchmark::DoNotOptimize(exchange.received(server::ready_for_query, idle_status));
    }
  }
  state.SetItemsProcessed(state.iterations() * state.range(0) * 7);
}
BENCHMARK(exchange_pipeline)->Arg(10)->Arg(10000);

}  // namespace
}  // namespace holdfast::protocol
