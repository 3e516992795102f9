#include "tests/differential/generator.hpp"

#include <iterator>
#include <random>

namespace holdfast::differential {
namespace {

struct Sql {
  const char* text;
  int parameters = 0;
};

// What is asked for in each script's answers must not depend on when or where it runs: no clock, no process id, no oid.
constexpr Sql reads[] = {
    {"select 1"},
    {"select 1 as one, 'two'::text as two, null as three"},
    {"select * from t order by id"},
    {"select count(*) from t"},
    {"select generate_series(1, 5)"},
    {"select i, i * 2 as twice from generate_series(1, 4) i"},
    {"select v from t where id = $1", 1},
    {"select $1::int + 1", 1},
    {"select $1::text, $2::int", 2},
    {"select id, n from u where id < $1 order by id", 1},
    {"select * from v order by id"},
    {"select notes('this')"},
    {"values (1, 'a'), (2, 'b')"},
    {"table parent"},
    {"select 'sad'::mood"},
    {"with w as (select 1 as x) select * from w"},
    {"select id from t order by id for update"},
    {"explain (costs off) select 1"},
    {"select repeat('x', 3000)"},
    {"select '01/02/2020'::date"},
    {"select '1 day 2 hours'::interval"},
    {"select '2020-01-01 00:00+00'::timestamptz"},
    {"select date '2020-02-01', time '12:00', interval '3 min'"},
    {"select 'a\\b'"},
    {"select '\\x41'::bytea"},
    {"select 0.1::float8 + 0.2::float8"},
    {"/* a comment */ select 2 -- and another"},
    {"select 'a;b' as \"x;y\";"},
    {"select count(*) from tt"},
    {"select lastval()"},
    {"select currval('ser_id_seq')"},
    {"select current_user, session_user"},
    {"select current_setting('app.x', true) as x, current_setting('app.y', true) as y, current_setting('app.z', true)"},
    {"select current_schemas(false)"},
    {"show datestyle"},
    {"show search_path"},
    {"show transaction_read_only"},
    {"show transaction_isolation"},
    {"show statement_timeout"},
    {"show client_encoding"},
    {"show application_name"},
    {"show app.x"},
    {"select count(*) from pg_cursors"},
    {"select count(*) from pg_class where relnamespace = pg_my_temp_schema()"},
    {"select count(*) from pg_listening_channels()"},
    {"select count(*) from pg_locks where locktype = 'advisory' and objid in (77, 78)"},
};
constexpr Sql writes[] = {
    {"insert into t values (10, 'ten')"},
    {"insert into t values (1, 'again')"},
    {"insert into t values ($1, $2)", 2},
    {"insert into t (id, v) select 100 + i, 'many' from generate_series(1, 3) i returning id, v"},
    {"insert into ser (v) values ('served')"},
    {"insert into ser (v) values ($1) returning id", 1},
    {"update t set v = 'changed' where id = 2"},
    {"update t set v = v || '!' returning *"},
    {"delete from t where id = $1", 1},
    {"delete from u"},
    {"insert into child values (1)"},
    {"insert into child values (99)"},
    {"with gone as (delete from t where id = 5 returning id) select * from gone"},
    {"select nextval('ser_id_seq')"},
    {"select setval('ser_id_seq', 50)"},
    {"lock table t in share mode"},
    {"insert into v values (2, 'two')"},
    {"set constraints all immediate"},
    {"notify news, 'told'"},
};
constexpr Sql errors[] = {
    {"selec 1"},
    {"select 1/0"},
    {"select * from nowhere"},
    {"select no_such_column from t"},
    {"select no_such_function()"},
    {"select 1/(3 - g) from generate_series(1, 5) g"},
    {"select 'x'::int"},
    {"select 'glad'::mood"},
    {"select raises('by a script')"},
    {"do $$ begin raise exception 'raised'; end $$"},
    {"select (select 1"},
    {"insert into t values (null, 'no key')"},
    {"select $1::int + $2::int", 1},
    {"select $3::int"},
    {"select 'unterminated"},
};
constexpr Sql blocks[] = {
    {"begin"},
    {"begin"},
    {"begin"},
    {"start transaction"},
    {"begin read only"},
    {"begin isolation level repeatable read"},
    {"begin isolation level serializable, read only, deferrable"},
    {"commit"},
    {"commit"},
    {"commit"},
    {"end"},
    {"rollback"},
    {"rollback"},
    {"abort"},
    {"commit and chain"},
    {"rollback and chain"},
    {"savepoint a"},
    {"rollback to a"},
    {"release a"},
    {"set transaction read only"},
    {"set transaction read write"},
    {"set transaction isolation level serializable"},
};
constexpr Sql settings[] = {
    {"set datestyle to german"},
    {"set datestyle to 'SQL, DMY'"},
    {"set timezone to 'Europe/Berlin'"},
    {"set intervalstyle to iso_8601"},
    {"set app.x to 'mine'"},
    {"set app.y to 'yours'"},
    {"set local app.z to 'local'"},
    {"set local datestyle to 'Postgres, YMD'"},
    {"set local search_path to other, public"},
    {"set search_path to other, public"},
    {"set statement_timeout to '99s'"},
    {"set no_such_setting to 1"},
    {"set work_mem to 'plenty'"},
    {"set application_name to 'scripted'"},
    {"set client_encoding to latin1"},
    {"set standard_conforming_strings to off"},
    {"set bytea_output to escape"},
    {"set extra_float_digits to 0"},
    {"set session characteristics as transaction read only"},
    {"set default_transaction_isolation to serializable"},
    {"set role none"},
    {"set role postgres"},
    {"reset datestyle"},
    {"reset app.x"},
    {"reset all"},
    {"reset role"},
    {"discard all"},
    {"discard temp"},
    {"discard plans"},
    {"discard sequences"},
    {"select set_config('app.x', 'configured', false)"},
    {"select set_config('app.y', 'configured', true)"},
    {"select set_config('datestyle', $1, false)", 1},
    {"update pg_settings set setting = 'iso, ymd' where name = 'DateStyle'"},
};
// No temporary table hides another one: whether statements that were prepared before see it depends on whether the
// session had temporary tables earlier, which no DISCARD undoes.
constexpr Sql objects[] = {
    {"prepare q1 as select 'prepared'"},
    {"prepare q2 (int) as select $1 + 1"},
    {"execute q1"},
    {"execute q2 (41)"},
    {"execute q2 ('x')"},
    {"deallocate q1"},
    {"deallocate all"},
    {"declare c cursor for select generate_series(1, 4)"},
    {"declare c scroll cursor with hold for select generate_series(1, 4)"},
    {"fetch c"},
    {"fetch 2 from c"},
    {"fetch all c"},
    {"move c"},
    {"close c"},
    {"close all"},
    {"create temp table tt (x int)"},
    {"create temp table tt on commit drop as select 1 as x"},
    {"insert into tt values (1)"},
    {"select x into temp tt from generate_series(1, 3) x"},
    {"drop table tt"},
    {"drop table if exists no_table"},
    {"alter table t add column extra int default 7"},
    {"alter table t drop column v"},
    {"create table made (x int)"},
    {"drop table if exists made"},
    {"truncate u"},
    {"create or replace function made() returns int language sql as 'select 5'"},
    {"select made()"},
    {"do $$ begin raise notice 'a notice'; raise warning 'a warning'; end $$"},
    {"listen news"},
    {"unlisten *"},
    {"select pg_advisory_lock(77)"},
    {"select pg_advisory_unlock(77)"},
    {"select pg_advisory_xact_lock_shared(78)"},
    {""},
    {"-- nothing"},
    {";"},
    {"vacuum t"},
    {"comment on table t is 'a table'"},
};
constexpr const char* values[] = {"1", "2", "42", "x", "", "01/02/2020", "2147483647", "german", "a'b\\c"};
constexpr const char* names[] = {"", "", "s1", "s2", "S 3"};
constexpr const char* portals[] = {"", "", "", "p1"};

class Generator {
 public:
  explicit Generator(std::uint32_t seed) : random_(seed) { random_.discard(2); }

