import type { Db } from '../db.ts';
import type { Log } from '../deps.ts';
import { pruneIdempotencyKeys } from '../idempotency/claim.ts';
import { pruneNotifications } from './queue.ts';

/** Idempotency keys that one statement deletes at most. */
const KEYS_BATCH = 1000;

/** Deletes what is kept no longer: notifications finished for `retentionDays`, idempotency keys after a day. */
export async function tidy({ db, log }: { db: Db; log: Log }, retentionDays: number): Promise<void> {
  try {
    let keys = 0;
    for (let some = KEYS_BATCH; some === KEYS_BATCH; keys += some) some = await pruneIdempotencyKeys(db, KEYS_BATCH);
    const notifications = await pruneNotifications(db, retentionDays);
    if (notifications + keys > 0) log.info('tidied', { notifications, keys });
  } catch (error) {
    log.error('cannot tidy', { error });
  }
}
