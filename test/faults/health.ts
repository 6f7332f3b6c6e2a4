import { setTimeout as pass } from 'node:timers/promises';
import { Agent, fetch } from 'undici';
import { quantile } from '../bench/figures.ts';

/** Asks /health over and over on one connection, until it is stopped. */
export function watchHealth(url: string) {
  const agent = new Agent({ connections: 1 });
  const tookMs: number[] = [];
  let over = false;
  const asking = (async () => {
    while (!over) {
      const at = performance.now();
      await fetch(`${url}/health`, { dispatcher: agent }).then((answer) => answer.arrayBuffer());
      tookMs.push(performance.now() - at);
      await pass(1);
    }
  })();
  return {
    async stop() {
      over = true;
      await asking;
      await agent.close();
      return { p99Ms: quantile(tookMs, 0.99) };
    },
  };
}
