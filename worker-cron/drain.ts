import type { Db } from '../src/db.ts';
import { type Log, noMetrics } from '../src/deps.ts';
import { webCryptoSign } from '../src/dispatcher/channels/sign.ts';
import { webhookChannel } from '../src/dispatcher/channels/webhook.ts';
import { systemClock } from '../src/dispatcher/clock.ts';
import { createDispatcher } from '../src/dispatcher/dispatch.ts';
import { databaseQueue } from '../src/dispatcher/queue.ts';
import { type Config, NO_KEY_OPENS } from '../src/entry/config.ts';
import { emailChannel } from '../src/entry/email-channel.ts';
import { createSecretBox } from '../src/platform/secret-box.ts';
import { fetchSend } from '../src/platform/send-fetch.ts';
import { stateOf } from '../src/system/store.ts';

/** `nextMs` is how soon something is due, 0 where there is more than one run may do, null where nothing is queued. */
type Drained = { nextMs: number | null; failed: boolean };

/** An alarm may take fifteen minutes: a run starts nothing after ten. */
const MAX_RUN_MS = 600_000;
/** Bytes of bodies that wait in a run at most: an isolate has 128 MB for all that it does. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;

/** How long a run takes at most: what it started last may time out, and is then settled. */
export const longestRunMs = ({ deliveryTimeoutMs }: Config['dispatch']) => MAX_RUN_MS + 2 * deliveryTimeoutMs;

/**
 * Makes the function that delivers what is due within `config.subrequests`: claims, deliveries, settlements and
 * extensions count, and nothing is started that could not be settled. Never rejects.
 */
export function createDrain(config: Config, database: Db, log: Log): Drain {
  const { deliveryTimeoutMs, concurrency: connections, leaseMs } = config.dispatch;
  const secrets = createSecretBox(config.secretsKey, config.secretsKeysOld);
  const channels = {
    email: emailChannel(config, log),
    webhook: webhookChannel({
      // Cloudflare's network itself keeps fetch off private addresses.
      send: fetchSend({ allowPrivate: config.webhookAllowPrivate, timeoutMs: deliveryTimeoutMs }),
      secrets,
      now: () => new Date(),
      sign: webCryptoSign(),
    }),
  };
  const dispatcher = createDispatcher({
    queue: databaseQueue(oneAtATime(database), { name: 'worker', leaseMs }),
    channels,
    clock: systemClock,
    log,
    metrics: noMetrics,
    random: Math.random,
    settings: { ...config.dispatch, ...workerLimits(connections), maxWaitingBytes: MAX_WAITING_BYTES },
  });

  // Asked before the first run: each delivery would fail, and use up an attempt.
  let keysOpen = false;
  return {
    async drain(): Promise<Drained> {
      const timer = setTimeout(() => dispatcher.stop(new AbortController().signal), MAX_RUN_MS);
      try {
        if (keysOpen) return await dispatcher.drain(config.subrequests);
        const asked = { keyIds: await secrets.keyIds() };
        keysOpen = (await stateOf(database, asked, AbortSignal.timeout(config.requestTimeoutMs))).keysOpen;
        if (!keysOpen) throw new Error(NO_KEY_OPENS);
        return await dispatcher.drain(config.subrequests - 1);
      } catch (error) {
        log.error('dispatcher failed', { error });
        return { nextMs: null, failed: true };
      } finally {
        clearTimeout(timer);
      }
    },
    changed: dispatcher.wake,
  };
}

/** A delivery that waits for a connection would use up its time waiting: all that is under way has one. */
function workerLimits(connections: number) {
  return {
    concurrency: connections,
    overflowConcurrency: Math.floor((connections * 3) / 5),
    totalConcurrency: connections,
    laneConcurrency: Math.ceil(connections / 4),
  };
}

export type Drain = {
  drain(): Promise<Drained>;
  /** Tells a run that is under way that an endpoint was changed or deleted. */
  changed(endpointId: string): void;
};

/** Keeps the database to one connection. */
function oneAtATime(db: Db): Db {
  let last: Promise<unknown> = Promise.resolve();
  function inTurn<T>(request: () => Promise<T>): Promise<T> {
    const result = last.then(request);
    last = result.catch(() => {});
    return result;
  }
  return {
    run: (statement, values, signal) => inTurn(() => db.run(statement, values, signal)),
    batch: (statements, signal) => inTurn(() => db.batch(statements, signal)),
  };
}
