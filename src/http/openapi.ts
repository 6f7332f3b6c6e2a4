import type { OpenAPIHono } from '@hono/zod-openapi';
import type * as z from 'zod';
import type { ErrorCode } from '../errors.ts';
import { exampleOf, problems } from './problem.ts';

type Parameter = { in: 'header'; required?: boolean; description: string; schema: object; example: string };
type Header = { required?: boolean; description: string; schema: object; example: string };

const text = { type: 'string' };

/** Request headers that an operation may take, by name. */
const parameters = {
  'Idempotency-Key': {
    in: 'header',
    description:
      'Makes a repeat safe: the same key with the same payload has one effect and gets the first answer again, for 24 hours.',
    schema: { type: 'string', minLength: 1, maxLength: 512 },
    example: '"8e03978e-40d5-43dd-bc93-6894a57f9324"',
  },
  'If-Match': {
    in: 'header',
    description: 'Acts only on a version with one of these entity tags, or, with *, on any.',
    schema: text,
    example: '"1"',
  },
  'If-None-Match': {
    in: 'header',
    description: 'Spares the body (304) where the resource still has one of these entity tags.',
    schema: text,
    example: '"1"',
  },
  'X-Request-Id': {
    in: 'header',
    description: 'Kept where it is 1 to 255 of letters, digits, -, _ and =; else a new one is made.',
    schema: text,
    example: 'order-4711-attempt-1',
  },
  traceparent: {
    in: 'header',
    description: 'W3C Trace Context, continued in logs and traces. What is not well-formed is ignored.',
    schema: text,
    example: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  },
} satisfies Record<string, Parameter>;

/** Response headers, by name. `required`: on every answer that lists it. */
const headers = {
  ETag: {
    required: true,
    description: 'The entity tag of this version, for If-Match and If-None-Match.',
    schema: { type: 'string', pattern: '^"[0-9]+"$' },
    example: '"1"',
  },
  'Idempotent-Replayed': {
    description: 'Sent where this is the first answer again.',
    schema: { type: 'string', const: 'true' },
    example: 'true',
  },
  Link: {
    description: 'The next page, where there is one (RFC 8288).',
    schema: text,
    example: '</api/v1/users?cursor=AZ0vfjwAfJqfQF0cKzpOX1pTlGcB>; rel="next"',
  },
  Location: {
    required: true,
    description: 'The path of what was made.',
    schema: { type: 'string', format: 'uri-reference' },
    example: '/api/v1/users/019d2f7e-3c00-7c9a-9f40-5d1c2b3a4e5f',
  },
  RateLimit: {
    description: 'What is left of the quota (r) and the seconds until it is whole again (t), where they are known.',
    schema: { type: 'string', pattern: '^"default";r=[0-9]+;t=[0-9]+$' },
    example: '"default";r=599;t=60',
  },
  'RateLimit-Policy': {
    description: 'The quota (q) in a window of so many seconds (w). On every answer under /api.',
    schema: { type: 'string', pattern: '^"default";q=[0-9]+;w=[0-9]+$' },
    example: '"default";q=600;w=60',
  },
  'Retry-After': {
    required: true,
    description: 'Seconds to wait before the next attempt.',
    schema: { type: 'string', pattern: '^[0-9]+$' },
    example: '1',
  },
  'WWW-Authenticate': {
    required: true,
    description: 'What is wrong with the token (RFC 6750).',
    schema: text,
    example: 'Bearer error="invalid_token", error_description="the token has expired"',
  },
  'X-Request-Id': {
    required: true,
    description: 'The name of this request in logs and problems.',
    schema: text,
    example: '0d4a35ea-3a4b-4f0c-9d6a-2b8e0c0f2f5e',
  },
} satisfies Record<string, Header>;

export type HeaderName = keyof typeof headers;

const headersOf = (...names: HeaderName[]) =>
  Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));

export const parametersOf = (...names: (keyof typeof parameters)[]) =>
  names.map((name) => ({ $ref: `#/components/parameters/${name}` }));

const Problem = {
  description: 'What went wrong, as RFC 9457 has it.',
  type: 'object',
  required: ['type', 'title', 'status', 'detail', 'instance', 'requestId'],
  properties: {
    type: { type: 'string', format: 'uri-reference', description: 'A page that says what it means and what to do.' },
    title: text,
    status: { type: 'integer', minimum: 400, maximum: 599 },
    detail: text,
    instance: { type: 'string', format: 'uri-reference' },
    requestId: text,
    errors: {
      type: 'array',
      items: {
        type: 'object',
        required: ['detail'],
        properties: {
          detail: text,
          pointer: { type: 'string', description: 'A member of the body: RFC 6901 as a URI fragment.' },
          parameter: { type: 'string', description: 'A query parameter or a header.' },
        },
      },
    },
  },
};

