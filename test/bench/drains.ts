import { setTimeout as pass } from 'node:timers/promises';
import { dispatcherConfig } from '../../src/entry/workers-config.ts';
import { openNeon } from '../../src/platform/db-neon.ts';
import { postgresBackend, startNeonEndpoint } from '../../src/platform/neon-endpoint.ts';
import { createSecretBox } from '../../src/platform/secret-box.ts';
import { createDrain } from '../../worker-cron/drain.ts';
import { createDatabase } from '../support/databases.ts';
import { silent } from '../support/deps.ts';
import { enqueue, newEndpoint } from '../support/notifications.ts';
import { startSink } from '../support/sink.ts';
import { round } from './figures.ts';
import type { Promised } from './isolation-section.ts';

const SECRETS_KEY = Buffer.alloc(32, 7).toString('base64');
const ENDPOINTS = 20;
const EACH = 50;
const ANSWER_MS = 100;

/** Measures what one and four Durable Objects deliver to receivers that take 100 ms. */
export async function measureDrains(): Promise<Promised[]> {
  const [one, four] = [await perSecond(1), await perSecond(4)];
  const beside = `receivers that take ${ANSWER_MS} ms`;
  return [
    { beside, figure: 'one Durable Object, deliveries/s', value: Math.round(one) },
    { beside, figure: 'four of them, times as many', value: round(four / one, 2), atLeast: 3 },
  ];
}

async function perSecond(objects: number): Promise<number> {
  const database = await createDatabase();
  const neon = await startNeonEndpoint({ backend: postgresBackend(database.url) });
  const sink = await startSink();
  try {
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
    return delivered / seconds;
  } finally {
    await sink.close();
    await neon.close();
    await database.drop();
  }
}
