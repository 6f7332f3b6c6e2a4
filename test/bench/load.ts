import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { cpuMs, machineBusyMs, residentMib, treeOf } from '../support/processes.ts';
import { headers } from '../support/tokens.ts';
import { medians } from './figures.ts';
import type { Measured, Order, Plan } from './load-client.ts';

/** A kind of request: each goes to the next of `paths`, and `{unique}` in a body becomes a value never used before. */
export type Ask = { paths: string[]; method?: string; body?: string; ok?: number };
export type Load = { connections?: number; warmUpSeconds?: number; seconds?: number; rounds?: number };

/** Medians over rounds: latencies and CPU per request in milliseconds, `other` as a share of all cores. */
export type Figures = {
  perSecond: number;
  p50: number;
  p99: number;
  serverMs: number;
  postgresMs: number;
  clientMs: number;
  /** The share used by neither server, Postgres nor clients: above a tenth, the machine was not ours alone. */
  other: number;
  /** The memory of the server's processes at the end, in MiB, and their number. */
  mib: number;
  processes: number;
};

type Target = { url: string; pid: number };

/** The share of the machine that others may use in a round; beyond it, another round is taken, MORE_ROUNDS at most. */
const MAX_OTHER = 0.1;
const MORE_ROUNDS = 2;

/**
 * Keeps `connections` clients sending requests, and returns what the server and Postgres used for them: medians of the
 * quietest `rounds` of a few more. Throws if a request fails.
 */
export async function load(
  { url, pid }: Target,
  postgres: { pid: number },
  { paths, method = 'GET', body = '', ok = 200 }: Ask,
  { connections = 32, warmUpSeconds = 1, seconds = 2, rounds = 3 }: Load = {},
): Promise<Figures> {
  const { Authorization, 'Content-Type': type } = headers();
  const lines = [`${method} {path} HTTP/1.1`, 'Host: 127.0.0.1', `Authorization: ${Authorization}`];
  if (body) lines.push(`Content-Type: ${type}`, 'Idempotency-Key: "{unique}"');
  const request = `${lines.join('\r\n')}\r\n`;
  const plan: Plan = { port: Number(new URL(url).port), connections, request, body, paths, ok };
  const client = fork(join(import.meta.dirname, 'load-client.ts'));
  const died = once(client, 'exit').then(() => {
    throw new Error('the load generator ended');
  });
  died.catch(() => {});
  const used = () => ({ server: cpuMs(pid), postgres: cpuMs(postgres.pid), machine: machineBusyMs() });
  try {
    client.send({ plan } satisfies Order);
    await measured(client, died, warmUpSeconds);
    const results: Figures[] = [];
    const quiet = () => results.filter(({ other }) => !(other > MAX_OTHER)).length;
    while (quiet() < rounds && results.length < rounds + MORE_ROUNDS) {
      const before = used();
      const seen = await measured(client, died, seconds);
      const after = used();
      if (seen.failed > 0) throw new Error(`${seen.failed} of ${seen.requests} requests failed`);
      if (seen.requests === 0) throw new Error('not one request was answered');
      const server = after.server - before.server;
      const database = after.postgres - before.postgres;
      const others = after.machine - before.machine - server - database - seen.cpuMs;
      results.push({
        perSecond: seen.requests / seen.seconds,
        p50: seen.p50,
        p99: seen.p99,
        serverMs: server / seen.requests,
        postgresMs: database / seen.requests,
        clientMs: seen.cpuMs / seen.requests,
        other: Math.max(0, others / (seen.seconds * 1000 * cpus().length)),
        mib: residentMib(pid),
        processes: treeOf(pid).length,
      });
    }
    return medians(results.toSorted((a, b) => a.other - b.other).slice(0, rounds));
  } finally {
    client.kill();
  }
}

async function measured(client: ChildProcess, died: Promise<never>, seconds: number): Promise<Measured> {
  client.send({ seconds } satisfies Order);
  const [message] = await Promise.race([once(client, 'message'), died]);
  return message as Measured;
}
