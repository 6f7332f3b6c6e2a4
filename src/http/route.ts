import { OpenAPIHono } from '@hono/zod-openapi';
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
  // A client may name a member with half of a surrogate pair, which no URI can hold.
  const names = path.map((part) => String(part).toWellFormed().replaceAll('~', '~0').replaceAll('/', '~1'));
  return ['#', ...names.map(encodeURIComponent)].join('/');
}

/** Text that Postgres can hold: no NUL character, and no half of a surrogate pair. Lengths in characters. */
export const text = (min: number, max: number) =>
  z
    .string()
    .refine(
      (value) => lengthOf(value, max) >= min,
      min === 1 ? 'must not be empty' : `must be at least ${min} characters`,
    )
    .refine((value) => lengthOf(value, max) <= max, `must be at most ${max} characters`)
    .refine((value) => !value.includes('\0'), 'must not contain a NUL character')
    .refine((value) => value.isWellFormed(), 'must be well-formed Unicode')
    .meta({ minLength: min, maxLength: max, pattern: '^[^\\u0000]*$' });

// In code points, as JSON Schema and Postgres count; no further than it takes to say that it is too long.
function lengthOf(value: string, max: number): number {
  return value.length > 2 * max ? value.length : [...value].length;
}

// As zod has it, but for a host's labels that end in a hyphen.
const EMAIL =
  /^(?!\.)(?!.*\.\.)[A-Za-z0-9_'+.-]*[A-Za-z0-9_+-]@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}$/;

/** An email address: RFC 5321's 254 characters at most. */
export const email = text(3, 254)
  .pipe(z.email({ pattern: EMAIL, error: 'must be an email address' }))
  .meta({ format: 'email', pattern: EMAIL.source });

/** An id, which is the same in upper case: taken in lower case, as the API shows it. */
export const idOf = (message: string) => z.string(message).toLowerCase().check(z.uuid(message));

/** Path parameters of a single resource. What is no UUID is no resource: 404. */
export const idParam = z.object({ id: idOf('must be an id').meta({ param: { name: 'id', in: 'path' } }) });

/** What every authenticated route has: its scope, enforced and described. */
export function secured(needed: string) {
  return { middleware: scope(needed), security: [{ bearer: [needed] }] };
}
