// A text means what its client's settings say when it is parsed: dates, intervals, backslashes, names of tables.
// Clients of one user with different settings prepare the same texts on the same few servers, and each gets its own
// answers: byte for byte what a connection of its own to PostgreSQL gets.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "tests/integration/reading.hpp"
#include "tests/support/endpoint.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;

constexpr int tenants = 6;
constexpr int profiles = 12;

constexpr const char* texts[] = {
    "SELECT '01/02/2020'::date",
    "SELECT date '01/02/2020' + 1",
    "SELECT '01/02/2020'::text::date",
    "VALUES ('01/02/2020'::date, '03/04/2020'::timestamp)",
    "SELECT ARRAY['01/02/2020'::date], ROW('01/02/2020'::date, 'a\\b')",
    "SELECT CASE WHEN '03/04/2020'::date > date '2020-03-15' THEN 'April' ELSE 'March' END",
    "SELECT '1-2'::interval, interval '1 day 2:03', '-1 day +2:00'::interval",
    "SELECT '2020-06-01 12:00'::timestamptz",
    "SELECT timestamptz '2020-06-01 12:00+00'",
    "SELECT to_char('2020-06-01 12:00'::timestamptz AT TIME ZONE 'UTC', 'HH24:MI')",
    "SELECT '12:00'::timetz",
    "SELECT 'a\\b'",
    "SELECT length('a\\\\b'), 'it''s'",
    "SELECT 'a\\'', 1 --'",
    "SELECT * FROM items",
    "SELECT count(*), min(id) FROM items",
    "SELECT id FROM items WHERE made > '01/02/2020'",
    "SELECT id FROM items WHERE made = $1",
    "SELECT $1::date",
    "SELECT $1 = '01/02/2020'::date",
    "SELECT 'items'::regclass, to_regclass('own')",
    "SELECT * FROM own",
    "SELECT 'happy'::mood",
    "SELECT price('01/02/2020')",
    "SELECT current_user, current_schema",
    "SELECT * FROM secrets",
    "DELETE FROM items WHERE id < 0 AND made < '01/02/2020' RETURNING *",
    "SELECT name || 'a\\b' FROM items ORDER BY 1 LIMIT 1",
};
constexpr std::size_t text_count = std::size(texts);

// Differs by tenant: columns, their types and order, an enum, a function, a table that only one has.
std::string schema_of(int tenant) {
  const auto name = "tenant_" + std::to_string(tenant);
  std::string sql = "CREATE SCHEMA " + name + "; SET search_path = " + name + "; CREATE TABLE items (id " +
                    (tenant % 2 == 0 ? "int" : "bigint") + ", name text, made " +
                    (tenant % 3 == 0 ? "date" : "timestamptz");
  for (int i = 0; i < tenant; ++i) sql += ", extra_" + std::to_string(i) + " int DEFAULT " + std::to_string(tenant);
  sql += "); INSERT INTO items (id, name, made) VALUES (" + std::to_string(tenant) + ", 'of " + name +
         "', '2020-01-02'), (99, 'late', '2020-02-01 12:00');";
  sql += "CREATE TYPE mood AS ENUM ('" + (tenant % 2 == 0 ? "happy"s : "sad"s) + "');";
  sql += "CREATE FUNCTION price(" + (tenant % 2 == 0 ? "date"s : "text"s) + ") RETURNS " +
         (tenant % 2 == 0 ? "text" : "int") + " LANGUAGE sql STABLE AS 'SELECT " +
         (tenant % 2 == 0 ? "$1::text"s : "7"s) + "';";
  if (tenant == 3) sql += "CREATE TABLE own (only_here int);";
  sql += "GRANT USAGE ON SCHEMA " + name + " TO reader; GRANT ALL ON ALL TABLES IN SCHEMA " + name + " TO reader;";
  return sql + "RESET search_path;";
}

