// The cost of a statement's verdict: a hit (shape and cache), the pass over the text alone, and a miss (libpg_query).
#include <benchmark/benchmark.h>

#include <string>

#include "protocol/sql/classify.hpp"

namespace {

using namespace holdfast::protocol::sql;

std::string text(std::int64_t which) {
  switch (which) {
    case 0: return "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;";
    case 1: return "SELECT abalance FROM pgbench_accounts WHERE aid = $1;";
    case 2:
      return "SELECT \"users\".\"id\", \"users\".\"email\", \"users\".\"created_at\" FROM \"users\" INNER JOIN "
             "\"orders\" ON "
             "\"orders\".\"user_id\" = \"users\".\"id\" WHERE \"users\".\"active\" = TRUE AND \"orders\".\"total\" > "
             "100.50 AND "
             "\"orders\".\"state\" IN ('new', 'paid', 'sent') ORDER BY \"users\".\"created_at\" DESC LIMIT 25 OFFSET "
             "50";
    case 3: {
      std::string sql = "SELECT * FROM t WHERE id IN (1";
      for (int i = 0; i < 1000; ++i) sql += ", " + std::to_string(100000 + i);
      return sql + ")";
    }
    default: {
      std::string sql = "INSERT INTO t(a, b, c) VALUES (1, 'x', NULL)";
      while (sql.size() < std::size_t{1} << 20) sql += ", (12345, 'forty characters of text to be inserted ', NULL)";
      return sql;
    }
  }
}
const char* name(std::int64_t which) {
  constexpr const char* names[] = {"pgbench", "pgbench, parameter", "ORM", "IN list of 1,001", "INSERT of 1 MiB"};
  return names[which];
}

void hit(benchmark::State& state) {
  const std::string sql = text(state.range(0));
  Classifier classifier({});
  for (auto _ : state) benchmark::DoNotOptimize(classifier.verdict(sql));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(sql.size()));
  state.SetLabel(name(state.range(0)));
}
BENCHMARK(hit)->DenseRange(0, 4);

void shape(benchmark::State& state) {
  const std::string sql = text(state.range(0));
  Shaper shaper(std::size_t{128} << 10);
  for (auto _ : state) benchmark::DoNotOptimize(shaper.shape(sql));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(sql.size()));
  state.SetLabel(name(state.range(0)));
}
BENCHMARK(shape)->DenseRange(0, 4);

void miss(benchmark::State& state) {
  const std::string sql = text(state.range(0));
  for (auto _ : state) {
    state.PauseTiming();
    Classifier classifier({});
    state.ResumeTiming();
    benchmark::DoNotOptimize(classifier.verdict(sql));
  }
  state.SetLabel(name(state.range(0)));
}
BENCHMARK(miss)->DenseRange(0, 4);

// The worst case for a single statement: as deep as the limit allows, parsed on a thread of its own.
void deepest_miss(benchmark::State& state) {
  std::string sql = "select a";
  while (sql.size() < (std::size_t{128} << 10) - 2) sql += "+a";
  for (auto _ : state) {
    Classifier classifier({});
    benchmark::DoNotOptimize(classifier.verdict(sql));
  }
}
BENCHMARK(deepest_miss)->Unit(benchmark::kMillisecond);

}  // namespace
