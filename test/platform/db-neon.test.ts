import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import { PGlite } from '@electric-sql/pglite';
import { sql } from 'drizzle-orm';
import { DbError, statement } from '../../src/db.ts';
import { openNeon } from '../../src/platform/db-neon.ts';
import { pgliteBackend, postgresBackend, startNeonEndpoint } from '../../src/platform/neon-endpoint.ts';
import { createDatabase } from '../support/databases.ts';
import { inTime } from '../support/deps.ts';
import { freePort, query } from '../support/postgres-server.ts';

const types = statement<{ id: string }, Record<string, unknown>>(
  'test.types',
  ($) => sql`select ${$.id}::uuid as id, 7::int4 as int, true as bool, 0.5::float8 as float, null as nothing,
    '2026-01-02T03:04:05.678Z'::timestamptz as time, 5::int8 as big, '{"a":[1]}'::jsonb as json, 'ü' as text`,
);
const failing = (code: string) =>
  statement<object, unknown>(`test.${code}`, () => sql.raw(`do $$ begin raise sqlstate '${code}'; end $$`));
const sleep = statement<{ s: number }, unknown>('test.sleep', ($) => sql`select pg_sleep(${$.s}::float8)`);

describe('the Neon driver', () => {
  const PASSWORD = 'pa55word';
  const url = `postgres://someone:${PASSWORD}@db.example.com/app`;

  for (const [name, open] of Object.entries({
    postgres: async () => {
      const { url, drop } = await createDatabase();
      return { url, backend: postgresBackend(url), drop };
    },
    pglite: async () => ({ url, backend: pgliteBackend(await PGlite.create('memory://')), drop: async () => {} }),
  })) {
    it(`gives values the types that the other drivers give them (${name})`, async (t) => {
      const { url, backend, drop } = await open();
      const endpoint = await startNeonEndpoint({ backend });
      t.after(() => endpoint.close().then(drop));
      const { db } = openNeon({ url, fetchEndpoint: endpoint.url });
      const id = '018f0000-0000-7000-8000-000000000001';
      const time = '2026-01-02T03:04:05.678Z';
      const rest = { int: 7, bool: true, float: 0.5, nothing: null, big: '5', json: { a: [1] }, text: 'ü' };
      assert.deepEqual(await db.run(types, { id }, inTime()), [{ id, time, ...rest }]);
      assert.equal(endpoint.requests(), 1);
      await assert.rejects(db.run(failing('23505'), {}, inTime()), { failure: 'failed', sqlState: '23505' });
      await assert.rejects(db.run(failing('40001'), {}, inTime()), { failure: 'unavailable', sqlState: '40001' });
      await assert.rejects(db.run({ ...failing('2'), text: 'select 1; select 2' }, {}, inTime()), {
        sqlState: '42601',
      });
    });
  }

  it('cancels the statement of a client that hangs up, or that outlasts its time', async (t) => {
    const { url, name, drop } = await createDatabase();
    const endpoint = await startNeonEndpoint({ backend: postgresBackend(url) });
    t.after(() => endpoint.close().then(drop));
    const running = `select 1 from pg_stat_activity where datname = '${name}' and query like '%pg_sleep(%'
      and state = 'active' and pid <> pg_backend_pid()`;

    const { db } = openNeon({ url, fetchEndpoint: endpoint.url });
    const gone = db.run(sleep, { s: 300 }, AbortSignal.timeout(200));
    await assert.rejects(gone, { failure: 'unknown', sqlState: undefined });
    while ((await query(name, running)).length > 0);

    const timed = openNeon({ url, fetchEndpoint: endpoint.url, statementTimeoutMs: 300 }).db;
    // The deadline passes shortly before the server's: the server's response is awaited.
    const late = async () => {
      const error = await timed.run(sleep, { s: 30 }, AbortSignal.timeout(290)).catch((error) => error as DbError);
      assert.ok(error instanceof DbError);
      return error;
    };
    let { failure, sqlState } = await late();
    // On a busy machine the response may come too late.
    for (let retries = 2; failure === 'unknown' && retries > 0; retries--) ({ failure, sqlState } = await late());
    assert.deepEqual([failure, sqlState], ['canceled', '57014']);
  });

  const html: RequestListener = (_, response) => void response.end('<html>hello</html>');
  const half: RequestListener = (_, response) => {
    response.writeHead(200, { 'Content-Length': '1000' }).write('{"rows":[', () => response.destroy());
  };
  const broken: RequestListener = (_, response) => void response.writeHead(500).end('{"message":"no compute"}');
  const empty: RequestListener = (_, response) => void response.end('null');
  // The response of Neon's proxy when its own connection breaks: the statement may have been executed.
  const lost: RequestListener = (_, response) =>
    void response.writeHead(400).end('{"message":"connection closed","code":""}');
  for (const [what, listener] of Object.entries({ html, half, broken, empty, lost })) {
    it(`does not know what became of the statement when the answer is ${what}`, async () => {
      const server = createServer(listener).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const fetchEndpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/sql`;
      const run = openNeon({ url, fetchEndpoint }).db.run(sleep, { s: 0 }, inTime());
      await assert.rejects(run, fails('unknown')).finally(() => {
        server.close();
        server.closeAllConnections();
      });
    });
  }

  for (const body of ['<html>', '{"message":"too many requests"}']) {
    it(`calls the database unavailable when the request is refused with ${body}`, async () => {
      const server = createServer((_, response) => response.writeHead(429).end(body)).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const fetchEndpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/sql`;
      const run = openNeon({ url, fetchEndpoint }).db.run(sleep, { s: 0 }, inTime());
      await assert.rejects(run, fails('unavailable')).finally(() => {
        server.close();
        server.closeAllConnections();
      });
    });
  }

  it('calls it unavailable when nobody listens', async () => {
    const { db } = openNeon({ url, fetchEndpoint: `http://127.0.0.1:${await freePort()}/sql` });
    await assert.rejects(
      db.run(sleep, { s: 0 }, inTime()),
      (error) => fails('unavailable')(error) && /ECONNREFUSED/.test(String(error)),
    );
  });

  it('never tells the password', async () => {
    assert.throws(() => openNeon({ url: `postgres://a:${PASSWORD}@[bad/db` }), withoutPassword);
    const { db } = openNeon({ url: `postgres://:${PASSWORD}@host/`, fetchEndpoint: 'http://127.0.0.1:1/sql' });
    await assert.rejects(db.run(sleep, { s: 0 }, inTime()), fails('unknown'));
  });

  function fails(as: DbError['failure']): (error: unknown) => boolean {
    return (error) => error instanceof DbError && error.failure === as && withoutPassword(error);
  }
  function withoutPassword(error: unknown): boolean {
    const { message, stack, cause } = error as Error;
    return !`${message} ${stack} ${cause} ${JSON.stringify(error)}`.includes(PASSWORD);
  }
});
