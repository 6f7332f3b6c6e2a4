// The judge of the fault suite detects each of these defects, so that its silence means something.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Hook } from '../support/sink.ts';
import { judge, judgeProbes, type Truth } from './judge.ts';
import type { Wish } from './load.ts';

const answer = (status: number, problem = '', id?: string) => ({ at: 0, doneAt: 1, status, problem, id });
const created = (mark: string, id = `id of ${mark}`): Wish => ({
  kind: 'create',
  mark,
  id,
  answers: [answer(201, '', id)],
});
const once = (kind: Wish['kind'], mark: string, id: string | undefined, ...answers: Wish['answers']): Wish => ({
  kind,
  mark,
  id,
  answers,
});

const endpoint = (mark: string, description = mark) => ({
  id: `id of ${mark}`,
  url: `https://example.com/${mark}`,
  description,
});

/** Everything as it should be after endpoints were created, changed and deleted, and notifications sent. */
function sound() {
  const wishes = [
    created('a'),
    created('b'),
    created('c'),
    once('update once', 'b2', 'id of b', answer(200)),
    once('delete once', 'c2', 'id of c', answer(204)),
    once('notify', 'n', 'id of n', answer(504, 'outcome-unknown'), answer(202)),
    once('notify once', 'm', 'id of m', answer(202)),
    once('read', 'r', 'id of a', answer(200, '', 'id of a')),
    once('create once', 'd', undefined, answer(504, 'timeout')),
    once('notify once', 'o', undefined, answer(504, 'timeout')),
  ];
  const truth: Truth = { endpoints: [], messages: [], notifications: [], queued: 0, statistics: [] };
  truth.statistics.push({ outcome: 'sent', counted: 6, happened: 6 });
  const hooks: Hook[] = [];
  for (const mark of ['n', 'm']) {
    const messageId = `message ${mark}`;
    truth.messages.push({ id: messageId, mark });
    truth.notifications.push({ id: `${messageId} email`, messageId, channel: 'email', url: null, status: 'sent' });
    for (const path of ['/0', '/1']) {
      const id = `${messageId} ${path}`;
      const url = `http://127.0.0.1:1${path}`;
      truth.notifications.push({ id, messageId, channel: 'webhook', url, status: 'sent' });
      hooks.push({ at: 0, path, headers: { 'webhook-id': id }, body: '' });
    }
  }
  truth.endpoints.push(endpoint('a'), endpoint('b', 'b2'));
  return { wishes, truth, hooks };
}

type Case = ReturnType<typeof sound>;
const without = <T>(list: T[], at: number) => void list.splice(at, 1);
const replace = (wishes: Wish[], at: number, answers: Wish['answers']) =>
  void wishes.splice(at, 1, { ...(wishes[at] as Wish), answers });

const defects: Record<string, (found: Case) => void> = {
  'an accepted endpoint is not there': ({ truth }) => without(truth.endpoints, 0),
  'an endpoint was created twice': ({ truth }) =>
    void truth.endpoints.push({ ...endpoint('a'), id: 'another id of a' }),
  'an accepted notification is not there': ({ truth }) => without(truth.messages, 0),
  'an accepted change did not happen': ({ truth }) =>
    void Object.assign(truth.endpoints[1] as object, { description: 'b' }),
  'a deleted endpoint is still there': ({ truth }) => void truth.endpoints.push(endpoint('c')),
  'a change was written after a timeout': ({ wishes }) => replace(wishes, 3, [answer(504, 'timeout')]),
  'a deletion was written after unavailable': ({ wishes }) => replace(wishes, 4, [answer(503, 'unavailable')]),
  'a creation was written after a timeout': ({ truth }) => void truth.endpoints.push(endpoint('d')),
  'a notification was queued after a timeout': ({ truth }) => {
    truth.messages.push({ id: 'message o', mark: 'o' });
    for (const each of truth.notifications.slice(0, 3)) truth.notifications.push({ ...each, messageId: 'message o' });
  },
  'half of a write of unknown outcome is there': ({ wishes, truth, hooks }) => {
    replace(wishes, 6, [answer(504, 'outcome-unknown')]);
    truth.notifications.splice(3);
    hooks.splice(2);
  },
  'one effect is there twice': ({ truth }) => {
    truth.messages.push({ id: 'again', mark: 'n' });
    for (const each of truth.notifications.slice(0, 3)) truth.notifications.push({ ...each, messageId: 'again' });
  },
  'a careful client was never accepted': ({ wishes }) => replace(wishes, 5, [answer(503, 'unavailable')]),
  'an answer is a 500': ({ wishes }) => replace(wishes, 7, [answer(500, 'internal')]),
  'a read says not found': ({ wishes }) => replace(wishes, 7, [answer(404, 'not-found')]),
  'a read is of another endpoint': ({ wishes }) => replace(wishes, 7, [answer(200, '', 'id of b')]),
  'a read has an unknown outcome': ({ wishes }) => replace(wishes, 7, [answer(504, 'outcome-unknown')]),
  'a request got no answer': ({ wishes }) => replace(wishes, 7, [answer(0)]),
  'a request hung': ({ wishes }) => replace(wishes, 7, [answer(-1)]),
  'an email is missing': ({ truth }) => without(truth.notifications, 0),
  'a webhook is missing': ({ truth }) => without(truth.notifications, 1),
  'a notification is dead': ({ truth }) => void Object.assign(truth.notifications[1] as object, { status: 'dead' }),
  'a notification has not ended': ({ truth }) =>
    void truth.notifications.push({ id: 'x', messageId: 'other', channel: 'webhook', url: null, status: 'pending' }),
  'something is left in the queue': ({ truth }) => void Object.assign(truth, { queued: 1 }),
  'statistics count an attempt twice': ({ truth }) => void Object.assign(truth.statistics[0] as object, { counted: 7 }),
  'a webhook never arrived': ({ hooks }) => without(hooks, 0),
  'a webhook arrived at another endpoint': ({ hooks }) => void Object.assign(hooks[0] as object, { path: '/1' }),
  'a webhook arrived that nobody asked for': ({ hooks }) =>
    void hooks.push({ at: 0, path: '/0', headers: { 'webhook-id': 'x' }, body: '' }),
};

