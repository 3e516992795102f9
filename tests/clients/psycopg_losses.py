#!/usr/bin/python3
"""psycopg 3 behind a proxy whose server is lost: each check brings a connection into a state, has the server killed and
started again, and looks at what the driver raises and whether the connection goes on.

The environment is libpq's; HOLDFAST_LOSE is a folder: the file `lose` in it asks for the loss, and is removed when the
server is back. Exit code 77: psycopg isn't installed.
"""

import os
import sys
import threading
import time
import traceback

try:
    import psycopg
except ImportError:
    print("skipped: python3-psycopg isn't installed")
    sys.exit(77)


def connect():
    return psycopg.connect("connect_timeout=20", autocommit=True)


def lose():
    path = os.path.join(os.environ["HOLDFAST_LOSE"], "lose")
    open(path, "w", encoding="utf-8").close()
    while os.path.exists(path):
        time.sleep(0.01)


def state_of(work):
    try:
        work()
    except psycopg.Error as error:
        return error.sqlstate or str(error)
    return "no error"


def rows(connection, number):
    return connection.execute("SELECT count(*) FROM kept WHERE a = %s", (number,)).fetchone()[0]


def idle():
    with connect() as connection:
        connection.execute("SELECT 1")
        lose()
        assert connection.execute("SELECT 2").fetchone() == (2,)


def in_a_block():
    with connect() as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO kept VALUES (1)")
        lose()
        assert state_of(lambda: connection.execute("SELECT 1")) == "40001"
        assert state_of(lambda: connection.execute("SELECT 1")) == "25P02"
        connection.execute("ROLLBACK")
        assert rows(connection, 1) == 0


def in_a_block_that_is_committed():
    with connect() as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO kept VALUES (2)")
        lose()
        assert state_of(lambda: connection.execute("COMMIT")) == "40001"
        assert rows(connection, 2) == 0


def in_flight():
    with connect() as connection, connect() as other:
        states = []
        write = threading.Thread(target=lambda: states.append(
            state_of(lambda: connection.execute("INSERT INTO kept SELECT 3 FROM pg_sleep(600)"))))
        write.start()
        while not other.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'").fetchone()[0]:
            time.sleep(0.01)
        lose()
        write.join()
        assert states == ["08007"], states
        assert rows(connection, 3) == 0


def in_a_pipeline_behind_a_flush():
    connection = connect()

    def work():
        with connection.pipeline():
            cursor = connection.execute("INSERT INTO kept VALUES (4) RETURNING a")
            assert cursor.fetchone() == (4,)  # the driver flushes for it
            lose()
    # psycopg 3.1 raises an error of its own for any error in answer to a Sync, such as a deferred constraint's: it takes
    # the connection for busy, or looks for a command that the error belongs to.
    try:
        state = state_of(work)
    except IndexError as error:
        state = str(error)
    assert state in ("40001", "cannot exit pipeline mode while busy", "pop from an empty deque"), state
    connection.close()
    with connect() as connection:
        assert rows(connection, 4) == 0


def in_a_pipeline_that_goes_on():
    with connect() as connection:
        def work():
            with connection.pipeline():
                assert connection.execute("INSERT INTO kept VALUES (5) RETURNING a").fetchone() == (5,)
                lose()
                connection.execute("INSERT INTO kept VALUES (6) RETURNING a").fetchone()
        state = state_of(work)
        assert state == "40001", state
        assert rows(connection, 5) == 0 and rows(connection, 6) == 0


def in_a_copy():
    with connect() as connection:
        def work():
            with connection.cursor() as cursor, cursor.copy("COPY kept FROM STDIN") as copy:
                copy.write("7\n")
                lose()
                copy.write("7\n")
        state = state_of(work)
        assert state == "40001", state
        assert rows(connection, 7) == 0


failures = 0
for check in (idle, in_a_block, in_a_block_that_is_committed, in_flight, in_a_pipeline_behind_a_flush,
              in_a_pipeline_that_goes_on, in_a_copy):
    try:
        check()
        print(f"ok     {check.__name__}")
    except Exception:  # every check reports, whatever went wrong in it
        failures += 1
        print(f"FAILED {check.__name__}\n{traceback.format_exc()}")
sys.exit(1 if failures else 0)
