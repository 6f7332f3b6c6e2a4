// npm run bench:drains: what four dispatchers on Workers deliver, as a multiple of what one does.
import { setTimeout as pass } from 'node:timers/promises';
import { dispatcherConfig } from '../../src/entry/workers-config.ts';
import { openNeon } from '../../src/platform/db-neon.ts';
import { postgresBackend, startNeonEndpoint } from '../../src/platform/neon-endpoint.ts';
import { createSecretBox } from '../../src/platform/secret-box.ts';
import { createDrain } from '../../worker-cron/drain.ts';
import { createDatabase } from '../support/databases.ts';
import { silent } from '../support/deps.ts';
import { enqueue, newEndpoint } from '../support/notifications.ts';
import { startPostgres } from '../support/postgres-server.ts';
import { startSink } from '../support/sink.ts';

const SECRETS_KEY = Buffer.alloc(32, 7).toString('base64');
const ENDPOINTS = 20;
const EACH = 50;
const ANSWER_MS = 100;

const postgres = await startPostgres({ durable: true });
const rows = [];
try {
  for (const objects of [1, 4]) rows.push({ objects, 'deliveries/s': Math.round(await perSecond(objects)) });
  const [one, four] = rows.map((row) => row['deliveries/s']) as [number, number];
  console.table(rows);
  console.log(`four deliver ${(four / one).toFixed(2)} times what one does`);
} finally {
  await postgres.stop();
}

async function perSecond(objects: number): Promise<number> {
  const database = await createDatabase();
  const neon = await startNeonEndpoint({ backend: postgresBackend(database.url) });
  const sink = await startSink();
  const { db } = openNeon({ url: database.url, fetchEndpoint: neon.url });
  const secret = await createSecretBox(SECRETS_KEY).seal(`whsec_${Buffer.alloc(32, 1).toString('base64')}`);
  for (let i = 0; i < ENDPOINTS; i++) {
    sink.reply(`/${i}`, async (_, response) => {
      await pass(ANSWER_MS);
      response.writeHead(204).end();
    });
    await enqueue(db, EACH, await newEndpoint(db, sink.url(`/${i}`), secret));
  }
  const config = dispatcherConfig({ DATABASE_URL: database.url, SECRETS_KEY, DISPATCH_SUBREQUESTS: 1000 });
  const start = performance.now();
  const object = async () => {
    const { drain } = createDrain(config, db, silent);
    while ((await drain()).nextMs === 0);
  };
  await Promise.all(Array.from({ length: objects }, object));
  const seconds = (performance.now() - start) / 1000;
  const delivered = sink.hooks.length;
  if (delivered !== ENDPOINTS * EACH) throw new Error(`${delivered} deliveries`);
  await sink.close();
  await neon.close();
  await database.drop();
  return delivered / seconds;
}
