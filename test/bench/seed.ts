// Data for benchmarks, made by the database itself.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { query } from '../support/postgres-server.ts';
import { headers } from '../support/tokens.ts';
import { TABLE } from './measured.ts';

const ROWS = readFileSync(join(import.meta.dirname, 'http.sql'), 'utf8');

/** As long as a small event is. */
const BODY = `json_build_object('data', repeat('x', 280))::text`;

const DUE = `
  with message as (
    insert into messages (id, type, body, created_at)
    values (uuid_v7(), 'bench.event', ${BODY}, now())
    returning id, octet_length(body) as bytes
  ), told as (
    select i, e.id::uuid from json_each_text($1) e (id, count), generate_series(1, e.count::int) i
  ), made as (
    insert into notifications (id, message_id, channel, endpoint_id, created_at)
    select uuid_v7(), message.id, 'webhook', told.id, now() from message, told order by told.i, told.id
    returning id, endpoint_id
  )
  insert into deliveries (notification_id, endpoint_id, message_id, due_at, bytes)
  select made.id, made.endpoint_id, message.id, now(), message.bytes from made, message`;

const FINISHED = `
  with made as (
    select uuid_v7() as id from generate_series(1, $2::int)
  ), m as (
    insert into messages (id, type, body, created_at) select id, 'bench.event', ${BODY}, now() from made
  ), n as (
    insert into notifications (id, message_id, channel, endpoint_id, created_at)
    select id, id, 'webhook', $1::uuid, now() from made
  )
  insert into outcomes (notification_id, status, attempts, finished_at, duration_ms, http_status, dispatcher)
  select id, 'sent', 1, now(), 3, 204, 'bench' from made`;

const ENDPOINTS = `
  insert into webhook_endpoints (id, url, events, secret, created_at, updated_at)
  select uuid_v7(), 'https://example.com/', array[$1], 'sealed', now(), now() from generate_series(1, $2::int)`;

/** Inserts `count` measured rows into a database that has none yet. */
export async function seedRows(database: string, count: number): Promise<void> {
  await query(database, ROWS.replaceAll(':rows', String(count)));
  await settleDown(database);
}

/** Queues due notifications of one message, `counts` per endpoint, interleaved as for events sent to all of them. */
export async function queueDue(database: string, counts: Record<string, number>): Promise<void> {
  await query(database, DUE, [JSON.stringify(counts)]);
}

/** Inserts notifications that have been sent. */
export async function seedFinished(database: string, endpointId: string, count: number): Promise<void> {
  await query(database, FINISHED, [endpointId, count]);
  await settleDown(database);
}

/** Returns the disk space of messages and finished notifications, with their indexes. */
export async function historyBytes(database: string): Promise<number> {
  const sizes = ['messages', 'notifications', 'outcomes'].map((table) => `pg_total_relation_size('${table}')`);
  const [row] = await query(database, `select (${sizes.join(' + ')})::float8 as bytes`);
  return Number(row?.bytes);
}

/** Inserts endpoints that subscribe to `event`, and that nobody delivers to. */
export async function seedEndpoints(database: string, event: string, count: number): Promise<void> {
  await query(database, ENDPOINTS, [event, count]);
  await settleDown(database);
}

/** Finishes what a seed leaves to do, so that later measurements do not include it. */
export async function settleDown(database: string): Promise<void> {
  await query(database, 'vacuum analyze');
  await query(database, 'checkpoint');
}

/** Returns up to `count` ids, at random. */
export async function someIds(database: string, count = 2000): Promise<string[]> {
  const rows = await query(database, `select id from ${TABLE} order by random() limit $1`, [count]);
  return rows.map(({ id }) => String(id));
}

/** Registers an endpoint through the API, subscribed to `event`, and returns its id. */
export async function register({ url }: { url: string }, target: string, event = 'nothing.ever'): Promise<string> {
  const body = JSON.stringify({ url: target, events: [event] });
  const made = await fetch(`${url}/api/v1/webhook-endpoints`, { method: 'POST', headers: headers(), body });
  if (made.status !== 201) throw new Error(await made.text());
  return ((await made.json()) as { id: string }).id;
}
