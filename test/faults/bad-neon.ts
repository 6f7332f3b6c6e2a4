import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What Neon's endpoint may do on a bad day. The `committed` modes run the statement first. */
type Mode = 'good' | '500' | 'html' | 'hang' | 'hang, committed' | 'cut, committed' | 'reset' | 'reset, committed';
export type BadNeon = { url: string; be(mode: Mode): void; close(): void };

/** Starts one in front of `target`, which speaks Neon's protocol. */
export async function startBadNeon(target: string): Promise<BadNeon> {
  let mode: Mode = 'good';
  const server = createServer((request, response) => {
    handle(request, response).catch(() => response.destroy());
  });

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const now = mode;
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    if (now === '500') return void response.writeHead(500).end('{"message":"no compute"}');
    if (now === 'html') return void response.writeHead(200, { 'Content-Type': 'text/html' }).end('<html>busy</html>');
    if (now === 'hang') return;
    if (now === 'reset') return void request.socket.resetAndDestroy();
    const names = Object.entries(request.headers).filter(([name]) => /^(neon-|content-type)/.test(name));
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    const answer = await fetch(target, {
      method: 'POST',
      headers: Object.fromEntries(names) as Record<string, string>,
      body: Buffer.concat(chunks),
      // A client that hangs up has its statement canceled, except where only the answer is lost.
      ...(now === 'good' && { signal: gone.signal }),
    });
    const body = await answer.text();
    if (now === 'hang, committed') return;
    if (now === 'reset, committed') return void request.socket.resetAndDestroy();
    response.writeHead(answer.status, {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(body),
    });
    if (now === 'good') return void response.end(body);
    response.write(body.slice(0, body.length / 2), () => response.destroy());
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/sql`,
    be: (next) => {
      mode = next;
    },
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
