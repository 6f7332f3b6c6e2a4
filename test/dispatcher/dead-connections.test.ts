// The network between a service and its database loses everything, and closes nothing.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openPostgres } from '../../src/platform/db-postgres.ts';
import { caller } from '../conformance/target.ts';
import { createDatabase } from '../support/databases.ts';
import { silent } from '../support/deps.ts';
import { enqueue } from '../support/notifications.ts';
import { startProxy } from '../support/proxy.ts';
import { startService, untilReady } from '../support/service.ts';
import { startSink } from '../support/sink.ts';

test('deliveries go on by themselves after every connection died without a word, and a stop ends in order', async (t) => {
  const database = await createDatabase();
  const proxy = await startProxy(database.url);
  const sink = await startSink();
  const open = openPostgres({ url: database.url, poolMax: 1, statementTimeoutMs: 5000, log: silent });
  const service = await startService({ DATABASE_URL: proxy.url });
  t.after(async () => {
    await service.stop('SIGKILL');
    proxy.close();
    await open.close();
    await sink.close();
    await database.drop();
  });
  const call = caller(() => service);
  const body = { url: sink.url('/'), events: ['nothing.ever'] };
  const { id } = (await call('POST', '/api/v1/webhook-endpoints', { body })).json;
  await call('POST', `/api/v1/webhook-endpoints/${id}/test`);
  await sink.received('/', 1);

  proxy.goDead();
  const since = performance.now();
  await enqueue(open.db, 5, id);
  await sink.received('/', 6);
  t.diagnostic(`told ${Math.round(performance.now() - since)} ms after the connections died`);
  assert.equal(new Set(sink.hooks.map(({ headers }) => headers['webhook-id'])).size, 6, 'none twice');
  await untilReady(service.url);

  proxy.goDead();
  assert.equal(await service.stop(), 0);
});
