import * as z from 'zod';

/** Creates a value on first use. Schemas are lazy, so that a cold start creates only those that its request needs. */
export function lazy<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** The parsed value of a lazy schema. */
export type Of<S extends () => z.ZodType> = z.output<ReturnType<S>>;

/** Text that Postgres can store: no NUL character, no lone surrogate. Lengths are in characters. */
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

// In code points, as JSON Schema and Postgres count. Obviously long text is not counted.
function lengthOf(value: string, max: number): number {
  return value.length > 2 * max ? value.length : [...value].length;
}

// The same as zod's pattern, but a label of the host must not end in a hyphen.
const EMAIL =
  /^(?!\.)(?!.*\.\.)[A-Za-z0-9_'+.-]*[A-Za-z0-9_+-]@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}$/;

/** An email address of at most 254 characters (RFC 5321). */
export const email = lazy(() =>
  text(3, 254)
    .pipe(z.email({ pattern: EMAIL, error: 'must be an email address' }))
    .meta({ format: 'email', pattern: EMAIL.source }),
);

/** An id. Upper case is accepted and converted to lower case. */
export const id = (message = 'must be an id') => z.string(message).toLowerCase().check(z.uuid(message));

/** A time in responses: RFC 3339, UTC, milliseconds. */
export const time = () => z.iso.datetime({ precision: 3 });

/** A time in requests: RFC 3339 with any offset, in the years 1 to 9999, which Postgres can store. */
export const instant = (message = 'must be an RFC 3339 time, such as 2026-11-22T10:00:00Z') =>
  z.iso
    .datetime({ offset: true, error: message })
    .transform((value) => new Date(value).toISOString())
    .refine((value) => /^(?!0000)\d{4}-/.test(value), message)
    .meta({ type: 'string', format: 'date-time' });

/** A 32-bit integer, like Postgres's. */
export const integer = (message = 'must be a whole number from -2147483648 to 2147483647') =>
  z.int32(message).meta({ type: 'integer', minimum: -2_147_483_648, maximum: 2_147_483_647 });

/** The maximum depth of arrays and objects. JSON.stringify fails on very deep ones. */
const MAX_DEPTH = 100;

function isWithin(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return depth > 0 && Object.values(value).every((inner) => isWithin(inner, depth - 1));
}

/** The paths of members named `__proto__`, which many JSON parsers drop or misinterpret. */
function protosIn(value: unknown, path: string[] = []): string[][] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => {
    const at = [...path, name];
    return name === '__proto__' ? [at] : protosIn(inner, at);
  });
}

const isObject = (value: unknown) => typeof value === 'object' && value !== null && !Array.isArray(value);

/** A JSON object of at most `max` bytes. Not a z.record, which drops some names before they can be refused. */
export const json = (max: number) =>
  z
    .custom<Record<string, unknown>>(isObject, { error: 'must be an object', abort: true })
    .refine((value) => isWithin(value, MAX_DEPTH), { error: `must be at most ${MAX_DEPTH} levels deep`, abort: true })
    .superRefine((value, { addIssue }) => {
      for (const path of protosIn(value)) addIssue({ code: 'custom', path, message: 'must not be named __proto__' });
    })
    .refine(
      (value) => new TextEncoder().encode(JSON.stringify(value)).length <= max,
      `must be at most ${max} bytes of JSON`,
    )
    .meta({ type: 'object', additionalProperties: {} });
