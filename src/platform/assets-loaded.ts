import { createHash } from 'node:crypto';
import type { Asset, Assets } from '../deps.ts';

/** How each static file is made or read, by name. */
export type AssetSources = Readonly<Record<string, () => Promise<string | Uint8Array<ArrayBuffer>>>>;

/** Returns the static files of a process: each is read on first use and kept in memory. No other names exist. */
export function loadedAssets(sources: AssetSources): Assets {
  const loaded = new Map<string, Promise<Asset>>();
  return async (name) => {
    if (!Object.hasOwn(sources, name)) return undefined;
    const before = loaded.get(name);
    if (before) return before;
    const asset = load(sources[name] as () => Promise<string>);
    loaded.set(name, asset);
    // After a failure, the next call tries again.
    asset.catch(() => loaded.delete(name));
    return asset;
  };
}

async function load(source: AssetSources[string]): Promise<Asset> {
  const content = await source();
  const body = typeof content === 'string' ? new TextEncoder().encode(content) : content;
  return { body, etag: `"${createHash('sha256').update(body).digest('base64url')}"` };
}
