import assert from 'node:assert/strict';
import { Agent, type IncomingHttpHeaders, request } from 'node:http';
import { after, before, describe, test } from 'node:test';
import fc, { type Arbitrary } from 'fast-check';
import { newNotice } from '../conformance/target.ts';
import { collections } from '../support/collections.ts';
import { createDatabase } from '../support/databases.ts';
import { type Description, describedBy, type Operation } from '../support/described.ts';
import { type Service, startService } from '../support/service.ts';
import { token } from '../support/tokens.ts';
import { arbitraryOf, corrupted } from './arbitraries.ts';

const CASES = Number(process.env.FUZZ_CASES ?? 2000);
/** Printed, so that another run can reproduce what one found. */
const SEED = Number(process.env.FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 31));

/** `invalid`: why the service has to refuse it, as far as the description alone can tell. */
type Case = {
  operation: Operation;
  path: string;
  headers: [string, string][];
  body: Buffer | undefined;
  invalid: string[];
};

let service: Service;
let database: Awaited<ReturnType<typeof createDatabase>>;
let description: Description;
const agent = new Agent({ keepAlive: true });

type Sent = { method: string; path: string; headers?: [string, string][]; body?: Buffer | undefined };

/** Sends what fetch would not: odd paths, repeated headers, bytes that are not text. */
function send({ method, path, headers = [], body }: Sent) {
  return new Promise<{ status: number; headers: Headers; text: string; json: unknown }>((resolve, reject) => {
    const { hostname, port } = new URL(service.url);
    const fields = body ? [...headers, ['Content-Length', String(body.length)]] : headers;
    const host: [string, string] = ['Host', `${hostname}:${port}`];
    const options = { hostname, port, method, path, agent, headers: [host, ...fields].flat() as never };
    const sent = request(options, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.on('error', reject);
      answer.on('end', () => {
        const text = Buffer.concat(chunks).toString();
        let json: unknown;
        try {
          json = JSON.parse(text);
        } catch {}
        resolve({ status: answer.statusCode as number, headers: headersOf(answer.headers), text, json });
      });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

function headersOf(headers: IncomingHttpHeaders): Headers {
  return new Headers(Object.entries(headers).map(([name, value]) => [name, String(value)]));
}

const AUTHORIZED: [string, string] = ['Authorization', `Bearer ${token()}`];
const JSON_TYPE: [string, string] = ['Content-Type', 'application/json'];

/** Ids to act on, by collection: looked up or created when first needed, and again after they were deleted. */
const ids = new Map<string, string>();

async function idUnder(collection: string): Promise<string> {
  const known = ids.get(collection);
  if (known) return known;
  const { id } = (await firstOf(collection)) ?? (await made(collection));
  ids.set(collection, id);
  return id;
}

async function firstOf(collection: string): Promise<{ id: string } | undefined> {
  const listed = await send({ method: 'GET', path: `${collection}?limit=1`, headers: [AUTHORIZED] });
  return (listed.json as { data: { id: string }[] }).data[0];
}

async function made(path: string): Promise<{ id: string }> {
  // Actions are not posted: creating an endpoint is recorded as one.
  if (path === '/api/v1/actions') {
    await made('/api/v1/webhook-endpoints');
    return (await firstOf(path)) as { id: string };
  }
  const collection = collections.find((each) => `/api/v1${each.path}` === path);
  const body = collection ? await collection.make((to, parent) => create(`/api/v1${to}`, parent)) : newNotice();
  return (await create(path, body)).json;
}

async function create(path: string, value: object): Promise<{ json: { id: string } }> {
  const body = Buffer.from(JSON.stringify(value));
  const { json, text } = await send({ method: 'POST', path, headers: [AUTHORIZED, JSON_TYPE], body });
  assert.ok((json as { id?: string }).id, text);
  return { json: json as { id: string } };
}

const EXISTING = '{existing}';

const oddIds = [
  '0',
  '%00',
  '%2F',
  'a%2Fb',
  '%2e%2e',
  '%E0%A4%A',
  '%',
  "'",
  '*',
  '%F0%9F%98%80',
  'x'.repeat(3000),
  '|^',
];

function pathArbitrary({ path }: Operation): Arbitrary<{ path: string; invalid: string[] }> {
  if (!path.includes('{')) return fc.constant({ path, invalid: [] });
  if (path.includes('{name}')) {
    const name = fc.oneof(fc.constant('not-found'), fc.string().map(encodeURIComponent), fc.constantFrom(...oddIds));
    return name.map((each) => ({ path: path.replace('{name}', () => each || 'x'), invalid: [] }));
  }
  return fc
    .oneof(
      { weight: 6, arbitrary: fc.constant({ id: EXISTING, invalid: [] as string[] }) },
      { weight: 1, arbitrary: fc.uuid().map((id) => ({ id, invalid: [] as string[] })) },
      { weight: 1, arbitrary: fc.constantFrom(...oddIds).map((id) => ({ id, invalid: ['an id that is none'] })) },
    )
    .map(({ id, invalid }) => ({ path: path.replace('{id}', () => id), invalid }));
}

function queryArbitrary(operation: Operation): Arbitrary<{ query: string; invalid: string[] }> {
  const parameters = operation.parameters.filter((each) => each.in === 'query');
  if (parameters.length === 0) return fc.constant({ query: '', invalid: [] });
  const each = parameters.map(({ name, schema }) =>
    fc
      .oneof(
        { weight: 3, arbitrary: arbitraryOf(schema).map(String) },
        { weight: 1, arbitrary: fc.constantFrom(...oddValues) },
      )
      .map((value) => ({
        text: `${name}=${encodeURIComponent(value.toWellFormed())}`,
        name,
        invalid: isQueryValue(schema, value.toWellFormed()) ? [] : [`${name}=${value}`],
      })),
  );
  const one = fc.oneof(...each);
  const odd = fc.constantFrom('unknown=1', '__proto__=1', 'limit%00=1', 'LIMIT=1').map((text) => ({
    text,
    name: text,
    invalid: [text],
  }));
  return fc
    .array(fc.oneof({ weight: 8, arbitrary: one }, { weight: 1, arbitrary: odd }), { maxLength: 3 })
    .map((all) => ({
      query: all.length > 0 ? `?${all.map(({ text }) => text).join('&')}` : '',
      invalid: [
        ...all.flatMap(({ invalid }) => invalid),
        ...(new Set(all.map(({ name }) => name)).size < all.length ? ['a parameter twice'] : []),
      ],
    }));
}

const oddValues = [
  '',
  '0',
  '-1',
  '1e2',
  '999999999999999999999',
  'NaN',
  'null',
  'a\0b',
  '\u{1F600}',
  'x'.repeat(5000),
  '1,2',
  "' or 1=1",
];

function isQueryValue(schema: object, value: string): boolean {
  const { type } = schema as { type: string };
  return description.accepts(schema, type === 'integer' && /^-?\d+$/.test(value) ? Number(value) : value);
}

const headerValue = fc.oneof(
  fc.constantFrom(
    '*',
    '""',
    '"1"',
    'W/"1"',
    '"1", "2"',
    ',',
    '"',
    '\u00e9',
    'x'.repeat(3000),
    '"a", W/"b",,"c"',
    ' ',
    '"\\"',
  ),
  fc.string({ unit: fc.integer({ min: 32, max: 126 }).map((code) => String.fromCharCode(code)), maxLength: 40 }),
);

function headersArbitrary(operation: Operation): Arbitrary<{ headers: [string, string][]; invalid: string[] }> {
  const declared = operation.parameters.filter((each) => each.in === 'header').map(({ name }) => name);
  const names = [
    ...declared,
    'Accept',
    'Accept-Language',
    'Accept-Encoding',
    'Range',
    'Cookie',
    'X-Forwarded-For',
    'Origin',
    'X-HTTP-Method-Override',
    'Prefer',
  ];
  const some = fc.array(fc.tuple(fc.constantFrom(...names), headerValue), { maxLength: 4 });
  if (operation.scopes.length === 0) return some.map((headers) => ({ headers, invalid: [] }));
  const authorization = fc.oneof(
    { weight: 20, arbitrary: fc.constant({ fields: [AUTHORIZED], invalid: [] as string[] }) },
    {
      weight: 1,
      arbitrary: fc
        .constantFrom<[string, string][][]>(
          [],
          [['Authorization', 'Bearer']],
          [['Authorization', `Basic ${'x'.repeat(2000)}`]],
          [['Authorization', `Bearer ${token({ claims: { scope: 'other' } })}`]],
          [['Authorization', `Bearer ${token({ claims: { scope: 7, sub: ['x'] } })}`]],
          [['Authorization', `Bearer ${'a.'.repeat(500)}`]],
        )
        .map((fields) => ({ fields, invalid: ['no authorization'] })),
    },
  );
  return fc
    .tuple(some, authorization)
    .map(([headers, { fields, invalid }]) => ({ headers: [...fields, ...headers], invalid }));
}

type Body = { type: [string, string][]; bytes: Buffer | undefined; invalid: string[] };

function bodyArbitrary({ body }: Operation): Arbitrary<Body> {
  if (!body) {
    const none: Body = { type: [], bytes: undefined, invalid: [] };
    const ignored: Body = { type: [JSON_TYPE], bytes: Buffer.from('{"any":1}'), invalid: [] };
    return fc.constantFrom(none, none, ignored);
  }
  const schema = description.resolve(body);
  const text = fc.oneof(
    { weight: 4, arbitrary: arbitraryOf(schema, description.resolve).map((value) => JSON.stringify(value)) },
    { weight: 8, arbitrary: corrupted(arbitraryOf(schema, description.resolve)) },
  );
  const types = fc.oneof(
    { weight: 12, arbitrary: fc.constant({ type: [JSON_TYPE] as [string, string][], invalid: [] as string[] }) },
    {
      weight: 1,
      arbitrary: fc
        .constantFrom<[string, string][][]>(
          [],
          [['Content-Type', 'text/plain']],
          [['Content-Type', 'application/jsonx']],
        )
        .map((type) => ({ type, invalid: ['not declared as JSON'] })),
    },
  );
  return fc.tuple(text, types).map(([given, { type, invalid }]) => {
    const bytes = typeof given === 'string' ? Buffer.from(given) : given;
    return { type, bytes, invalid: isBody(body, bytes) ? invalid : [...invalid, 'a body that its schema refuses'] };
  });
}

function isBody(schema: object, bytes: Buffer): boolean {
  try {
    return description.accepts(schema, JSON.parse(new TextDecoder().decode(bytes)));
  } catch {
    return false;
  }
}

function caseArbitrary(): Arbitrary<Case> {
  // Built once: building them again would take most of the time.
  const ofEach = description.operations.map((operation) =>
    fc
      .tuple(pathArbitrary(operation), queryArbitrary(operation), headersArbitrary(operation), bodyArbitrary(operation))
      .map(([path, query, headers, body]) => ({
        operation,
        path: path.path + query.query,
        headers: [...headers.headers, ...body.type],
        body: body.bytes,
        invalid: [...path.invalid, ...query.invalid, ...headers.invalid, ...body.invalid],
        [fc.toStringMethod]: () =>
          `${operation.method} ${path.path}${query.query} ${JSON.stringify(headers.headers.slice(1))} ${body.bytes}`.slice(
            0,
            2000,
          ),
      })),
  );
  return fc.oneof(...ofEach);
}

async function holds({ operation: { method, path: template }, path, headers, body, invalid }: Case): Promise<void> {
  const collection = template.replace(/\/\{.*$/, '');
  const actual = path.includes(EXISTING) ? path.replace(EXISTING, await idUnder(collection)) : path;
  const answer = await send({ method, path: actual, headers, body });
  if (method === 'DELETE' && answer.status === 204) ids.clear();
  const what = `${method} ${path} → ${answer.status} ${answer.text.slice(0, 300)}`;
  assert.ok(answer.status < 500, what);
  description.check(method, actual, answer);
  if (invalid.length > 0) assert.ok(answer.status >= 400, `${what}\nis taken in spite of: ${invalid.join('; ')}`);
}

describe('whatever is sent', () => {
  before(async () => {
    database = await createDatabase();
    service = await startService({
      DATABASE_URL: database.url,
      RATE_LIMIT_MAX: '100000000',
      DISPATCH_ENABLED: 'false',
    });
    description = describedBy(await (await fetch(`${service.url}/openapi.json`)).json());
  });
  after(async () => {
    agent.destroy();
    await service.stop();
    await database.drop();
  });

  test(`is answered as the description says, and refused where it is not valid (${CASES} cases)`, async (t) => {
    t.diagnostic(`FUZZ_SEED=${SEED} FUZZ_CASES=${CASES}`);
    await fc.assert(
      fc.asyncProperty(caseArbitrary(), (each) => holds(each)),
      { numRuns: CASES, seed: SEED, endOnFailure: CASES > 2000 },
    );
  });
});