describe('the judge', () => {
  test('finds nothing where all is as it should be', () => {
    const { wishes, truth, hooks } = sound();
    assert.deepEqual(judge(wishes, truth, hooks, false), { accepted: 7, lost: [], repeated: 0, untrue: [] });
  });

  test('counts a webhook that came twice, which may be', () => {
    const { wishes, truth, hooks } = sound();
    assert.equal(judge(wishes, truth, [...hooks, hooks[0] as Hook], false).repeated, 1);
  });

  for (const [what, plant] of Object.entries(defects)) {
    test(`sees that ${what}`, () => {
      const found = sound();
      plant(found);
      const { lost, untrue } = judge(found.wishes, found.truth, found.hooks, false);
      assert.notEqual(lost.length + untrue.length, 0);
    });
  }

  test('excuses a request without an answer where a process was killed, and none that hung', () => {
    for (const [status, faults] of [
      [0, 0],
      [-1, 1],
    ] as const) {
      const { wishes, truth, hooks } = sound();
      replace(wishes, 7, [answer(status)]);
      assert.equal(judge(wishes, truth, hooks, true).untrue.length, faults);
    }
  });

  const period = { from: 0, lifted: 4000, until: 4100, recovered: 5000 };
  const seen = (at: number, status: number, tookMs = 10) => ({ at, doneAt: at + tookMs, status });
  const well = [seen(100, 200), seen(3000, 200), seen(4500, 200)];
  const turned = [seen(100, 200), seen(1000, 503), seen(3000, 503), seen(4500, 200)];
  const probes: [what: string, rule: 'stays' | 'turns', ready: typeof well, health: typeof well, found: number][] = [
    ['nothing of a readiness that stayed', 'stays', well, well, 0],
    ['nothing of a readiness that turned in time', 'turns', turned, well, 0],
    ['a readiness that should have stayed', 'stays', turned, well, 1],
    ['a readiness that never turned', 'turns', [seen(100, 200)], well, 1],
    ['a readiness that turned late', 'turns', [seen(2500, 503)], well, 1],
    ['a readiness that turned back too early', 'turns', [...turned, seen(3500, 200)], well, 1],
    ['a readiness that hung throughout', 'stays', [seen(50, -1, 5000)], well, 1],
    ['a service that was not alive', 'stays', well, [seen(100, 503)], 1],
    ['a liveness that hung throughout', 'stays', well, [seen(50, -1, 5000)], 1],
  ];
  for (const [what, rule, ready, health, found] of probes) {
    test(`sees ${what}`, () => {
      assert.equal(judgeProbes(ready, health, period, { ready: rule }, true).length, found);
    });
  }

  test('sees a recovery that took too long, or never came', () => {
    for (const [recovered, measured] of [
      [9200, true],
      [Number.POSITIVE_INFINITY, false],
    ] as const) {
      assert.equal(judgeProbes(well, well, { ...period, recovered }, { ready: 'stays' }, measured).length, 1);
    }
  });
});
