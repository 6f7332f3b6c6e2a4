import * as z from 'zod/mini';
import en from 'zod/v4/locales/en.js';

// zod/mini has no messages of its own. Clients get these for a missing member or one of the wrong type.
z.config(en());

/** Creates a value on first use. Schemas are lazy, so that a cold start creates only those that its request needs. */
export function lazy<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** The parsed value of a lazy schema. */
export type Of<S extends () => z.core.$ZodType> = z.output<ReturnType<S>>;

/** Returns a copy of the schema with additional information for the OpenAPI document. */
export function documented<S extends z.ZodMiniType>(schema: S, about: z.core.GlobalMeta): S {
  const copy = schema.clone();
  z.globalRegistry.add(copy, about);
  return copy;
}

/** Text that Postgres can store: no NUL character, no lone surrogate. Lengths are in characters. */
export const text = (min: number, max: number) =>
  documented(
    z.string().check(
      z.refine(
        (value) => lengthOf(value, max) >= min,
        min === 1 ? 'must not be empty' : `must be at least ${min} characters`,
      ),
      z.refine((value) => lengthOf(value, max) <= max, `must be at most ${max} characters`),
      z.refine((value) => !value.includes('\0'), 'must not contain a NUL character'),
      z.refine((value) => value.isWellFormed(), 'must be well-formed Unicode'),
    ),
    { minLength: min, maxLength: max, pattern: '^[^\\u0000]*$' },
  );

// Counts code points, as JSON Schema and Postgres do. Text that is obviously too long is not counted.
function lengthOf(value: string, max: number): number {
  return value.length > 2 * max ? value.length : [...value].length;
}

// The same as zod's pattern, but a label of the host must not end in a hyphen.
const EMAIL =
  /^(?!\.)(?!.*\.\.)[A-Za-z0-9_'+.-]*[A-Za-z0-9_+-]@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}$/;

/** An email address of at most 254 characters (RFC 5321). */
export const email = lazy(() =>
  documented(z.pipe(text(3, 254), z.email({ pattern: EMAIL, error: 'must be an email address' })), {
    format: 'email',
    pattern: EMAIL.source,
  }),
);

/** An id. Upper case is accepted and converted to lower case. */
export const id = (message = 'must be an id') => z.string(message).check(z.toLowerCase(), z.uuid(message));

/** A time in responses: RFC 3339, UTC, milliseconds. */
export const time = () => z.iso.datetime({ precision: 3 });

/** A time in requests: RFC 3339 with any offset, in the years 1 to 9999, which Postgres can store. */
export const instant = (message = 'must be an RFC 3339 time, such as 2026-11-22T10:00:00Z') =>
  documented(
    z
      .pipe(
        z.iso.datetime({ offset: true, error: message }),
        z.transform((value: string) => new Date(value).toISOString()),
      )
      .check(z.refine((value) => /^(?!0000)\d{4}-/.test(value), message)),
    { type: 'string', format: 'date-time' },
  );

/** A 32-bit integer, like Postgres's. */
export const integer = (message = 'must be a whole number from -2147483648 to 2147483647') =>
  documented(z.int32(message), { type: 'integer', minimum: -2_147_483_648, maximum: 2_147_483_647 });

/** The maximum depth of arrays and objects. JSON.stringify fails on very deep ones. */
const MAX_DEPTH = 100;

function isWithin(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return depth > 0 && Object.values(value).every((inner) => isWithin(inner, depth - 1));
}

/**
 * Yields what would not arrive as it was sent: members named `__proto__`, which many JSON parsers drop or misinterpret,
 * and numbers that are too large for a double, which would be written as null.
 */
function* lostIn(value: unknown, path: string[] = []): Generator<{ path: string[]; message: string }> {
  if (typeof value === 'number' && !Number.isFinite(value)) yield { path, message: 'must be a number below 1.8e308' };
  if (typeof value !== 'object' || value === null) return;
  for (const [name, inner] of Object.entries(value)) {
    const at = [...path, name];
    if (name === '__proto__') yield { path: at, message: 'must not be named __proto__' };
    else yield* lostIn(inner, at);
  }
}

/** Limits the total length of reported paths. Each has the names of all enclosing members, and a name may be long. */
const MAX_PATHS = 10_000;

export const isObject = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** A JSON object of at most `max` bytes. Not a z.record, which drops some names before they can be refused. */
export const json = (max: number) =>
  documented(
    z.custom<Record<string, unknown>>(isObject, { error: 'must be an object', abort: true }).check(
      z.refine((value) => isWithin(value, MAX_DEPTH), {
        error: `must be at most ${MAX_DEPTH} levels deep`,
        abort: true,
      }),
      z.superRefine((value, { addIssue }) => {
        let left = MAX_PATHS;
        for (const lost of lostIn(value)) {
          addIssue({ code: 'custom', ...lost });
          left -= lost.path.join('').length + 100;
          if (left < 0) return;
        }
      }),
      z.refine(
        (value) => new TextEncoder().encode(JSON.stringify(value)).length <= max,
        `must be at most ${max} bytes of JSON`,
      ),
    ),
    { type: 'object', additionalProperties: {} },
  );
