// node-postgres (pg) against a server or a proxy: parameters, named statements, pools, transactions, types, NOTIFY, errors.
//
// Where to connect comes from libpq's environment (PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE; PGSSLMODE=require
// means TLS without a look at the certificate). NODE_PATH names the folder with the driver. Each check prints its name;
// any failure makes the exit code 1. Exit code 77: the driver isn't installed.
'use strict';
const assert = require('node:assert/strict');

let pg;
try {
  pg = require('pg');
} catch {
  console.log('skipped: the npm package pg is not installed');
  process.exit(77);
}

const tls = ['require', 'verify-ca', 'verify-full'].includes(process.env.PGSSLMODE);
const options = { ssl: tls ? { rejectUnauthorized: false } : false, connectionTimeoutMillis: 10000 };

async function withClient(work, extra = {}) {
  const client = new pg.Client({ ...options, ...extra });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

const checks = {
  async parameters_and_types_come_back_as_sent() {
    await withClient(async (client) => {
      const { rows } = await client.query(
        'SELECT $1::int AS i, $2::text AS t, $3::jsonb AS j, $4::bytea AS b, $5::bigint AS big, $6::int[] AS a, $7::text AS n',
        [7, 'naïve ☃', { deep: [1, { x: null }] }, Buffer.from([0, 1, 255]), '9007199254740993', [1, 2], null]);
      assert.deepEqual(rows[0], { i: 7, t: 'naïve ☃', j: { deep: [1, { x: null }] }, b: Buffer.from([0, 1, 255]),
        big: '9007199254740993', a: [1, 2], n: null });
    });
  },

  async named_statements_of_neighbours_do_not_mix() {
    const clients = Array.from({ length: 6 }, () => new pg.Client(options));
    await Promise.all(clients.map((client) => client.connect()));
    try {
      for (let turn = 0; turn < 15; ++turn) {
        await Promise.all(clients.map(async (client, number) => {
          const { rows } = await client.query({ name: 'same-name', text: `SELECT $1::int + ${number} AS sum`, values: [turn] });
          assert.equal(rows[0].sum, turn + number);
        }));
      }
    } finally {
      await Promise.all(clients.map((client) => client.end()));
    }
  },

  async a_busy_pool_answers_everybody() {
    const pool = new pg.Pool({ ...options, max: 10 });
    try {
      const sums = await Promise.all(Array.from({ length: 500 }, (_, i) => pool.query('SELECT $1::int * 3 AS x', [i])));
      sums.forEach((result, i) => assert.equal(result.rows[0].x, i * 3));
    } finally {
      await pool.end();
    }
  },

  async queued_queries_keep_their_order() {
    await withClient(async (client) => {
      const results = await Promise.all(Array.from({ length: 200 }, (_, i) => client.query(`SELECT ${i} AS x`)));
      results.forEach((result, i) => assert.equal(result.rows[0].x, i));
    });
  },

  async several_statements_in_one_query() {
    await withClient(async (client) => {
      const results = await client.query("SELECT 1 AS a; CREATE TEMP TABLE t (x int); INSERT INTO t VALUES (1),(2); SELECT count(*)::int AS c FROM t");
      assert.deepEqual(results.map((result) => result.command), ['SELECT', 'CREATE', 'INSERT', 'SELECT']);
      assert.equal(results[3].rows[0].c, 2);
    });
  },

  async transactions_commit_and_roll_back() {
    await withClient(async (client) => {
      await client.query('CREATE TEMP TABLE kept (id int PRIMARY KEY)');
      await client.query('BEGIN');
      await client.query('INSERT INTO kept VALUES ($1)', [1]);
      await client.query('ROLLBACK');
      await client.query('BEGIN');
      await client.query('INSERT INTO kept VALUES ($1)', [2]);
      await assert.rejects(client.query('INSERT INTO kept VALUES ($1)', [2]), { code: '23505' });
      await assert.rejects(client.query('SELECT 1'), { code: '25P02' });
      await client.query('ROLLBACK');
      assert.equal((await client.query('SELECT count(*)::int AS c FROM kept')).rows[0].c, 0);
    });
  },

  async errors_have_their_sqlstate_and_the_client_goes_on() {
    await withClient(async (client) => {
      await assert.rejects(client.query('SELEC 1'), { code: '42601' });
      await assert.rejects(client.query('SELECT 1/$1::int', [0]), { code: '22012' });
      await assert.rejects(client.query('SELECT * FROM no_such_table'), { code: '42P01' });
      assert.equal((await client.query('SELECT 5 AS x')).rows[0].x, 5);
    });
  },

  async start_up_options_hold() {
    await withClient(async (client) => {
      assert.equal((await client.query('SHOW statement_timeout')).rows[0].statement_timeout, '1234ms');
      await assert.rejects(client.query("SET statement_timeout = 100; SELECT pg_sleep(20)"), { code: '57014' });
      assert.equal((await client.query('SHOW application_name')).rows[0].application_name, 'node check');
    }, { statement_timeout: 1234, application_name: 'node check' });
  },

  async notifications_arrive() {
    await withClient((listener) => withClient(async (sender) => {
      const arrived = new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error('no notification within 10 s')), 10000);
        listener.once('notification', (message) => { clearTimeout(timer); resolve(message); });
      });
      await listener.query('LISTEN node_news');
      await sender.query("NOTIFY node_news, 'it''s here'");
      const message = await arrived;
      assert.deepEqual([message.channel, message.payload], ['node_news', "it's here"]);
    }));
  },

  async large_values_pass() {
    await withClient(async (client) => {
      const text = 'ä'.repeat(4 * 1024 * 1024);
      const { rows } = await client.query('SELECT $1::text AS t, length($1::text) AS n', [text]);
      assert.equal(rows[0].n, text.length);
      assert.equal(rows[0].t, text);
      const many = await client.query('SELECT i, repeat(md5(i::text), 8) AS t FROM generate_series(1, 50000) i');
      assert.equal(many.rows.length, 50000);
      assert.equal(many.rows[49999].i, 50000);
    });
  },

  async a_wrong_password_is_28P01() {
    const client = new pg.Client({ ...options, password: 'surely wrong' });
    client.on('error', () => {});
    try {
      await client.connect();
    } catch (error) {
      assert.equal(error.code, '28P01', error.message);
      return;
    }
    await client.end();
    assert.ok(process.env.HOLDFAST_TRUST, 'a wrong password was accepted');
  },
};

(async () => {
  let failures = 0;
  for (const [name, check] of Object.entries(checks)) {
    try {
      await check();
      console.log(`ok     ${name}`);
    } catch (error) {
      ++failures;
      console.log(`FAILED ${name}\n${error.stack}`);
    }
  }
  process.exit(failures ? 1 : 0);
})();