  Script script() {
    Script script;
    if (below(4) == 0) start(script);
    for (auto left = 3 + below(14); left > 0; --left) turn(script.turns);
    if (below(5) == 0) leave(script.turns.emplace_back().messages);
    return script;
  }

 private:
  unsigned below(unsigned bound) { return static_cast<unsigned>(random_() % bound); }
  template <typename List>
  auto one_of(const List& list) {
    return list[below(static_cast<unsigned>(std::size(list)))];
  }

  void start(Script& script) {
    static const std::vector<std::pair<std::string, std::string>> parameters = {
        {"DateStyle", "SQL, DMY"},
        {"DateStyle", "german"},
        {"TimeZone", "america/new_york"},
        {"IntervalStyle", "postgres_verbose"},
        {"application_name", "a script"},
        {"client_encoding", "latin1"},
        {"search_path", "other, public"},
        {"options", "-c statement_timeout=88s -c app.x=start"},
        {"options", "-c standard_conforming_strings=off"},
        {"options", "-c default_transaction_read_only=on"},
        {"options", "--app.y=start -c extra_float_digits=0"},
        {"options", "-c no_such_setting=1"},
        {"bytea_output", "escape"},
        {"no_such_parameter", "1"},
    };
    for (auto left = 1 + below(2); left > 0; --left) {
      const auto& parameter = one_of(parameters);
      bool there = false;
      for (const auto& other : script.start) there = there || other.first == parameter.first;
      // Those that fail would leave nothing to play.
      if (there || (parameter.second == "1" && below(4) != 0)) continue;
      if (parameter.second == "-c no_such_setting=1" && below(4) != 0) continue;
      script.start.push_back(parameter);
    }
  }

