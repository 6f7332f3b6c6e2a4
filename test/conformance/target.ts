import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { type Description, describedBy } from '../support/described.ts';
import { ALL_SCOPES, headers } from '../support/tokens.ts';

/** All that the suite knows of a running service. */
export type Target = { url: string };

/** The environment that every runtime's starter gives the service under test. Its limits are quick to reach. */
export const TARGET_ENV = {
  REQUEST_TIMEOUT_MS: '4000',
  RATE_LIMIT_MAX: '100',
  RATE_LIMIT_WINDOW_S: '60',
  LOG_LEVEL: 'info',
  TRUST_PROXY: 'true',
};

export type Answer = { status: number; headers: Headers; text: string; json: Json };
// biome-ignore lint/suspicious/noExplicitAny: what a server answers has no type until a test has looked at it
type Json = any;

export type Call = (method: string, path: string, options?: CallOptions) => Promise<Answer>;
type CallOptions = {
  body?: unknown;
  raw?: string | ReadableStream<Uint8Array>;
  headers?: Record<string, string>;
  scope?: string;
};

/** A caller with its own subject, and therefore its own rate limit. */
export function caller(target: () => Target, sub = `sub-${unique()}`): Call {
  return async (method, path, { body, raw, headers: extra, scope = ALL_SCOPES } = {}) => {
    const { Authorization, 'Content-Type': json } = headers({ claims: { sub, scope } });
    const init: RequestInit & { duplex?: 'half' } = {
      method,
      redirect: 'manual',
      headers: {
        ...(Authorization && { Authorization }),
        ...(body !== undefined || raw !== undefined ? { 'Content-Type': json as string } : {}),
        ...extra,
      },
      duplex: 'half',
    };
    if (raw !== undefined) init.body = raw;
    else if (body !== undefined) init.body = JSON.stringify(body);
    return answerOf(await fetch(new URL(path, target().url), init), method);
  };
}

/** Reads an answer, and checks it against the service's own description. */
export async function answerOf(response: Response, method = 'GET'): Promise<Answer> {
  const text = await response.text();
  let json: Json;
  try {
    json = JSON.parse(text);
  } catch {}
  const answer = { status: response.status, headers: response.headers, text, json };
  const { origin, pathname } = new URL(response.url);
  (await descriptionFrom(origin))?.check(method, pathname, answer);
  return answer;
}

let description: Promise<Description | undefined> | undefined;

// The same for every target. If a target is being killed at that moment, the request is not repeated.
async function descriptionFrom(origin: string): Promise<Description | undefined> {
  description ??= fetch(`${origin}/openapi.json`).then(
    async (response) => (response.ok ? describedBy(await response.json()) : undefined),
    () => undefined,
  );
  const loaded = await description;
  if (!loaded) description = undefined;
  return loaded;
}

export const unique = (): string => randomBytes(8).toString('hex');
export const uniqueEmail = (): string => `someone-${unique()}@example.com`;

/** A webhook endpoint as POST takes it, subscribed to an event that never happens. */
export const newEndpoint = () => ({
  url: `https://example.com/${unique()}`,
  events: ['nothing.ever'],
  description: 'Mine',
});

/** A notification to an address, as POST takes it. */
export const newNotice = () => ({ email: uniqueEmail(), type: 'order.sent', data: {} });

/** Asserts that `answer` is the problem `name`, whole and well-formed. */
export function assertProblem(answer: Answer, status: number, name: string): void {
  assert.equal(answer.status, status, answer.text);
  assert.equal(answer.headers.get('content-type'), 'application/problem+json');
  const { type, title, detail, instance, requestId } = answer.json;
  assert.ok(type.endsWith(`/problems/${name}`), `${type} is not ${name}`);
  assert.equal(answer.json.status, status);
  for (const text of [title, detail]) assert.ok(typeof text === 'string' && text.length > 0);
  assert.ok(instance.startsWith('/'));
  assert.equal(requestId, answer.headers.get('x-request-id'));
}
