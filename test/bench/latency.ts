// npm run bench:latency: how long after a commit an idle service posts the webhook.
import { createDatabase } from '../support/databases.ts';
import { query, startPostgres } from '../support/postgres-server.ts';
import { startService } from '../support/service.ts';
import { startSink } from '../support/sink.ts';
import { headers } from '../support/tokens.ts';

const COUNT = 200;
const EVERY_MS = 50;
const WARM_UP = 20;

const postgres = await startPostgres({ durable: true });
const database = await createDatabase();
const sink = await startSink();
const service = await startService({ DATABASE_URL: database.url, RATE_LIMIT_MAX: '1000000' });
const post = (path: string, body: object) =>
  fetch(service.url + path, { method: 'POST', headers: headers(), body: JSON.stringify(body) });

try {
  await post('/api/v1/webhook-endpoints', { url: sink.url('/'), events: ['user.created'] });
  const asked: number[] = [];
  const answered: number[] = [];
  for (let i = 0; i < WARM_UP + COUNT; i++) {
    const next = new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    asked.push(performance.now());
    const made = await post('/api/v1/users', { email: `user-${i}@example.com`, name: 'Grace' });
    answered.push(performance.now());
    if (made.status !== 201) throw new Error(await made.text());
    await made.arrayBuffer();
    await next;
  }
  const hooks = await sink.received('/', WARM_UP + COUNT);
  const arrived = new Map(hooks.map(({ headers, at }) => [String(headers['webhook-id']), at]));
  const rows = await query(
    database.name,
    `select n.id, extract(epoch from n.created_at)::float8 * 1000 as at from notifications n
     where n.channel = 'webhook' order by n.id`,
  );
  const arrivals = rows.map(({ id }) => arrived.get(String(id)) as number);
  const begun = rows.map(({ at }) => Number(at) - performance.timeOrigin);
  console.log(`${COUNT} users, one every ${EVERY_MS} ms; milliseconds until the webhook is at the sink, from`);
  console.table({
    'the request, before it is sent': since(asked, arrivals),
    'the start of the statement that commits': since(begun, arrivals),
    'the response, at the client': since(answered, arrivals),
  });
} finally {
  await sink.close();
  await service.stop('SIGKILL');
  await database.drop();
  await postgres.stop();
}

function since(starts: number[], ends: number[]): Record<string, number> {
  const sorted = ends
    .map((end, i) => end - (starts[i] as number))
    .slice(WARM_UP)
    .sort((a, b) => a - b);
  const at = (share: number) => Number(sorted[Math.ceil(share * sorted.length) - 1]?.toFixed(1));
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}
