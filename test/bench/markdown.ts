import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

export type Mark = { x: number | string; y: number; series: string; facet?: string };
export type Chart = { kind: 'line' | 'bars'; data: Mark[]; y: string; x?: string; logY?: boolean };

const FIGURE = /^(?:[–×$\d]|n\/a|not )/;

/** Columns of figures are right-aligned. */
export function markdownTable(head: (string | number)[], rows: (string | number)[][]): string {
  const line = (cells: (string | number)[]) => `| ${cells.join(' | ')} |`;
  const rule = head.map((_, i) => (rows.every((row) => FIGURE.test(String(row[i]))) ? '--:' : '---'));
  return [line(head), line(rule), ...rows.map(line)].join('\n');
}

const BIOME = join(import.meta.dirname, '../../node_modules/.bin/biome');
const WIDTH = 120;

/** Formats as the linter requires: paragraphs rewrapped, tables aligned, lists unchanged. */
export function formatMarkdown(text: string): string {
  const blocks = text.split(/\n{2,}/).map((block) => (/^(?:[|#!]|- )/.test(block) ? block : fill(block)));
  const args = ['format', '--stdin-file-path=PERFORMANCE.md'];
  return execFileSync(BIOME, args, { input: `${blocks.join('\n\n').trim()}\n`, encoding: 'utf8' });
}

function fill(paragraph: string): string {
  const lines: string[] = [];
  for (const word of paragraph.split(/\s+/)) {
    const line = lines.at(-1);
    if (line !== undefined && line.length + 1 + word.length <= WIDTH) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines.join('\n');
}
