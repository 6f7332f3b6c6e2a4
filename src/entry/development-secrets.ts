import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DEVELOPMENT_KEY, DEVELOPMENT_SECRET } from './config.ts';

type Env = Record<string, string | undefined>;

const DIRECTORY = '.data';

/** In development, fills in secrets that are not set, with generated ones that are kept in `.data/`. */
export function withDevelopmentSecrets(env: Env): Env {
  if ((env.APP_ENV || 'development') !== 'development') return env;
  const jwtSecret = env.JWKS_URL
    ? undefined
    : kept('jwt-secret', () => DEVELOPMENT_SECRET + randomBytes(32).toString('hex'));
  return {
    ...env,
    JWT_SECRET: env.JWT_SECRET || jwtSecret,
    SECRETS_KEY: env.SECRETS_KEY || kept('secrets-key', () => DEVELOPMENT_KEY + randomBytes(20).toString('base64')),
  };
}

function kept(name: string, make: () => string): string {
  const file = join(DIRECTORY, name);
  mkdirSync(DIRECTORY, { recursive: true });
  try {
    // The first writer wins: two processes that start at the same time must get the same secret.
    writeFileSync(file, make(), { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  return readFileSync(file, 'utf8');
}
