import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { openSockets, residentMib } from './processes.ts';
import type { Service } from './service.ts';

/** Opens connections to the service one after the other and sends `text` on each. Does not read the answers. */
export async function openUnread(url: string, count: number, text: string): Promise<Socket[]> {
  const { hostname, port } = new URL(url);
  const sockets: Socket[] = [];
  for (let i = 0; i < count; i++) {
    const socket = connect(Number(port), hostname).pause();
    socket.on('error', () => {});
    await once(socket, 'connect');
    socket.write(text);
    sockets.push(socket);
  }
  return sockets;
}

type Options = { connections: number; requests: number; path?: string; settleMs?: number };

/**
 * Opens connections that request something large many times and read nothing, until the service has cut them all.
 * Returns memory in MiB: before, while they are open, and `settleMs` after they are gone.
 */
export async function stallReaders(
  service: Service,
  { connections, requests, path = '/openapi.json', settleMs = 0 }: Options,
): Promise<{ beforeMib: number; stalledMib: number; afterMib: number; health: number[] }> {
  const beforeMib = residentMib(service.pid);
  const atRest = openSockets(service.pid);
  const health: number[] = [];
  const sockets = await openUnread(
    service.url,
    connections,
    `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(requests),
  );
  let stalledMib = 0;
  do {
    health.push((await fetch(`${service.url}/health`, { headers: { Connection: 'close' } })).status);
    stalledMib = Math.max(stalledMib, residentMib(service.pid));
  } while (openSockets(service.pid) > atRest && (await delay(50, true)));
  for (const socket of sockets) socket.destroy();
  await delay(settleMs);
  return { beforeMib, stalledMib, afterMib: residentMib(service.pid), health };
}
