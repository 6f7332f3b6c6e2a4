import * as z from 'zod';

/** Makes a value when it is first asked for. Schemas are lazy, so that a cold start makes only those its request needs. */
export function lazy<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

/** What a lazy schema accepts, once parsed. */
export type Of<S extends () => z.ZodType> = z.output<ReturnType<S>>;

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

// zod's own pattern, except that a label of the host must not end in a hyphen.
const EMAIL =
  /^(?!\.)(?!.*\.\.)[A-Za-z0-9_'+.-]*[A-Za-z0-9_+-]@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}$/;

/** An email address: RFC 5321's 254 characters at most. */
export const email = lazy(() =>
  text(3, 254)
    .pipe(z.email({ pattern: EMAIL, error: 'must be an email address' }))
    .meta({ format: 'email', pattern: EMAIL.source }),
);

/** An id. Upper case is accepted and turned into lower case, as the API shows it. */
export const id = (message = 'must be an id') => z.string(message).toLowerCase().check(z.uuid(message));

/** A time as the API shows it: RFC 3339, UTC, milliseconds. */
export const time = () => z.iso.datetime({ precision: 3 });
