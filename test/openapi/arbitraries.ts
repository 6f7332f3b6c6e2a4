import fc, { type Arbitrary } from 'fast-check';

// biome-ignore lint/suspicious/noExplicitAny: a schema is walked, not typed
type Schema = any;
type Resolve = (schema: Schema) => Schema;

const scalar = fc.string({ unit: 'binary', maxLength: 30 });

/** Values that a JSON Schema accepts: the part of JSON Schema that this service's description uses. */
export function arbitraryOf(reference: Schema, resolve: Resolve = (schema) => schema): Arbitrary<unknown> {
  const schema = resolve(reference);
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum) return fc.constantFrom(...schema.enum);
  if (schema.anyOf) return fc.oneof(...schema.anyOf.map((each: Schema) => arbitraryOf(each, resolve)));
  switch (schema.type) {
    case 'string':
      return stringOf(schema);
    case 'integer':
      return fc.integer({ min: schema.minimum, max: schema.maximum });
    case 'array': {
      const { minItems: minLength = 0, maxItems: maxLength = 10 } = schema;
      return fc.array(arbitraryOf(schema.items, resolve), { minLength, maxLength: Math.min(maxLength, 60) });
    }
    case 'object':
      return objectOf(schema, resolve);
    default:
      return fc.jsonValue();
  }
}

function stringOf({ format, pattern, minLength = 0, maxLength = 40 }: Schema): Arbitrary<string> {
  if (format === 'uuid') return fc.uuid();
  if (format === 'email') {
    return fc
      .tuple(fc.stringMatching(/^[a-z0-9_+']{1,20}[a-z0-9]$/), fc.uuid())
      .map(([name, host]) => `${name}@x${host}.example`);
  }
  if (pattern && !pattern.startsWith('^[^')) return fc.stringMatching(new RegExp(pattern), { maxLength });
  const some = fc.string({ unit: 'binary', minLength, maxLength: Math.min(maxLength, minLength + 40) });
  const longest = fc.constantFrom('a', 'é', '\u{1F600}').map((each) => each.repeat(maxLength));
  const url = fc.webUrl();
  return fc
    .oneof(
      { weight: 6, arbitrary: some },
      { weight: 1, arbitrary: longest },
      { weight: maxLength > 1000 ? 20 : 1, arbitrary: url },
    )
    .map((value) => value.replaceAll('\0', ''))
    .filter((value) => [...value].length >= minLength && [...value].length <= maxLength);
}

function objectOf({ properties, required = [], oneOf }: Schema, resolve: Resolve): Arbitrary<unknown> {
  if (oneOf) {
    // One of several members: each alternative requires its own.
    const others = (own: string[]) =>
      oneOf.flatMap((each: Schema) => each.required).filter((name: string) => !own.includes(name));
    const without = (names: string[]) =>
      Object.fromEntries(Object.entries(properties).filter(([name]) => !names.includes(name)));
    const alternatives = oneOf.map((each: Schema) =>
      objectOf({ properties: without(others(each.required)), required: [...required, ...each.required] }, resolve),
    );
    return fc.oneof(...alternatives);
  }
  if (!properties) return fc.dictionary(fc.oneof(scalar, fc.constant('__proto__')), fc.jsonValue());
  const members = Object.entries(properties).map(([name, schema]) => [name, arbitraryOf(schema, resolve)]);
  return fc.record(Object.fromEntries(members), { requiredKeys: required });
}

const odd = fc.oneof(
  fc.jsonValue(),
  fc.constantFrom<unknown>(
    null,
    true,
    -0,
    2 ** 53,
    '',
    'a\0b',
    '\ud800',
    '\udc00\ud800',
    'x'.repeat(3000),
    [],
    {},
    [[]],
    ['x', 7],
    { toString: 1 },
    'http://',
    'javascript:alert(1)',
  ),
);
const oddNames = fc.oneof(
  scalar,
  fc.constantFrom('__proto__', 'constructor', '', '\ud800', '~/%', 'x'.repeat(2000), 'id', 'version'),
);

/** JSON text of valid values that were then corrupted, and input that is not JSON text at all. */
export function corrupted(values: Arbitrary<unknown>): Arbitrary<string | Buffer> {
  const object = values as Arbitrary<Record<string, unknown>>;
  const pick = fc.nat();
  const nameIn = (value: object, n: number) => Object.keys(value)[n % Math.max(1, Object.keys(value).length)] ?? 'x';
  const json = (value: unknown) => JSON.stringify(value);
  return fc.oneof(
    fc.tuple(object, pick, odd).map(([value, n, other]) => json({ ...value, [nameIn(value, n)]: other })),
    fc.tuple(object, pick).map(([value, n]) => json({ ...value, [nameIn(value, n)]: undefined })),
    // Assembled as text, otherwise __proto__ would not be a member.
    fc
      .tuple(object, oddNames, odd)
      .map(([value, name, other]) => json(value).replace(/^\{/, () => `{${json(name)}:${json(other)},`)),
    odd.map(json),
    object.map((value) => json(value).slice(0, -1)),
    object.map((value) => `\ufeff${json(value)}`),
    object.map((value) => Buffer.concat([Buffer.from(json(value)), Buffer.from([0xff, 0xfe])])),
    object.map((value) => Buffer.from(json(value).replace(/[a-z]/, '\u00ff'), 'latin1')),
    fc.tuple(object, pick).map(([value, n]) => json({ ...value, [nameIn(value, n)]: 1 }).replace(/:1\b/, ':1e999')),
    fc.tuple(object, pick, fc.constantFrom(100, 5000, 30_000)).map(([value, n, depth]) => {
      const nested = '['.repeat(depth) + ']'.repeat(depth);
      return json({ ...value, [nameIn(value, n)]: { deep: 0 } }).replace('{"deep":0}', `{"deep":${nested}}`);
    }),
    object.map((value) => json({ ...value, padding: 'x'.repeat(70_000) })),
    fc.string().map((text) => text),
    fc.constant(''),
  );
}
