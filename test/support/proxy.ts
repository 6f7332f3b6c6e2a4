import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/** A TCP proxy before a Postgres, as a network that loses what it carries without a word. */
export type TcpProxy = {
  url: string;
  /** Connections taken so far. */
  accepted(): number;
  /** Connections that the client has not closed. */
  open(): number;
  /** Resolves once `holds`; asked whenever a connection comes or goes. */
  until(holds: () => boolean): Promise<void>;
  /** From now on these connections are read from, and nothing is forwarded or closed; without `which`, all there are. */
  goDead(which?: number[]): void;
  /** Whether new connections are dead from the start. */
  blackHole(on: boolean): void;
  /** Whether new connections are taken and go no further; with false, those that were go on. */
  holdNew(on: boolean): void;
  /** Holds back what that side sends; without one, lets it go, after whoever sent it is gone too. */
  holdBack(side?: 'client' | 'server'): void;
  /** Resets all connections. */
  cut(): void;
  close(): void;
};

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
  const waiting = new Set<() => void>();
  let dead = false;
  let heldBack: 'client' | 'server' | undefined;
  const letGo: (() => void)[] = [];
  let held: (() => void)[] | undefined;
  let open = 0;
  const changed = () => {
    for (const look of waiting) look();
  };

  const server = createServer((socket) => {
    const link: Link = { client: socket, upstream: undefined, dead };
    links.push(link);
    open++;
    socket.on('error', () => {});
    socket.on('close', () => {
      open--;
      if (heldBack === 'client') letGo.push(() => link.upstream?.end());
      else if (!link.dead) link.upstream?.destroy();
      changed();
    });
    changed();
    if (link.dead) socket.resume();
    else if (held) held.push(() => join(link, socket));
    else if (tls) acceptTls(socket, tls, (secure) => join(link, secure));
    else join(link, socket);
  });

  function inTurn(side: 'client' | 'server', pass: () => void): void {
    if (heldBack === side) letGo.push(pass);
    else pass();
  }

  function join(link: Link, client: Socket): void {
    const upstream = connect(Number(port), hostname);
    link.upstream = upstream;
    const number = links.indexOf(link);
    client.on('data', (chunk) => {
      watch(number, 'client', chunk);
      if (!link.dead) inTurn('client', () => upstream.write(chunk));
    });
    upstream.on('data', (chunk) => {
      watch(number, 'server', chunk);
      if (!link.dead) inTurn('server', () => client.write(chunk));
    });
    upstream.on('error', () => {});
    upstream.on('close', () => {
      if (heldBack === 'server') letGo.push(() => client.end());
      else if (!link.dead) client.destroy();
    });
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
    until: (holds) =>
      new Promise((resolve) => {
        const look = () => {
          if (!holds()) return void waiting.add(look);
          waiting.delete(look);
          resolve();
        };
        look();
      }),
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
