// What clients were told, held against what there is: arithmetic over what load, probe, database and receivers say.
import type { Hook } from '../support/sink.ts';
import type { Fault } from './fault.ts';
import type { Answer, Wish } from './load.ts';
import type { Seen } from './probe.ts';
import { ENDPOINTS } from './world.ts';

type User = { id: string; email: string; name: string };
/** `subject` is the user's id, or the mark of what was notified. */
type Message = { id: string; type: string; subject: string };
type Notification = { id: string; messageId: string; channel: string; url: string | null; status: string };
export type Truth = { users: User[]; messages: Message[]; notifications: Notification[]; queued: number };

/** Each line says what was wrong, and of what. */
export type Verdict = { accepted: number; lost: string[]; repeated: number; untrue: string[] };

/** What is there, in one look. */
export const TRUTH = {
  users: 'select id, email, name from users',
  messages: `select id, type, coalesce(body::json->'data'->>'mark', body::json->'data'->>'id') as subject from messages
    where type like 'user.%' or type = 'fault.event'`,
  notifications: `select n.id, n.message_id as "messageId", n.channel, e.url, coalesce(o.status, 'pending') as status
    from notifications n left join outcomes o on o.notification_id = n.id left join webhook_endpoints e on e.id = n.endpoint_id`,
  queued: 'select count(*)::int as queued from deliveries',
};

const ACCEPTED: Record<Wish['kind'], number> = {
  create: 201,
  'create once': 201,
  notify: 202,
  'update once': 200,
  'delete once': 204,
  read: 200,
};
/** Problems after which nothing was written, and nothing will be. */
const NOT_DONE = new Set(['timeout', 'unavailable', 'draining', 'overloaded', 'rate-limited']);

export function judge(wishes: Wish[], truth: Truth, hooks: Hook[], drops: boolean): Verdict {
  const lost: string[] = [];
  const untrue: string[] = [];
  const byEmail = new Map(truth.users.map((user) => [user.email, user]));
  const byId = new Map(truth.users.map((user) => [user.id, user]));
  const leaving = new Set(wishes.filter(({ kind }) => kind === 'delete once').map(({ id }) => id));
  const told = Map.groupBy(truth.messages, ({ type, subject }) => `${type} ${subject}`);

  let accepted = 0;
  for (const wish of wishes) {
    const { kind, mark, id, answers } = wish;
    const last = answers.at(-1) as Answer;
    const what = `${kind} ${mark} (${answers.map(({ status, problem }) => problem || status).join(', ')})`;
    for (const answer of answers) if (!isPossible(answer, kind, drops)) untrue.push(`${what}: not to be expected`);

    const done = last.status === ACCEPTED[kind];
    const denied = NOT_DONE.has(last.problem) || last.status === 503;
    const careful = kind === 'create' || kind === 'notify';
    if (careful && !done) untrue.push(`${what}: never accepted`);
    if (done && kind !== 'read') accepted++;

    const user = kind.startsWith('create') ? byEmail.get(`${mark}@example.com`) : byId.get(id ?? '');
    const events = (type: string, subject = id) => told.get(`${type} ${subject}`)?.length ?? 0;
    if (kind === 'notify') {
      if (done && events('fault.event', mark) !== 1) lost.push(`${what}: ${events('fault.event', mark)} messages`);
    } else if (kind.startsWith('create')) {
      // One that was deleted or renamed since is known by what was said of it.
      if (done && events('user.created') !== 1) lost.push(`${what}: ${events('user.created')} messages`);
      if (done && !leaving.has(id) && !byId.has(id as string)) lost.push(`${what}: not there`);
      if (!careful && denied && user) untrue.push(`${what}: written all the same`);
    } else if (kind === 'update once') {
      if (done && (user?.name !== mark || events('user.updated') !== 1)) lost.push(what);
      if (denied && (user?.name === mark || events('user.updated') > 0)) untrue.push(`${what}: written all the same`);
      if (!user) lost.push(`${what}: the user is gone`);
    } else if (kind === 'delete once') {
      if (done && (user || events('user.deleted') !== 1)) lost.push(what);
      if (denied && (!user || events('user.deleted') > 0)) untrue.push(`${what}: written all the same`);
    }
  }

  const arrived = Map.groupBy(hooks, ({ headers }) => String(headers['webhook-id']));
  const recipients = Map.groupBy(truth.notifications, ({ messageId }) => messageId);
  for (const { id, type, subject } of truth.messages) {
    const all = recipients.get(id) ?? [];
    const webhooks = all.filter(({ channel }) => channel === 'webhook');
    if (webhooks.length !== ENDPOINTS) lost.push(`${type} ${subject}: ${webhooks.length} webhooks`);
    const emails = type === 'user.created' || type === 'fault.event' ? 1 : 0;
    if (all.length - webhooks.length !== emails)
      lost.push(`${type} ${subject}: ${all.length - webhooks.length} emails`);
    for (const one of all) {
      if (one.status !== 'sent') lost.push(`${type} ${subject}: ${one.channel} ${one.id} is ${one.status}`);
      if (one.channel === 'webhook' && !arrived.has(one.id)) lost.push(`${type} ${subject}: ${one.id} never arrived`);
    }
  }
  for (const { id, status } of truth.notifications) if (status === 'pending') lost.push(`${id} has not ended`);
  if (truth.queued > 0) lost.push(`${truth.queued} left in the queue`);
  const repeated = hooks.length - arrived.size;
  return { accepted, lost, repeated, untrue };
}

function isPossible({ status, problem }: Answer, kind: Wish['kind'], drops: boolean): boolean {
  if (status === 0) return drops;
  if (status === ACCEPTED[kind]) return true;
  if (problem === 'outcome-unknown') return kind !== 'read';
  return (status === 503 || status === 504) && problem !== '';
}

type Period = { from: number; until: number };
/** Milliseconds that readiness may take to turn, and that recovery may take. */
const TURNS_WITHIN_MS = 2000;
export const RECOVERS_WITHIN_MS = 5000;

/** What readiness and liveness said of one strike that was not so. */
export function judgeProbes(
  ready: Seen[],
  health: Seen[],
  period: Period,
  { ready: rule, drops = false }: Pick<Fault, 'ready' | 'drops'>,
  measured: boolean,
): string[] {
  const { from, until } = period;
  const during = ready.filter(({ at, doneAt }) => doneAt >= from && at <= until);
  const untrue: string[] = [];
  if (rule === 'stays') {
    const other = during.filter(({ status }) => status !== 200);
    if (other.length > 0) untrue.push(`/ready said ${other[0]?.status}, ${other.length} of ${during.length} times`);
  }
  if (rule === 'turns') {
    const turned = during.find(({ status }) => status === 503);
    const afterMs = turned ? Math.round(turned.doneAt - from) : undefined;
    if (afterMs === undefined || (measured && afterMs > TURNS_WITHIN_MS))
      untrue.push(`/ready turned after ${afterMs ?? 'more'} ms`);
    const late = during.filter(
      ({ at, doneAt, status }) => at > from + TURNS_WITHIN_MS && doneAt < until && status === 200,
    );
    if (late.length > 0) untrue.push(`/ready said 200 again ${late.length} times`);
  }
  const ill = health.filter(
    ({ at, doneAt, status }) => doneAt >= from && at <= until && status !== 200 && !(drops && status === 0),
  );
  if (ill.length > 0) untrue.push(`/health said ${ill[0]?.status}, ${ill.length} times`);
  return untrue;
}
