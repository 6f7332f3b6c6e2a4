import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { clientTypes, typeOf } from '../../src/entry/client-types.ts';
import { readDocument } from '../../src/entry/openapi-document.ts';
import { createDatabase } from '../support/databases.ts';
import { type Service, startService } from '../support/service.ts';
import { token } from '../support/tokens.ts';

const root = join(import.meta.dirname, '../..');
/** Others may have the one or the other. */
const COMPILERS = ['node_modules/typescript/bin/tsc', 'test/node_modules/typescript/bin/tsc'];

/** What another repository might write. */
const PROGRAM = `
import { createClient, Problem, type User, type UserCreatedEvent } from 'keelson-client';
declare const process: { argv: string[] };

const [url, token] = process.argv.slice(2) as [string, string];
const { users, webhookEndpoints, notifications } = createClient(url, { token: () => token, retries: 1 });

const seen: unknown[] = [];
const ada: User = await users.create({ email: 'ada@example.com', name: 'Ada' }, { idempotencyKey: 'ada' });
const again = await users.create({ email: 'ada@example.com', name: 'Ada' }, { idempotencyKey: 'ada' });
const changed = await users.replace(ada.id, { email: ada.email, name: 'Countess' }, { version: ada.version });
seen.push(again.id === ada.id, changed.version, (await users.get(ada.id)).name);
await users.create({ email: 'grace@example.com', name: 'Grace' });
for await (const { email } of users.list({ limit: 1 })) seen.push(email);
const { data, nextCursor } = await users.page({ email: 'grace@example.com' });
seen.push(data.length, nextCursor);

const { id, secret } = await webhookEndpoints.create({ url: 'http://127.0.0.1:9/', events: ['user.created'] });
const rotated = await webhookEndpoints.rotateSecret(id);
const asked = await webhookEndpoints.test(id);
seen.push(secret !== rotated.secret, asked.channel, (await notifications.get(asked.id)).attemptLog.length >= 0);
await webhookEndpoints.remove(id, { signal: AbortSignal.timeout(30_000) });

const problem = await users.create({ email: 'ada@example.com', name: 'Other' }).catch((error: unknown) => error);
if (problem instanceof Problem) seen.push(problem.code, problem.status);
await users.remove(ada.id);
console.log(JSON.stringify(seen));

export const received = (event: UserCreatedEvent): string => event.data.email;

export async function wrong(): Promise<void> {
  // @ts-expect-error: a user has no such member
  ada.nonsense;
  // @ts-expect-error: a user needs a name
  await users.create({ email: 'x@example.com' });
  // @ts-expect-error: a name is a string
  await users.create({ email: 'x@example.com', name: 7 });
  // @ts-expect-error: nothing else is taken
  await users.create({ email: 'x@example.com', name: 'x', admin: true });
  // @ts-expect-error: no such status
  await notifications.page({ status: 'lost' });
  // @ts-expect-error: a notification is not replaced
  notifications.replace;
  // @ts-expect-error: a version is a number
  await users.remove(ada.id, { version: '1' });
  // @ts-expect-error: a secret is shown once
  (await webhookEndpoints.get(id)).secret;
}
`;

const TSCONFIG = {
  compilerOptions: { strict: true, target: 'es2022', module: 'nodenext', types: [], noEmit: true },
  files: ['program.ts'],
};

/** What makes the types that the package has, of the document, and those of the source one. */
const SAME = `
import type { createClient, Problem } from '${root}/src/client.ts';
import type * as packed from 'keelson-client';

type Ours = ReturnType<typeof createClient>;
export const theirs = (ours: Ours): packed.ApiClient => ours;
export const ours = (theirs: packed.ApiClient): Ours => theirs;
export const problem = (theirs: packed.Problem): Problem => theirs;
export const options = (theirs: packed.ClientOptions): Parameters<typeof createClient>[1] => theirs;
// @ts-expect-error: these differ
export const others = (ours: Ours): packed.ApiClient['users'] => ours.notifications;
`;

describe('npm run client:pack', () => {
  const project = mkdtempSync(join(tmpdir(), 'keelson-consumer-'));
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let service: Service;

  before(async () => {
    database = await createDatabase();
    service = await startService({ DATABASE_URL: database.url });
    const packed = run(process.execPath, join(root, 'src/entry/client-pack.ts'), 'packed').trim();
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
    const emails = ['ada@example.com', 'grace@example.com'];
    assert.deepEqual(seen, [true, 2, 'Countess', ...emails, 1, null, true, 'webhook', true, 'email-taken', 409]);
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
      [{ anyOf: [{ type: 'boolean' }, { $ref: '#/components/schemas/User' }] }, 'boolean | User'],
      [{ oneOf: [{ type: 'number' }, { type: 'integer' }] }, 'number'],
      [{ allOf: [{ $ref: '#/components/schemas/A' }, { $ref: '#/components/schemas/B' }] }, '(A) & (B)'],
      [{ type: 'array', items: { enum: ['a', 'b'] } }, 'Array<"a" | "b">'],
      [{}, 'unknown'],
      [{ type: 'object', additionalProperties: {} }, '{\n  [name: string]: unknown;\n}'],
      [{ type: 'object', additionalProperties: { type: 'string' } }, '{\n  [name: string]: string;\n}'],
      [{ type: 'object', properties: { 'a-b': { type: 'null' } } }, '{\n  "a-b"?: null | undefined;\n}'],
      [{ properties: { a: {} }, required: ['a'], additionalProperties: false }, '{\n  a: unknown;\n}'],
    ];
    for (const [schema, type] of cases) assert.equal(typeOf(schema), type);
    assert.throws(() => typeOf({ type: 'file' }), /type file/);
  });

  test('have a member for any resource, and refuse an operation that the client has no way to call', async () => {
    const document = await readDocument();
    const users = document.paths['/api/v1/users'];
    const one = document.paths['/api/v1/users/{id}'];
    assert.ok(users && one);
    const text = clientTypes({
      ...document,
      paths: { '/api/v1/line-items': users, '/api/v1/line-items/{lineId}': one },
    });
    assert.match(text, /^ {2}lineItems: \{$/m);
    assert.match(text, /^ {4}replace\(id: string, body: UserInput, options\?: ChangeOptions\): Promise<User>;$/m);
    assert.throws(
      () => clientTypes({ ...document, paths: { '/api/v1/users/{id}/parts': users } }),
      /no method for GET \/api\/v1\/users\/\{id\}\/parts/,
    );
  });
});
