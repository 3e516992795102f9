#!/usr/bin/env python3
"""Writes corpus/classify/ and corpus/shape/: statements of every kind; the shape fuzzer's stand behind its settings byte."""
import pathlib

FOLDER = pathlib.Path(__file__).parent / "corpus"
SEEDS = {
    "select": "SELECT a, -1, 2.5e3, 'x', E'a\\'b', $$y$$, $t$z$t$, U&'\\0041', b'01', $1 FROM \"T\" t /* c /* d */ */ -- e\n",
    "in_list": "select * from t where a in (1,2,3,4) and b in ('a','b') and (c,d) in ((1,2),(3,4)) and e = any($1)",
    "insert_rows": "insert into t(a,b) values (1,'x',null),(2,'y',default),(-3, 'z', true) returning *",
    "dml_in_cte": "with a as (select 1), b as (delete from t returning *) select * from a for update",
    "explain": "explain (analyze false, verbose) select 1; explain analyze insert into t values (1)",
    "set_config": "select set_config('a','b',true), pg_catalog.set_config($1,$2,false), nextval('s'), f(1), s.g(2)",
    "copy": "copy (select 1) to stdout; copy t from stdin with (format csv); copy t to '/f'; copy t from program 'x'",
    "transaction": "begin isolation level serializable, read only; savepoint a; rollback to a; commit and chain",
    "settings": "set a = 'b'; set local c to 1; reset all; set role none; set transaction read only; discard all",
    "session": "listen a; prepare p as select 1; execute p(1); declare c cursor with hold for select 1; load 'x'",
    "temporary": "create temp table t (a int) on commit drop; select 1 into temp u; create view pg_temp.v as select 1",
    "operators": "select a operator(s.+) b, a<-1, b- -1, c @> d, e::int[], f:=1, g ->> 'h', u & 'x', 1 . 5",
    "two_readings": "select 'C:\\', 'it\\'s', ', set_config($$a$$,$$b$$,false) --'",
    "continued": "select 'a'\n'b', E'a' -- x\n 'b\\'', U&'c'\n'd'",
    "odd": "select U&\"\\0061\", U&'!0061' uescape '!', 1a, 0x1f, 1_0, 1..2",
    "hint": "/* holdfast: replica */ select /*holdfast:primary*/ 1",
    "unterminated": "select 'a, \"b /* c",
    "empty": " ; -- x\n ; /* y */ ",
    "catalogue": "select * from pg_stat_activity, pg_catalog.pg_locks l where pg_is_in_recovery()",
    "encoding": "select 'Ä', \"Ö\", ü, $ß$x$ß$",
}

for name, text in SEEDS.items():
    (FOLDER / "classify").mkdir(parents=True, exist_ok=True)
    (FOLDER / "shape").mkdir(parents=True, exist_ok=True)
    (FOLDER / "classify" / name).write_bytes(text.encode())
    for settings in (0, 3, 4):
        (FOLDER / "shape" / f"{name}_{settings}").write_bytes(bytes([settings]) + text.encode())
