import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DEVELOPMENT_KEY, DEVELOPMENT_SECRET, parseConfig } from './config.ts';

type Env = Record<string, string | undefined>;

const DIRECTORY = '.data';

/**
 * In development, fills in secrets that are not set, with generated ones that are kept in `.data/`. Throws ConfigError
 * before it writes anything.
 */
export function withDevelopmentSecrets(env: Env): Env {
  if ((env.APP_ENV || 'development') !== 'development') return env;
  const made: Record<string, [file: string, secret: string]> = {};
  if (!env.JWT_SECRET && !env.JWKS_URL) {
    made.JWT_SECRET = ['jwt-secret', DEVELOPMENT_SECRET + randomBytes(32).toString('hex')];
  }
  if (!env.SECRETS_KEY) made.SECRETS_KEY = ['secrets-key', DEVELOPMENT_KEY + randomBytes(20).toString('base64')];
  const filledIn = (secretOf: (file: string, secret: string) => string): Env => ({
    ...env,
    ...Object.fromEntries(Object.entries(made).map(([name, [file, secret]]) => [name, secretOf(file, secret)])),
  });
  parseConfig(filledIn((_, secret) => secret));
  return filledIn(kept);
}

function kept(name: string, secret: string): string {
  const file = join(DIRECTORY, name);
  mkdirSync(DIRECTORY, { recursive: true });
  try {
    // The first writer wins: two processes that start at the same time must get the same secret.
    writeFileSync(file, secret, { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  return readFileSync(file, 'utf8');
}
