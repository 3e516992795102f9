#include "tests/differential/noise.hpp"

#include <exception>
#include <random>

#include "tests/support/connection.hpp"
#include "tests/support/scripted_peer.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::differential {
namespace {

namespace wire = testing::wire;

// Each leaves something in its session, or a known text known under other settings.
constexpr const char* deeds[] = {
    "set datestyle to 'SQL, DMY'",
    "set timezone to 'Asia/Tokyo'",
    "set intervalstyle to iso_8601",
    "set search_path to noise, public",
    "set standard_conforming_strings to off",
    "set app.x to 'noise'",
    "set app.y to 'noise'",
    "begin; set local app.z to 'noise'; commit",
    "begin; set local search_path to noise; select * from t; commit",
    "select set_config('app.x', 'noise', false)",
    "set session characteristics as transaction read only",
    "set default_transaction_isolation to serializable",
    "set client_encoding to latin1",
    "set bytea_output to escape",
    "set extra_float_digits to 0",
    "create temp table t (noise text)",
    "create temp table ser (noise text)",
    "create temp table tt (noise text)",
    "insert into noise.ser (v) values ('noise')",
    "select nextval('noise.ser_id_seq')",
    "prepare q1 as select 'noise'",
    "prepare q2 (int) as select 'noise'",
    "declare c cursor with hold for select 'noise'",
    "listen noise",
    "select pg_advisory_lock_shared(4711)",
    "begin; insert into noise.t values (1, 'noise')",
    "begin; declare c cursor for select 'noise'; fetch c",
    "begin; savepoint a; select 1/0",
    "begin read only; select 1",
    "begin isolation level serializable; select 1",
    "set work_mem to '77kB'",
    "set client_min_messages to error",
    "set statement_timeout to '77s'",
    "do $$ begin perform set_config('app.y', 'noise', false); end $$",
};

// The texts of scripts, prepared by somebody to whom they mean something else.
constexpr const char* texts[] = {
    "select '01/02/2020'::date",
    "select '1 day 2 hours'::interval",
    "select '2020-01-01 00:00+00'::timestamptz",
    "select 'a\\b'",
    "select * from t order by id",
    "select 1",
    "select count(*) from t",
    "select $1::int + 1",
    "select count(*) from tt",
};

constexpr const char* starts[] = {"DateStyle", "TimeZone", "IntervalStyle", "search_path", "application_name"};
constexpr const char* start_values[] = {"German", "America/New_York", "postgres_verbose", "noise, public", "noise"};

}  // namespace

const char* Noise::schema() {
  return "drop schema if exists noise cascade; create schema noise;"
         "create table noise.t (noise int, what text); insert into noise.t values (0, 'of noise');"
         "create table noise.ser (id serial primary key, v text);";
}

Noise::Noise(int port, int clients) : port_(port) {
  for (int i = 0; i < clients; ++i) clients_.emplace_back([this, i] { run(i); });
}

Noise::~Noise() {
  stop_ = true;
  for (auto& client : clients_) client.join();
}

std::vector<std::string> Noise::errors() {
  const std::lock_guard lock(mutex_);
  return errors_;
}

void Noise::run(int number) {
  for (unsigned round_number = 0; !stop_; ++round_number) {
    try {
      round(round_number * 16 + static_cast<unsigned>(number));
    } catch (const std::exception& error) {
      const std::lock_guard lock(mutex_);
      if (errors_.size() < 20) errors_.emplace_back(error.what());
    }
    ++rounds_;
  }
}

void Noise::round(unsigned seed) {
  std::minstd_rand random(seed + 1);
  random.discard(3);
  const auto one_of = [&](const auto& list) { return list[random() % std::size(list)]; };
  std::vector<std::pair<std::string, std::string>> start;
  if (random() % 3 == 0) {
    const auto which = random() % std::size(starts);
    start.emplace_back(starts[which], start_values[which]);
  }
  auto client = wire::log_in(port_, start);
  client->set_bound(std::chrono::seconds(30));
  for (auto left = 1 + random() % 4; left > 0; --left) {
    const std::string text = one_of(texts);
    const auto name = random() % 3 == 0 ? std::string() : "n" + std::to_string(left);
    client->send(wire::parse(name, text) + wire::bind(name) + wire::describe(name) + wire::execute() + wire::sync());
    static_cast<void>(client->read_until('Z'));  // some are errors to it
    if (random() % 2 == 0) {
      client->send(wire::query(one_of(deeds)));
      static_cast<void>(client->read_until('Z'));
    }
  }
  switch (random() % 6) {
    case 0: client->send(testing::message_bytes('X')); break;
    case 1: client->send(wire::query("select 1").substr(0, 7)); break;  // leaves in the middle of a message
    case 2: client->send(wire::query("copy noise.t from stdin") + wire::copy_data("7\tnoise\n8")); break;
    case 3: client->send(wire::parse("n", "select 1") + wire::bind("n") + wire::execute() + wire::flush()); break;
    case 4: client->reset(); break;
    default: break;
  }
}

}  // namespace holdfast::differential
