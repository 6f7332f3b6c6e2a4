import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { beforeEach, test } from 'node:test';
import type { Db } from '../../src/db.ts';
import { resealSecrets } from '../../src/outbox/reseal.ts';
import { createSecretBox } from '../../src/platform/secret-box.ts';
import { connectTo, onEveryDatabase, openTestPostgres, untilBlocked } from '../support/databases.ts';
import { execute, newEndpoint, rowsOf } from '../support/notifications.ts';

const newKey = () => randomBytes(32).toString('base64');
const [OLD, NEW, FOREIGN] = [newKey(), newKey(), newKey()];
const [old, now, foreign] = [OLD, NEW, FOREIGN].map((key) => createSecretBox(key)) as [Box, Box, Box];
const both = createSecretBox(NEW, [OLD]);
type Box = ReturnType<typeof createSecretBox>;

/** Runs it to its end, a few endpoints at a time, and returns the result. */
async function reseal(db: Db) {
  let last: { looked: number; total: number; resealed: number; unopened: ReadonlySet<string> } | undefined;
  for await (const progress of resealSecrets(db, both, 2)) last = progress;
  if (!last) throw new Error('it told nothing');
  const { looked, total, resealed, unopened } = last;
  return { looked, total, resealed, unopened: [...unopened] };
}

const replaced = async (box: Box, text: string, until: string) =>
  `jsonb_build_object('secret', '${await box.seal(text)}', 'until', now() + interval '${until}')`;

/** Lets earlier secrets sign beside the current one. */
const setPrevious = (db: Db, id: string, entries: string[]) =>
  execute(
    db,
    `update webhook_endpoints set previous_secrets = jsonb_build_array(${entries.join()}) where id = '${id}'`,
  );

type Row = { id: string; secret: string; previous: { secret: string; until: string }[]; version: number; xmin: string };
const rows = (db: Db) =>
  rowsOf<Row>(db, 'select id, secret, previous_secrets as previous, version, xmin::text from webhook_endpoints');

onEveryDatabase('sealing anew', (db) => {
  beforeEach(() => execute(db, 'truncate webhook_endpoints'));

  test('puts every secret under the new key, replaced ones that still sign included, and is no change to a client', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.push(await newEndpoint(db, undefined, await old.seal(`secret ${i}`)));
    const rotated = ids[3] as string;
    await setPrevious(db, rotated, [
      await replaced(foreign, 'expired', '-1 second'),
      await replaced(old, 'older', '1 hour'),
      await replaced(now, 'newer', '2 hours'),
    ]);
    const untils = (await rows(db)).find(({ id }) => id === rotated)?.previous.map(({ until }) => until) ?? [];
    assert.deepEqual(await reseal(db), { looked: 5, total: 5, resealed: 5, unopened: [] });
    for (const { id, secret, previous, version } of await rows(db)) {
      assert.equal(await now.open(secret), `secret ${ids.indexOf(id)}`);
      const texts = await Promise.all(previous.map((each) => now.open(each.secret)));
      assert.deepEqual(texts, id === rotated ? ['older', 'newer'] : []);
      if (id === rotated)
        assert.deepEqual(
          previous.map(({ until }) => until),
          untils.slice(1),
        );
      assert.equal(version, 1);
    }
  });

  test('leaves alone what is under the new key', async () => {
    for (let i = 0; i < 3; i++) await newEndpoint(db, undefined, await (i === 1 ? old : now).seal(`secret ${i}`));
    const before = await rows(db);
    assert.deepEqual(await reseal(db), { looked: 3, total: 3, resealed: 1, unopened: [] });
    const after = await rows(db);
    const changed = before.filter(({ id, xmin }) => after.find((row) => row.id === id)?.xmin !== xmin);
    assert.deepEqual(await Promise.all(changed.map(({ secret }) => old.open(secret))), ['secret 1']);
    assert.deepEqual(await reseal(db), { looked: 3, total: 3, resealed: 0, unopened: [] });
    assert.deepEqual(await rows(db), after);
  });

  test('counts no endpoint that is deleted while its page is looked at', async () => {
    const lost = await newEndpoint(db, undefined, await foreign.seal('lost'));
    const changing = await newEndpoint(db, undefined, await old.seal('one'));
    let changed = false;
    // Just before the first page is written.
    const racing: Db = {
      ...db,
      async run(statement, values, signal) {
        if (!changed && statement.name === 'webhook_endpoints.reseal') {
          changed = true;
          await execute(db, `delete from webhook_endpoints where id = '${lost}'`);
          await execute(
            db,
            `update webhook_endpoints set secret = '${await old.seal('two')}' where id = '${changing}'`,
          );
        }
        return db.run(statement, values, signal);
      },
    };
    assert.deepEqual(await reseal(racing), { looked: 1, total: 2, resealed: 1, unopened: [] });
    assert.ok(changed);
  });

  test('names the endpoints with a secret that no key opens, keeps it, and goes on with the others', async () => {
    const lost = await newEndpoint(db, undefined, await foreign.seal('lost'));
    const halfLost = await newEndpoint(db, undefined, await old.seal('kept'));
    await setPrevious(db, halfLost, [await replaced(foreign, 'lost too', '1 hour')]);
    await newEndpoint(db, undefined, await old.seal('well'));
    const outcome = await reseal(db);
    assert.deepEqual(
      { ...outcome, unopened: outcome.unopened.sort() },
      {
        ...{ looked: 3, total: 3, resealed: 1 },
        unopened: [lost, halfLost].sort(),
      },
    );
    const after = Object.fromEntries((await rows(db)).map((row) => [row.id, row]));
    assert.equal(await foreign.open(after[lost]?.secret ?? ''), 'lost');
    assert.equal(await now.open(after[halfLost]?.secret ?? ''), 'kept');
    assert.equal(await foreign.open(after[halfLost]?.previous[0]?.secret ?? ''), 'lost too');
    assert.deepEqual((await reseal(db)).unopened.length, 2, 'as often as it is run');
  });
});

test('a rotation that comes between reading and writing is not lost', async (t) => {
  const { db, name, close } = await openTestPostgres();
  const rotating = await connectTo(name);
  t.after(() => rotating.close().then(close));
  const ids = [
    await newEndpoint(db, undefined, await old.seal('one')),
    await newEndpoint(db, undefined, await old.seal('two')),
  ];
  await rotating.text(
    `begin; update webhook_endpoints set secret = '${await old.seal('rotated')}' where id = '${ids[0]}'`,
  );
  const resealing = reseal(db);
  await untilBlocked(name, resealing);
  await rotating.text('commit');
  assert.deepEqual(await resealing, { looked: 2, total: 2, resealed: 2, unopened: [] });
  const secrets = await Promise.all((await rows(db)).map(async ({ id, secret }) => [id, await now.open(secret)]));
  assert.deepEqual(Object.fromEntries(secrets), { [ids[0] as string]: 'rotated', [ids[1] as string]: 'two' });
});

test('two at once share the work, and both end', async (t) => {
  const { db, close } = await openTestPostgres();
  t.after(close);
  for (let i = 0; i < 40; i++) await newEndpoint(db, undefined, await old.seal(`secret ${i}`));
  const [one, two] = await Promise.all([reseal(db), reseal(db)]);
  assert.deepEqual([one.looked, two.looked, one.resealed + two.resealed], [40, 40, 40]);
  for (const { secret } of await rows(db)) await now.open(secret);
});