  Sql sql() {
    const auto kind = below(100);
    if (kind < 32) return one_of(reads);
    if (kind < 50) return one_of(writes);
    if (kind < 58) return one_of(errors);
    if (kind < 73) return one_of(blocks);
    if (kind < 86) return one_of(settings);
    return one_of(objects);
  }
  Sql without_parameters() {
    for (;;)
      if (const auto found = sql(); found.parameters == 0) return found;
  }

  Message query() {
    std::string text = without_parameters().text;
    if (below(8) == 0) {
      for (auto left = 1 + below(2); left > 0; --left) text += std::string("; ") + without_parameters().text;
    }
    if (below(40) == 0) text = sql().text;  // with parameters that nobody binds
    return {.tag = 'Q', .text = text};
  }

  Message bind(const std::string& statement, const std::string& portal, int parameters) {
    Message message{.tag = 'B', .name = statement, .portal = portal};
    if (below(30) == 0) parameters += below(2) == 0 ? 1 : -1;
    for (; parameters > 0; --parameters) {
      if (below(12) == 0)
        message.values.emplace_back(std::nullopt);
      else
        message.values.emplace_back(below(3) == 0 ? one_of(values) : std::to_string(1 + below(5)));
    }
    message.number = below(10) == 0 ? 1 : 0;
    return message;
  }

  // Parse to Execute of one statement, as drivers do it.
  void unit(std::vector<Message>& messages) {
    const auto statement = sql();
    const std::string name = one_of(names);
    const std::string portal = below(6) == 0 ? "p1" : "";
    if (!name.empty() && below(3) == 0) messages.push_back({.tag = 'C', .name = name});
    messages.push_back({.tag = 'P', .text = statement.text, .name = name});
    if (statement.parameters == 1 && below(4) == 0) messages.back().types = {below(2) == 0 ? 25U : 23U};
    known_.push_back({name, statement.parameters});
    if (below(3) == 0) messages.push_back({.tag = 'D', .name = name});
    if (below(12) == 0) return;
    messages.push_back(bind(name, portal, statement.parameters));
    if (below(2) == 0) messages.push_back({.tag = 'D', .name = portal, .kind = 'P'});
    const auto rows = below(4) == 0 ? static_cast<int>(1 + below(3)) : 0;
    messages.push_back({.tag = 'E', .portal = portal, .number = rows});
    if (rows > 0 && below(2) == 0) messages.push_back({.tag = 'E', .portal = portal, .number = rows});
    if (below(8) == 0) messages.push_back({.tag = 'C', .name = portal, .kind = 'P'});
  }

  // A statement that was prepared earlier, perhaps.
  void again(std::vector<Message>& messages) {
    if (known_.empty()) return unit(messages);
    const auto known = known_[below(static_cast<unsigned>(known_.size()))];
    if (below(5) == 0) messages.push_back({.tag = 'D', .name = known.name});
    messages.push_back(bind(known.name, "", known.parameters));
    messages.push_back({.tag = 'E'});
  }

  Message any() {
    switch (below(9)) {
      case 0: return {.tag = 'P', .text = sql().text, .name = one_of(names)};
      case 1: return bind(one_of(names), one_of(portals), static_cast<int>(below(2)));
      case 2: return {.tag = 'D', .name = one_of(names)};
      case 3: return {.tag = 'D', .name = one_of(portals), .kind = 'P'};
      case 4: return {.tag = 'E', .portal = one_of(portals), .number = static_cast<int>(below(3))};
      case 5: return {.tag = 'C', .name = one_of(names)};
      case 6: return {.tag = 'C', .name = one_of(portals), .kind = 'P'};
      case 7: return {.tag = 'H'};
      default: return {.tag = 'S'};
    }
  }

