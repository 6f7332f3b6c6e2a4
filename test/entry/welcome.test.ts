// What npm start prints, in a real terminal.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { parseConfig } from '../../src/entry/config.ts';
import { printWelcome } from '../../src/entry/welcome.ts';
import { ownDatabase } from '../support/databases.ts';
import { SECRET } from '../support/deps.ts';
import { ownDirectory } from '../support/directories.ts';
import { COMMANDS } from '../support/runtimes.ts';
import { PRINTED_CURL } from '../support/service.ts';
import { COLUMNS, inTerminal } from '../support/terminal.ts';

test('in a terminal of 80 columns the log is readable, the welcome fits, and its curl works as pasted into bash', async (t) => {
  const database = await ownDatabase(t);
  const env = { DATABASE_URL: database.url, PORT: '0', METRICS_ADDR: 'off', JWT_SECRET: SECRET };
  const service = inTerminal(t, COMMANDS.node, env);
  if (!service) return;
  const [pasted] = await service.printed(PRINTED_CURL);
  assert.match(stripVTControlCharacters(service.screen()), /^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: listening \{"url":/m);
  const [, welcome = ''] = service.screen().split(/^(?=Keelson is listening)/m);
  for (const line of welcome.split('\n')) assert.ok(line.length <= COLUMNS, line);
  assert.equal(stripVTControlCharacters(pasted), pasted);

  const shell = inTerminal(t, ['bash', '--norc', '--noprofile', '-i'], { HOME: ownDirectory(t) });
  shell?.type(pasted);
  await shell?.printed(/^HTTP\/1\.1 20[12] /m);
});

test('the console is named once it has a link', async (t) => {
  const write = process.stdout.write.bind(process.stdout);
  const printed: string[] = [];
  // The test runner writes there, too.
  t.mock.method(process.stdout, 'write', (chunk: string | Uint8Array) =>
    String(chunk).includes('Keelson is listening on http://x') ? printed.push(String(chunk)) > 0 : write(chunk),
  );
  const config = parseConfig({ JWT_SECRET: SECRET, SECRETS_KEY: Buffer.alloc(32).toString('base64') });
  await printWelcome(config, 'http://x', 'users:read');
  await printWelcome(config, 'http://x', 'users:read', 'http://x/console?once=abc');
  const [without, linked] = printed as [string, string];
  assert.doesNotMatch(without, /Console/);
  // Anyone who reads it from a file or a pipe gets the whole token.
  assert.match(without, /^ {2}-H "Authorization: Bearer eyJ[\w-]+\.[\w-]+\.[\w-]+" \\$/m);
  assert.match(linked, /^Documentation: http:\/\/x\/docs\nConsole: http:\/\/x\/console\?once=abc$/m);
});
