import type { Assets } from '../deps.ts';

/** The binding of static assets. */
export type AssetsBinding = { fetch(url: string, init: { signal: AbortSignal }): Promise<Response> };

/** Returns the static files that were uploaded with the script, through their binding. */
export function workersAssets(binding: AssetsBinding): Assets {
  return async (name, signal) => {
    const response = await binding.fetch(`https://assets.invalid/${encodeURIComponent(name)}`, { signal });
    const { status, body, headers } = response;
    if (status === 200 && body) return { body, etag: headers.get('ETag') ?? '' };
    await body?.cancel();
    if (status === 404) return undefined;
    throw new Error(`the binding of static assets responded ${status}`);
  };
}
