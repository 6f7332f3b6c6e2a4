import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose';
import type { Log } from '../deps.ts';
import { AppError } from '../errors.ts';

export type KeySetOptions = {
  log: Log;
  /** Milliseconds since 1970. */
  now: () => number;
  fetch: typeof fetch;
  /** Keeps `work` alive past the request that began it, where the runtime has to be told: `waitUntil` on Workers. */
  background: (work: Promise<void>) => void;
};

/** From this age on, keys are fetched anew, in the background. */
const MAX_AGE_MS = 600_000;
/** From one fetch to the next, however many unknown key ids come meanwhile. */
const COOL_DOWN_MS = 30_000;
/** The same as long as there are no keys at all. */
const RETRY_MS = 1000;
const FETCH_TIMEOUT_MS = 3000;
/** When a fetch that has not ended must have vanished. */
const GIVEN_UP_MS = FETCH_TIMEOUT_MS + 500;
const MAX_BYTES = 1024 * 1024;
const KEY_TYPES = ['RSA', 'EC', 'OKP'];
const LOOK_AGAIN_MS = 20;

/**
 * The keys at `url`, for jose. Keys once fetched stay good while their server is away. Rejects with AppError
 * `unavailable` where there are none yet, and for an unknown key id where the keys are too old to say that it is wrong.
 *
 * jose's own createRemoteJWKSet refuses every token once an aged set cannot be renewed, and counts no cool-down after
 * a fetch that failed.
 */
export function remoteKeySet(url: string, { log, now, fetch, background }: KeySetOptions): JWTVerifyGetKey {
  let keys: ReturnType<typeof createLocalJWKSet> | undefined;
  let loadedAt = Number.NEGATIVE_INFINITY;
  let triedAt = Number.NEGATIVE_INFINITY;
  let loading = false;

  // By the clock as well: on Workers a fetch vanishes with its request, and would leave `loading` set.
  const isLoading = () => loading && now() - triedAt < GIVEN_UP_MS;
  const isOld = () => now() - loadedAt >= MAX_AGE_MS;
  const mayTry = (pauseMs: number) => isLoading() || now() - triedAt >= pauseMs;

  async function load(): Promise<void> {
    loading = true;
    triedAt = now();
    try {
      keys = createLocalJWKSet(await fetchKeys(url, fetch));
      loadedAt = now();
    } catch (error) {
      log.warn('cannot load the key set', { error });
    } finally {
      loading = false;
    }
  }

  // Whoever comes second looks again instead of awaiting the first one's promise, which Workers forbid.
  async function loadOrWait(): Promise<void> {
    if (!isLoading()) return load();
    while (isLoading()) await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }

  return async (header, token) => {
    if (!keys && mayTry(RETRY_MS)) await loadOrWait();
    if (!keys) throw unavailable();
    if (isOld() && !isLoading() && mayTry(COOL_DOWN_MS)) background(load());
    try {
      return await keys(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
    }
    if (mayTry(COOL_DOWN_MS)) await loadOrWait();
    return keys(header, token).catch((error) => {
      throw isOld() && error instanceof errors.JWKSNoMatchingKey ? unavailable() : error;
    });
  };
}

async function fetchKeys(url: string, get: typeof fetch): Promise<JSONWebKeySet> {
  const response = await get(url, {
    headers: { accept: 'application/json, application/jwk-set+json', 'user-agent': 'Keelson/1' },
    redirect: 'manual',
    signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
  });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error(`the key server answered with HTTP ${response.status}`);
  }
  const text = await limitedText(response);
  try {
    const { keys } = JSON.parse(text) as JSONWebKeySet;
    // A member that nobody here can use must not cost those that somebody can.
    return { keys: keys.filter((key) => KEY_TYPES.includes(key?.kty as string)) };
  } catch {
    throw new Error('the key server answered with something that is not a key set');
  }
}

async function limitedText({ body }: Response): Promise<string> {
  if (!body) return '';
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  for (let received = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) return text;
    received += value.byteLength;
    if (received > MAX_BYTES) {
      await reader.cancel();
      throw new Error(`the key server answered with more than ${MAX_BYTES} bytes`);
    }
    text += decoder.decode(value, { stream: true });
  }
}

function unavailable(): AppError {
  return new AppError('unavailable', 'The keys that tokens are checked with are out of reach.', {
    headers: { 'Retry-After': '1' },
  });
}
