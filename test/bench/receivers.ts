// Webhook receivers in a separate process, so that their usage is not the service's. As a script, this is that process.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Epoch milliseconds of the first and the last of the expected requests. */
type Arrivals = { first: number; last: number };
export type Receivers = {
  urls: string[];
  pid: number;
  /** Counts requests answered from now on; `arrived` resolves at the `count`th. */
  expect(count: number): Promise<{ arrived: Promise<Arrivals> }>;
  stop(): void;
};

/** Starts receivers, each on its own port, that answer 204 at once; the last `hanging` of them never answer. */
export async function startReceivers({ count, hanging = 0 }: { count: number; hanging?: number }): Promise<Receivers> {
  const child = fork(import.meta.filename, [String(count), String(hanging)], { execArgv: process.execArgv });
  const { ports } = await heard<{ ports: number[] }>(child);
  return {
    urls: ports.map((port) => `http://127.0.0.1:${port}/`),
    pid: child.pid as number,
    async expect(expected) {
      child.send({ expect: expected });
      await heard(child);
      return { arrived: heard<Arrivals>(child) };
    },
    stop: () => void child.kill(),
  };
}

export function epochMs(): number {
  return performance.timeOrigin + performance.now();
}

async function heard<T>(from: ChildProcess): Promise<T> {
  const [message] = (await once(from, 'message')) as [T];
  return message;
}

async function receive(count: number, hanging: number): Promise<void> {
  let left = 0;
  let first = Number.NaN;
  const arrived = () => {
    if (Number.isNaN(first)) first = epochMs();
    if (--left === 0) process.send?.({ first, last: epochMs() } satisfies Arrivals);
  };
  const servers = Array.from({ length: count }, (_, i) =>
    createServer((request, response) => {
      request.resume().on('end', () => {
        if (i >= count - hanging) return;
        response.writeHead(204).end();
        arrived();
      });
    }).listen(0, '127.0.0.1'),
  );
  await Promise.all(servers.map((server) => once(server, 'listening')));
  process.on('message', ({ expect }: { expect: number }) => {
    left = expect;
    first = Number.NaN;
    process.send?.({ expecting: expect });
  });
  process.on('disconnect', () => process.exit());
  process.send?.({ ports: servers.map((server) => (server.address() as AddressInfo).port) });
}

if (import.meta.main) await receive(Number(process.argv[2]), Number(process.argv[3]));
