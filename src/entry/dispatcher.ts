import { hostname } from 'node:os';
import type { Db } from '../db.ts';
import type { Log, Metrics, SecretBox } from '../deps.ts';
import { webhookChannel } from '../dispatcher/channels/webhook.ts';
import { systemClock } from '../dispatcher/clock.ts';
import { createDispatcher } from '../dispatcher/dispatch.ts';
import { databaseQueue } from '../dispatcher/queue.ts';
import { MAX_WAITING_BYTES_HTTP, processLimits } from '../dispatcher/rooms.ts';
import { socketSend } from '../platform/send-sockets.ts';
import { nodeSign } from '../platform/sign-node.ts';
import type { Tracing } from '../tracing.ts';
import type { Config } from './config.ts';
import { emailChannel } from './email-channel.ts';
import { speaksNeon } from './open-database.ts';

type Deps = { db: Db; log: Log; metrics: Metrics; secrets: SecretBox; tracing: Tracing | undefined };

/** The settings of a process's dispatcher. */
export const settingsOf = (config: Config) => ({
  ...config.dispatch,
  ...processLimits(config.dispatch),
  ...(speaksNeon(config) && { maxWaitingBytes: MAX_WAITING_BYTES_HTTP }),
});

/** Creates the dispatcher of a process. Call `close` once it has stopped, to close its HTTP client. */
export function openDispatcher(config: Config, { db, log, metrics, secrets, tracing }: Deps) {
  const settings = settingsOf(config);
  const sender = socketSend({
    allowPrivate: config.webhookAllowPrivate,
    timeoutMs: config.dispatch.deliveryTimeoutMs,
  });
  const channels = {
    email: emailChannel(config, log),
    webhook: webhookChannel({ send: sender.send, secrets, now: () => new Date(), sign: nodeSign() }),
  };
  const name = `${hostname()}:${process.pid}`;
  const queue = databaseQueue(db, { name, leaseMs: config.dispatch.leaseMs, everyMs: config.dispatch.intervalMs });
  const parts = { queue, channels, clock: systemClock, log, metrics, tracing, random: Math.random, settings };
  return { ...createDispatcher(parts), close: sender.close };
}
