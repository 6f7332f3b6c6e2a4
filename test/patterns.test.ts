// The steps of every pattern are at most proportional to its input: what a client sends must not hold up the others.
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { check } from 'recheck';
import ts from 'typescript';
import * as z from 'zod/mini';
import { app } from '../src/app.ts';
import { operationsOf } from '../src/http/operation.ts';

const root = join(import.meta.dirname, '..');

/** The operator's commands, which process nobody else's input. */
const COMMANDS = ['src/entry/deploy.ts', 'src/platform/pending-migrations.ts'];

/** The patterns in a file, and the code of those that cannot be inspected. */
function patternsIn(text: string, file = 'file.ts'): { patterns: RegExp[]; unseen: string[] } {
  const patterns: RegExp[] = [];
  const unseen: string[] = [];
  const look = (node: ts.Node): void => {
    if (ts.isRegularExpressionLiteral(node)) {
      const end = node.text.lastIndexOf('/');
      patterns.push(new RegExp(node.text.slice(1, end), node.text.slice(end + 1)));
    }
    if ((ts.isNewExpression(node) || ts.isCallExpression(node)) && node.expression.getText() === 'RegExp') {
      unseen.push(node.getText());
    }
    ts.forEachChild(node, look);
  };
  look(ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true));
  return { patterns, unseen };
}

/** Returns the patterns in schemas, at any depth: a schema's definition is plain data, its checks are like schemas. */
function patternsHeldBy(value: unknown, seen = new Set<unknown>()): RegExp[] {
  if (typeof value !== 'object' || value === null || seen.has(value)) return [];
  seen.add(value);
  if (value instanceof RegExp) return [value];
  if (value instanceof Set || value instanceof Map) return [...value].flatMap((each) => patternsHeldBy(each, seen));
  const schema = (value as { _zod?: { def: object; bag?: object } })._zod;
  const held = schema ? [schema.def, schema.bag] : Object.values(value);
  return held.flatMap((each) => patternsHeldBy(each, seen));
}

/** Counts steps only: by the clock, a busy machine makes any pattern slow. */
const UNTIMED = { timeout: null, attackTimeout: null, incubationTimeout: null, seedingTimeout: null };

/** Describes what takes more than linear time. */
async function slowOnes(patterns: RegExp[]): Promise<string[]> {
  const found: string[] = [];
  for (const { source, flags } of new Map(patterns.map((pattern) => [String(pattern), pattern])).values()) {
    const diagnosis = await check(source, flags, UNTIMED);
    if (diagnosis.status === 'unknown') found.push(`/${source}/${flags} is unknown`);
    if (diagnosis.status === 'vulnerable') found.push(`/${source}/${flags} is ${diagnosis.complexity.summary}`);
  }
  return found;
}

describe('patterns', () => {
  test('in the service take steps in proportion to what they are given', async () => {
    const files = globSync(['src/**/*.{ts,tsx,js}', 'worker-cron/**/*.ts'], { cwd: root });
    const patterns = files
      .filter((file) => !COMMANDS.includes(file))
      .flatMap((file) => {
        const { patterns, unseen } = patternsIn(readFileSync(join(root, file), 'utf8'), file);
        assert.deepEqual(unseen, [], `${file} makes patterns that are not written out`);
        return patterns;
      });
    assert.ok(patterns.length > 50, 'patterns are found');
    assert.deepEqual(await slowOnes(patterns), []);
  });

  test("that schemas check what a client sends with, zod's own included, do so too", async () => {
    const patterns = operationsOf(app.routes).flatMap(({ takes }) =>
      takes.flatMap(({ schema }) => patternsHeldBy(schema())),
    );
    for (const part of ['[0-9a-fA-F]{8}-', '@', '[a-z0-9_-]+']) {
      assert.ok(
        patterns.some(({ source }) => source.includes(part)),
        `a pattern with ${part} is found`,
      );
    }
    assert.deepEqual(await slowOnes(patterns), []);
  });

  test('that do not are found', async () => {
    const quadratic = "const PATH = text.replace(/[^/]*(?:@|%40)[^/]*/gi, '');";
    const exponential = 'const WORDS = /^(\\w+\\s?)*$/;';
    for (const planted of [quadratic, exponential]) {
      assert.equal((await slowOnes(patternsIn(planted).patterns)).length, 1, planted);
    }
    assert.equal(patternsIn("new RegExp('a'); RegExp(b)").unseen.length, 2);
    const nested = z.object({ a: z.array(z.optional(z.string().check(z.regex(/a*b/)))) });
    assert.deepEqual(await slowOnes(patternsHeldBy(nested)), ['/a*b/ is 2nd degree polynomial']);
  });
});
