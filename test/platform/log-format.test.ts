import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { stripVTControlCharacters } from 'node:util';
import { createLog } from '../../src/platform/log.ts';
import { writeFormatted } from '../../src/platform/log-format.ts';
import { COMMANDS } from '../support/runtimes.ts';
import { spawnService } from '../support/service.ts';

/** A `pretty` log, and all that it has written. */
async function readableLog(t: TestContext, env: Record<string, string> = {}) {
  const before = { ...process.env };
  t.after(() => {
    process.env = before;
  });
  for (const name of ['NO_COLOR', 'FORCE_COLOR']) delete process.env[name];
  Object.assign(process.env, env);
  let text = '';
  const write = await writeFormatted((line) => {
    text += line;
  }, 'pretty');
  return { log: createLog('debug', write, { pid: 4711 }), text: () => text };
}

describe('a readable log', () => {
  test('has a line with time, level, process, message and fields', async (t) => {
    const { log, text } = await readableLog(t);
    log.warn('leases lost', { count: 2, path: 'C:\\temp' });
    assert.match(text(), /^\[\d\d:\d\d:\d\d\.\d{3}\] WARN \(4711\): leases lost \{"count":2,"path":"C:\\temp"\}\n$/);
  });

  test('has what was asked and answered first in the line of a request', async (t) => {
    const { log, text } = await readableLog(t);
    log.info('request', { requestId: 'r', method: 'GET', path: '/health', status: 200, durationMs: 0.4, sub: 'ada' });
    assert.match(text(), /INFO \(4711\): GET \/health 200 0\.4 ms \{"requestId":"r","sub":"ada"\}\n$/);
  });

  test('has the stack of an error and of its causes in lines of their own', async (t) => {
    const { log, text } = await readableLog(t);
    log.error('fatal', { requestId: 'r', error: new Error('outer', { cause: new TypeError('inner') }) });
    assert.match(text(), /ERROR \(4711\): fatal \{"requestId":"r"\}\n/);
    for (const name of ['Error: outer', 'TypeError: inner']) {
      assert.match(text(), new RegExp(`^ +${name}\n +at .*log-format\\.test\\.ts:`, 'm'));
    }
    assert.equal(text().at(-1), '\n');
  });

  test('has colors where the environment asks for them, and none where it forbids them', async (t) => {
    const colored = await readableLog(t, { FORCE_COLOR: '1' });
    colored.log.info('listening', { url: 'http://x' });
    assert.ok(colored.text().includes('\x1b[32mINFO'));
    assert.match(stripVTControlCharacters(colored.text()), /INFO \(4711\): listening \{"url":"http:\/\/x"\}\n$/);
    for (const env of [{}, { NO_COLOR: '1' }, { FORCE_COLOR: '0' }]) {
      const { log, text } = await readableLog(t, env);
      log.info('listening');
      assert.ok(!text().includes('\x1b'));
    }
  });

  test('gives a terminal no commands, whatever was logged', async (t) => {
    const { log, text } = await readableLog(t);
    const hostile = '\x1b]0;title\x07\x9b2J\rnew';
    log.info(hostile, { sub: hostile, nested: { [hostile]: hostile } });
    log.error('failed', { error: new Error(hostile, { cause: hostile }) });
    assert.doesNotMatch(text(), /(?!\n)\p{Cc}/u);
  });
});

test('in json, and in auto without a terminal, lines are written as they come', async () => {
  const write = () => {};
  assert.equal(await writeFormatted(write, 'json'), write);
  if (!process.stdout.isTTY) assert.equal(await writeFormatted(write, 'auto'), write);
});

for (const [runtime, command] of Object.entries(COMMANDS)) {
  test(`LOG_FORMAT=pretty is readable on ${runtime}, also for what keeps it from starting`, async () => {
    const service = spawnService({ LOG_FORMAT: 'pretty', FORCE_COLOR: '1', LOG_LEVEL: 'loud' }, command);
    assert.equal(await service.exited, 1, service.output());
    assert.ok(service.output().includes('\x1b[31mERROR'));
    const line = /\] ERROR: cannot start \{"problems":\["LOG_LEVEL must be one of debug, info, warn, error"\]\}$/m;
    assert.match(stripVTControlCharacters(service.output()), line);
    assert.deepEqual(service.lines, []);
  });
}
