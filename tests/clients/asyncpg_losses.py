#!/usr/bin/python3
"""asyncpg behind a proxy whose server is lost; as psycopg_losses.py. It prepares with a Flush, and leaves the batch open
until the statement runs. Exit code 77: asyncpg isn't installed."""

import asyncio
import os
import sys
import traceback

try:
    import asyncpg
except ImportError:
    print("skipped: python3-asyncpg isn't installed")
    sys.exit(77)


async def lose():
    path = os.path.join(os.environ["HOLDFAST_LOSE"], "lose")
    open(path, "w", encoding="utf-8").close()
    while os.path.exists(path):
        await asyncio.sleep(0.01)


async def state_of(work):
    try:
        await work
    except asyncpg.PostgresError as error:
        return error.sqlstate
    return "no error"


async def rows(connection, number):
    return await connection.fetchval("SELECT count(*) FROM kept WHERE a = $1", number)


async def idle(connection):
    await connection.fetchval("SELECT 1")
    await lose()
    assert await connection.fetchval("SELECT 2") == 2


async def in_a_block(connection):
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("INSERT INTO kept VALUES (1)")
    await lose()
    state = await state_of(connection.fetchval("SELECT 1"))
    assert state == "40001", state
    await transaction.rollback()
    assert await rows(connection, 1) == 0


async def in_a_block_that_is_committed(connection):
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("INSERT INTO kept VALUES ($1)", 2)
    await lose()
    state = await state_of(transaction.commit())
    assert state == "40001", state
    assert await rows(connection, 2) == 0


async def with_a_prepared_statement(connection):
    statement = await connection.prepare("INSERT INTO kept VALUES (3) RETURNING a")
    await lose()
    state = await state_of(statement.fetchval())
    # It has not run: either it is told so, or it runs now.
    assert (state, await rows(connection, 3)) in (("40001", 0), ("no error", 1)), state
    assert await connection.fetchval("SELECT 4") == 4


async def in_flight(connection):
    other = await asyncpg.connect()
    write = asyncio.ensure_future(state_of(connection.execute("INSERT INTO kept SELECT 5 FROM pg_sleep(600)")))
    while not await other.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
        await asyncio.sleep(0.01)
    await lose()
    state = await write
    assert state == "08007", state
    assert await rows(connection, 5) == 0
    await other.close()


async def main():
    failures = 0
    for check in (idle, in_a_block, in_a_block_that_is_committed, with_a_prepared_statement, in_flight):
        try:
            connection = await asyncpg.connect(statement_cache_size=0)
            await check(connection)
            await connection.close()
            print(f"ok     {check.__name__}")
        except Exception:  # every check reports, whatever went wrong in it
            failures += 1
            print(f"FAILED {check.__name__}\n{traceback.format_exc()}")
    return 1 if failures else 0


sys.exit(asyncio.run(asyncio.wait_for(main(), 110)))
