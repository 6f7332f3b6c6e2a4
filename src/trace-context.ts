import type { Db, Statement } from './db.ts';

/** A place in a trace (W3C Trace Context): a span, and whether it is sampled. */
export type TraceParent = { traceId: string; spanId: string; sampled: boolean };

// Version, trace id, parent id, flags. Anything that a version after 00 appends is ignored.
const TRACEPARENT =
  /^(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]([0-9a-f])(-|$)/;

/** Parses a `traceparent`. Returns undefined if it is missing or invalid. */
export function parseTraceparent(text: string | null | undefined): TraceParent | undefined {
  const [, traceId, spanId, flags] = TRACEPARENT.exec(text ?? '') ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

/** Formats a `traceparent` of version 00. */
export const formatTraceparent = ({ traceId, spanId, sampled }: TraceParent): string =>
  `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`;

/** Runs one round trip of the statements with these names. */
export type Around = <T>(names: readonly string[], roundTrip: () => Promise<T>) => Promise<T>;

/**
 * Returns `db` for a request that is part of a trace: its statements store `traceparent` with the messages that they
 * enqueue, and `around` runs each round trip.
 */
export function carrying<D extends Db>(db: D, traceparent: string, around: Around = (_, roundTrip) => roundTrip()): D {
  const { transaction } = db as { transaction?: (work: (tx: Db) => unknown, signal: AbortSignal) => unknown };
  const own: Db = {
    run: <V, R>(statement: Statement<V, R>, values: V, signal: AbortSignal) =>
      around([statement.name], () => db.run(statement, { ...values, traceparent }, signal)),
    batch: (statements, signal) =>
      around(
        statements.map(({ name }) => name),
        () =>
          db.batch(
            statements.map((each) => ({
              ...each,
              params: each.paramsWith({ traceparent }),
            })) as unknown as typeof statements,
            signal,
          ),
      ),
  };
  const inTransaction = (work: (tx: Db) => unknown, signal: AbortSignal) =>
    transaction?.((tx) => work(carrying(tx, traceparent, around)), signal);
  return { ...db, ...own, ...(transaction && { transaction: inTransaction }) };
}
