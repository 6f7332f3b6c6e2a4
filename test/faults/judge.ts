// Compares what clients were told with what exists: arithmetic over what load, probe, database and receivers report.
import type { Hook } from '../support/sink.ts';
import type { Fault } from './fault.ts';
import type { Answer, Wish } from './load.ts';
import type { Seen } from './probe.ts';

/** The number of good endpoints, at the paths /0, /1 …, which receive every notification. */
export const ENDPOINTS = 2;

/** One that a client created: its URL ends in its creation's mark, and its description is its last change's mark. */
type Endpoint = { id: string; url: string; description: string };
type Message = { id: string; mark: string };
type Notification = { id: string; messageId: string; channel: string; url: string | null; status: string };
/** Attempts by outcome: as statistics count them, and as the tables have them. */
type Counted = { outcome: string; counted: number; happened: number };
export type Truth = {
  endpoints: Endpoint[];
  messages: Message[];
  notifications: Notification[];
  queued: number;
  statistics: Counted[];
};

/** Each line says what was wrong, and with what. */
export type Verdict = { accepted: number; lost: string[]; repeated: number; untrue: string[] };

/** The queries for everything that exists. */
export const TRUTH = {
  endpoints: `select id, url, description from webhook_endpoints where url like 'https://example.com/%'`,
  messages: `select id, body::json->'data'->>'mark' as mark from messages where type = 'fault.event'`,
  notifications: `select n.id, n.message_id as "messageId", n.channel, e.url, coalesce(o.status, 'pending') as status
    from notifications n left join outcomes o on o.notification_id = n.id left join webhook_endpoints e on e.id = n.endpoint_id`,
  queued: 'select count(*)::int as queued from deliveries',
  // A failed attempt that was not the last one, and one that was interrupted, is a retry.
  statistics: `select outcome, happened, (
      select coalesce(sum(count), 0)::int from delivery_stats where delivery_stats.outcome = tables.outcome
    ) as counted from (
      select status as outcome, count(*)::int as happened from outcomes where status in ('sent', 'dead') group by status
      union all select 'retry', count(*)::int from attempts
    ) tables`,
};

const ACCEPTED: Record<Wish['kind'], number> = {
  create: 201,
  'create once': 201,
  notify: 202,
  'notify once': 202,
  'update once': 200,
  'delete once': 204,
  read: 200,
};
/** Problems after which nothing was written, and nothing will be. */
const NOT_DONE = ['timeout', 'unavailable'];

export function judge(wishes: Wish[], truth: Truth, hooks: Hook[], drops: boolean): Verdict {
  const effects = effectsOf(wishes, truth);
  const verdicts = wishes.map((wish) => judgeWish(wish, effects(wish), drops));
  const deliveries = judgeDeliveries(truth, hooks);
  return {
    accepted: wishes.filter((wish) => wish.kind !== 'read' && isAccepted(wish)).length,
    lost: [...verdicts.flatMap(({ lost }) => lost), ...deliveries.lost],
    repeated: deliveries.repeated,
    untrue: [...verdicts.flatMap(({ untrue }) => untrue), ...deliveries.untrue, ...miscounted(truth)],
  };
}

const miscounted = ({ statistics }: Truth): string[] =>
  statistics
    .filter(({ counted, happened }) => counted !== happened)
    .map(({ outcome, counted, happened }) => `statistics count ${counted} ${outcome}, of ${happened}`);

const lastOf = ({ answers }: Wish) => answers.at(-1) as Answer;
const isAccepted = (wish: Wish) => lastOf(wish).status === ACCEPTED[wish.kind];

/** `stands`: the effect is there; `times`: how often, where it could be more than once. */
type Effect = { stands: boolean; times: number };

/** Finds the effect of each wish. */
function effectsOf(wishes: Wish[], { endpoints, messages }: Truth): (wish: Wish) => Effect {
  const byId = new Map(endpoints.map((endpoint) => [endpoint.id, endpoint]));
  const created = Map.groupBy(endpoints, ({ url }) => url);
  const told = Map.groupBy(messages, ({ mark }) => mark);
  const ending = new Set(wishes.filter(({ kind }) => kind === 'delete once').map(({ id }) => id));
  const happened = (times = 0): Effect => ({ stands: times > 0, times });

  return (wish) => {
    const { kind, mark, id } = wish;
    const endpoint = byId.get(id ?? '');
    if (kind === 'read') return happened(1);
    if (kind === 'notify' || kind === 'notify once') return happened(told.get(mark)?.length);
    if (kind === 'update once') return happened(endpoint?.description === mark ? 1 : 0);
    if (kind === 'delete once') return happened(endpoint ? 0 : 1);
    const { length = 0 } = created.get(`https://example.com/${mark}`) ?? [];
    // If a client has since asked to delete it, nothing shows any more whether it was created.
    return happened(length === 0 && ending.has(id) ? 1 : length);
  };
}

