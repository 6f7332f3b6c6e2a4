import type { Db } from '../src/db.ts';
import { type Log, noMetrics } from '../src/deps.ts';
import { webCryptoSign } from '../src/dispatcher/channels/sign.ts';
import { webhookChannel } from '../src/dispatcher/channels/webhook.ts';
import { systemClock } from '../src/dispatcher/clock.ts';
import { createDispatcher, type Drained } from '../src/dispatcher/dispatch.ts';
import { databaseQueue, STATEMENT_MS } from '../src/dispatcher/queue.ts';
import { type Config, NO_KEY_OPENS } from '../src/entry/config.ts';
import { emailChannel } from '../src/entry/email-channel.ts';
import { MAX_WAITING_SPANS, type OpenTracing } from '../src/platform/open-tracing.ts';
import { createSecretBox } from '../src/platform/secret-box.ts';
import { createSemaphore } from '../src/platform/semaphore.ts';
import { fetchSend } from '../src/platform/send-fetch.ts';
import { stateOf } from '../src/system/store.ts';

/** An alarm may take 15 minutes. A run starts nothing after 10. */
const MAX_RUN_MS = 600_000;
/** As in wrangler.toml: the longest time from one run to the next. */
const CRON_MS = 900_000;
/** Bytes of bodies that may wait in a run: an isolate has 128 MB for everything. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;

/** An attempt has at most two spans. */
const DELIVERIES_PER_EXPORT = MAX_WAITING_SPANS / 2;

/** The maximum duration of a run: its last deliveries may time out, and are then settled. */
export const longestRunMs = ({ deliveryTimeoutMs }: Config['dispatch']) => MAX_RUN_MS + 2 * deliveryTimeoutMs;

/**
 * Creates the part that delivers what is due, with at most `config.subrequests` subrequests: claims, deliveries,
 * settlements, extensions and batches of actions. It starts nothing that it could not settle. Never rejects. `name` is the
 * dispatcher's name.
 */
export function createDrain(config: Config, database: Db, log: Log, name = 'worker', tracing?: OpenTracing): Drain {
  const { deliveryTimeoutMs, concurrency: connections, leaseMs } = config.dispatch;
  const secrets = createSecretBox(config.secretsKey, config.secretsKeysOld);
  const channels = {
    email: emailChannel(config, log),
    webhook: webhookChannel({
      // Cloudflare's network keeps fetch away from private addresses.
      send: fetchSend({ allowPrivate: config.webhookAllowPrivate, timeoutMs: deliveryTimeoutMs }),
      secrets,
      now: () => new Date(),
      sign: webCryptoSign(),
    }),
  };
  const dispatcher = createDispatcher({
    queue: databaseQueue(oneAtATime(database), { name, leaseMs, everyMs: CRON_MS }),
    channels,
    clock: systemClock,
    log,
    metrics: noMetrics,
    tracing: tracing?.tracing,
    random: Math.random,
    settings: { ...config.dispatch, ...workerLimits(connections), maxWaitingBytes: MAX_WAITING_BYTES },
  });

  // What is left for deliveries: a run exports its spans at its end, and each time the maximum number of them waits.
  const subrequests = config.subrequests - (tracing ? Math.ceil(config.subrequests / DELIVERIES_PER_EXPORT) : 0);

  // Checked before the first run: with wrong keys, each delivery would fail and use up an attempt.
  let keysOpen = false;
  return {
    async drain(): Promise<Drained> {
      const timer = setTimeout(() => dispatcher.stop(new AbortController().signal), MAX_RUN_MS);
      try {
        if (keysOpen) return await dispatcher.drain(subrequests);
        const asked = { keyIds: await secrets.keyIds() };
        keysOpen = (await stateOf(database, asked, AbortSignal.timeout(config.requestTimeoutMs))).keysOpen;
        if (!keysOpen) throw new Error(NO_KEY_OPENS);
        return await dispatcher.drain(subrequests - 1);
      } catch (error) {
        log.error('dispatcher failed', { error });
        return { nextMs: null, failed: true };
      } finally {
        clearTimeout(timer);
        await tracing?.flush();
      }
    },
    wake: dispatcher.wake,
  };
}

/** As many deliveries as connections: one that waited for a connection would use up its time limit. */
function workerLimits(connections: number) {
  return {
    concurrency: connections,
    overflowConcurrency: Math.floor((connections * 3) / 5),
    totalConcurrency: connections,
    laneConcurrency: Math.ceil(connections / 4),
  };
}

/** Milliseconds until the run after a failed one. It doubles with each failure. */
const RETRY_MS = 2000;
const MAX_RETRY_MS = 300_000;

/**
 * Returns the time in milliseconds until the next run, or null if none is needed. `failures` is the number of
 * unsuccessful runs in a row, up to the last; `unfinished` is whether the run before them was killed or failed.
 */
export function nextAlarmMs({ nextMs, failures, unfinished }: Ended, leaseMs: number): number | null {
  // The database gets a rest, however much is due.
  if (failures > 0) return Math.max(nextMs ?? 0, Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** (failures - 1)));
  // Such a run no longer extends its leases: after `leaseMs`, all of them have expired.
  return unfinished ? Math.min(nextMs ?? leaseMs, leaseMs) : nextMs;
}

type Ended = { nextMs: number | null; failures: number; unfinished: boolean };

export type Drain = {
  drain(): Promise<Drained>;
  /** Tells the current run that something may be due, or which endpoint was changed or deleted. */
  wake(changedEndpointId?: string): void;
};

/** Limits the database to one connection. A statement's time limit starts with its turn. */
function oneAtATime(db: Db): Db {
  const { run: inTurn } = createSemaphore(() => 1);
  return {
    run: (statement, values) => inTurn(() => db.run(statement, values, AbortSignal.timeout(STATEMENT_MS))),
    batch: (statements) => inTurn(() => db.batch(statements, AbortSignal.timeout(STATEMENT_MS))),
  };
}
