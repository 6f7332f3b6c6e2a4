import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { caller, newEndpoint } from '../conformance/target.ts';
import { createDatabase } from '../support/databases.ts';
import { type Service, startService } from '../support/service.ts';
import { token } from '../support/tokens.ts';

const modules = join(import.meta.dirname, '../node_modules');

/** What someone who has only the description might write. */
const CLIENT = `
import createClient from 'openapi-fetch';
import type { components, paths } from './api.ts';

type Endpoint = components['schemas']['WebhookEndpoint'];

const [url, token] = process.argv.slice(2) as [string, string];
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: 'Bearer ' + token } });

const endpoints: Endpoint[] = [];
let cursor: string | undefined;
do {
  const { data, error } = await client.GET('/api/v1/webhook-endpoints', { params: { query: { limit: 2, ...(cursor && { cursor }) } } });
  if (error) throw new Error(error.detail);
  endpoints.push(...data.data);
  cursor = data.nextCursor ?? undefined;
} while (cursor);

const { data, error } = await client.POST('/api/v1/webhook-endpoints', {
  params: { header: { 'Idempotency-Key': crypto.randomUUID() } },
  body: { url: endpoints[0]!.url, events: [], description: '' },
});
console.log(JSON.stringify({ urls: endpoints.map(({ url }) => url), made: data?.id ?? null, title: error?.title }));
`;

const TSCONFIG = {
  compilerOptions: {
    strict: true,
    target: 'es2022',
    module: 'nodenext',
    lib: ['es2022', 'dom'],
    types: [],
    noEmit: true,
    allowImportingTsExtensions: true,
  },
  files: ['client.ts', 'globals.d.ts'],
};

describe("a client made from the description by others' tools", () => {
  let database: Awaited<ReturnType<typeof createDatabase>>;
  let service: Service;
  const directory = mkdtempSync(join(tmpdir(), 'keelson-generated-'));

  before(async () => {
    database = await createDatabase();
    service = await startService({ DATABASE_URL: database.url });
  });
  after(async () => {
    await service.stop();
    await database.drop();
    rmSync(directory, { recursive: true });
  });

  function run(command: string, ...args: string[]): string {
    const { status, stdout, stderr } = spawnSync(process.execPath, [command, ...args], {
      cwd: directory,
      encoding: 'utf8',
    });
    assert.equal(status, 0, stdout + stderr);
    return stdout;
  }

  test('compiles, pages through a list, and sees a problem as one', async () => {
    const call = caller(() => service);
    const urls: string[] = [];
    for (let i = 0; i < 5; i++) {
      const made = await call('POST', '/api/v1/webhook-endpoints', { body: newEndpoint() });
      urls.push(made.json.url);
    }

    symlinkSync(modules, join(directory, 'node_modules'));
    writeFileSync(join(directory, 'package.json'), '{"type":"module"}');
    writeFileSync(join(directory, 'openapi.json'), (await call('GET', '/openapi.json')).text);
    writeFileSync(join(directory, 'client.ts'), CLIENT);
    writeFileSync(join(directory, 'globals.d.ts'), 'declare const process: { argv: string[] };\n');
    writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify(TSCONFIG));
    run(join(modules, 'openapi-typescript/bin/cli.js'), 'openapi.json', '-o', 'api.ts');
    run(join(modules, 'typescript/bin/tsc'), '-p', '.');

    const seen = JSON.parse(run('client.ts', service.url, token()));
    assert.deepEqual(seen, { urls, made: null, title: 'Validation failed' });

    writeFileSync(join(directory, 'client.ts'), CLIENT.replace('events:', 'event:'));
    const { status } = spawnSync(process.execPath, [join(modules, 'typescript/bin/tsc'), '-p', '.'], {
      cwd: directory,
    });
    assert.notEqual(status, 0, 'a body that is wrong does not compile');
  });
});
