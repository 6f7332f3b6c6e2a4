// Clients that carry on whatever happens, and record what they were told.
import { randomUUID } from 'node:crypto';
import { setTimeout as pass } from 'node:timers/promises';
import { Agent, fetch } from 'undici';
import { headers } from '../support/tokens.ts';
import { waiters } from '../support/until.ts';

/** The result of one try. `status` 0: the connection ended without an answer; -1: no answer within `PATIENCE_MS`. */
export type Answer = { at: number; doneAt: number; status: number; problem: string; id: string | undefined };

/**
 * One thing that a client wants. A careful client retries, with the same Idempotency-Key, until it is accepted; any
 * other client tries once.
 */
export type Wish = {
  kind: 'notify' | 'notify once' | 'create' | 'create once' | 'update once' | 'delete once' | 'read';
  /** The word in a URL, a description or an event's data that identifies its effect. */
  mark: string;
  id: string | undefined;
  answers: Answer[];
};

export type Load = {
  wishes: Wish[];
  /** Resolves with a careful client's notification that was accepted and first requested after `at`. */
  acceptedAfter(at: number): Promise<Wish>;
  /** Starts no new wishes; resolves once every wish has its final answer. */
  stop(): Promise<void>;
};

/** Long after any deadline of the service: a request without an answer for this long hangs. */
const PATIENCE_MS = 12_000;
/** How long a careful client tries. */
const GIVE_UP_MS = 60_000;
const AGAIN_MS = 100;

const HOOKS = '/api/v1/webhook-endpoints';
const NOTIFICATIONS = '/api/v1/notifications';

// Valid for longer than any step of the clock.
const AUTHORIZED = headers({ claims: { exp: Math.floor(Date.now() / 1000) + 100_000 } });

/** Starts `perSecond` wishes a second, whether or not earlier ones have been answered. */
export function startLoad(url: string, perSecond: number, random: () => number): Load {
  const agent = new Agent({ connections: 64, keepAliveTimeout: 4000 });
  const wishes: Wish[] = [];
  const under = new Set<Promise<void>>();
  /** Endpoints to read; and those that one client changes once, so that their final state shows the result. */
  const kept: string[] = [];
  const spare: { id: string; url: string }[] = [];
  const ending = new AbortController();
  const { until, changed } = waiters();

  async function ask(wish: Wish, method: string, path: string, body?: unknown, key?: string): Promise<Answer> {
    const at = performance.now();
    const done = (status: number, problem = '', id?: string): Answer => {
      const answer = { at, doneAt: performance.now(), status, problem, id };
      wish.answers.push(answer);
      return answer;
    };
    try {
      const response = await fetch(url + path, {
        method,
        dispatcher: agent,
        headers: { ...AUTHORIZED, ...(key && { 'Idempotency-Key': `"${key}"` }) },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(PATIENCE_MS),
      });
      const text = await response.text();
      const json = (text ? JSON.parse(text) : {}) as { id?: string; type?: string };
      return done(response.status, json.type?.split('/').at(-1), json.id);
    } catch (error) {
      return done((error as Error).name === 'TimeoutError' ? -1 : 0);
    }
  }

  async function untilAccepted(wish: Wish, path: string, body: unknown, accepted: number): Promise<void> {
    const key = randomUUID();
    for (const end = performance.now() + GIVE_UP_MS; performance.now() < end; ) {
      const { status, id } = await ask(wish, 'POST', path, body, key);
      if (status === accepted) {
        wish.id = id;
        return;
      }
      if (status > 0 && status !== 503 && status !== 504) return;
      await pass(AGAIN_MS * (1 + random()));
    }
  }

  async function act(): Promise<void> {
    const mark = `w-${randomUUID()}`;
    const roll = random();
    const wish: Wish = { kind: 'read', mark, id: undefined, answers: [] };
    wishes.push(wish);
    const endpoint = { url: `https://example.com/${mark}`, events: ['nothing.ever'], description: mark };
    const notice = { email: `${mark}@example.com`, type: 'fault.event', data: { mark } };
    const known = kept[Math.floor(random() * kept.length)];
    const own = roll >= 0.7 && roll < 0.82 ? spare.shift() : undefined;
    if (own !== undefined) {
      wish.kind = roll < 0.78 ? 'update once' : 'delete once';
      wish.id = own.id;
      const path = `${HOOKS}/${own.id}`;
      await (roll < 0.78 ? ask(wish, 'PUT', path, { ...endpoint, url: own.url }) : ask(wish, 'DELETE', path));
    } else if (roll < 0.3) {
      wish.kind = 'notify';
      await untilAccepted(wish, NOTIFICATIONS, notice, 202);
    } else if (roll < 0.45) {
      wish.kind = 'notify once';
      wish.id = (await ask(wish, 'POST', NOTIFICATIONS, notice)).id;
    } else if (roll < 0.6 || known === undefined) {
      wish.kind = 'create';
      await untilAccepted(wish, HOOKS, endpoint, 201);
      if (wish.id && random() < 0.5) kept.push(wish.id);
      else if (wish.id) spare.push({ id: wish.id, url: endpoint.url });
    } else if (roll < 0.7) {
      wish.kind = 'create once';
      wish.id = (await ask(wish, 'POST', HOOKS, endpoint)).id;
    } else {
      wish.id = known;
      await ask(wish, 'GET', `${HOOKS}/${known}`);
    }
    changed();
  }

  async function go(): Promise<void> {
    const start = performance.now();
    for (let n = 0; !ending.signal.aborted; n++) {
      const work = act().finally(() => under.delete(work));
      under.add(work);
      const due = start + ((n + 1) * 1000) / perSecond;
      await pass(Math.max(0, due - performance.now()), undefined, { signal: ending.signal }).catch(() => {});
    }
  }
  const going = go();

  return {
    wishes,
    acceptedAfter: (at) =>
      until(() =>
        wishes.find(({ kind, answers: [first, ...others] }) => {
          const last = others.at(-1) ?? first;
          return kind === 'notify' && first && first.at >= at && last?.status === 202;
        }),
      ),
    async stop() {
      ending.abort();
      await going;
      await Promise.all(under);
      await agent.close();
    },
  };
}
