#!/usr/bin/python3
"""psycopg 3 against a server or a proxy: pipeline mode, prepared statements, cursors, COPY, NOTIFY, cancel.

Where to connect comes from libpq's environment (PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE, PGSSLMODE).
Each check prints its name and what went wrong; any failure makes the exit code 1. Exit code 77: psycopg isn't installed.
Arguments are the checks to run; without any it is all of them.
"""

import sys
import threading
import time
import traceback

try:
    import psycopg
except ImportError:
    print("skipped: python3-psycopg isn't installed")
    sys.exit(77)

PIPELINED = 20_000


def connect(**options):
    return psycopg.connect("connect_timeout=10 application_name=psycopg_pipeline", autocommit=True, **options)


def answers_come_in_order():
    with connect() as connection, connection.pipeline():
        cursors = [connection.execute("SELECT %s::int * 2", (i,)) for i in range(500)]
        assert [cursor.fetchone()[0] for cursor in cursors] == [i * 2 for i in range(500)]


def an_error_aborts_up_to_the_sync_and_no_further():
    with connect() as connection:
        connection.execute("CREATE TEMP TABLE kept (id int PRIMARY KEY)")
        try:
            # The driver reads when it writes: the error may show at any call behind it, at the latest at the block's end.
            with connection.pipeline() as pipeline:
                connection.execute("INSERT INTO kept VALUES (1)")
                pipeline.sync()
                connection.execute("INSERT INTO kept VALUES (2)")
                connection.execute("INSERT INTO kept VALUES (1)")  # fails: undoes its whole implicit transaction
                connection.execute("INSERT INTO kept VALUES (3)")
                pipeline.sync()
            raise AssertionError("the duplicate key was accepted")
        except (psycopg.errors.UniqueViolation, psycopg.errors.PipelineAborted):
            pass
        assert connection.execute("SELECT array_agg(id ORDER BY id) FROM kept").fetchone()[0] == [1]


def many_statements_with_both_sockets_full():
    padding = "x" * 200
    with connect() as connection, connection.pipeline():
        cursors = [connection.execute("SELECT %s::int, %s::text", (i, padding)) for i in range(PIPELINED)]
        for i, cursor in enumerate(cursors):
            assert cursor.fetchone() == (i, padding), i


def prepared_statements_survive_transactions_and_neighbours():
    connections = [connect(prepare_threshold=0) for _ in range(8)]
    try:
        for turn in range(20):
            for number, connection in enumerate(connections):
                # The same names (_pg3_0 …) stand for other texts on each connection.
                row = connection.execute(f"SELECT %s::int + {number}", (turn,), prepare=True).fetchone()
                assert row == (turn + number,), row
    finally:
        for connection in connections:
            connection.close()


def a_prepared_statement_outlives_a_changed_table():
    with connect(prepare_threshold=0) as connection:
        connection.execute("DROP TABLE IF EXISTS psycopg_changed")
        connection.execute("CREATE TABLE psycopg_changed AS SELECT 1 AS a")
        assert connection.execute("SELECT * FROM psycopg_changed").fetchone() == (1,)
        with connect() as other:
            other.execute("ALTER TABLE psycopg_changed ADD COLUMN b int DEFAULT 2")
        try:
            assert connection.execute("SELECT * FROM psycopg_changed").fetchone() == (1, 2)
        except psycopg.errors.FeatureNotSupported:
            # "cached plan must not change result type": what PostgreSQL itself says; the next try must work.
            connection.execute("DEALLOCATE ALL")
            connection._prepared.clear()
            assert connection.execute("SELECT * FROM psycopg_changed").fetchone() == (1, 2)
        connection.execute("DROP TABLE psycopg_changed")


def settings_belong_to_their_connection():
    with connect() as one, connect() as two:
        one.execute("SET TimeZone = 'Asia/Tokyo'")
        two.execute("SET TimeZone = 'America/Lima'")
        for _ in range(20):
            assert one.execute("SHOW TimeZone").fetchone()[0] == "Asia/Tokyo"
            assert two.execute("SHOW TimeZone").fetchone()[0] == "America/Lima"
        try:
            with one.transaction():
                one.execute("SET TimeZone = 'Europe/Paris'")
                raise psycopg.Rollback()
        except psycopg.Rollback:
            pass
        assert one.execute("SHOW TimeZone").fetchone()[0] == "Asia/Tokyo"


def options_of_the_start_are_defaults():
    with connect(options="-c statement_timeout=54321 -c search_path=pg_catalog") as connection:
        connection.execute("SET statement_timeout = 1000")
        connection.execute("RESET statement_timeout")
        assert connection.execute("SHOW statement_timeout").fetchone()[0] == "54321ms"
        assert connection.execute("SHOW search_path").fetchone()[0] == "pg_catalog"


def server_side_cursors_stream():
    with connect() as connection, connection.transaction():
        with connection.cursor(name="streamed") as cursor:
            cursor.execute("SELECT generate_series(1, 10000)")
            cursor.itersize = 100
            assert sum(row[0] for row in cursor) == 50005000


