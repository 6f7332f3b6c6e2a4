import { DurableObject, env, WorkerEntrypoint } from 'cloudflare:workers';
import { tidy } from '../src/dispatcher/housekeeping.ts';
import { dispatcherConfig } from '../src/entry/workers-config.ts';
import { openNeon } from '../src/platform/db-neon.ts';
import { createLog } from '../src/platform/log.ts';
import { createDrain, longestRunMs } from './drain.ts';

type Bindings = { DISPATCHER: DurableObjectNamespace<Dispatcher> };

/** After a run that failed; doubles with every further one. */
const RETRY_MS = 2000;
const MAX_RETRY_MS = 300_000;
/** In the object's storage: a run began and has not ended well. */
const UNFINISHED = 'unfinished';

// At module scope, so that a bad configuration fails the deployment.
const config = dispatcherConfig(env as Record<string, unknown>);
const log = createLog(config.logLevel, (line) => console.log(line.trimEnd()));
const { db } = openNeon({
  url: config.databaseUrl,
  fetchEndpoint: config.databaseFetchEndpoint,
  statementTimeoutMs: config.requestTimeoutMs,
});
const drain = createDrain(config, db, log);

/**
 * The one dispatcher of a deployment. A ring is an alarm set to now, and a run is that alarm: the platform runs one at
 * a time, each with an invocation's limits of its own, and again where it broke off.
 */
export class Dispatcher extends DurableObject {
  #failures = 0;

  /** Something may be due. */
  async ring(): Promise<void> {
    const { storage } = this.ctx;
    if (((await storage.getAlarm()) ?? Number.POSITIVE_INFINITY) > Date.now()) await storage.setAlarm(Date.now());
  }

  override async alarm(): Promise<void> {
    const { storage } = this.ctx;
    // What a run that was killed holds is due again once its leases end: at the latest when this alarm comes.
    const leasesEnd = () => Date.now() + longestRunMs(config.dispatch) + config.dispatch.leaseMs;
    const guard = leasesEnd();
    const unfinished = (await storage.get(UNFINISHED)) === true;
    await storage.put(UNFINISHED, true);
    await storage.setAlarm(guard);

    const { nextMs, failed } = await drain();
    this.#failures = failed ? this.#failures + 1 : 0;
    const due = [nextMs === null ? Number.POSITIVE_INFINITY : Date.now() + nextMs];
    if (failed) due.push(Date.now() + Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** (this.#failures - 1)));
    else await storage.delete(UNFINISHED);
    if (unfinished) due.push(leasesEnd());

    // Rung meanwhile: that alarm stands.
    if (((await storage.getAlarm()) ?? guard) < guard) return;
    const next = Math.min(...due);
    if (Number.isFinite(next)) await storage.setAlarm(next);
    else await storage.deleteAlarm();
  }
}

/** What the API's binding and the cron trigger reach. */
export default class extends WorkerEntrypoint<Bindings> {
  /** Called after a commit that queued something: returns at once. */
  async wake(): Promise<void> {
    await this.env.DISPATCHER.getByName('dispatcher').ring();
  }

  override async scheduled(): Promise<void> {
    await this.sweep();
  }

  /** The guarantee behind the ring, which may be lost; and housekeeping. */
  async sweep(): Promise<void> {
    await this.wake();
    await tidy({ db, log }, config.retentionDays);
  }
}
