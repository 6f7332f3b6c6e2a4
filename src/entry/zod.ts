// What wrangler.toml puts in the place of `zod`: all of it but its forty languages, half of the bundle, which any use
// of `z` as a whole drags in, by two doors. Names of one's own win over those of an `export *`.
export * from '../../node_modules/zod/v4/classic/external.js';
export const locales = {};
export const core = {};
export * as z from './zod.ts';
