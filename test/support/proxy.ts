import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { waiters } from './until.ts';

/** A TCP proxy before a Postgres, as a network that loses what it carries without a word. */
export type TcpProxy = {
  url: string;
  /** Connections taken so far. */
  accepted(): number;
  /** Connections that the client has not closed. */
  open(): number;
  /** Resolves once `holds`; asked whenever a connection comes or goes. */
  until(holds: () => boolean): Promise<unknown>;
  /** From now on these connections are read from, and nothing is forwarded or closed; without `which`, all there are. */
  goDead(which?: number[]): void;
  /** Whether new connections are dead from the start. */
  blackHole(on: boolean): void;
  /** Whether new connections are taken and go no further; with false, those that were go on. */
  holdNew(on: boolean): void;
  /** Holds back what that side sends; without one, lets it go, after whoever sent it is gone too. */
  holdBack(side?: Side): void;
  /** Milliseconds by which everything is late, both ways. */
  delay(ms: number): void;
  /** From now on resets a connection in the middle of what the server sends it, once that is `bytes` or more. */
  cutAnswers(bytes: number): void;
  /** Resets all connections. */
  cut(): void;
  close(): void;
};

/** What is yet to be passed on in one direction. */
type Line = { due: number; act: () => unknown }[];
type Side = 'client' | 'server';
type Link = { client: Socket; upstream: Socket | undefined; dead: boolean };

/** Told of what passes, by the connection's number. */
type Watch = (connection: number, from: 'client' | 'server', chunk: Buffer) => void;

/** With `tls`, clients speak TLS to it, and it speaks plain to the server. */
export async function startProxy(
  target: string,
  tls?: { key: Buffer; cert: Buffer },
  watch: Watch = () => {},
): Promise<TcpProxy> {
  const { hostname, port } = new URL(target);
  const links: Link[] = [];
  const { until, changed } = waiters();
  let dead = false;
  let heldBack: Side | undefined;
  const letGo: (() => void)[] = [];
  let held: (() => void)[] | undefined;
  let open = 0;
  let lateMs = 0;
  let cutFrom = Number.POSITIVE_INFINITY;

  const server = createServer((socket) => {
    const link: Link = { client: socket, upstream: undefined, dead };
    links.push(link);
    open++;
    socket.on('error', () => {});
    socket.on('close', () => {
      open--;
      if (!link.dead) link.upstream?.destroy();
      changed();
    });
    changed();
    if (link.dead) socket.resume();
    else if (held) held.push(() => join(link, socket));
    else if (tls) acceptTls(socket, tls, (secure) => join(link, secure));
    else join(link, socket);
  });

  function join(link: Link, client: Socket): void {
    const upstream = connect(Number(port), hostname);
    link.upstream = upstream;
    const number = links.indexOf(link);
    const there: Line = [];
    const back: Line = [];
    client.on('data', (chunk) => {
      watch(number, 'client', chunk);
      inTurn('client', there, () => link.dead || upstream.write(chunk));
    });
    upstream.on('data', (chunk) => {
      watch(number, 'server', chunk);
      if (chunk.length >= cutFrom)
        inTurn('server', back, () =>
          client.write(chunk.subarray(0, chunk.length / 2), () => link.client.resetAndDestroy()),
        );
      else inTurn('server', back, () => link.dead || client.write(chunk));
    });
    upstream.on('error', () => {});
    upstream.on('close', () => {
      if (heldBack === 'server') letGo.push(() => client.end());
      else late(back, () => link.dead || client.destroy());
    });
  }

  function inTurn(side: Side, line: Line, act: () => unknown): void {
    if (heldBack === side) letGo.push(() => void act());
    else late(line, act);
  }

  /** Acts after the delay, and after whatever came before on this line. */
  function late(line: Line, act: () => unknown): void {
    if (lateMs === 0 && line.length === 0) return void act();
    line.push({ due: performance.now() + lateMs, act });
    if (line.length === 1) setTimeout(pump, lateMs, line);
  }

  function pump(line: Line): void {
    for (let now = performance.now(); line[0] && line[0].due <= now; line.shift()) line[0].act();
    if (line[0]) setTimeout(pump, Math.max(1, line[0].due - performance.now()), line);
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(target);
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  if (tls) url.searchParams.set('sslmode', 'no-verify');
  const cut = () => {
    for (const { client, upstream } of links) {
      client.resetAndDestroy();
      upstream?.destroy();
    }
  };
  return {
    url: url.href,
    accepted: () => links.length,
    open: () => open,
    until,
    goDead: (which = [...links.keys()]) => {
      for (const index of which) (links[index] as Link).dead = true;
    },
    blackHole: (on) => {
      dead = on;
    },
    holdNew: (on) => {
      for (const go of held ?? []) go();
      held = on ? [] : undefined;
    },
    holdBack: (side) => {
      heldBack = side;
      for (const pass of letGo.splice(0)) pass();
    },
    delay: (ms) => {
      lateMs = ms;
    },
    cutAnswers: (bytes) => {
      cutFrom = bytes;
    },
    cut,
    close: () => {
      server.close();
      cut();
    },
  };
}

/** Answers the client's SSLRequest as Postgres does. Whoever begins otherwise is hung up on. */
function acceptTls(socket: Socket, { key, cert }: { key: Buffer; cert: Buffer }, then: (secure: Socket) => void): void {
  socket.once('data', (request) => {
    if (request.length !== 8 || request.readInt32BE(4) !== 80877103) return void socket.destroy();
    socket.write('S');
    const secure = new TLSSocket(socket, { isServer: true, key, cert });
    secure.on('error', () => {});
    secure.once('secure', () => then(secure));
  });
}
