import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { readDocument } from './openapi-document.ts';

const USAGE = 'usage: npm run openapi -- [<file> (default: openapi.json) | --stdout]';

try {
  const { values, positionals } = parseArgs({ options: { stdout: { type: 'boolean' } }, allowPositionals: true });
  if (positionals.length > (values.stdout ? 0 : 1)) throw new Error(USAGE);
  const text = `${JSON.stringify(await readDocument(), null, 2)}\n`;
  const [file = 'openapi.json'] = positionals;
  if (values.stdout) process.stdout.write(text);
  else {
    writeFileSync(file, text);
    process.stderr.write(`Wrote ${file}\n`);
  }
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exitCode = 1;
}
