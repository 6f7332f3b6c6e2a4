import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { postgresBackend, startNeonEndpoint } from '../../src/platform/neon-endpoint.ts';
import { createDatabase } from '../support/databases.ts';
import { startProxy } from '../support/proxy.ts';

describe('the Neon endpoint', async () => {
  const { url, drop } = await createDatabase();
  const endpoint = await startNeonEndpoint({ backend: postgresBackend(url) });
  after(async () => {
    await endpoint.close();
    await drop();
  });
  const common = { 'Neon-Connection-String': url, 'Neon-Raw-Text-Output': 'true', 'Neon-Array-Mode': 'true' };

  async function post(body: unknown, headers: Record<string, string> = common, to = endpoint.url) {
    const response = await fetch(to, { method: 'POST', headers, body: JSON.stringify(body) });
    return { status: response.status, body: (await response.json()) as Record<string, unknown> };
  }

  it('wants a connection string, of its own database', async () => {
    assert.equal((await post({ query: 'select 1' }, {})).status, 400);
    const other = { ...common, 'Neon-Connection-String': `${url}x` };
    assert.equal((await post({ query: 'select 1' }, other)).status, 400);
  });

  it('answers with text, and refuses what is too large', async () => {
    const { status, body } = await post({ query: 'select $1::int + 1 as n', params: [41] });
    assert.equal(status, 200);
    assert.deepEqual(body.fields, [{ name: 'n', dataTypeID: 23 }]);
    assert.deepEqual([body.rows, body.command, body.rowCount], [[['42']], 'SELECT', 1]);
    assert.equal((await post({ query: `select repeat('x', 11000000)` })).status, 507);
  });

  it('answers 400 without a code when its own connection breaks, as Neon does', async (t) => {
    const proxy = await startProxy(url);
    const broken = await startNeonEndpoint({ backend: postgresBackend(proxy.url) });
    t.after(() => broken.close().then(proxy.close));
    assert.equal((await post({ query: 'select 1' }, common, broken.url)).status, 200);
    proxy.cutAnswers(1);
    const { status, body } = await post({ query: 'select 1' }, common, broken.url);
    assert.deepEqual([status, body.code], [400, null]);
  });

  it('runs a batch in one transaction', async () => {
    const insert = (n: number) => ({
      query: `insert into messages (id, type, body, created_at) values ($1, 'a.b', '{}', now())`,
      params: [`00000000-0000-7000-8000-00000000000${n}`],
    });
    const failed = await post({ queries: [insert(1), insert(1)] });
    assert.deepEqual([failed.status, failed.body.code], [400, '23505']);
    assert.equal(failed.body.constraint, 'messages_pkey');
    const count = { query: 'select count(*), current_setting($1) from messages', params: ['transaction_isolation'] };
    const serializable = { ...common, 'Neon-Batch-Isolation-Level': 'Serializable' };
    const { body } = await post({ queries: [count, insert(2), count] }, serializable);
    const rows = (body.results as { rows: unknown[] }[]).map((result) => result.rows);
    assert.deepEqual(rows, [[['0', 'serializable']], [], [['1', 'serializable']]]);
    const readOnly = await post({ queries: [insert(3)] }, { ...common, 'Neon-Batch-Read-Only': 'true' });
    assert.equal(readOnly.body.code, '25006');
  });
});
