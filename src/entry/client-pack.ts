import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { clientTypes } from './client-types.ts';
import { PROJECT } from './generate.ts';
import { readDocument } from './openapi-document.ts';

const USAGE = 'usage: npm run client:pack -- [<folder> (default: dist)]';

/** Creates the package in an empty `folder`: one bundled JavaScript file, its types, and the licenses. */
async function makePackage(folder: string): Promise<void> {
  const { name, version, license } = JSON.parse(readFileSync(join(PROJECT, 'package.json'), 'utf8'));
  const manifest = {
    name: `${name}-client`,
    version,
    description: `Client of the ${name} API`,
    license,
    type: 'module',
    sideEffects: false,
    exports: { '.': { types: './index.d.ts', default: './index.js' } },
  };
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  writeFileSync(join(folder, 'README.md'), readme(manifest.name));
  writeFileSync(join(folder, 'index.d.ts'), clientTypes(await readDocument()));
  copyFileSync(join(PROJECT, 'LICENSE'), join(folder, 'LICENSE'));
  const { metafile } = await build({
    absWorkingDir: PROJECT,
    entryPoints: ['src/client.ts'],
    outfile: join(folder, 'index.js'),
    bundle: true,
    metafile: true,
    format: 'esm',
    platform: 'neutral',
    target: 'es2022',
  });
  // Bundled packages keep their licenses.
  const packages = Object.keys(metafile.inputs).flatMap(
    (path) => /^node_modules\/((@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? [],
  );
  for (const each of new Set(packages)) {
    copyFileSync(join(PROJECT, 'node_modules', each, 'LICENSE'), join(folder, `LICENSE-${each.replace('/', '-')}`));
  }
}

const readme = (name: string) => `# ${name}

\`\`\`ts
import { createClient, Problem } from '${name}';
const client = createClient('https://api.example.com', { token });
\`\`\`

Each resource of the API is a member of the client, with those of \`list\`, \`page\`, \`create\`, \`get\`, \`replace\` and
\`remove\` that it has. Requests that are safe to retry are retried. Any error response is thrown as a \`Problem\` (RFC 9457).
`;

const folder = mkdtempSync(join(tmpdir(), 'keelson-client-'));
try {
  const { positionals } = parseArgs({ allowPositionals: true });
  if (positionals.length > 1) throw new Error(USAGE);
  const [destination = 'dist'] = positionals;
  mkdirSync(destination, { recursive: true });
  await makePackage(folder);
  const args = ['pack', folder, '--pack-destination', destination, '--silent'];
  process.stdout.write(`${join(destination, execFileSync('npm', args, { encoding: 'utf8' }).trim())}\n`);
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true });
}
