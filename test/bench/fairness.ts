// npm run bench:fairness [-- <rounds>]: what nine endpoints get while a tenth hangs, as a share of what they get without it.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createDatabase } from '../support/databases.ts';
import { query, startPostgres } from '../support/postgres-server.ts';
import { type Service, startService } from '../support/service.ts';
import { headers } from '../support/tokens.ts';

const ROUNDS = process.argv[2] === 'sink' ? 0 : Number(process.argv[2] ?? 5);
const GOOD = 9;
const EACH = 500;
const HANGING = 200;
const WARM_UP = 100;

/** In turn, as events come that every endpoint is subscribed to. */
const ENQUEUE = `
  with message as (
    insert into messages (id, type, body, created_at)
    values (uuid_v7(), 'bench.event', json_build_object('data', repeat('x', 280))::text, now()) returning id
  ), told as (
    select i, e from generate_series(1, $2::int) i, unnest($1::uuid[]) e
    union all select i, $3::uuid from generate_series(1, $4::int) i
  ), made as (
    insert into notifications (id, message_id, channel, endpoint_id, created_at)
    select uuid_v7(), message.id, 'webhook', told.e, now() from message, told order by told.i, told.e
    returning id, endpoint_id
  )
  insert into deliveries (notification_id, endpoint_id, due_at) select id, endpoint_id, now() from made`;

if (process.argv[2] === 'sink') await beSink();
else await measure();

/** Ten receivers of which the last never answers. Tells when as many as it was told to expect have come. */
async function beSink(): Promise<void> {
  let left = 0;
  const arrived = () => {
    if (--left === 0) process.send?.({ done: epochMs() });
  };
  const servers = Array.from({ length: GOOD + 1 }, (_, i) =>
    createServer((request, response) => {
      request.resume().on('end', () => {
        if (i === GOOD) return;
        response.writeHead(204).end();
        arrived();
      });
    }).listen(0, '127.0.0.1'),
  );
  await Promise.all(servers.map((server) => once(server, 'listening')));
  process.on('message', ({ expect }: { expect: number }) => {
    left = expect;
    process.send?.({ expecting: expect });
  });
  process.send?.({ ports: servers.map((server) => (server.address() as AddressInfo).port) });
}

async function measure(): Promise<void> {
  const postgres = await startPostgres({ durable: true });
  const sink = fork(import.meta.filename, ['sink'], { execArgv: process.execArgv });
  try {
    const { ports } = await heard<{ ports: number[] }>(sink);
    const rows: { without: number; with: number }[] = [];
    for (let i = 0; i < ROUNDS; i++) {
      // Either goes first in turn, so that a machine that gets busier favours neither.
      const first = await round(sink, ports, i % 2 === 1);
      const second = await round(sink, ports, i % 2 === 0);
      rows.push(i % 2 === 0 ? { without: first, with: second } : { without: second, with: first });
    }
    console.table(rows);
    const rates = { without: median(rows.map((row) => row.without)), with: median(rows.map((row) => row.with)) };
    const share = `${((100 * rates.with) / rates.without).toFixed(1)} %`;
    console.log(`Deliveries/s to nine endpoints, medians of ${ROUNDS}; the tenth hangs, or has nothing to be told:`);
    console.table({ ...rates, share });
  } finally {
    sink.kill();
    await postgres.stop();
  }
}

/** Deliveries a second to the nine, by a service with default settings on a database of its own. */
async function round(sink: ChildProcess, ports: number[], hangs: boolean): Promise<number> {
  const database = await createDatabase();
  const service = await startService({ DATABASE_URL: database.url });
  try {
    const ids = [];
    for (const port of ports) ids.push(await register(service, `http://127.0.0.1:${port}/`));
    await deliver(sink, database.name, ids, WARM_UP, 0);
    return await deliver(sink, database.name, ids, EACH, hangs ? HANGING : 0);
  } finally {
    await service.stop('SIGKILL');
    await database.drop();
  }
}

async function deliver(sink: ChildProcess, database: string, ids: string[], each: number, hanging: number) {
  sink.send({ expect: GOOD * each });
  await heard(sink);
  const over = heard<{ done: number }>(sink);
  await query(database, ENQUEUE, [ids.slice(0, GOOD), each, ids[GOOD], hanging]);
  const start = epochMs();
  await query(database, 'notify keelson_due');
  return Math.round((GOOD * each * 1000) / ((await over).done - start));
}

async function register({ url }: Service, target: string): Promise<string> {
  const body = JSON.stringify({ url: target, events: ['nothing.ever'] });
  const made = await fetch(`${url}/api/v1/webhook-endpoints`, { method: 'POST', headers: headers(), body });
  return ((await made.json()) as { id: string }).id;
}

async function heard<T>(from: ChildProcess): Promise<T> {
  const [message] = (await once(from, 'message')) as [T];
  return message;
}

function epochMs(): number {
  return performance.timeOrigin + performance.now();
}

function median(numbers: number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] as number;
}