const ofEvery = ['malformed-request', 'request-timeout', 'headers-too-large', 'internal'] as const;
const ofApi = [
  ...ofEvery,
  'unauthorized',
  'insufficient-scope',
  'content-too-large',
  'rate-limited',
  'unavailable',
  'timeout',
] as const;

/** The problems of a route that takes JSON. */
export const ofJson = ['malformed-json', 'unsupported-media-type', 'validation-failed'] as const;
/** The problem of a route that writes. */
export const ofWrites = ['outcome-unknown'] as const;
/** The problems of a route that takes an Idempotency-Key. */
export const ofKeys = [...ofWrites, 'invalid-idempotency-key', 'idempotency-key-reused'] as const;

const alsoSent: Partial<Record<ErrorCode, HeaderName>> = {
  unauthorized: 'WWW-Authenticate',
  'insufficient-scope': 'WWW-Authenticate',
  'rate-limited': 'Retry-After',
  unavailable: 'Retry-After',
};

const responses: Record<string, object> = {};

/**
 * The problems of an authenticated route: those that any of them may have, and the given ones. Typed as nothing, so
 * that what the typed client sees of a route is its successes: problems reach it as errors.
 */
export const problemsOf = (...codes: ErrorCode[]) => describeProblems([...ofApi, ...codes]);

/** The problems of a route that asks for no token. */
export const plainProblemsOf = (...codes: ErrorCode[]) => describeProblems([...ofEvery, ...codes]);

function describeProblems(codes: ErrorCode[]): Record<never, never> {
  const byStatus = Map.groupBy(codes, (code) => problems[code].status);
  return Object.fromEntries([...byStatus].map(([status, group]) => [status, { $ref: referTo(group) }]));
}

// One shared response per set of problems: an operation names it, and the document holds it once.
function referTo(codes: ErrorCode[]): string {
  const name = codes.map(pascalCase).join('Or');
  responses[name] ??= {
    description: codes.map((code) => problems[code].title).join(', or '),
    headers: headersOf(
      'X-Request-Id',
      'RateLimit-Policy',
      'RateLimit',
      ...new Set(codes.flatMap((code) => alsoSent[code] ?? [])),
    ),
    content: {
      'application/problem+json': {
        schema: { $ref: '#/components/schemas/Problem' },
        examples: Object.fromEntries(codes.map((code) => [code, { $ref: `#/components/examples/${code}` }])),
      },
    },
  };
  return `#/components/responses/${name}`;
}

const pascalCase = (code: string) => code.replace(/(?:^|-)([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** A JSON answer of an authenticated route, with the headers of its own. */
export function jsonResponse<T extends z.ZodType>(schema: T, description: string, ...own: HeaderName[]) {
  return { ...emptyResponse(description, ...own), content: { 'application/json': { schema } } };
}

/** An answer of an authenticated route without a body. */
export function emptyResponse(description: string, ...own: HeaderName[]) {
  return { description, headers: headersOf('X-Request-Id', 'RateLimit-Policy', 'RateLimit', ...own) };
}

/** An answer of a route that asks for no token. */
export function plainResponse<T extends z.ZodType, M extends string>(schema: T, description: string, type: M) {
  return {
    description,
    headers: headersOf('X-Request-Id'),
    content: { [type]: { schema } } as Record<M, { schema: T }>,
  };
}

export function jsonBody<T extends z.ZodType>(schema: T) {
  return { content: { 'application/json': { schema } }, required: true as const };
}

const bearer = {
  type: 'http',
  scheme: 'bearer',
  bearerFormat: 'JWT',
  description: 'A JSON Web Token whose `scope` claim names what it permits, separated by spaces.',
};

type Registry = Pick<OpenAPIHono['openAPIRegistry'], 'registerComponent'>;

/** Puts what routes refer to into a document's components. Call once every route has been declared. */
export function registerShared(registry: Registry): void {
  const shared = {
    schemas: { Problem },
    securitySchemes: { bearer },
    parameters: withNames(parameters),
    headers,
    responses,
    examples: examples(),
  };
  for (const [kind, components] of Object.entries(shared)) {
    for (const [name, component] of Object.entries(components)) {
      registry.registerComponent(kind as 'schemas', name, component as object);
    }
  }
}

const withNames = (of: Record<string, Parameter>) =>
  Object.fromEntries(Object.entries(of).map(([name, parameter]) => [name, { name, ...parameter }]));

// Each problem that some response refers to.
function examples(): Record<string, { summary: string; value: object }> {
  const used = new Set(JSON.stringify(responses).match(/(?<=components\/examples\/)[a-z-]+/g) as ErrorCode[] | null);
  return Object.fromEntries([...used].map((code) => [code, { summary: problems[code].title, value: exampleOf(code) }]));
}
