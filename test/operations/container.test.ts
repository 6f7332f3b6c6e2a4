import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { validate } from 'dockerfile-utils';
import { createDatabase } from '../support/databases.ts';
import { baseImages, buildImage, CONTEXT, DOCKERFILE, type Image, inContext } from '../support/image.ts';
import { freePort, NOT_AS_ROOT } from '../support/postgres-server.ts';
import { treeOf } from '../support/processes.ts';
import { STOP_STEPS, spawnService, untilReady } from '../support/service.ts';

const { scripts, devDependencies } = JSON.parse(readFileSync(join(CONTEXT, 'package.json'), 'utf8'));
/** What Docker waits between SIGTERM and SIGKILL unless told otherwise. */
const DOCKER_STOP_MS = 10_000;

describe('the container image', () => {
  const folder = mkdtempSync(join(tmpdir(), 'keelson-image-'));
  let image: Image;
  let database: Awaited<ReturnType<typeof createDatabase>>;

  before(async () => {
    image = buildImage(folder);
    database = await createDatabase('template template0');
  });
  after(async () => {
    await database.drop();
    rmSync(folder, { recursive: true, force: true });
  });

  const operator = () => ({ DATABASE_URL: database.url, SECRETS_KEY: Buffer.alloc(32, 7).toString('base64') });

  /** Runs a command in the image as its user, and returns its exit code and output. */
  function run(command: string[], env: Record<string, string>): Promise<[code: number, output: string]> {
    const [file, ...args] = command as [string, ...string[]];
    const options = { cwd: image.directory, env: { ...image.env, ...env }, ...NOT_AS_ROOT };
    return new Promise((done) => {
      execFile(file, args, options, (error, stdout, stderr) => done([error ? Number(error.code) : 0, stdout + stderr]));
    });
  }

  test('comes from a Dockerfile in which a linter finds nothing', () => {
    assert.deepEqual(validate(DOCKERFILE), []);
  });

  test('has the Node of package.json, runs what npm start runs, and not as root', () => {
    for (const name of baseImages()) assert.equal(name, `node:${devDependencies.node}-slim`);
    assert.deepEqual(['exec', ...image.command].join(' '), scripts.start);
    assert.equal(image.user, 'node');
    assert.deepEqual(image.ports, [image.env.PORT]);
  });

  test('stops before Docker kills it, and refuses requests that do not arrive before it gives up', () => {
    const { SHUTDOWN_TIMEOUT_MS, READ_TIMEOUT_MS } = image.env;
    assert.ok(Number(SHUTDOWN_TIMEOUT_MS) < DOCKER_STOP_MS);
    // Node looks for them once a second.
    assert.ok(Number(READ_TIMEOUT_MS) + 1000 < Number(SHUTDOWN_TIMEOUT_MS));
  });

  test('is built from nothing that is secret, private or only for tests', () => {
    for (const path of ['.git', '.data', '.env', '.dev.vars', 'node_modules', 'test', 'docs']) {
      assert.equal(inContext(path), false, path);
    }
  });

  test('migrates, serves as its first process without privileges, is healthy, and stops at SIGTERM', async (t) => {
    const PORT = String(await freePort());
    const env = { ...operator(), JWT_SECRET: 'x'.repeat(32), PORT };
    const [migrated, said] = await run(['node', 'src/entry/migrate.ts'], env);
    // A slow machine may print progress.
    assert.equal(migrated, 0, said);
    assert.match(said, /^(\d+ of \d+ statements, .*\n)*The database schema is current\.\n$/);

    const isRoot = process.getuid?.() === 0;
    if (!isRoot) t.diagnostic('not root: runs as this user, and not as the first process');
    const alone = [
      'unshare',
      '--fork',
      '--pid',
      '--mount-proc',
      '--kill-child',
      'setpriv',
      '--reuid=65534',
      '--regid=65534',
    ];
    const nobody = isRoot ? [...alone, '--clear-groups'] : [];
    const command = [...nobody, 'env', '-C', image.directory, ...image.command];
    const service = spawnService({ ...image.env, ...env }, command);
    t.after(() => service.process.kill('SIGKILL'));
    await service.line(({ msg }) => msg === 'listening');
    await untilReady(`http://127.0.0.1:${PORT}`);
    assert.deepEqual(await run(image.healthCheck, env), [0, '']);

    process.kill(treeOf(service.pid).at(-1) as number, 'SIGTERM');
    assert.equal(await service.exited, 0, service.output());
    const told = service.lines.map(({ msg }) => msg).filter((msg) => STOP_STEPS.includes(msg));
    assert.deepEqual(told, STOP_STEPS);
    assert.deepEqual(await run(image.healthCheck, env), [1, '']);
  });

  test('says what is missing, and ends, where it is started without a configuration', async () => {
    const [code, output] = await run(image.command, { PORT: '0' });
    assert.equal(code, 1);
    for (const name of ['DATABASE_URL', 'SECRETS_KEY', 'JWT_SECRET']) assert.match(output, new RegExp(name));
  });
});
