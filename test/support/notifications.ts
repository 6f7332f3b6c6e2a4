import { sql } from 'drizzle-orm';
import { type Db, statement } from '../../src/db.ts';
import { inTime } from './deps.ts';

const insert = statement<{ count: number; endpointId: string | null; body: string }, { id: string }>(
  'test.enqueue',
  ($) => sql`
    with message as (
      insert into messages (id, type, body, created_at) values (uuid_v7(), 'test.event', ${$.body}::text, now())
      returning id
    ), made as (
      insert into notifications (id, message_id, channel, endpoint_id, recipient, created_at)
      select uuid_v7(), message.id, case when ${$.endpointId}::uuid is null then 'email' else 'webhook' end,
             ${$.endpointId}::uuid, 'someone@example.com', now()
      from message, generate_series(1, ${$.count}::int)
      returning id, endpoint_id, message_id
    ), queued as (
      insert into deliveries (notification_id, endpoint_id, message_id, due_at)
      select id, endpoint_id, message_id, now() from made
    )
    select id from made`,
);

const BODY = JSON.stringify({ type: 'test.event', timestamp: '2026-11-22T10:00:00.000Z', data: {} });

/** Enqueues `count` notifications, to an endpoint or, with null, by email, and returns their ids. */
export async function enqueue(db: Db, count: number, endpointId: string | null = null, body = BODY): Promise<string[]> {
  return (await db.run(insert, { count, endpointId, body }, inTime())).map((row) => row.id);
}

const insertEndpoint = statement<{ id: string; url: string; secret: string }, never>(
  'test.endpoint',
  ($) => sql`
    insert into webhook_endpoints (id, url, events, secret, created_at, updated_at)
    values (${$.id}::uuid, ${$.url}::text, array['test.event'], ${$.secret}::text, now(), now())`,
);

/** Registers an endpoint and returns its id. `secret` is sealed. */
export async function newEndpoint(db: Db, url = 'https://example.com/', secret = 'sealed'): Promise<string> {
  const id = crypto.randomUUID();
  await db.run(insertEndpoint, { id, url, secret }, inTime());
  return id;
}

const endpoint = statement<
  { id: string },
  { status: string; failures: number; pauseS: number | null; failingSince: string | null }
>(
  'test.endpointState',
  ($) => sql`
    select status, failures, extract(epoch from paused_until - now())::float8 as "pauseS",
           failing_since as "failingSince"
    from webhook_endpoints where id = ${$.id}::uuid`,
);

export async function endpointState(db: Db, id: string) {
  const [row] = await db.run(endpoint, { id }, inTime());
  if (!row) throw new Error('no such endpoint');
  return row;
}

/** A notification's current state: its place in the queue, its outcome, its attempts. */
export type State = {
  attempt: number | null;
  dueInS: number | null;
  leased: boolean | null;
  status: string | null;
  attempts: number | null;
  lastError: string | null;
  log: { status: number | null; error: string | null; dispatcher: string }[];
};

const state = statement<{ id: string }, State>(
  'test.state',
  ($) => sql`
    select d.attempt, extract(epoch from d.due_at - now())::float8 as "dueInS", d.lease is not null as leased,
           o.status, o.attempts, o.last_error as "lastError", (
             select coalesce(json_agg(json_build_object('status', a.status, 'error', a.error, 'dispatcher', a.dispatcher)
               order by a.at), '[]') from (
               select at, status, error, dispatcher from attempts where notification_id = n.id
               union all select finished_at, http_status, last_error, dispatcher from outcomes
               where notification_id = n.id and duration_ms is not null
             ) a
           ) as log
    from notifications n
    left join deliveries d on d.notification_id = n.id
    left join outcomes o on o.notification_id = n.id
    where n.id = ${$.id}::uuid`,
);

export async function stateOf(db: Db, id: string): Promise<State> {
  const [row] = await db.run(state, { id }, inTime());
  if (!row) throw new Error('no such notification');
  return row;
}

/** Runs SQL that returns nothing of interest. */
export async function execute(db: Db, text: string): Promise<void> {
  await db.run(
    statement<Record<never, never>, never>('', () => sql.raw(text)),
    {},
    inTime(),
  );
}

/** Runs SQL and returns its rows. */
export async function rowsOf<R>(db: Db, text: string): Promise<R[]> {
  return db.run(
    statement<Record<never, never>, R>('', () => sql.raw(text)),
    {},
    inTime(),
  );
}
