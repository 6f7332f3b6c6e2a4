import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { caller, unique } from '../conformance/target.ts';
import { ownDatabase } from '../support/databases.ts';
import { query } from '../support/postgres-server.ts';
import { startService } from '../support/service.ts';

test('whatever becomes of a user, no name and no address reaches the log', async (t) => {
  const database = await ownDatabase(t);
  const service = await startService({ DATABASE_URL: database.url, LOG_LEVEL: 'debug' });
  t.after(() => service.stop('SIGKILL'));
  const call = caller(() => service);
  const all: string[] = [];
  const canary = () => {
    all.push(`canary${randomBytes(8).toString('hex')}`);
    return all.at(-1) as string;
  };
  const person = (name = '') => ({ email: `${canary()}@example.com`, name: `${name}${canary()}` });
  const USERS = '/api/v1/users';

  const body = person();
  const { status, json } = await call('POST', USERS, { body });
  assert.equal(status, 201);
  await service.line(({ msg }) => msg === 'notification sent');
  const other = { ...body, email: body.email.toUpperCase() };
  assert.equal((await call('POST', USERS, { body: other })).status, 409);
  assert.equal((await call('PUT', `${USERS}/${json.id}`, { body: person() })).status, 200);
  assert.equal((await call('PUT', `${USERS}/${unique()}`, { body: person() })).status, 404);
  assert.equal((await call('GET', `${USERS}?email=${body.email}`)).status, 200);
  assert.equal((await call('GET', `${USERS}?email=${canary()}`)).status, 422);
  await query(database.name, `alter table users add constraint refused check (name !~ '^refused')`);
  assert.equal((await call('POST', USERS, { body: person('refused') })).status, 500);
  assert.equal((await call('DELETE', `${USERS}/${json.id}`)).status, 204);
  assert.equal(await service.stop(), 0);
  for (const word of all) assert.ok(!service.output().toLowerCase().includes(word), service.output());
});