def copy_goes_both_ways():
    with connect() as connection, connection.transaction():
        connection.execute("CREATE TEMP TABLE copied (id int, note text) ON COMMIT DROP")
        with connection.cursor().copy("COPY copied FROM STDIN") as copy:
            for i in range(5000):
                copy.write_row((i, f"row {i}\twith a tab"))
        with connection.cursor().copy("COPY copied TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int4", "text"])
            rows = list(copy.rows())
        assert len(rows) == 5000 and rows[17] == (17, "row 17\twith a tab")


def a_failing_copy_leaves_a_usable_connection():
    with connect() as connection:
        connection.execute("CREATE TEMP TABLE copied (id int)")
        try:
            with connection.cursor().copy("COPY copied FROM STDIN") as copy:
                copy.write("not a number\n")
            raise AssertionError("COPY accepted text as a number")
        except psycopg.errors.InvalidTextRepresentation:
            pass
        assert connection.execute("SELECT count(*) FROM copied").fetchone() == (0,)


def a_copy_that_fails_while_data_flows_hurts_nobody():
    # The first row is bad; one large CopyData is on its way when the server says so.
    neighbour = connect()  # not closed when it hangs: that would wait for its statement
    with connect() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS psycopg_copied (id int)")
        for _ in range(3):
            try:
                with connection.cursor().copy("COPY psycopg_copied FROM STDIN") as copy:
                    copy.write("not a number\n")
                    copy.write("1\n" * 10_000_000)
                raise AssertionError("COPY accepted text as a number")
            except psycopg.errors.InvalidTextRepresentation:
                pass
            asked = []

            def ask():
                asked.append(neighbour.execute("SELECT count(*) FROM psycopg_copied").fetchone())

            thread = threading.Thread(target=ask, daemon=True)
            thread.start()
            thread.join(20)
            assert asked == [(0,)], f"the neighbour's answers within 20 s: {asked}"
            assert connection.execute("SELECT 42").fetchone() == (42,)
        connection.execute("DROP TABLE psycopg_copied")


def notifications_arrive_while_idle():
    with connect() as listener, connect() as sender:
        listener.execute("LISTEN psycopg_news")
        got = []

        def listen():
            for notification in listener.notifies():
                got.append(notification.payload)
                return

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        sender.execute("SELECT pg_notify('psycopg_news', 'hello')")
        thread.join(10)
        assert got == ["hello"], f"notifications within 10 s: {got}"


def cancel_ends_the_statement_and_nothing_else():
    with connect() as connection, connect() as neighbour:

        def cancel_when_it_runs():
            running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(20)%'"
            deadline = time.monotonic() + 10
            while neighbour.execute(running).fetchone() == (0,) and time.monotonic() < deadline:
                time.sleep(0.01)
            connection.cancel()

        canceller = threading.Thread(target=cancel_when_it_runs)
        canceller.start()
        try:
            connection.execute("SELECT pg_sleep(20)")
            raise AssertionError("the statement wasn't cancelled")
        except psycopg.errors.QueryCanceled:
            pass
        finally:
            canceller.join()
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert neighbour.execute("SELECT 2").fetchone() == (2,)


def nested_transactions_roll_back():
    with connect() as connection:
        connection.execute("CREATE TEMP TABLE nested (id int)")
        with connection.transaction():
            connection.execute("INSERT INTO nested VALUES (1)")
            with connection.transaction(force_rollback=True):
                connection.execute("INSERT INTO nested VALUES (2)")
            connection.execute("INSERT INTO nested VALUES (3)")
        assert connection.execute("SELECT array_agg(id ORDER BY id) FROM nested").fetchone()[0] == [1, 3]


def login_errors_are_postgresqls():
    try:
        connect(password="surely wrong").close()
    except psycopg.OperationalError as error:
        assert "password authentication failed" in str(error), error
    else:
        with connect() as connection:
            method = connection.pgconn.used_password
        assert not method, "a wrong password was accepted"


CHECKS = [
    answers_come_in_order,
    an_error_aborts_up_to_the_sync_and_no_further,
    many_statements_with_both_sockets_full,
    prepared_statements_survive_transactions_and_neighbours,
    a_prepared_statement_outlives_a_changed_table,
    settings_belong_to_their_connection,
    options_of_the_start_are_defaults,
    server_side_cursors_stream,
    copy_goes_both_ways,
    a_failing_copy_leaves_a_usable_connection,
    a_copy_that_fails_while_data_flows_hurts_nobody,
    notifications_arrive_while_idle,
    cancel_ends_the_statement_and_nothing_else,
    nested_transactions_roll_back,
    login_errors_are_postgresqls,
]

failures = 0
for check in [check for check in CHECKS if check.__name__ in sys.argv[1:]] or CHECKS:
    try:
        check()
        print(f"ok     {check.__name__}")
    except Exception:  # every check reports, whatever went wrong in it
        failures += 1
        print(f"FAILED {check.__name__}\n{traceback.format_exc()}")
sys.exit(1 if failures else 0)
