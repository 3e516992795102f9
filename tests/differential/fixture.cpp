#include "tests/differential/fixture.hpp"

#include <chrono>

#include "tests/support/wait.hpp"

namespace holdfast::differential {
namespace {

using namespace std::chrono_literals;
using testing::Connection;
using testing::EndpointConfig;

constexpr const char* tables_sql = R"(
  drop schema if exists public cascade; drop schema if exists other cascade;
  create schema public; create schema other;
  create table t (id int primary key, v text);
  create table u (id int, n numeric);
  create table parent (id int primary key);
  create table child (id int references parent deferrable initially deferred);
  create table ser (id serial primary key, v text);
  create table other.t (id int primary key, v text);
  create type mood as enum ('sad', 'happy');
  create function raises(text) returns int language plpgsql as
    $$ begin raise exception 'raised %', $1 using detail = 'in detail', hint = 'a hint'; end $$;
  create function notes(text) returns int language plpgsql stable as $$ begin raise notice 'noted %', $1; return 1; end $$;
  create view v as select id, v from t where id < 3;)";
constexpr const char* rows_sql = R"(
  truncate t, u, parent, child, ser, other.t restart identity;
  insert into t values (1, 'one'), (2, 'two'), (3, null), (4, 'four'), (5, 'five');
  insert into u select i, i * 1.5 from generate_series(1, 20) i;
  insert into parent values (1); insert into other.t values (1, 'of other');)";

}  // namespace

std::string name_of(Mode mode) {
  switch (mode) {
    case Mode::transaction: return "transaction";
    case Mode::session: return "session";
    case Mode::split: return "split";
  }
  return {};
}

Arena::Arena(Mode mode) : mode_(mode) {
  set_.emplace(testing::ReplicationOptions{
      .replicas = mode == Mode::split ? 1 : 0,
      // Noise that reads on the standby holds up no replay, and no replay ends a read.
      .server = {.settings = {{"hot_standby_feedback", "on"}, {"wal_receiver_status_interval", "1s"}}}});
  owner_.emplace(set_->primary().conninfo());
  set_->primary().exec("alter schema public owner to app");
  owner_->exec(Noise::schema());
  const char* pool = mode == Mode::session ? "mode: session, size: 4, wait_timeout: 12s"
                                           : "mode: transaction, size: 2, wait_timeout: 12s";
  proxy_.emplace(testing::endpoint({.members = testing::members_yaml(*set_), .workers = 2, .pool = pool}));
  reset(true);
  noise_.emplace(proxy_->port(), 2);
}

Arena::~Arena() {
  noise_.reset();
}

// Through Holdfast when it changes the schema, because that is where it learns of it.
void Arena::reset(bool schema) {
  if (schema || schema_changed_) Connection(proxy_->conninfo()).exec(tables_sql);
  schema_changed_ = schema;
  owner_->exec(rows_sql);
  if (mode_ == Mode::split) testing::ReplicationSet::wait_caught_up(set_->primary(), set_->replica());
}

std::string Arena::tables() {
  std::string text;
  for (const char* sql : {"select 't ' || id || ' ' || coalesce(v, '-') from t order by 1",
                          "select 'u ' || count(*) || ' ' || sum(n) from u", "select 'ser ' || v from ser order by 1",
                          "select 'child ' || id from child order by 1"}) {
    try {
      for (const auto& row : owner_->rows(sql)) text += row.at(0).value_or("NULL") + "\n";
    } catch (const testing::SqlError& error) {
      text += error.sqlstate() + "\n";
    }
  }
  return text;
}

std::string Arena::difference(const Script& script) {
  const bool schema = script.changes_schema();
  reset(schema);
  const auto expected = play(set_->primary().port(), script);
  const auto held = tables();
  reset(schema);
  if (const auto difference = compare(proxy_->port(), script, expected)) {
    return "at turn " + std::to_string(difference->turn) + "\n" + difference->text;
  }
  std::string now;
  if (!testing::wait_until(5s, [&] { return (now = tables()) == held; }))
    return "in what the tables hold\n  PostgreSQL:\n" + held + "  Holdfast:\n" + now;
  return {};
}

Script Arena::shrink(Script script, std::string& text) {
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  const auto still = [&](const Script& candidate) {
    for (int attempt = 0; attempt < 2; ++attempt) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      try {
        auto difference = this->difference(candidate);
        if (difference.empty()) continue;
        text = std::move(difference);
        return true;
      } catch (const testing::ScriptError&) {
        return false;  // PostgreSQL itself doesn't answer to the end
      }
    }
    return false;
  };
  const auto without = [&](auto& list_of, std::size_t from, std::size_t count) {
    auto smaller = script;
    auto& list = list_of(smaller);
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(from),
               list.begin() + static_cast<std::ptrdiff_t>(std::min(from + count, list.size())));
    if (!still(smaller)) return false;
    script = std::move(smaller);
    return true;
  };
  const auto cut = [&](auto list_of) {
    for (std::size_t count = std::max<std::size_t>(list_of(script).size() / 2, 1);; count /= 2) {
      for (std::size_t from = 0; from < list_of(script).size();)
        if (!without(list_of, from, count)) from += count;
      if (count <= 1) break;
    }
  };
  cut([](Script & of) -> auto& { return of.turns; });
  cut([](Script & of) -> auto& { return of.start; });
  for (std::size_t turn = 0; turn < script.turns.size(); ++turn)
    cut([turn](Script & of) -> auto& { return of.turns.at(turn).messages; });
  cut([](Script & of) -> auto& { return of.turns; });
  return script;
}

}  // namespace holdfast::differential
