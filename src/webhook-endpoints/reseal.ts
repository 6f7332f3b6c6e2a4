import type { Db } from '../db.ts';
import type { SecretBox } from '../deps.ts';
import { BEFORE_ALL, countEndpoints, type Resealed, resealEndpoints, type Sealed, sealedEndpoints } from './store.ts';

/** Endpoints that are read and written at a time. */
const BATCH = 500;
/** How long a statement may take, in milliseconds, waiting for what locks its endpoints included. */
export const STATEMENT_MS = 30_000;

/** Counts of endpoints so far, and the ids of those with a secret that no key opens. */
export type Progress = { looked: number; total: number; resealed: number; unopened: ReadonlySet<string> };

/**
 * Seals with the first key of `secrets` what is sealed with the others, and tells how far it is after each batch.
 * What changes meanwhile is looked at again. May be ended at any moment and begun anew: what is done is passed over.
 */
export async function* resealSecrets(db: Db, secrets: SecretBox, batch = BATCH): AsyncGenerator<Progress> {
  const [keyId = ''] = await secrets.keyIds();
  const total = await countEndpoints(db, inTime());
  const unopened = new Set<string>();
  let [looked, resealed] = [0, 0];
  for (let after = BEFORE_ALL; ; ) {
    const { last, count, sealed } = await sealedEndpoints(db, { after, limit: batch, keyId }, inTime());
    const unopenedHere = new Set<string>();
    const changes = (await Promise.all(sealed.map((endpoint) => resealedOf(endpoint, secrets, unopenedHere)))).flat();
    const written = changes.length > 0 ? await resealEndpoints(db, changes, inTime()) : [];
    resealed += written.filter((id) => !unopenedHere.has(id)).length;
    if (written.length < changes.length) continue;
    looked += count;
    for (const id of unopenedHere) unopened.add(id);
    yield { looked, total: Math.max(looked, total), resealed, unopened };
    if (last === null) return;
    after = last;
  }
}

const inTime = () => AbortSignal.timeout(STATEMENT_MS);

/** The endpoint with all that opens sealed anew; nothing where nothing does. */
async function resealedOf(endpoint: Sealed, secrets: SecretBox, unopened: Set<string>): Promise<Resealed[]> {
  let opened = 0;
  const reseal = async (text: string) => {
    try {
      const anew = await secrets.seal(await secrets.open(text));
      opened++;
      return anew;
    } catch {
      unopened.add(endpoint.id);
      return text;
    }
  };
  const secret = await reseal(endpoint.secret);
  const previous = endpoint.livePrevious.map(async (entry) => ({ ...entry, secret: await reseal(entry.secret) }));
  const { id, secret: secretWas, allPrevious: previousWas } = endpoint;
  const change = { id, secretWas, previousWas, secret, previous: await Promise.all(previous) };
  return opened > 0 ? [change] : [];
}
