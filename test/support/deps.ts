import { type Db, DbError } from '../../src/db.ts';
import type { Deps, Fields, Log } from '../../src/deps.ts';
import { checkWebhookUrl } from '../../src/dispatcher/channels/address.ts';
import { ASSETS } from '../../src/entry/assets.ts';
import { loadedAssets } from '../../src/platform/assets-loaded.ts';
import { memoryLimiter } from '../../src/platform/limiter-memory.ts';
import { createSecretBox } from '../../src/platform/secret-box.ts';
import { secretVerifier } from '../../src/platform/verify-jwt.ts';

export const SECRET = 'a test secret of more than 32 bytes, surely';

export const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

export type Line = { level: string; msg: string; fields: Fields };

/** Returns a log that records its lines. */
export function recordingLog(): Log & { lines: Line[] } {
  const lines: Line[] = [];
  const at =
    (level: string) =>
    (msg: string, fields: Fields = {}) =>
      void lines.push({ level, msg, fields });
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

/** Limits how long a test waits for a statement. */
export const inTime = () => AbortSignal.timeout(30_000);

/** A database that is unavailable. */
export const noDb: Db = { run: away, batch: away };

function away(): Promise<never> {
  return Promise.reject(new DbError('unavailable', 'there is no database in this test'));
}

/** Returns dependencies for `app.request(path, init, deps)`; a test passes those it is about in `own`. */
export function testDeps(own: Partial<Deps> = {}): Deps {
  return {
    settings: { production: false, requestTimeoutMs: 5000, bodyLimitBytes: 65_536, corsOrigins: [] },
    db: noDb,
    now: () => new Date(),
    limiter: memoryLimiter(1000, 60),
    secrets: createSecretBox(Buffer.alloc(32, 7).toString('base64')),
    refuseWebhookUrl: async (url) => checkWebhookUrl(url, { allowPrivate: true }),
    verifier: secretVerifier(SECRET, {}),
    wake: () => {},
    assets: loadedAssets(ASSETS),
    log: silent,
    metrics: { requestStarted() {}, requestFinished() {}, delivery() {}, dispatcherTick() {} },
    inFlight: { count: 0 },
    draining: () => false,
    clientAddress: '192.0.2.1',
    ...own,
  };
}
