import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openPostgres } from '../../src/platform/db-postgres.ts';
import { caller } from '../conformance/target.ts';
import { createDatabase } from '../support/databases.ts';
import { silent } from '../support/deps.ts';
import { enqueue } from '../support/notifications.ts';
import { query } from '../support/postgres-server.ts';
import { type Service, startService } from '../support/service.ts';
import { type Sink, startSink } from '../support/sink.ts';

const GOOD = Array.from({ length: 9 }, (_, i) => `/good-${i}`);
const EACH = 100;

let database: Awaited<ReturnType<typeof createDatabase>>;
let service: Service;
let sink: Sink;

before(async () => {
  database = await createDatabase();
  service = await startService({ DATABASE_URL: database.url });
  sink = await startSink();
});

after(async () => {
  // First, because this ends what hangs.
  await sink.close();
  await service.stop();
  await database.drop();
});

// npm run bench:isolation measures how fast.
test('one endpoint of ten never answers, with its backlog first in line: the other nine get all of theirs', async () => {
  const call = caller(() => service);
  const register = async (path: string): Promise<string> => {
    const body = { url: sink.url(path), events: ['nothing.ever'] };
    return (await call('POST', '/api/v1/webhook-endpoints', { body })).json.id;
  };
  let gaveUp = 0;
  sink.reply('/hangs', (_, response) => {
    response.on('close', () => gaveUp++);
  });
  const hanging = await register('/hangs');
  const good = await Promise.all(GOOD.map(register));
  const open = openPostgres({ url: database.url, poolMax: 1, statementTimeoutMs: 5000, log: silent });
  await enqueue(open.db, 2 * EACH, hanging);
  for (const id of good) await enqueue(open.db, EACH, id);
  await open.close();
  await query(database.name, 'notify keelson_due');

  await Promise.all(GOOD.map((path) => sink.received(path, EACH)));
  assert.equal(gaveUp, 0, 'the others have waited for a time-out of the one that hangs');
  const stuck = sink.hooks.filter(({ path }) => path === '/hangs').length;
  assert.ok(stuck > 0 && stuck <= 4, `${stuck} under way to the one that hangs`);
});
