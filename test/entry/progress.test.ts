// The progress that long commands show.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { progressLine } from '../../src/entry/progress.ts';
import { startCommand } from '../support/command.ts';
import { createDatabase } from '../support/databases.ts';
import { ownDirectory } from '../support/directories.ts';
import { scriptOn } from '../support/runtimes.ts';
import { inTerminal } from '../support/terminal.ts';

test('progress says how much is done, how fast, how long it will take, and what is under way', () => {
  const cases: [state: Parameters<typeof progressLine>[1], line: string][] = [
    [{ done: 1000, total: 100_000, ms: 2000 }, '1,000 of 100,000 things, 500/s, 4 min left'],
    [{ done: 1000, total: 1000, ms: 2000 }, '1,000 of 1,000 things, 500/s, 0 s left'],
    [{ done: 0, total: 7, ms: 12_000, what: 'first' }, '0 of 7 things, 12 s: first'],
    [{ done: 3, total: 50, ms: 180_000, what: 'a kill' }, '3 of 50 things, 1/min, 47 min left: a kill'],
    [{ done: 1, total: 1000, ms: 60_000 }, '1 of 1,000 things, 1/min, 16.6 h left'],
  ];
  for (const [state, line] of cases) assert.equal(progressLine('things', state), line);
});

test('a migration shows its progress on a terminal, and elsewhere what it did', async (t) => {
  const database = await createDatabase('template template0');
  t.after(() => database.drop());
  const env = { DATABASE_URL: database.url };
  const command = scriptOn('node', 'src/entry/migrate.ts');
  const terminal = inTerminal(t, command, env);
  await terminal?.ended;
  if (terminal) {
    const [, first, ...more] = terminal.screen().split('\r\x1b[K');
    assert.match(first ?? '', /^0 of \d+ statements, \d+ s$/);
    assert.match(
      more.at(-1) ?? '',
      /^(\d+) of \1 statements, [\d.,]+\/(?:s|min), 0 s left\nThe database schema is current\.\n$/,
    );
  }
  const again = startCommand(command, { cwd: ownDirectory(t), env });
  assert.equal(await again.ended, 0);
  if (terminal) assert.equal(again.output(), 'The database schema is current.\n');
});
