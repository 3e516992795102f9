// node-postgres behind a proxy whose server is lost; as psycopg_losses.py. Exit code 77: the driver isn't installed.
'use strict';
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');

let pg;
try {
  pg = require('pg');
} catch {
  console.log('skipped: the npm package pg is not installed');
  process.exit(77);
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 10));
async function lose() {
  const file = path.join(process.env.HOLDFAST_LOSE, 'lose');
  fs.writeFileSync(file, '');
  while (fs.existsSync(file)) await pause();
}
const stateOf = (work) => work.then(() => 'no error', (error) => error.code ?? error.message);
const rows = async (client, number) =>
  (await client.query('SELECT count(*)::int AS n FROM kept WHERE a = $1', [number])).rows[0].n;

const checks = {
  async idle(client) {
    await client.query('SELECT 1');
    await lose();
    assert.equal((await client.query('SELECT 2 AS x')).rows[0].x, 2);
  },
  async in_a_block(client) {
    await client.query('BEGIN');
    await client.query('INSERT INTO kept VALUES (1)');
    await lose();
    assert.equal(await stateOf(client.query('SELECT 1')), '40001');
    assert.equal(await stateOf(client.query('SELECT $1::int', [1])), '25P02');
    await client.query('ROLLBACK');
    assert.equal(await rows(client, 1), 0);
  },
  async in_a_block_that_is_committed(client) {
    await client.query('BEGIN');
    await client.query('INSERT INTO kept VALUES ($1)', [2]);
    await lose();
    assert.equal(await stateOf(client.query('COMMIT')), '40001');
    assert.equal(await rows(client, 2), 0);
  },
  async in_flight(client) {
    const other = new pg.Client();
    await other.connect();
    const write = stateOf(client.query('INSERT INTO kept SELECT $1::int FROM pg_sleep(600)', [3]));
    const sleepers = "SELECT count(*)::int AS n FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    while ((await other.query(sleepers)).rows[0].n === 0) await pause();
    await lose();
    assert.equal(await write, '08007');
    assert.equal(await rows(client, 3), 0);
    await other.end();
  },
};

(async () => {
  let failures = 0;
  for (const [name, check] of Object.entries(checks)) {
    try {
      const client = new pg.Client();
      await client.connect();
      await check(client);
      await client.end();
      console.log(`ok     ${name}`);
    } catch (error) {
      ++failures;
      console.log(`FAILED ${name}\n${error.stack}`);
    }
  }
  process.exit(failures ? 1 : 0);
})();
