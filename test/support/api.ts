import { app } from '../../src/app.ts';
import type { Db } from '../../src/db.ts';
import type { Deps } from '../../src/deps.ts';
import { testDeps } from './deps.ts';
import { headers } from './tokens.ts';

// biome-ignore lint/suspicious/noExplicitAny: a response has no type until a test has checked it
type Json = any;

/** Returns a function that calls the app directly, without a server, on `db`; `own` overrides dependencies. */
export function apiOn(db: Db, requestTimeoutMs = 5000, own: Partial<Deps> = {}) {
  const deps = testDeps({ db, settings: { ...testDeps().settings, requestTimeoutMs }, ...own });
  return async (
    method: string,
    path: string,
    { body, key, headers: extra }: { body?: unknown; key?: string; headers?: Record<string, string> } = {},
  ) => {
    const init = {
      method,
      headers: { ...headers(), ...(key !== undefined && { 'Idempotency-Key': key }), ...extra },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    };
    const response = await app.request(`/api/v1${path}`, init, deps);
    const text = await response.text();
    return { status: response.status, headers: response.headers, json: (text ? JSON.parse(text) : null) as Json };
  };
}
