import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { freePort } from './postgres-server.ts';
import { selfSigned } from './self-signed.ts';

const GIGABYTE = 2 ** 30;

/** Webhook receivers that misbehave; each call starts one and returns its URL. */
export type BadReceivers = {
  http(listener: RequestListener): Promise<string>;
  neverAnswers(): Promise<string>;
  /** Sends one byte a second. */
  drips(): Promise<string>;
  /** Answers 500 with a body of 1 GB. */
  floods(): Promise<string>;
  closesMidHeader(): Promise<string>;
  redirectsInside(): Promise<string>;
  /** Has a certificate that no authority vouches for. */
  notTrusted(): Promise<string>;
  notThere(): Promise<string>;
  resolvesToNothing(): string;
  close(): void;
};

export function badReceivers(): BadReceivers {
  const servers: { server: Server; sockets: Set<Socket> }[] = [];

  async function listening(server: Server): Promise<string> {
    const sockets = new Set<Socket>();
    servers.push({ server, sockets });
    server.on('connection', (socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => sockets.delete(socket));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return `127.0.0.1:${(server.address() as AddressInfo).port}/`;
  }

  const http = async (listener: RequestListener) => `http://${await listening(createServer(listener))}`;
  const tcp = async (onRequest: (socket: Socket) => void) =>
    `http://${await listening(createTcpServer((socket) => socket.once('data', () => onRequest(socket))))}`;

  return {
    http,
    neverAnswers: () => tcp(() => {}),
    drips: () => tcp(drip),
    floods: () => http(flood),
    closesMidHeader: () => tcp((socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Le')),
    redirectsInside: () =>
      http((_, answer) => answer.writeHead(307, { Location: 'http://169.254.169.254/latest/' }).end()),
    notTrusted: async () =>
      `https://${await listening(createTlsServer(selfSigned(), (_, response) => response.end()))}`,
    notThere: async () => `http://127.0.0.1:${await freePort()}/`,
    resolvesToNothing: () => 'http://nothing-of-that-name.invalid/',
    close() {
      for (const { server, sockets } of servers) {
        for (const socket of sockets) socket.destroy();
        server.close();
      }
    },
  };
}

function drip(socket: Socket): void {
  socket.write('HTTP/1.1 200 OK\r\nX-Slow: ');
  const timer = setInterval(() => socket.write('x'), 1000);
  socket.on('close', () => clearInterval(timer));
}

const flood: RequestListener = (_, response) => {
  const chunk = Buffer.alloc(65_536, 'x');
  let left = GIGABYTE;
  response.writeHead(500, { 'Content-Length': GIGABYTE });
  const more = () => {
    while (left > 0 && !response.destroyed) {
      left -= chunk.length;
      if (!response.write(chunk)) return;
    }
  };
  response.on('drain', more);
  more();
};
