import { startProxy } from './proxy.ts';

/** What has been sent to the database so far. */
export type Counts = { statements: number; roundTrips: number };

/** Message types: an execution in the extended protocol, or a simple query. */
const STATEMENTS = new Set(['E', 'Q']);
/** The doorbell rings after the answer, on a connection of its own: no request waits for it. */
const DOORBELL = 'keelson-doorbell';

type Connection = { rest: Buffer; started: boolean; counted: boolean; answered: boolean };

/** Starts a counting proxy in front of Postgres. Statements sent before an answer arrives share a round trip. */
export async function startCountingProxy(target: string): Promise<{ url: string; counts(): Counts; close(): void }> {
  const connections: Connection[] = [];
  const total = { statements: 0, roundTrips: 0 };
  const proxy = await startProxy(target, undefined, (number, from, chunk) => {
    connections[number] ??= { rest: Buffer.alloc(0), started: false, counted: true, answered: true };
    const connection = connections[number];
    if (from === 'server') connection.answered = true;
    else read(connection, chunk);
  });

  function read(connection: Connection, chunk: Buffer): void {
    let rest = Buffer.concat([connection.rest, chunk]);
    for (;;) {
      // The first message has no type.
      const at = connection.started ? 1 : 0;
      if (rest.length < at + 4) break;
      const end = at + rest.readInt32BE(at);
      if (rest.length < end) break;
      if (!connection.started) connection.counted = !rest.toString('latin1', 0, end).includes(DOORBELL);
      else if (connection.counted && STATEMENTS.has(rest.toString('latin1', 0, 1))) count(connection);
      connection.started = true;
      rest = rest.subarray(end);
    }
    connection.rest = rest;
  }

  function count(connection: Connection): void {
    total.statements++;
    if (connection.answered) total.roundTrips++;
    connection.answered = false;
  }

  return { url: proxy.url, counts: () => ({ ...total }), close: proxy.close };
}
