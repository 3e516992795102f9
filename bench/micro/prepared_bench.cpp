// The cost of prepared statements and settings per message, in the steady state: names and statements are known.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "protocol/message.hpp"
#include "protocol/parameters.hpp"
#include "protocol/prepared.hpp"
#include "protocol/reported.hpp"

namespace {

using namespace holdfast::protocol;

const std::string query_text =
    "SELECT id, name, created_at FROM accounts WHERE id = $1 AND region = $2 ORDER BY name LIMIT 10";

std::vector<std::byte> parse_of(std::string_view name, std::string_view text) {
  std::vector<std::byte> bytes;
  Writer writer(bytes);
  writer.begin(client::parse).text(name).text(text).u16(1).u32(23);
  writer.end();
  return bytes;
}
std::vector<std::byte> bind_of(std::string_view name) {
  std::vector<std::byte> bytes;
  Writer writer(bytes);
  writer.begin(client::bind).text("").text(name).u16(0).u16(1).u32(3).bytes(as_bytes("abc")).u16(0);
  writer.end();
  return bytes;
}

struct Session {
  explicit Session(UnnamedStatements unnamed = UnnamedStatements::as_sent) : prepared(table, {.unnamed = unnamed}) {
    server.begin_link(now);
  }

  StatementPlan say(const std::vector<std::byte>& bytes) {
    Framer framer(Direction::from_client);
    const Frame frame = framer.next(bytes);
    out.clear();
    const auto message = prepared.understand(frame, names);
    const auto plan = prepared.prepare(message, frame, names, server, out);
    for (const auto& injected : plan.messages()) server.settle(injected.cookie, Outcome::completed);
    names.settle(message.cookie, Outcome::completed);
    server.settle(message.cookie, Outcome::completed);
    return plan;
  }

  PendingPool pool;
  Vintage now{.schema = 1};
  StatementTable table;
  Prepared prepared;
  ServerStatements server{pool};
  ClientStatements names{pool};
  std::vector<std::byte> out;
};

void bind_named(benchmark::State& state) {
  Session session;
  std::vector<std::vector<std::byte>> binds;
  for (int i = 0; i < state.range(0); ++i) {
    const std::string name = "statement_" + std::to_string(i);
    session.say(parse_of(name, query_text + std::to_string(i)));
    binds.push_back(bind_of(name));
  }
  std::size_t at = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(session.say(binds[at]));
    at = at + 1 < binds.size() ? at + 1 : 0;
  }
}
BENCHMARK(bind_named)->Arg(1)->Arg(100)->Arg(400);

void parse_and_bind_unnamed(benchmark::State& state) {
  Session session(state.range(0) == 0 ? UnnamedStatements::as_sent : UnnamedStatements::shared);
  const auto parse = parse_of("", query_text);
  const auto bind = bind_of("");
  for (auto _ : state) {
    benchmark::DoNotOptimize(session.say(parse));
    benchmark::DoNotOptimize(session.say(bind));
  }
}
BENCHMARK(parse_and_bind_unnamed)->ArgName("shared")->Arg(0)->Arg(1);

void simple_query_message(benchmark::State& state) {
  Session session;
  std::vector<std::byte> bytes;
  Writer writer(bytes);
  writer.begin(client::query).text(query_text);
  writer.end();
  for (auto _ : state) benchmark::DoNotOptimize(session.say(bytes));
}
BENCHMARK(simple_query_message);

void change_of_application_name(benchmark::State& state) {
  SettingsTable table;
  const auto a = table.intern({{"application_name", "web"}, {"client_encoding", "UTF8"}, {"extra_float_digits", "2"}});
  const auto b = table.intern({{"application_name", "job"}, {"client_encoding", "UTF8"}, {"extra_float_digits", "2"}});
  std::string sql;
  for (auto _ : state) {
    sql.clear();
    change_settings(a, b, sql);
    benchmark::DoNotOptimize(sql);
  }
}
BENCHMARK(change_of_application_name);

void reported_flip(benchmark::State& state) {
  ReportedTable table;
  ReportedRef set;
  for (const char* name : {"DateStyle", "IntervalStyle", "TimeZone", "application_name", "client_encoding"}) {
    set = table.with(set, name, "value").value();
  }
  for (auto _ : state) {
    set = table.with(set, "application_name", "web").value();
    set = table.with(set, "application_name", "job").value();
    benchmark::DoNotOptimize(set);
  }
}
BENCHMARK(reported_flip);

}  // namespace
