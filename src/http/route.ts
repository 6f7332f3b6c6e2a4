import { OpenAPIHono, type RouteConfig } from '@hono/zod-openapi';
import * as z from 'zod';
import { AppError, type FieldError } from '../errors.ts';
import { scope } from './auth.ts';
import type { Env } from './context.ts';

/** A resource's routes: validation failures become problems. */
export function router() {
  return new OpenAPIHono<Env>({
    defaultHook: (result) => {
      if (result.success) return;
      if (result.target === 'param') throw notFound();
      const errors = result.error.issues.flatMap((issue) => fieldErrors(issue as z.core.$ZodIssue, result.target));
      throw new AppError('validation-failed', 'Some values are not acceptable; see errors.', { errors });
    },
  });
}

export function notFound(): AppError {
  return new AppError('not-found', 'Nothing is here.');
}

function fieldErrors(issue: z.core.$ZodIssue, target: string): FieldError[] {
  const paths = issue.code === 'unrecognized_keys' ? issue.keys.map((key) => [...issue.path, key]) : [issue.path];
  const detail = issue.code === 'unrecognized_keys' ? 'is not known here' : issue.message;
  return paths.map((path) =>
    target === 'json' ? { detail, pointer: pointerTo(path) } : { detail, parameter: path.map(String).join('.') },
  );
}

/** RFC 6901, as a URI fragment. */
function pointerTo(path: readonly PropertyKey[]): string {
  const escaped = path.map((part) => encodeURIComponent(String(part).replaceAll('~', '~0').replaceAll('/', '~1')));
  return ['#', ...escaped].join('/');
}

/** Text that Postgres can hold: no NUL character, and no half of a surrogate pair. Lengths in characters. */
export const text = (min: number, max: number) =>
  z
    .string()
    .min(min, min === 1 ? 'must not be empty' : `must be at least ${min} characters`)
    .max(max, `must be at most ${max} characters`)
    .refine((value) => !value.includes('\0'), 'must not contain a NUL character')
    .refine((value) => value.isWellFormed(), 'must be well-formed Unicode');

/** Path parameters of a single resource. What is no UUID is no resource: 404. */
export const idParam = z.object({ id: z.uuid().meta({ param: { name: 'id', in: 'path' } }) });

const Problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    instance: z.string(),
    requestId: z.string(),
    errors: z
      .array(z.object({ detail: z.string(), pointer: z.string().optional(), parameter: z.string().optional() }))
      .optional(),
  })
  .meta({ id: 'Problem', description: 'RFC 9457 problem details.' });

type Responses = RouteConfig['responses'];

const failures: Responses = {
  400: failure('Malformed JSON, cursor or key'),
  401: failure('Missing or unacceptable token'),
  403: failure('Missing scope'),
  404: failure('No such resource'),
  409: failure('Conflict with what is there'),
  412: failure('Changed since the version in If-Match'),
  413: failure('Body over the limit'),
  415: failure('Body not JSON'),
  422: failure('Values not acceptable'),
  429: failure('Over the rate limit'),
  500: failure('Internal error'),
  503: failure('Database out of reach'),
  504: failure('Deadline passed'),
};

function failure(description: string) {
  return { description, content: { 'application/problem+json': { schema: Problem } } };
}

const always = [401, 403, 429, 500, 503, 504] as const;
const withBody = [400, 413, 415, 422] as const;

/** The parts that every authenticated route shares: its scope, enforced and described, and its problems. */
export function secured(needed: string) {
  return { middleware: scope(needed), security: [{ bearer: [needed] }] };
}

/** The problems of a route without a body, beside the given ones. */
export function problemsOf(...statuses: (keyof typeof failures)[]): Responses {
  return Object.fromEntries([...always, ...statuses].map((status) => [status, failures[status]])) as Responses;
}

/** The problems of a route that takes JSON, beside the given ones. */
export function bodyProblemsOf(...statuses: (keyof typeof failures)[]): Responses {
  return problemsOf(...withBody, ...statuses);
}

export function jsonBody<T extends z.ZodType>(schema: T) {
  return { content: { 'application/json': { schema } }, required: true as const };
}

export function jsonResponse<T extends z.ZodType>(schema: T, description: string) {
  return { description, content: { 'application/json': { schema } } };
}
