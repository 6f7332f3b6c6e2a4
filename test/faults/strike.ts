// Strikes a service under load with one fault several times, then checks everything.

import { setTimeout as pass } from 'node:timers/promises';
import { quantile } from '../bench/figures.ts';
import { randomFrom } from '../support/random.ts';
import { headers } from '../support/tokens.ts';
import type { Fault } from './fault.ts';
import { footprint, grown } from './footprint.ts';
import { judge, judgeProbes, seenIn, TRUTH, type Truth } from './judge.ts';
import { type Load, startLoad } from './load.ts';
import { type Probe, startProbe } from './probe.ts';
import { makeWorld, type World } from './world.ts';

export type Row = {
  name: string;
  kind: Fault['kind'];
  times: number;
  accepted: number;
  lost: string[];
  repeated: number;
  untrue: string[];
  /** Answers that were refusals, or never came. */
  refused: number;
  /** Milliseconds from each strike's end until the service was ready, accepted a write and delivered its webhook. */
  recoveries: number[];
  /** The 99th percentile of the time that /health took during strikes, in milliseconds. */
  healthP99Ms: number;
  /** Whether it was struck by itself, after the full run. */
  again?: boolean;
  /** Before all strikes, and after them: MiB in RAM, and open sockets. */
  memoryMib: [before: number, after: number];
  sockets: [before: number, after: number];
};

type Options = {
  times: number;
  holdMs: number;
  seed: number;
  /** Also judges what depends on the machine: how soon readiness turns and all recovers, memory and sockets. */
  measured?: boolean;
  report?: (what: string) => void;
};

const WARM_UP_MS = 2000;
/** Between strikes. */
const PAUSE_MS = 500;
const SETTLE_MS = 60_000;
/** How long memory and sockets are observed before the strikes, and how long they may take to shrink again. */
const LOOK_MS = 2000;
const SHRINKS_WITHIN_MS = 60_000;
/** After which a service that has not recovered is given up on. */
const GIVE_UP_MS = 60_000;
/** Requests per second of the clients. */
export const PER_SECOND = 60;

export async function strike(
  fault: Fault,
  { times, holdMs, seed, measured = true, report = () => {} }: Options,
): Promise<Row> {
  // One for the clients, and one for the strikes: how many numbers they draw depends on timing.
  const [random, chance] = [randomFrom(seed), randomFrom(seed + 1)];
  const world = await makeWorld(fault.world);
  try {
    const perSecond = fault.world?.perSecond ?? PER_SECOND;
    const warmUp = startLoad(world.url, perSecond, chance);
    if (measured) await pass(fault.warmUpMs ?? WARM_UP_MS);
    await warmUp.stop();
    const before = await footprint(world, measured ? LOOK_MS : 0);

    const load = startLoad(world.url, perSecond, chance);
    const probe = startProbe(world.url);
    const untrue: string[] = [];
    const recoveries: number[] = [];
    const health: number[] = [];
    await load.acceptedAfter(0);
    for (let time = 0; time < times; time++) {
      report(`${time + 1} of ${times}`);
      await pass(PAUSE_MS * (1 + random()));
      const from = performance.now();
      let lifted: number | undefined;
      await fault.strike(world, {
        holdMs: Math.max(holdMs, fault.holdMs ?? 0),
        random,
        measured,
        untrue: (what) => untrue.push(what),
        lifts: () => {
          lifted = performance.now();
        },
      });
      const until = performance.now();
      const recovered = await recovery(world, load, probe, until);
      const period = { from, lifted: lifted ?? until, until, recovered };
      untrue.push(...judgeProbes(probe.ready, probe.health, period, fault, measured));
      health.push(...seenIn(probe.health, from, recovered).map(({ at, doneAt }) => doneAt - at));
      recoveries.push(recovered - until);
    }
    report('settles');
    await load.stop();
    await untilSettled(world);
    await probe.stop();
    const grew = (seen: typeof before) => grown(before, seen, fault.mayGrow);
    const after = await footprint(world, measured ? SHRINKS_WITHIN_MS : 0, (seen) => grew(seen).length === 0);
    if (measured) untrue.push(...grew(after));
    const exits = await world.stopServices();
    if (exits.some((code) => code !== 0)) untrue.push(`stopped with ${exits.join(' and ')}`);
    const wishes = [...warmUp.wishes, ...load.wishes];
    const refused = load.wishes.flatMap(({ answers }) => answers).filter(({ status }) => status < 200 || status >= 300);
    if (refused.length === 0 && !fault.harmless) untrue.push('nothing was refused: the fault was none');
    if (refused.length > 0 && fault.unnoticed) untrue.push(`${refused.length} requests were refused`);
    const hooks = world.sink.hooks.filter(({ path }) => /^\/\d+$/.test(path));
    const verdict = judge(wishes, await truthOf(world), hooks, fault.drops ?? false);
    return {
      name: fault.name,
      kind: fault.kind,
      times,
      ...verdict,
      untrue: [...untrue, ...verdict.untrue],
      refused: refused.length,
      recoveries,
      healthP99Ms: quantile(health, 0.99),
      memoryMib: [before.memoryMib, after.memoryMib],
      sockets: [before.sockets, after.sockets],
    };
  } finally {
    await world.close();
  }
}

/** Returns when everything had recovered from the fault that ended at `until`; infinity if it never did. */
async function recovery({ sink }: World, load: Load, probe: Probe, until: number): Promise<number> {
  const never = pass(GIVE_UP_MS, Number.POSITIVE_INFINITY, { ref: false });
  const written = load.acceptedAfter(until).then(async ({ mark, answers }) => {
    const arrived = await sink.first(({ body }) => body.includes(mark));
    return Math.max(arrived.at, answers.at(-1)?.doneAt ?? 0);
  });
  const all = [probe.readyAfter(until), probe.aliveAfter(until), written];
  return Math.max(...(await Promise.all(all.map((work) => Promise.race([work, never])))));
}

/** Polls, as no event reports an empty queue; the judge finds what is left then. */
async function untilSettled(world: World): Promise<void> {
  for (const end = performance.now() + SETTLE_MS; performance.now() < end; await pass(100)) {
    const answer = await fetch(`${world.url}/api/v1/notifications?status=pending&limit=1`, {
      headers: headers(),
    }).catch(() => undefined);
    if (answer?.status === 200 && ((await answer.json()) as { data: unknown[] }).data.length === 0) return;
  }
}

async function truthOf(world: World): Promise<Truth> {
  const endpoints = (await world.query(TRUTH.endpoints)) as Truth['endpoints'];
  const messages = (await world.query(TRUTH.messages)) as Truth['messages'];
  const notifications = (await world.query(TRUTH.notifications)) as Truth['notifications'];
  const [row] = await world.query(TRUTH.queued);
  const statistics = (await world.query(TRUTH.statistics)) as Truth['statistics'];
  return { endpoints, messages, notifications, queued: Number(row?.queued), statistics };
}

export const worst = ({ recoveries }: Row) => Math.max(...recoveries);
