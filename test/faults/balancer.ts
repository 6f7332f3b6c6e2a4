import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as pass } from 'node:timers/promises';
import { waiters } from '../support/until.ts';

const ASK_EVERY_MS = 50;
const ASK_FOR_MS = 1000;

export type Balancer = {
  url: string;
  /** Resolves once the balancer sends connections to `url`, or no longer does. */
  until(url: string, ready: boolean): Promise<unknown>;
  close(): Promise<void>;
};

/** Starts a minimal TCP load balancer: new connections go, in turn, to services whose last /ready answer was 200. */
export async function startBalancer(urls: string[]): Promise<Balancer> {
  const ready = new Set<string>();
  const { until, changed } = waiters();
  const sockets = new Set<Socket>();
  let closed = false;
  let turn = 0;

  const server = createServer((client) => {
    const able = urls.filter((url) => ready.has(url));
    const target = able[turn++ % able.length];
    if (!target) return void client.resetAndDestroy();
    const { hostname, port } = new URL(target);
    const upstream = connect(Number(port), hostname);
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(one);
      one.setNoDelay(true);
      one.on('error', () => {});
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
    }
    client.pipe(upstream);
    upstream.pipe(client);
  });

  async function watch(url: string): Promise<void> {
    while (!closed) {
      const status = await fetch(`${url}/ready`, {
        headers: { Connection: 'close' },
        signal: AbortSignal.timeout(ASK_FOR_MS),
      }).then(
        async (answer) => {
          await answer.arrayBuffer();
          return answer.status;
        },
        () => undefined,
      );
      if (status === 200) ready.add(url);
      else ready.delete(url);
      changed();
      await pass(ASK_EVERY_MS);
    }
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const watching = urls.map(watch);
  const untilReady = (url: string, is: boolean) => until(() => ready.has(url) === is);
  for (const url of urls) await untilReady(url, true);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    until: untilReady,
    async close() {
      closed = true;
      server.close();
      for (const socket of sockets) socket.destroy();
      await Promise.all(watching);
    },
  };
}
