import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { clientTypes, typeOf } from '../../src/entry/client-types.ts';
import { readDocument } from '../../src/entry/openapi-document.ts';
import { createDatabase } from '../support/databases.ts';
import { scriptOn } from '../support/runtimes.ts';
import { type Service, startService } from '../support/service.ts';
import { token } from '../support/tokens.ts';

const root = join(import.meta.dirname, '../..');
/** Other repositories may have either. */
const COMPILERS = ['node_modules/typescript/bin/tsc', 'test/node_modules/typescript/bin/tsc'];

/** What another repository might write. */
const PROGRAM = `
import { createClient, Problem, type WebhookEndpoint, type WebhookTestEvent } from 'keelson-client';
declare const process: { argv: string[] };

const [url, token] = process.argv.slice(2) as [string, string];
const { webhookEndpoints, notifications } = createClient(url, { token: () => token, retries: 1 });

const seen: unknown[] = [];
const input = { url: 'http://127.0.0.1:9/', events: ['invoice.paid'], description: 'CRM' };
const made = await webhookEndpoints.create(input, { idempotencyKey: 'crm' });
const again = await webhookEndpoints.create(input, { idempotencyKey: 'crm' });
const change = { ...input, description: 'Billing' };
const changed = await webhookEndpoints.replace(made.id, change, { version: made.version });
const billing: WebhookEndpoint = await webhookEndpoints.get(made.id);
seen.push(again.id === made.id, changed.version, billing.description);
const { id } = await webhookEndpoints.create({ url: input.url, events: ['order.sent'] });
for await (const endpoint of webhookEndpoints.list({ limit: 1 })) seen.push(endpoint.events[0]);

const told = await notifications.create({ email: 'ada@example.com', type: 'invoice.paid', data: { amount: 1200 } });
const { data, nextCursor } = await notifications.page({ channel: 'email' });
seen.push(data.length, data[0]?.id === told.id, nextCursor);
const forBilling = await notifications.page({ channel: 'webhook' });
seen.push(forBilling.data.length, forBilling.data[0]?.endpointId === billing.id);

const rotated = await webhookEndpoints.rotateSecret(made.id);
const asked = await webhookEndpoints.test(id);
seen.push(made.secret !== rotated.secret, asked.channel, (await notifications.get(asked.id)).attemptLog.length >= 0);
await webhookEndpoints.remove(id, { signal: AbortSignal.timeout(30_000) });

const refused = [
  () => webhookEndpoints.create({ ...input, events: [] }),
  () => webhookEndpoints.replace(made.id, input, { version: made.version }),
  () => notifications.redrive(told.id),
];
for (const call of refused) {
  const problem = await call().catch((error: unknown) => error);
  if (problem instanceof Problem) seen.push(problem.code, problem.status);
}
await webhookEndpoints.remove(made.id);
console.log(JSON.stringify(seen));

export const received = (event: WebhookTestEvent): string => event.data.endpointId;

export async function wrong(): Promise<void> {
  // @ts-expect-error: an endpoint has no such member
  billing.nonsense;
  // @ts-expect-error: an endpoint needs events
  await webhookEndpoints.create({ url: 'https://example.com/' });
  // @ts-expect-error: a description is a string
  await webhookEndpoints.create({ url: 'https://example.com/', events: ['*'], description: 7 });
  // @ts-expect-error: nothing else is taken
  await webhookEndpoints.create({ url: 'https://example.com/', events: ['*'], admin: true });
  // @ts-expect-error: no such status
  await notifications.page({ status: 'lost' });
  // @ts-expect-error: a notification needs data
  await notifications.create({ email: 'ada@example.com', type: 'a.b' });
  // @ts-expect-error: a notification is not replaced
  notifications.replace;
  // @ts-expect-error: a version is a number
  await webhookEndpoints.remove(id, { version: '1' });
  // @ts-expect-error: a secret is shown once
  (await webhookEndpoints.get(id)).secret;
  // @ts-expect-error: an event has the data of its type alone
  received({ type: 'webhook.test', timestamp: '', data: { id } });
}
`;

const TSCONFIG = {
  compilerOptions: { strict: true, target: 'es2022', module: 'nodenext', types: [], noEmit: true },
  files: ['program.ts'],
};

/** Compiles only if the package's types, made from the document, are the same as the source's. */
const SAME = `
import type { createClient, Problem } from '${root}/src/client.ts';
import type * as packed from 'keelson-client';

type Ours = ReturnType<typeof createClient>;
export const theirs = (ours: Ours): packed.ApiClient => ours;
export const ours = (theirs: packed.ApiClient): Ours => theirs;
export const problem = (theirs: packed.Problem): Problem => theirs;
export const options = (theirs: packed.ClientOptions): Parameters<typeof createClient>[1] => theirs;
// @ts-expect-error: these differ
export const others = (ours: Ours): packed.ApiClient['webhookEndpoints'] => ours.notifications;
`;