function judgeWish(wish: Wish, { stands, times }: Effect, drops: boolean): { lost: string[]; untrue: string[] } {
  const { kind, mark, id, answers } = wish;
  const last = lastOf(wish);
  const what = `${kind} ${mark} (${answers.map(({ status, problem }) => problem || status).join(', ')})`;
  const lost: string[] = [];
  const untrue: string[] = [];
  for (const answer of answers) if (!isPossible(answer, kind, drops)) untrue.push(`${what}: not to be expected`);
  const isCareful = kind === 'create' || kind === 'notify';
  if (isCareful && !isAccepted(wish)) untrue.push(`${what}: never accepted`);
  if (isAccepted(wish) && !stands) lost.push(`${what}: not there`);
  if (times > 1) untrue.push(`${what}: there ${times} times`);
  if (!isCareful && NOT_DONE.includes(last.problem) && kind !== 'read' && stands) {
    untrue.push(`${what}: written all the same`);
  }
  if (kind === 'read' && last.status === 200 && last.id !== id) untrue.push(`${what}: another endpoint`);
  return { lost, untrue };
}

function isPossible({ status, problem }: Answer, kind: Wish['kind'], drops: boolean): boolean {
  if (status === 0) return drops;
  if (status === ACCEPTED[kind]) return true;
  if (status === 503) return problem === 'unavailable';
  return status === 504 && (problem === 'timeout' || (problem === 'outcome-unknown' && kind !== 'read'));
}

function judgeDeliveries({ messages, notifications, queued }: Truth, hooks: Hook[]) {
  const lost: string[] = [];
  const untrue: string[] = [];
  const arrivalOf = (id: unknown, path: string) => `${id} ${path}`;
  const arrived = new Set(hooks.map(({ headers, path }) => arrivalOf(headers['webhook-id'], path)));
  const queuedFor = new Set<string>();
  const recipients = Map.groupBy(notifications, ({ messageId }) => messageId);
  // Whatever the client was told, an event and all of its notifications exist together, or not at all.
  for (const { id, mark } of messages) {
    const what = `notification ${mark}`;
    const all = recipients.get(id) ?? [];
    const webhooks = all.filter(({ channel }) => channel === 'webhook');
    const paths = new Set(webhooks.map(({ url }) => new URL(url ?? 'none:').pathname));
    if (webhooks.length !== ENDPOINTS || paths.size !== ENDPOINTS) lost.push(`${what}: ${webhooks.length} webhooks`);
    if (all.length - webhooks.length !== 1) lost.push(`${what}: ${all.length - webhooks.length} emails`);
    for (const { id, channel, url, status } of all) {
      if (status !== 'sent') lost.push(`${what}: ${channel} ${id} is ${status}`);
      if (channel !== 'webhook') continue;
      const arrival = arrivalOf(id, new URL(url ?? 'none:').pathname);
      queuedFor.add(arrival);
      if (!arrived.has(arrival)) lost.push(`${what}: ${id} never arrived`);
    }
  }
  for (const arrival of arrived)
    if (!queuedFor.has(arrival)) untrue.push(`${arrival} arrived, and nobody asked for it`);
  for (const { id, status } of notifications) if (status === 'pending') lost.push(`${id} has not ended`);
  if (queued > 0) lost.push(`${queued} left in the queue`);
  return { lost, untrue, repeated: hooks.length - arrived.size };
}

/** The times of a strike: its start, when lifting the fault began, its end, and when all had recovered. */
export type Period = { from: number; lifted: number; until: number; recovered: number };
/** Milliseconds that readiness may take to turn, and that recovery may take. */
const TURNS_WITHIN_MS = 2000;
const RECOVERS_WITHIN_MS = 5000;

/** Returns what readiness and liveness got wrong during one strike; `measured` as for a strike. */
export function judgeProbes(
  ready: Seen[],
  health: Seen[],
  { from, lifted, until, recovered }: Period,
  { ready: rule, drops = false }: Pick<Fault, 'ready' | 'drops'>,
  measured: boolean,
): string[] {
  const untrue: string[] = [];
  const during = seenIn(ready, from, until);
  if (rule === 'stays' && measured) {
    const other = during.filter(({ status }) => status !== 200);
    if (other.length > 0) untrue.push(`/ready said ${other[0]?.status}, ${other.length} of ${during.length} times`);
  }
  if (rule === 'turns') {
    const turned = during.find(({ status }) => status === 503);
    const afterMs = turned ? Math.round(turned.doneAt - from) : Number.POSITIVE_INFINITY;
    if (afterMs > (measured ? TURNS_WITHIN_MS : until - from)) untrue.push(`/ready turned after ${afterMs} ms`);
    const again = during.filter(
      ({ at, doneAt, status }) => at > from + TURNS_WITHIN_MS && doneAt < lifted && status === 200,
    );
    if (again.length > 0) untrue.push(`/ready said 200 again ${again.length} times`);
  }
  const ill = seenIn(health, from, recovered).filter(({ status }) => status !== 200 && !(drops && status === 0));
  if (ill.length > 0) untrue.push(`/health said ${ill[0]?.status}, ${ill.length} times`);
  const recoveryMs = recovered - until;
  if (recoveryMs > (measured ? RECOVERS_WITHIN_MS : Number.MAX_VALUE)) {
    untrue.push(`recovered after ${Math.round(recoveryMs)} ms`);
  }
  return untrue;
}

/** Returns the requests that were under way at some time in a period. */
export const seenIn = (seen: Seen[], from: number, until: number) =>
  seen.filter(({ at, doneAt }) => doneAt >= from && at <= until);