Start start_of(int profile) {
  static constexpr const char* date_styles[] = {"ISO, MDY", "German", "SQL, DMY", "Postgres, YMD"};
  static constexpr const char* zones[] = {"UTC", "Asia/Tokyo", "America/New_York"};
  static constexpr const char* interval_styles[] = {"postgres", "iso_8601", "sql_standard"};
  Start start{{"DateStyle", date_styles[profile % 4]},
              {"TimeZone", zones[profile % 3]},
              {"IntervalStyle", interval_styles[profile / 2 % 3]},
              {"standard_conforming_strings", profile % 5 < 3 ? "on" : "off"},
              {"search_path", "tenant_" + std::to_string(profile % tenants) + ", public"}};
  if (profile / 3 % 2 == 1) start.emplace_back("role", "reader");
  return start;
}

// What a client changes itself in mid-session, and how it ends that. The texts between the two are read under it.
struct Change {
  const char* begin;
  const char* end;
};
constexpr Change changes[] = {
    {nullptr, nullptr},
    {"SET datestyle = 'SQL, MDY'; SET timezone = 'Asia/Kolkata'", "DISCARD ALL"},
    {"BEGIN; SET LOCAL datestyle = German; SET LOCAL search_path = tenant_5, public", "ROLLBACK"},
    {"SET search_path = tenant_1, public", "DISCARD ALL"},
    {"SET standard_conforming_strings = off; SET intervalstyle = postgres_verbose", "DISCARD ALL"},
    {"BEGIN; SET LOCAL timezone = 'Europe/Berlin'; SAVEPOINT a; SET LOCAL datestyle = German; ROLLBACK TO a", "COMMIT"},
};
constexpr std::size_t change_count = std::size(changes);

// One statement: prepared, described and run; up to a ReadyForQuery.
std::string statement(const std::string& name, std::size_t text) {
  const auto closed = name.empty() ? std::string() : message_bytes('C', "S" + name + '\0');
  return closed + prepare_and_run(name, texts[text]);
}

void tell(MessageStream& client, const char* sql) {
  if (sql == nullptr) return;
  client.send(wire::query(sql));
  if (const auto said = answer(client); said.starts_with("E")) throw ScriptError(sql + ": "s + said);
}

class Readings : public ::testing::TestWithParam<const char*> {
 protected:
  static void SetUpTestSuite() {
    server_ = new Server();
    server_->start();
    server_->exec("CREATE ROLE reader; GRANT reader TO app");
    Connection owner(server_->conninfo());
    for (int i = 0; i < tenants; ++i) owner.exec(schema_of(i));
    owner.exec(
        "CREATE TABLE secrets (owner text); INSERT INTO secrets VALUES ('app'), ('reader'); GRANT ALL ON secrets TO "
        "reader;"
        "ALTER TABLE secrets ENABLE ROW LEVEL SECURITY; ALTER TABLE secrets FORCE ROW LEVEL SECURITY;"
        "CREATE POLICY p ON secrets USING (owner = current_user)");
    expected_.resize(profiles);
    for (int profile = 0; profile < profiles; ++profile) {
      for (const auto& change : changes) {
        MessageStream direct(server_->port());
        log_in(direct, start_of(profile));
        auto& answers = expected_[static_cast<std::size_t>(profile)].emplace_back();
        for (std::size_t text = 0; text < text_count; ++text) {
          tell(direct, change.begin);
          direct.send(statement("", text));
          answers.push_back(answer(direct));
          tell(direct, change.end);
        }
      }
    }
  }
  static void TearDownTestSuite() { delete server_; }

  static Server* server_;
  // By profile, change and text.
  static std::vector<std::vector<std::vector<std::string>>> expected_;
};
Server* Readings::server_ = nullptr;
std::vector<std::vector<std::vector<std::string>>> Readings::expected_;

// The settings of profiles make a difference: a test that compared equal things would prove nothing.
TEST_F(Readings, differ_by_the_settings_of_clients) {
  int different = 0;
  for (std::size_t text = 0; text < text_count; ++text) {
    bool differs = false;
    for (const auto& profile : expected_) differs = differs || profile[0][text] != expected_[0][0][text];
    different += differs;
  }
  EXPECT_GE(different, 20);
}

