import { DurableObject, env, WorkerEntrypoint } from 'cloudflare:workers';
import { prune } from '../src/dispatcher/housekeeping.ts';
import { warn } from '../src/entry/config.ts';
import { dispatcherConfig } from '../src/entry/workers-config.ts';
import { openNeon } from '../src/platform/db-neon.ts';
import { createLog } from '../src/platform/log.ts';
import { createDrain, longestRunMs, nextAlarmMs } from './drain.ts';

type Bindings = { DISPATCHER: DurableObjectNamespace<Dispatcher> };

/** The key in the object's storage for the number of runs in a row that have not ended successfully. */
const UNFINISHED = 'unfinished';

// At module scope, so that an invalid configuration fails the deployment.
const config = dispatcherConfig(env as Record<string, unknown>);
const log = createLog(config.logLevel, (line) => console.log(line.trimEnd()));
warn(config, log);
// Evaluated only if traces are configured.
const tracing =
  config.traces && (await import('../src/platform/tracing-otlp.ts')).otlpTracing(config.traces, log, { timer: false });
const { db } = openNeon({
  url: config.databaseUrl,
  fetchEndpoint: config.databaseFetchEndpoint,
  statementTimeoutMs: config.requestTimeoutMs,
});

/**
 * One of the DISPATCHERS dispatchers. A ring sets the alarm to now, and the alarm is a run. The platform runs one alarm
 * at a time, each with the limits of an invocation, and retries one that failed. Leases keep the dispatchers apart.
 */
export class Dispatcher extends DurableObject {
  readonly #drain = createDrain(config, db, log, `worker:${this.ctx.id.toString().slice(0, 8)}`, tracing);

  /** Rings the current run and sets the next to now: something may be due, or the endpoint was changed or deleted. */
  async ring(changedEndpointId?: string): Promise<void> {
    this.#drain.wake(changedEndpointId);
    const { storage } = this.ctx;
    if (((await storage.getAlarm()) ?? Number.POSITIVE_INFINITY) > Date.now()) await storage.setAlarm(Date.now());
  }

  override async alarm(): Promise<void> {
    const { storage } = this.ctx;
    const guard = Date.now() + longestRunMs(config.dispatch) + config.dispatch.leaseMs;
    // An earlier version stored true.
    const before = Number((await storage.get<number | boolean>(UNFINISHED)) ?? 0);
    await storage.put(UNFINISHED, before + 1);
    await storage.setAlarm(guard);

    const { nextMs, failed } = await this.#drain.drain();
    if (!failed) await storage.delete(UNFINISHED);

    // A ring arrived during the run: keep its alarm.
    if (((await storage.getAlarm()) ?? guard) < guard) {
      // The next run waits for leases of runs that did not end successfully.
      if (!failed && before > 0) await storage.put(UNFINISHED, before);
      return;
    }
    const waitMs = nextAlarmMs(
      { nextMs, failures: failed ? before + 1 : 0, unfinished: before > 0 },
      config.dispatch.leaseMs,
    );
    if (waitMs === null) await storage.deleteAlarm();
    else await storage.setAlarm(Date.now() + waitMs);
  }
}

/** The entry for the API's binding and the cron trigger. */
export default class extends WorkerEntrypoint<Bindings> {
  /** Called after a commit that enqueued something. Returns at once. A changed endpoint concerns every dispatcher. */
  async wake(changedEndpointId?: string): Promise<void> {
    const { dispatchers } = config;
    if (changedEndpointId !== undefined) await this.#ringAll(changedEndpointId);
    else await this.#dispatcher(Math.floor(Math.random() * dispatchers)).ring();
  }

  override async scheduled(): Promise<void> {
    await this.sweep();
  }

  /** Catches up on lost rings, and prunes. */
  async sweep(): Promise<void> {
    try {
      await this.#ringAll();
    } finally {
      // Each ring is a subrequest, too.
      await prune({ db, log }, config.retentionDays, { statements: config.subrequests - config.dispatchers });
    }
  }

  async #ringAll(changedEndpointId?: string): Promise<void> {
    const all = Array.from({ length: config.dispatchers }, (_, i) => this.#dispatcher(i).ring(changedEndpointId));
    await Promise.all(all);
  }

  /** The first keeps the name from when there was only one. */
  #dispatcher(index: number) {
    return this.env.DISPATCHER.getByName(index === 0 ? 'dispatcher' : `dispatcher-${index + 1}`);
  }
}