describe('npm run client:pack', () => {
  const project = mkdtempSync(join(tmpdir(), 'keelson-consumer-'));
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let service: Service;

  before(async () => {
    database = await createDatabase();
    service = await startService({ DATABASE_URL: database.url });
    const packed = run(...scriptOn('node', 'src/entry/client-pack.ts'), 'packed').trim();
    assert.match(packed, /^packed\/keelson-client-\d+\.\d+\.\d+\.tgz$/);
    writeFileSync(join(project, 'package.json'), '{"type":"module"}');
    writeFileSync(join(project, 'program.ts'), PROGRAM);
    run('npm', 'install', '--offline', '--no-audit', '--no-fund', `./${packed}`);
  });
  after(async () => {
    await service.stop();
    await database.drop();
    rmSync(project, { recursive: true });
  });

  function run(command: string, ...args: string[]): string {
    const { status, stdout, stderr } = spawnSync(command, args, { cwd: project, encoding: 'utf8' });
    assert.equal(status, 0, stdout + stderr);
    return stdout;
  }

  function compile(config: object, compiler: string): void {
    writeFileSync(join(project, 'tsconfig.json'), JSON.stringify(config));
    run(process.execPath, join(root, compiler), '-p', '.');
  }

  test('is all that another repository needs: nothing comes with it, and none of our source', () => {
    const installed = readdirSync(join(project, 'node_modules')).filter((name) => !name.startsWith('.'));
    assert.deepEqual(installed, ['keelson-client']);
    const files = readdirSync(join(project, 'node_modules/keelson-client')).sort();
    const expected = ['LICENSE', 'LICENSE-hono', 'README.md', 'index.d.ts', 'index.js', 'package.json'];
    assert.deepEqual(files, expected);
    for (const file of ['index.js', 'index.d.ts']) {
      assert.doesNotMatch(readFileSync(join(project, 'node_modules/keelson-client', file), 'utf8'), /^import /m);
    }
  });

  test('has types under which what is right compiles, and what is wrong does not', () => {
    for (const compiler of COMPILERS) compile(TSCONFIG, compiler);
  });

  test('works against the service', () => {
    const seen = JSON.parse(run(process.execPath, 'program.ts', service.url, token()));
    const listed = ['invoice.paid', 'order.sent'];
    const problems = ['validation-failed', 422, 'precondition-failed', 412, 'conflict', 409];
    const expected = [true, 2, 'Billing', ...listed, 1, true, null, 1, true, true, 'webhook', true, ...problems];
    assert.deepEqual(seen, expected);
  });

  test('has the types that the source’s client has, for every resource', () => {
    writeFileSync(join(project, 'same.ts'), SAME);
    const compilerOptions = { typeRoots: [join(root, 'node_modules/@types')], rewriteRelativeImportExtensions: false };
    const config = { extends: join(root, 'tsconfig.json'), compilerOptions, include: [], files: ['same.ts'] };
    compile(config, COMPILERS[0] as string);
  });
});

describe('the types of a package', () => {
  test('follow a schema', () => {
    const cases: [schema: object, type: string][] = [
      [{ type: 'string', format: 'uuid' }, 'string'],
      [{ type: ['integer', 'null'] }, 'number | null'],
      [{ const: 'a' }, '"a"'],
      [{ type: ['string', 'null'], enum: ['a', null] }, '"a" | null'],
      [{ anyOf: [{ type: 'boolean' }, { $ref: '#/components/schemas/A' }] }, 'boolean | A'],
      [{ oneOf: [{ type: 'number' }, { type: 'integer' }] }, 'number'],
      [{ allOf: [{ $ref: '#/components/schemas/A' }, { $ref: '#/components/schemas/B' }] }, '(A) & (B)'],
      [{ type: 'array', items: { enum: ['a', 'b'] } }, 'Array<"a" | "b">'],
      [{}, 'unknown'],
      [{ type: 'object', additionalProperties: {} }, '{\n  [name: string]: unknown;\n}'],
      [{ type: 'object', additionalProperties: { type: 'string' } }, '{\n  [name: string]: string;\n}'],
      [{ type: 'object', properties: { 'a-b': { type: 'null' } } }, '{\n  "a-b"?: null | undefined;\n}'],
      // An event whose data is a resource.
      [
        {
          properties: { type: { const: 'a.made' }, data: { $ref: '#/components/schemas/A' } },
          required: ['type', 'data'],
        },
        '{\n  type: "a.made";\n  data: A;\n}',
      ],
      [{ properties: { a: {} }, required: ['a'], additionalProperties: false }, '{\n  a: unknown;\n}'],
    ];
    for (const [schema, type] of cases) assert.equal(typeOf(schema), type);
    assert.throws(() => typeOf({ type: 'file' }), /type file/);
  });

  test('have a member for any resource, and refuse an operation that the client has no way to call', async () => {
    const document = await readDocument();
    const all = document.paths['/api/v1/webhook-endpoints'];
    const one = document.paths['/api/v1/webhook-endpoints/{id}'];
    assert.ok(all && one);
    const text = clientTypes({
      ...document,
      paths: { '/api/v1/line-items': all, '/api/v1/line-items/{lineId}': one },
    });
    assert.match(text, /^ {2}lineItems: \{$/m);
    assert.match(
      text,
      /^ {4}replace\(id: string, body: WebhookEndpointInput, options\?: ChangeOptions\): Promise<WebhookEndpoint>;$/m,
    );
    assert.throws(
      () => clientTypes({ ...document, paths: { '/api/v1/line-items/{id}/parts/{partId}': all } }),
      /no method for GET \/api\/v1\/line-items\/\{id\}\/parts\/\{partId\}/,
    );
  });
});
