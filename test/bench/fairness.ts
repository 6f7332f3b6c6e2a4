// npm run bench:fairness [-- <rounds>]: what nine endpoints get while a tenth hangs, as a share of what they get without it.
import { createDatabase } from '../support/databases.ts';
import { query, startPostgres } from '../support/postgres-server.ts';
import { startService } from '../support/service.ts';
import { median } from './figures.ts';
import { epochMs, type Receivers, startReceivers } from './receivers.ts';
import { queueDue, register } from './seed.ts';

const ROUNDS = Number(process.argv[2] ?? 5);
const GOOD = 9;
const EACH = 500;
const HANGING = 200;
const WARM_UP = 100;

const postgres = await startPostgres({ durable: true });
const receivers = await startReceivers({ count: GOOD + 1, hanging: 1 });
try {
  const rows: { without: number; with: number }[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    // Either goes first in turn, so that a machine that gets busier favours neither.
    const first = await round(receivers, i % 2 === 1);
    const second = await round(receivers, i % 2 === 0);
    rows.push(i % 2 === 0 ? { without: first, with: second } : { without: second, with: first });
  }
  console.table(rows);
  const rates = { without: median(rows.map((row) => row.without)), with: median(rows.map((row) => row.with)) };
  const share = `${((100 * rates.with) / rates.without).toFixed(1)} %`;
  console.log(`Deliveries/s to nine endpoints, medians of ${ROUNDS}; the tenth hangs, or has nothing to be told:`);
  console.table({ ...rates, share });
} finally {
  receivers.stop();
  await postgres.stop();
}

/** Deliveries a second to the nine, by a service with default settings on a database of its own. */
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
