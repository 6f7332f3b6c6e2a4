import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cpSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { ownDirectory } from '../support/directories.ts';

const root = join(import.meta.dirname, '../..');
const read = (path: string) => JSON.parse(readFileSync(join(root, path), 'utf8'));
const scripts: Record<string, string> = read('package.json').scripts;

type Ended = { code: number; stdout: string; stderr: string };

function run(command: string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}): Promise<Ended> {
  const [file, ...args] = command as [string, ...string[]];
  return new Promise((resolve) => {
    execFile(file, args, { cwd: root, ...options }, (error, stdout, stderr) =>
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });
}

describe('npm ci prints nothing to wonder about', () => {
  test('about engines, whatever runs npm', async (t) => {
    const { npm_config_loglevel: _, ...env } = process.env;
    for (const folder of ['', 'test']) {
      for (const omit of [[], ['--omit=dev']]) {
        const cwd = ownDirectory(t, 'npm-ci');
        for (const file of ['package.json', 'package-lock.json', '.npmrc']) {
          cpSync(join(root, folder, file), join(cwd, file));
        }
        const { code, stderr } = await run(['npm', 'ci', '--dry-run', ...omit], { cwd, env });
        assert.deepEqual([code, stderr], [0, '']);
      }
    }
  });

  // npm asks about the others. It knows versions only from URLs, which the lock files leave out, so names decide.
  for (const folder of ['.', 'test']) {
    test(`about install scripts in ${folder}: each is allowed or refused`, () => {
      const { packages } = read(join(folder, 'package-lock.json'));
      const { allowScripts } = read(join(folder, 'package.json'));
      const asking = Object.keys(packages).filter((path) => packages[path].hasInstallScript);
      const names = new Set(asking.map((path) => path.slice(path.lastIndexOf('node_modules/') + 13)));
      assert.deepEqual(Object.keys(allowScripts).sort(), [...names].sort());
    });
  }
});

describe('a Node that is too old says so in one line', () => {
  const line = /^Keelson needs Node 24 or later, and this is Node [\d.]+: [^\n]+\n$/;
  const fake = `data:text/javascript,${encodeURIComponent("Object.defineProperty(process, 'versions', { value: { node: '20.1.0' } });")}`;
  const nodes = [[process.execPath, '--import', fake]];
  // npm itself runs on another Node than its scripts if the machine has an old one.
  const npms = process.env.npm_node_execpath;
  if (npms && npms !== process.execPath) nodes.push([npms]);

  for (const [name, script] of Object.entries(scripts)) {
    const args = /^(?:exec )?node (.*\bsrc\/entry\/.*)$/.exec(script)?.[1]?.split(' ');
    if (!args) continue;
    test(`npm run ${name}`, async (t) => {
      for (const node of nodes) {
        const versions = await run([node[0] as string, '--version']);
        if (node.length === 1 && Number.parseInt(versions.stdout.slice(1), 10) >= 24) {
          t.diagnostic("npm's own Node is not an old one");
          continue;
        }
        const { code, stdout, stderr } = await run([...node, ...args]);
        assert.deepEqual([code, stdout], [1, '']);
        assert.match(stderr, line);
      }
    });
  }
});

describe('a runtime that is missing is told in one line, with where to get it', () => {
  for (const [name, line] of [
    ['deno', /^Deno is not installed: https:\/\/docs\.deno\.com\/\S+, or npm run check, [^\n]+\n$/],
    ['bun', /^Bun is not installed: https:\/\/bun\.com\/\S+, or npm run check, [^\n]+\n$/],
  ] as const) {
    test(`npm run start:${name}`, async (t) => {
      const cwd = ownDirectory(t, 'no-runtime');
      const { code, stdout, stderr } = await run(['/bin/sh', '-c', scripts[`start:${name}`] as string], {
        cwd,
        env: { PATH: cwd },
      });
      assert.deepEqual([code, stdout], [1, '']);
      assert.match(stderr, line);
    });
  }
});