TEST_P(Readings, of_the_same_texts_are_each_clients_own) {
  constexpr int clients = 12;
  constexpr int batch = 8;
  const bool session = GetParam() == "session"s;
  const int statements = session ? 20'000 : 100'000;
  const Holdfast proxy(endpoint({.members = member_yaml(*server_),
                                 .workers = 2,
                                 .pool = "mode: "s + GetParam() + ", size: 4, wait_timeout: 30s"}));
  std::atomic<int> left = statements;
  std::atomic<int> wrong = 0;
  std::mutex mutex;
  struct Report {
    int times = 0;
    std::string example;
  };
  std::map<std::string, Report> reports;  // by text
  const auto client = [&](int number) {
    std::minstd_rand random(static_cast<unsigned>(number) + 1);
    for (int round = 0; left > 0; ++round) {
      const auto profile = static_cast<int>((static_cast<unsigned>(number) + random()) % profiles);
      const auto& mine = expected_[static_cast<std::size_t>(profile)];
      MessageStream stream(proxy.port());
      log_in(stream, start_of(profile));
      for (int batches = session ? 4 : 40; batches > 0 && left > 0; --batches) {
        const auto change = random() % 3 == 0 ? random() % change_count : 0;
        tell(stream, changes[change].begin);
        const bool in_block =
            changes[change].begin != nullptr && std::string_view(changes[change].begin).starts_with("BEGIN");
        std::vector<std::size_t> asked;
        std::string bytes;
        while (asked.size() < batch) {
          const auto text = random() % text_count;
          if (in_block && mine[change][text].find('E') != std::string::npos && mine[change][text].ends_with('E'))
            continue;
          asked.push_back(text);
          bytes += statement(random() % 2 == 0 ? "" : "s" + std::to_string(random() % 4), text);
        }
        stream.send(bytes);
        for (const auto text : asked) {
          const auto got = answer(stream);
          if (got == mine[change][text]) continue;
          ++wrong;
          const std::lock_guard lock(mutex);
          auto& report = reports[texts[text]];
          if (report.times++ == 0)
            report.example = "  wanted " + printable(mine[change][text]) + "\n  got    " + printable(got) +
                             (changes[change].begin == nullptr ? "" : "\n  behind "s + changes[change].begin);
        }
        left -= batch;
        tell(stream, changes[change].end);
      }
      stream.send(message_bytes('X'));
    }
  };
  std::vector<std::thread> threads;
  std::vector<std::string> faults(clients);
  for (int i = 0; i < clients; ++i)
    threads.emplace_back([&, i] {
      try {
        client(i);
      } catch (const std::exception& error) {
        faults[static_cast<std::size_t>(i)] = error.what();
        left = 0;
      }
    });
  for (auto& thread : threads) thread.join();
  for (const auto& fault : faults) EXPECT_EQ(fault, "");
  EXPECT_EQ(wrong, 0) << "of " << statements;
  for (const auto& [text, report] : reports)
    ADD_FAILURE() << report.times << " times: " << text << "\n" << report.example;
}

INSTANTIATE_TEST_SUITE_P(Modes, Readings, ::testing::Values("transaction", "session"),
                         [](const auto& mode) { return std::string(mode.param); });

// 'now' is read when a statement is parsed: a Parse that somebody else's answers would say an earlier moment.
TEST_F(Readings, of_now_are_no_earlier_than_the_parse) {
  const Holdfast proxy(endpoint({.members = member_yaml(*server_), .pool = "size: 1"}));
  const auto microseconds = [] {
    return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
        .count();
  };
  for (const char* sql : {"SELECT (extract(epoch FROM 'now'::timestamptz) * 1000000)::bigint",
                          "SELECT (extract(epoch FROM timestamptz 'now') * 1000000)::bigint",
                          "SELECT (extract(epoch FROM CAST('now' AS timestamptz)) * 1000000)::bigint"}) {
    for (int round = 0; round < 10; ++round) {
      MessageStream client(proxy.port());
      log_in(client, {});
      for (const std::string name : {"", "s1"}) {
        const auto before = microseconds();
        client.send(wire::parse(name, sql) + wire::bind(name) + wire::execute() + wire::sync());
        long moment = 0;
        for (auto message = client.next(); message.type != 'Z'; message = client.next())
          if (message.type == 'D') moment = std::stol(message.body.substr(6));
        EXPECT_GE(moment, before) << sql;
      }
    }
  }
}

}  // namespace
}  // namespace holdfast::testing
