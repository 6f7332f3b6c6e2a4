import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { sql } from 'drizzle-orm';
import { statement } from '../../src/db.ts';
import { openPglite } from '../../src/platform/db-pglite.ts';
import { inTime } from '../support/deps.ts';

setFlagsFromString('--expose-gc');
const collectGarbage: () => void = runInNewContext('gc');

test('what earlier statements returned is not kept', async (t) => {
  const { db, close } = await openPglite('memory://');
  t.after(close);
  const one = statement<object, { n: number }>('test.one', () => sql`select 1 as n`);
  const returned: WeakRef<object>[] = [];
  for (let n = 0; n < 10; n++) {
    const rows = await db.run(one, {}, inTime());
    returned.push(new WeakRef(rows));
  }
  const kept = () => returned.slice(0, -1).filter((each) => each.deref()).length;
  // A WeakRef that is looked at in a turn of the event loop holds its target until the turn ends.
  for (let turns = 0; turns < 10; turns++) {
    await turn();
    collectGarbage();
    if (kept() === 0) return;
  }
  assert.fail(`${kept()} of 9 results are kept`);
});
