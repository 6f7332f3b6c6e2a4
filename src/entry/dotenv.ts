import { readFileSync, statSync } from 'node:fs';
import { parseEnv } from 'node:util';

/**
 * In development, sets unset environment variables from `file`, and returns all variables in it. Reads nothing if there
 * is no such file, or if the environment sets APP_ENV=production.
 */
export function readDotenv(file = '.env'): NodeJS.Dict<string> {
  if ((process.env.APP_ENV || 'development') !== 'development') return {};
  if (!statSync(file, { throwIfNoEntry: false })?.isFile()) return {};
  const variables = parseEnv(readFileSync(file, 'utf8'));
  for (const [name, value] of Object.entries(variables)) process.env[name] ??= value;
  return variables;
}
