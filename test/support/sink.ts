import assert from 'node:assert/strict';
import { createHmac, timingSafeEqual } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import { waiters } from './until.ts';

export type Hook = { at: number; path: string; headers: IncomingHttpHeaders; body: string };
type Reply = (hook: Hook, response: ServerResponse, request: IncomingMessage) => void;

/** A webhook receiver on loopback: records requests, and answers 204 or as it is told to for a path. */
export type Sink = {
  url(path: string): string;
  hooks: Hook[];
  /** From now on, requests to `path` are answered by `reply`, or with a status. */
  reply(path: string, reply: Reply | number): void;
  /** Resolves with the first `count` hooks to `path`, past or future. */
  received(path: string, count?: number): Promise<Hook[]>;
  /** Resolves with the first matching hook, past or future. */
  first(matches: (hook: Hook) => boolean): Promise<Hook>;
  close(): Promise<void>;
};

export async function startSink(): Promise<Sink> {
  const hooks: Hook[] = [];
  const replies = new Map<string, Reply>();
  const { until, changed } = waiters();

  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => {
      const path = request.url ?? '';
      const hook = { at: performance.now(), path, headers: request.headers, body: Buffer.concat(chunks).toString() };
      hooks.push(hook);
      const reply = replies.get(path);
      if (reply) reply(hook, response, request);
      else response.writeHead(204).end();
      changed();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;

  return {
    url: (path) => `http://127.0.0.1:${port}${path}`,
    hooks,
    reply: (path, reply) => {
      const answer: Reply = typeof reply === 'number' ? (_, response) => response.writeHead(reply).end() : reply;
      replies.set(path, answer);
    },
    received: (path, count = 1) =>
      until(() => {
        const found = hooks.filter((hook) => hook.path === path);
        return found.length >= count && found.slice(0, count);
      }),
    first: (matches) => until(() => hooks.find(matches)),
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Checks a webhook's signature by the reference library, and by hand. */
export function assertSigned({ headers, body }: Hook, secret: string): void {
  new Webhook(secret).verify(body, headers as Record<string, string>);
  const key = Buffer.from(secret.slice('whsec_'.length), 'base64');
  const content = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`;
  const expected = createHmac('sha256', key).update(content).digest();
  const given = String(headers['webhook-signature']).split(' ');
  assert.ok(given.some((each) => timingSafeEqual(Buffer.from(each.replace(/^v1,/, ''), 'base64'), expected)));
}
