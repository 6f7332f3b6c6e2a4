// What wrangler.toml puts in the place of `zod`: what is used of it by name. Its forty languages, half of the bundle,
// come with any use of `z` as a value; the one who does that, @hono/zod-openapi, wants ZodType of it and no more.
import { ZodType } from '../../node_modules/zod/v4/classic/schemas.js';

export * from '../../node_modules/zod/v4/classic/external.js';
export const locales = {};
export const core = {};
export const z = { ZodType };
