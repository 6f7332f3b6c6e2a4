import { createDatabase } from '../support/databases.ts';
import { query } from '../support/postgres-server.ts';
import { startService } from '../support/service.ts';
import { median } from './figures.ts';
import type { Promised } from './isolation-section.ts';
import { epochMs, type Receivers, startReceivers } from './receivers.ts';
import { queueDue, register } from './seed.ts';

const ROUNDS = 5;
const GOOD = 9;
const EACH = 500;
const HANGING = 200;
const WARM_UP = 100;
/** What the nine must get beside one that hangs, as a share of what they get without it. */
const SHARE = 0.9;

/** What nine endpoints receive beside a tenth that hangs, and without it. */
export async function measureFairness(): Promise<Promised[]> {
  const receivers = await startReceivers({ count: GOOD + 1, hanging: 1 });
  try {
    const rows: { without: number; with: number }[] = [];
    for (let i = 0; i < ROUNDS; i++) {
      // They take turns going first, so that a machine that gets busier favours neither.
      const first = await round(receivers, i % 2 === 1);
      const second = await round(receivers, i % 2 === 0);
      rows.push(i % 2 === 0 ? { without: first, with: second } : { without: second, with: first });
    }
    const without = median(rows.map((row) => row.without));
    const beside = median(rows.map((row) => row.with));
    const figure = `${GOOD} endpoints, deliveries/s`;
    return [
      { beside: 'nothing', figure, value: without },
      { beside: 'an endpoint that never answers', figure, value: beside, atLeast: Math.round(SHARE * without) },
    ];
  } finally {
    receivers.stop();
  }
}

/** Returns the deliveries per second to the nine, by a service with default settings on its own database. */
async function round({ urls, expect }: Receivers, hangs: boolean): Promise<number> {
  const database = await createDatabase();
  const service = await startService({ DATABASE_URL: database.url });
  try {
    const ids: string[] = [];
    for (const url of urls) ids.push(await register(service, url));
    const deliver = async (each: number, hanging: number) => {
      const { arrived } = await expect(GOOD * each);
      await queueDue(database.name, Object.fromEntries(ids.map((id, i) => [id, i < GOOD ? each : hanging])));
      const start = epochMs();
      await query(database.name, 'notify keelson_due');
      return Math.round((GOOD * each * 1000) / ((await arrived).last - start));
    };
    await deliver(WARM_UP, 0);
    return await deliver(EACH, hangs ? HANGING : 0);
  } finally {
    await service.stop('SIGKILL');
    await database.drop();
  }
}
