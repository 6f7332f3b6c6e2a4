import { createHmac } from 'node:crypto';
import { app } from '../../src/app.ts';
import { scopesOf } from '../../src/http/operation.ts';
import { SECRET } from './deps.ts';

export const ALL_SCOPES = scopesOf(app.routes);

const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Builds a token by hand, so that an invalid one can be made in the same way as a valid one. */
export function token({ claims = {}, header = {}, secret = SECRET }: TokenOptions = {}): string {
  const now = Math.floor(Date.now() / 1000);
  const signed = `${encode({ alg: 'HS256', typ: 'JWT', ...header })}.${encode({ sub: 'tester', scope: ALL_SCOPES, iat: now, exp: now + 3600, ...claims })}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

type TokenOptions = { claims?: Record<string, unknown>; header?: Record<string, unknown>; secret?: string };

/** Headers of an authorised request with a JSON body. */
export function headers(options?: TokenOptions): Record<string, string> {
  return { Authorization: `Bearer ${token(options)}`, 'Content-Type': 'application/json' };
}
