import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { PROJECT } from '../../src/entry/generate.ts';
import { QUIET, WRANGLER } from '../../src/entry/wrangler.ts';
import { SECRET } from './deps.ts';

const workerd = createRequire(createRequire(import.meta.url).resolve('wrangler')).resolve('workerd/bin/workerd');

/** Builds what wrangler uploads for the API, except static files. Remove `directory` afterwards. */
export async function bundle(): Promise<Bundle> {
  const directory = mkdtempSync(join(tmpdir(), 'keelson-bundle-'));
  const args = [WRANGLER, 'deploy', '--dry-run', '--outdir', directory];
  await promisify(execFile)(process.execPath, args, { cwd: PROJECT, env: { ...process.env, ...QUIET } });
  const modules = readdirSync(directory).filter((name) => name.endsWith('.js'));
  return { directory, modules, remove: () => rmSync(directory, { recursive: true, force: true }) };
}

type Bundle = { directory: string; modules: string[]; remove(): void };

const ENTRY = 'worker.js';

/** Returns the modules that a start evaluates: the entry, and what it imports statically. */
export function startModules({ directory }: Bundle): string[] {
  const reached = new Set([ENTRY]);
  for (const name of reached) {
    const text = readFileSync(join(directory, name), 'utf8');
    for (const [, imported] of text.matchAll(/\b(?:from|import) ?"\.\/([\w.-]+\.js)"/g))
      reached.add(imported as string);
  }
  return [...reached];
}

/** Returns the total KiB of modules, each compressed. */
export function compressedKib({ directory }: Bundle, modules: string[]): number {
  const sizes = modules.map((name) => gzipSync(readFileSync(join(directory, name)), { level: 9 }).length);
  return sizes.reduce((sum, size) => sum + size, 0) / 1024;
}

/** Returns the milliseconds from nothing to the first answer of `count` starts of the API's bundle, ascending. */
export async function coldStarts(built: Bundle, count: number): Promise<number[]> {
  const vars = {
    APP_ENV: 'production',
    DATABASE_URL: 'postgres://someone:secret@db.example.com/app',
    JWT_SECRET: SECRET,
    SECRETS_KEY: Buffer.alloc(32, 7).toString('base64'),
  };
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const began = performance.now();
    const { url, stop } = await serveBundle(built, vars);
    const { status } = await fetch(`${url}/health`);
    times.push(performance.now() - began);
    await stop();
    if (status !== 200) throw new Error(`/health answered ${status}`);
  }
  return times.sort((a, b) => a - b);
}

/** Serves the bundle in workerd itself, with nothing around it. Resolves once it listens. */
export async function serveBundle({ directory, modules }: Bundle, vars: Record<string, string>) {
  const bindings = Object.entries(vars).map(([name, text]) => `(name = ${quote(name)}, text = ${quote(text)})`);
  // The first is the entry.
  const all = [ENTRY, ...modules.filter((name) => name !== ENTRY)];
  const embedded = all.map((name) => `(name = ${quote(name)}, esModule = embed ${quote(name)})`);
  const config = join(directory, `${process.pid}.capnp`);
  writeFileSync(
    config,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  modules = [${embedded.join(', ')}],
  compatibilityDate = "2026-11-01",
  bindings = [${bindings.join(', ')}],
);
`,
  );
  const child = spawn(workerd, ['serve', config, '--control-fd=3'], { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stderr?.on('data', (chunk) => {
    said += chunk;
  });
  const port = await new Promise<number>((resolve, reject) => {
    child.on('exit', () => reject(new Error(`workerd exited: ${said}`)));
    (child.stdio[3] as Readable).on('data', (chunk) => {
      const { event, port } = JSON.parse(String(chunk).split('\n')[0] as string);
      if (event === 'listen') resolve(port);
    });
  });
  const stop = () => {
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    return exited;
  };
  return { url: `http://127.0.0.1:${port}`, pid: child.pid as number, stop };
}

const quote = (text: string) => JSON.stringify(text);
