import { zValidator } from '@hono/zod-validator';
import type { Input, MiddlewareHandler } from 'hono';
import * as z from 'zod/mini';
import { AppError, type FieldError } from '../errors.ts';
import { id, lazy } from '../fields.ts';
import type { Ctx, Env } from './context.ts';
import { preconditionErrors } from './etag.ts';
import { notFound } from './problem.ts';

type Target = 'json' | 'query';
type Validated<T extends Target | 'param', S extends z.core.$ZodType> = Input & {
  in: { [K in T]: z.input<S> };
  out: { [K in T]: z.output<S> };
};

/** A part of the request that a route takes, for the OpenAPI document. */
export type Taken = { target: Target | 'param'; schema: () => z.core.$ZodType };

/** Finds errors that a schema cannot, in a body that may be anything. */
type Also = (c: Ctx, given: unknown) => Found;
type Found = FieldError[] | Promise<FieldError[]>;

/**
 * Validates a part of the request with zValidator, created with its schema on first use. The schema is synchronous. Throws
 * AppError `validation-failed` with all errors (including those of `also` and of preconditions), or `unsupported-media-type`.
 */
export function validate<T extends Target, S extends z.ZodMiniType>(target: T, schema: () => S, also?: Also) {
  const validator = lazy(
    (): MiddlewareHandler =>
      zValidator(
        target,
        schema(),
        (result, of) => {
          const c = of as unknown as Ctx;
          const errors = result.success ? [] : errorsOf(result.error, target);
          return also ? checkAll(c, errors, also(c, result.data)) : check(c, errors);
        },
        // By default, a promise waits for each part of a value.
        { validationFunction: (parser, value) => parser.safeParse(value) as never },
      ),
  );
  const middleware: MiddlewareHandler<Env, string, Validated<T, S>> = (c, next) =>
    target === 'json' ? mustBeJson(c).then(() => validator()(c, next)) : validator()(c, next);
  return Object.assign(middleware, { takes: { target, schema } satisfies Taken });
}

async function checkAll(c: Ctx, errors: FieldError[], others: Found): Promise<void> {
  for (const error of await others) {
    if (!errors.some((each) => whereOf(each) === whereOf(error))) errors.push(error);
  }
  check(c, errors);
}

function check(c: Ctx, errors: FieldError[]): void {
  if (errors.length === 0) return;
  // Errors in a body and in its precondition are reported together.
  const all = c.req.method === 'PUT' ? [...errors, ...preconditionErrors(c)] : errors;
  throw new AppError('validation-failed', 'Some values are invalid. See errors.', { errors: all });
}

/** Validates the parameters in a path. Throws AppError `not-found`. */
export function inPath<S extends z.ZodMiniType<object>>(schema: () => S) {
  const once = lazy(schema);
  const middleware: MiddlewareHandler<Env, string, Validated<'param', S>> = (c, next) => {
    const result = once().safeParse(c.req.param());
    if (!result.success) throw notFound();
    c.req.addValidatedData('param', result.data);
    return next();
  };
  return Object.assign(middleware, { takes: { target: 'param', schema } satisfies Taken });
}

/** The id in a path. If it is not a UUID, there is no such resource: 404. */
export const byId = inPath(() => z.object({ id: id() }));

const JSON_TYPE = /^application\/(?:[\w.-]+\+)?json$/i;

// Without a Content-Type, the schema validates an empty body.
async function mustBeJson(c: Ctx): Promise<void> {
  const type = c.req.header('Content-Type')?.split(';', 1)[0]?.trim();
  const isJson = type !== undefined && JSON_TYPE.test(type);
  if (!isJson && (type !== undefined || (await c.req.text()) !== '')) {
    throw new AppError('unsupported-media-type', 'The Content-Type must be application/json.');
  }
  const coding = c.req.header('Content-Encoding');
  if (coding !== undefined && coding.toLowerCase() !== 'identity') {
    const headers = { 'Accept-Encoding': 'identity' };
    throw new AppError('unsupported-media-type', 'The body must have no Content-Encoding.', { headers });
  }
  await c.req.text();
}

/** The maximum number of errors in a response. */
const MAX_ERRORS = 100;

function errorsOf({ issues }: z.core.$ZodError, target: Target): FieldError[] {
  // Truncate before mapping, too: a body of 64 KB may have thousands of issues, each of which needs a long pointer.
  return issues
    .slice(0, MAX_ERRORS)
    .flatMap((issue) => fieldErrors(issue, target))
    .slice(0, MAX_ERRORS);
}

function fieldErrors(issue: z.core.$ZodIssue, target: Target): FieldError[] {
  const paths = issue.code === 'unrecognized_keys' ? issue.keys.map((key) => [...issue.path, key]) : [issue.path];
  const unknown = `is not a known ${target === 'json' ? 'field' : 'parameter'}`;
  const detail = issue.code === 'unrecognized_keys' ? unknown : issue.message;
  return paths.map((path) =>
    target === 'json' ? { detail, pointer: pointerTo(path) } : { detail, parameter: path.map(String).join('.') },
  );
}

const whereOf = (error: FieldError) => ('pointer' in error ? error.pointer : error.parameter);

/** A JSON Pointer (RFC 6901) as a URI fragment. */
function pointerTo(path: readonly PropertyKey[]): string {
  // A member's name may have a lone surrogate, which encodeURIComponent rejects.
  const names = path.map((part) => String(part).toWellFormed().replaceAll('~', '~0').replaceAll('/', '~1'));
  return ['#', ...names.map(encodeURIComponent)].join('/');
}
