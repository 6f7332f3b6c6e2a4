import { zValidator } from '@hono/zod-validator';
import type { Input, MiddlewareHandler } from 'hono';
import * as z from 'zod';
import { AppError, type FieldError } from '../errors.ts';
import { id } from '../fields.ts';
import type { Ctx, Env } from './context.ts';
import { notFound } from './problem.ts';

type Target = 'json' | 'query' | 'param';
type Validated<T extends Target, S extends z.ZodType> = Input & {
  in: { [K in T]: z.input<S> };
  out: { [K in T]: z.output<S> };
};

/** What a route takes, for the OpenAPI document. */
export type Taken = { target: Target; schema: () => z.ZodType };

/**
 * Validates a part of the request with zValidator, made with its schema when the route is first asked for. What does
 * not fit is answered with a problem: 422 with every error, 415 for a body that is not JSON, 404 for a path parameter.
 */
export function validate<T extends Target, S extends z.ZodType>(target: T, schema: () => S) {
  let validator: MiddlewareHandler | undefined;
  const middleware: MiddlewareHandler<Env, string, Validated<T, S>> = async (c, next) => {
    if (target === 'json') await mustBeJson(c);
    validator ??= zValidator(target, schema(), (result) => {
      if (!result.success) throw refusal(target, result.error.issues);
    });
    return validator(c, next);
  };
  return Object.assign(middleware, { takes: { target, schema } satisfies Taken });
}

function refusal(target: Target, issues: readonly z.core.$ZodIssue[]): AppError {
  if (target === 'param') return notFound();
  const errors = issues.flatMap((issue) => fieldErrors(issue, target));
  return new AppError('validation-failed', 'Some values are not acceptable; see errors.', { errors });
}

/** The id in a path. What is no UUID is no resource: 404. */
export const byId = validate('param', () => z.object({ id: id() }));

const JSON_TYPE = /^application\/(?:[\w.-]+\+)?json$/i;

// Without a Content-Type, an empty body is left to the schema.
async function mustBeJson(c: Ctx): Promise<void> {
  const type = c.req.header('Content-Type')?.split(';', 1)[0]?.trim();
  if (type === undefined ? (await c.req.text()) === '' : JSON_TYPE.test(type)) return;
  throw new AppError('unsupported-media-type', 'The body must be declared as application/json.');
}

function fieldErrors(issue: z.core.$ZodIssue, target: Target): FieldError[] {
  const paths = issue.code === 'unrecognized_keys' ? issue.keys.map((key) => [...issue.path, key]) : [issue.path];
  const detail = issue.code === 'unrecognized_keys' ? 'is not known here' : issue.message;
  return paths.map((path) =>
    target === 'json' ? { detail, pointer: pointerTo(path) } : { detail, parameter: path.map(String).join('.') },
  );
}

/** RFC 6901, as a URI fragment. */
function pointerTo(path: readonly PropertyKey[]): string {
  // A client may name a member with half of a surrogate pair, which no URI can hold.
  const names = path.map((part) => String(part).toWellFormed().replaceAll('~', '~0').replaceAll('/', '~1'));
  return ['#', ...names.map(encodeURIComponent)].join('/');
}
