import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { waiters } from './until.ts';

/** A TCP proxy in front of Postgres that acts as a network that silently loses what it carries. */
export type TcpProxy = {
  url: string;
  /** Connections accepted so far. */
  accepted(): number;
  /** Connections that the client has not closed. */
  open(): number;
  /** Resolves once `holds` returns true; it is called whenever a connection opens or closes. */
  until(holds: () => boolean): Promise<unknown>;
  /** From now on reads from these connections, but forwards and closes nothing; without `which`, all current ones. */
  goDead(which?: number[]): void;
  /** Sets whether new connections are dead from the start. */
  blackHole(on: boolean): void;
  /** Sets whether new connections are accepted and then held; with false, the held ones proceed. */
  holdNew(on: boolean): void;
  /** Holds back what that side sends; without a side, releases it, even if its sender is gone. */
  holdBack(side?: Side): void;
  /** Delays everything by `ms`, in both directions. */
  delay(ms: number): void;
  /** From now on resets a connection in the middle of any chunk of `bytes` or more that the server sends it. */
  cutAnswers(bytes: number): void;
  /** Resets all connections. */
  cut(): void;
  close(): void;
};

/** What is still to be forwarded in one direction. */
type Line = { due: number; act: () => unknown }[];
type Side = 'client' | 'server';
type Link = { client: Socket; upstream: Socket | undefined; dead: boolean };

/** Called with each chunk that passes and its connection's number. */
type Watch = (connection: number, from: 'client' | 'server', chunk: Buffer) => void;

/** Starts a proxy. With `tls`, clients speak TLS to it, and it speaks plaintext to the server. */
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

  /** Acts after the delay, and after everything before it on this line. */
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

/** Answers the client's SSLRequest as Postgres does. Closes the connection of a client that begins otherwise. */
function acceptTls(socket: Socket, { key, cert }: { key: Buffer; cert: Buffer }, then: (secure: Socket) => void): void {
  socket.once('data', (request) => {
    if (request.length !== 8 || request.readInt32BE(4) !== 80877103) return void socket.destroy();
    socket.write('S');
    const secure = new TLSSocket(socket, { isServer: true, key, cert });
    secure.on('error', () => {});
    secure.once('secure', () => then(secure));
  });
}
