import { readFileSync, statSync } from 'node:fs';
import { parseEnv } from 'node:util';

/**
 * In development, sets the environment's variables that are not set to what `file` says of them, and returns all that it
 * says. Nothing is read where there is no such file, nor where the environment says APP_ENV=production.
 */
export function readDotenv(file = '.env'): NodeJS.Dict<string> {
  if ((process.env.APP_ENV || 'development') !== 'development') return {};
  if (!statSync(file, { throwIfNoEntry: false })?.isFile()) return {};
  const variables = parseEnv(readFileSync(file, 'utf8'));
  for (const [name, value] of Object.entries(variables)) process.env[name] ??= value;
  return variables;
}
