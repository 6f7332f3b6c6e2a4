import { setTimeout as pass } from 'node:timers/promises';
import { Agent, fetch } from 'undici';
import { waiters } from '../support/until.ts';

/** `status` is 0 where the connection ended without an answer, -1 where there was none in `PATIENCE_MS`. */
export type Seen = { at: number; doneAt: number; status: number };
export type Probe = {
  ready: Seen[];
  health: Seen[];
  /** Resolves with the time when /ready, or /health, first answered 200 to a request made after `at`. */
  readyAfter(at: number): Promise<number>;
  aliveAfter(at: number): Promise<number>;
  stop(): Promise<void>;
};

const EVERY_MS = 100;
const PATIENCE_MS = 5000;

/** Polls /ready and /health, each time on a connection of its own, as an orchestrator does. */
export function startProbe(url: string): Probe {
  const ending = new AbortController();
  const ready: Seen[] = [];
  const health: Seen[] = [];
  const { until, changed } = waiters();

  async function watch(path: string, seen: Seen[]): Promise<void> {
    const agent = new Agent({ pipelining: 0 });
    while (!ending.signal.aborted) {
      const at = performance.now();
      const status = await fetch(url + path, {
        dispatcher: agent,
        signal: AbortSignal.any([AbortSignal.timeout(PATIENCE_MS), ending.signal]),
      }).then(
        async (answer) => {
          await answer.arrayBuffer();
          return answer.status;
        },
        (error: Error) => (error.name === 'TimeoutError' ? -1 : 0),
      );
      if (ending.signal.aborted) break;
      seen.push({ at, doneAt: performance.now(), status });
      changed();
      await pass(EVERY_MS, undefined, { signal: ending.signal }).catch(() => {});
    }
    await agent.close();
  }
  const watching = [watch('/ready', ready), watch('/health', health)];

  return {
    ready,
    health,
    readyAfter: (at) => until(() => firstWell(ready, at)),
    aliveAfter: (at) => until(() => firstWell(health, at)),
    async stop() {
      ending.abort();
      await Promise.all(watching);
    },
  };
}

const firstWell = (seen: Seen[], after: number) => seen.find(({ at, status }) => at >= after && status === 200)?.doneAt;
