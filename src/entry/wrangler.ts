import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PROJECT } from './generate.ts';

/** Turns off wrangler's telemetry and its prompts. */
export const QUIET = {
  WRANGLER_SEND_METRICS: 'false',
  WRANGLER_SEND_ERROR_REPORTS: 'false',
  WRANGLER_HIDE_BANNER: 'true',
  CLOUDFLARE_CF_FETCH_ENABLED: 'false',
  CI: '1',
};

/** wrangler's command-line script for node, without the launcher in `.bin`. */
export const WRANGLER = join(dirname(fileURLToPath(import.meta.resolve('wrangler'))), 'cli.js');

export type WorkerConfig = { name: string; compatibility_date: string; vars: Record<string, unknown> } & Record<
  string,
  unknown
>;

/** Reads a Worker's configuration, without cron trigger and routes, with absolute paths. */
export async function readWorkerConfig(path: string): Promise<WorkerConfig> {
  Object.assign(process.env, QUIET);
  const file = join(PROJECT, path);
  const { unstable_readConfig } = await import('wrangler');
  const read = unstable_readConfig({ config: file }, { hideWarnings: true });
  const { name = '', main, compatibility_date = '', ratelimits, services, durable_objects, migrations, vars } = read;
  const { no_bundle, find_additional_modules, rules, compatibility_flags } = read;
  const assets = read.assets && { ...read.assets, directory: join(dirname(file), read.assets.directory ?? '') };
  const bundling = { no_bundle, find_additional_modules, rules };
  return {
    name,
    main,
    ...bundling,
    assets,
    compatibility_date,
    compatibility_flags,
    ratelimits,
    services,
    durable_objects,
    migrations,
    vars,
  };
}
