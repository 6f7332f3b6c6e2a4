import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose';
import type { Log } from '../deps.ts';
import { AppError } from '../errors.ts';

export type KeySetOptions = {
  log: Log;
  /** Milliseconds since 1970. */
  now: () => number;
  fetch: typeof fetch;
  /** Keeps `work` alive beyond the request that started it: `waitUntil` on Workers. */
  background: (work: Promise<void>) => void;
};

/** The age in milliseconds at which keys are fetched again, in the background. */
const MAX_AGE_MS = 600_000;
/** The age at which a request waits for that: no request came for long, and a key may have been withdrawn since. */
const STALE_MS = 2 * MAX_AGE_MS;
/** Milliseconds between two fetches, however many unknown key ids arrive. */
const COOL_DOWN_MS = 30_000;
/** The same while there are no keys. */
const RETRY_MS = 1000;
const FETCH_TIMEOUT_MS = 3000;
/** Milliseconds after which an unfinished fetch counts as lost. */
const ABANDONED_AFTER_MS = FETCH_TIMEOUT_MS + 500;
const MAX_BYTES = 1024 * 1024;
const KEY_TYPES = ['RSA', 'EC', 'OKP'];
const POLL_INTERVAL_MS = 20;

/**
 * Returns the keys at `url`, for jose. Fetched keys stay valid while their server is unavailable. Rejects with AppError
 * `unavailable` if there are no keys yet, and for an unknown key id if the keys are too old to call it wrong.
 *
 * jose's createRemoteJWKSet refuses every token once an old set cannot be fetched again, and has no cool-down after a
 * failed fetch.
 */
export function remoteKeySet(url: string, { log, now, fetch, background }: KeySetOptions): JWTVerifyGetKey {
  let keys: ReturnType<typeof createLocalJWKSet> | undefined;
  let loadedAt = Number.NEGATIVE_INFINITY;
  let triedAt = Number.NEGATIVE_INFINITY;
  let loading = false;

  // Expires by time, too: on Workers a fetch is lost with its request, and would leave `loading` set.
  const isLoading = () => loading && since(triedAt) < ABANDONED_AFTER_MS;
  const isOld = () => since(loadedAt) >= MAX_AGE_MS;
  const mayTry = (pauseMs: number) => isLoading() || since(triedAt) >= pauseMs;

  // If the clock was set back, nothing tells how long ago that was.
  function since(at: number): number {
    const ms = now() - at;
    return ms < 0 ? Number.POSITIVE_INFINITY : ms;
  }

  async function load(): Promise<void> {
    loading = true;
    triedAt = now();
    try {
      keys = createLocalJWKSet(await fetchKeys(url, fetch));
      loadedAt = now();
    } catch (error) {
      log.warn('JWKS fetch failed', { error });
    } finally {
      loading = false;
    }
  }

  // A second request polls: Workers forbid awaiting a promise of another request.
  async function loadOrWait(): Promise<void> {
    if (!isLoading()) return load();
    while (isLoading()) await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL_MS));
  }

  return async (header, token) => {
    if (!keys && mayTry(RETRY_MS)) await loadOrWait();
    if (!keys) throw unavailable();
    if (since(loadedAt) >= STALE_MS && mayTry(COOL_DOWN_MS)) await loadOrWait();
    else if (isOld() && !isLoading() && mayTry(COOL_DOWN_MS)) background(load());
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
    throw new Error(`the JWKS server responded with HTTP ${response.status}`);
  }
  const text = await limitedText(response);
  try {
    const { keys } = JSON.parse(text) as JSONWebKeySet;
    // Skip keys of unknown types instead of refusing the whole set.
    return { keys: keys.filter((key) => KEY_TYPES.includes(key?.kty as string)) };
  } catch {
    throw new Error('the JWKS server responded with something that is not a JWKS');
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
      throw new Error(`the JWKS server responded with more than ${MAX_BYTES} bytes`);
    }
    text += decoder.decode(value, { stream: true });
  }
}

function unavailable(): AppError {
  return new AppError('unavailable', 'The JWKS is unavailable.', {
    headers: { 'Retry-After': '1' },
  });
}
