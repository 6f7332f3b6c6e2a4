import type { Db } from '../src/db.ts';
import { type Log, noMetrics } from '../src/deps.ts';
import { webCryptoSign } from '../src/dispatcher/channels/sign.ts';
import { webhookChannel } from '../src/dispatcher/channels/webhook.ts';
import { createDispatcher } from '../src/dispatcher/dispatch.ts';
import type { Config } from '../src/entry/config.ts';
import { emailChannel } from '../src/entry/email-channel.ts';
import { createSecretBox } from '../src/platform/secret-box.ts';
import { fetchSend } from '../src/platform/send-fetch.ts';

/** `nextMs` is how soon something is due, 0 where there is more than one run may do, null where nothing is queued. */
type Drained = { nextMs: number | null; failed: boolean };

/** Milliseconds for settling after the last delivery. */
const SETTLING_MS = 5000;
/** An alarm may take fifteen minutes. */
const MAX_RUN_MS = 600_000;

/** How long a run takes at most: a batch of deliveries that all time out. */
export function longestRunMs({ batch, concurrency, deliveryTimeoutMs }: Config['dispatch']): number {
  return Math.min(MAX_RUN_MS, Math.ceil(batch / concurrency) * deliveryTimeoutMs + SETTLING_MS);
}

/**
 * Makes the function that delivers what is due, `config.dispatch.batch` notifications at most, so that one run stays
 * within an invocation's subrequests: for each of them a delivery and a settlement, and a few claims. Never rejects.
 */
export function createDrain(config: Config, database: Db, log: Log): () => Promise<Drained> {
  const { deliveryTimeoutMs, batch } = config.dispatch;
  const channels = {
    email: emailChannel(config, log),
    webhook: webhookChannel({
      // Cloudflare's network itself keeps fetch off private addresses.
      send: fetchSend({ allowPrivate: config.webhookAllowPrivate, timeoutMs: deliveryTimeoutMs }),
      secrets: createSecretBox(config.secretsKey),
      now: () => new Date(),
      sign: webCryptoSign(),
    }),
  };

  return async () => {
    let failed = false;
    const dispatcherTick = (tickFailed: boolean) => {
      failed ||= tickFailed;
    };
    const dispatcher = createDispatcher({
      db: oneAtATime(database),
      channels,
      log,
      metrics: { ...noMetrics, dispatcherTick },
      random: Math.random,
      name: 'worker',
      // A delivery that waits for one of the six connections would use up its time waiting: none goes on beside.
      settings: { ...config.dispatch, beside: 0 },
    });
    const stopped = new AbortController();
    const timer = setTimeout(() => {
      failed = true;
      stopped.abort();
      dispatcher.stop(stopped.signal);
    }, longestRunMs(config.dispatch));
    try {
      const nextMs = await dispatcher.drain(batch);
      return { nextMs, failed };
    } catch (error) {
      log.error('dispatcher failed', { error });
      return { nextMs: null, failed: true };
    } finally {
      clearTimeout(timer);
    }
  };
}

/** Keeps the database to one connection. */
function oneAtATime(db: Db): Db {
  let last: Promise<unknown> = Promise.resolve();
  return {
    run(statement, values, signal) {
      const result = last.then(() => db.run(statement, values, signal));
      last = result.catch(() => {});
      return result;
    },
  };
}