  // A copy and its data: all in one turn, or the data when the server has asked for it; sometimes bad, failed or late.
  void copy(std::vector<Turn>& turns) {
    const char* sqls[] = {"copy t from stdin", "copy u (id) from stdin", "copy nowhere from stdin",
                          "copy ser (v) from stdin", "copy t from stdin with (format csv)"};
    const std::string text = one_of(sqls);
    auto* messages = &turns.emplace_back().messages;
    const bool simple = below(2) == 0;
    if (simple) {
      messages->push_back({.tag = 'Q', .text = text});
    } else {
      messages->push_back({.tag = 'P', .text = text});
      messages->push_back({.tag = 'B'});
      messages->push_back({.tag = 'E'});
    }
    if (below(2) == 0) messages = &turns.emplace_back().messages;
    const char* data[] = {"20\tcopied\n21\t\\N\n", "22\n", "bad", "\n", "23\tcut", "1\tagain\n", "24,csv\n", "\\.\n"};
    for (auto left = below(4); left > 0; --left) messages->push_back({.tag = 'd', .text = one_of(data)});
    const auto end = below(10);
    if (end < 6)
      messages->push_back({.tag = 'c'});
    else if (end < 9)
      messages->push_back({.tag = 'f', .text = "the client gives up"});
    if (below(6) == 0) messages->push_back({.tag = 'd', .text = "late"});
    if (!simple) messages->push_back({.tag = 'S'});
  }

  // A copy that is open ends with it, or in front of it; so does a batch, or it is cut.
  void leave(std::vector<Message>& messages) {
    if (below(3) != 0) messages.push_back({.tag = 'f', .text = "the client leaves"});
    if (below(6) == 0) {
      messages.push_back({.tag = 'Q', .text = "copy t from stdin"});
      messages.push_back({.tag = 'd', .text = "30\tlast\n"});
    }
    if (below(2) == 0) messages.push_back(query());
    if (below(3) == 0) {
      unit(messages);
      if (below(2) == 0) messages.push_back({.tag = 'S'});
    }
    messages.push_back({.tag = 'X'});
  }

  void turn(std::vector<Turn>& turns) {
    const auto kind = below(100);
    if (kind >= 82 && kind < 88) return copy(turns);
    auto& made = turns.emplace_back();
    auto& messages = made.messages;
    if (kind < 38) {
      messages.push_back(query());
    } else if (kind < 58) {
      unit(messages);
      messages.push_back({.tag = 'S'});
    } else if (kind < 66) {
      again(messages);
      messages.push_back({.tag = 'S'});
    } else if (kind < 74) {  // a pipeline
      for (auto left = 2 + below(4); left > 0; --left) {
        if (below(3) == 0)
          again(messages);
        else
          unit(messages);
        if (below(2) == 0) messages.push_back({.tag = 'S'});
      }
      if (below(4) != 0) messages.push_back({.tag = 'S'});
    } else if (kind < 82) {
      for (auto left = 1 + below(6); left > 0; --left) messages.push_back(any());
      if (below(2) == 0) messages.push_back({.tag = 'S'});
    } else if (kind < 91) {
      // int4div: oid 154 of src/include/catalog/pg_proc.dat.
      messages.push_back({.tag = 'F', .number = below(6) == 0 ? 1 : 154, .values = {"12", below(3) == 0 ? "0" : "4"}});
    } else if (kind < 94) {
      messages.push_back({.tag = 'P', .text = "selec " + std::to_string(below(10))});
      made.fails_unasked = true;
    } else if (kind < 96) {
      messages.push_back({.tag = "dcf"[below(3)]});
      messages.push_back(query());
    } else if (kind < 98) {  // two queries in one write
      messages.push_back(query());
      messages.push_back(query());
    } else {
      const char* outs[] = {"copy t to stdout", "copy (select generate_series(1, 3)) to stdout",
                            "copy (select 1/(2 - g) from generate_series(1, 3) g) to stdout"};
      messages.push_back({.tag = 'Q', .text = one_of(outs)});
    }
  }

  struct Known {
    std::string name;
    int parameters;
  };
  std::minstd_rand random_;
  std::vector<Known> known_;
};

}  // namespace

Script random_script(std::uint32_t seed) {
  return Generator(seed).script();
}

}  // namespace holdfast::differential
