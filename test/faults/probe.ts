import { setTimeout as pass } from 'node:timers/promises';
import { Agent, fetch } from 'undici';
import { waiters } from '../support/until.ts';

/** `status` is 0 where there was no answer. */
export type Seen = { at: number; doneAt: number; status: number };
export type Probe = {
  ready: Seen[];
  health: Seen[];
  /** Resolves with the first 200 on /ready that was asked for after `at`. */
  readyAfter(at: number): Promise<Seen>;
  stop(): Promise<void>;
};

const EVERY_MS = 100;
const PATIENCE_MS = 5000;

/** Asks /ready and /health, each time on a connection of its own, as an orchestrator does. */
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
        () => 0,
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
    readyAfter: (at) => until(() => ready.find((seen) => seen.at >= at && seen.status === 200)),
    async stop() {
      ending.abort();
      await Promise.all(watching);
    },
  };
}
