import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { variables } from './config.ts';

const HEAD = `# Settings for development: copy this file to .env. The environment overrides .env; if it sets APP_ENV=production,
# .env is not read. The values are the defaults. npm run env:example generates this file from src/entry/config.ts.
`;

/** The text of `.env.example`: every variable with its default and its comment in config.ts. */
export function envExample(): string {
  const source = readFileSync(join(import.meta.dirname, 'config.ts'), 'utf8');
  const [, declarations = ''] = source.split('export const variables = {\n');
  const lines: string[] = [];
  let comment: string[] = [];
  for (const line of declarations.slice(0, declarations.indexOf('\n};')).split('\n')) {
    const name = /^ {2}(\w+):/.exec(line)?.[1];
    if (line.startsWith('  // ')) comment.push(`# ${line.slice(5)}`);
    if (!name) continue;
    if (comment.length > 0) lines.push('', ...comment);
    lines.push(`#${name}=${defaultOf(name)}`);
    comment = [];
  }
  return `${HEAD}${lines.join('\n')}\n`;
}

function defaultOf(name: string): string {
  const { data } = variables[name as keyof typeof variables].safeParse(undefined);
  return data === undefined ? '' : String(data);
}

if (import.meta.main) writeFileSync(join(import.meta.dirname, '../../.env.example'), envExample());
