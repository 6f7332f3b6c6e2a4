// npm run bench:latency: how long after a commit an idle service posts the webhook.
import { setTimeout as pass } from 'node:timers/promises';
import { createDatabase } from '../support/databases.ts';
import { query, startPostgres } from '../support/postgres-server.ts';
import { startService } from '../support/service.ts';
import { startSink } from '../support/sink.ts';
import { headers } from '../support/tokens.ts';
import { spread } from './figures.ts';
import { BODY, EVENT, MADE, NAME, PATH } from './measured.ts';
import { register } from './seed.ts';

const WARM_UP = 20;

/** Creates rows one by one; returns the milliseconds from three moments until the webhook is at the sink. */
export async function measureLatency({ count = 200, everyMs = 50 } = {}) {
  const database = await createDatabase();
  const sink = await startSink();
  const service = await startService({ DATABASE_URL: database.url, RATE_LIMIT_MAX: '1000000' });
  try {
    await register(service, sink.url('/'), EVENT);
    const asked: number[] = [];
    const answered: number[] = [];
    for (let i = 0; i < WARM_UP + count; i++) {
      const next = pass(everyMs);
      asked.push(performance.now());
      const body = BODY.replace('{unique}', `latency-${i}`);
      const made = await fetch(service.url + PATH, { method: 'POST', headers: headers(), body });
      answered.push(performance.now());
      if (made.status !== MADE) throw new Error(await made.text());
      await made.arrayBuffer();
      await next;
    }
    const hooks = await sink.received('/', WARM_UP + count);
    const arrived = new Map(hooks.map(({ headers, at }) => [String(headers['webhook-id']), at]));
    const rows = await query(
      database.name,
      `select n.id, extract(epoch from n.created_at)::float8 * 1000 as at from notifications n
       where n.channel = 'webhook' order by n.id`,
    );
    const arrivals = rows.map(({ id }) => arrived.get(String(id)) as number);
    const begun = rows.map(({ at }) => Number(at) - performance.timeOrigin);
    return {
      count,
      everyMs,
      'the request, before it is sent': since(asked, arrivals),
      'the start of the statement that commits': since(begun, arrivals),
      'the response, at the client': since(answered, arrivals),
    };
  } finally {
    await sink.close();
    await service.stop('SIGKILL');
    await database.drop();
  }
}

function since(starts: number[], ends: number[]) {
  return spread(ends.map((end, i) => end - (starts[i] as number)).slice(WARM_UP));
}

if (import.meta.main) {
  const postgres = await startPostgres({ durable: true });
  try {
    const { count, everyMs, ...waits } = await measureLatency();
    console.log(`${count} ${NAME}, one every ${everyMs} ms; milliseconds until the webhook is at the sink, from`);
    console.table(waits);
  } finally {
    await postgres.stop();
  }
}
