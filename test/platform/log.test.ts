import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DbError } from '../../src/db.ts';
import type { Fields } from '../../src/deps.ts';
import { createLog } from '../../src/platform/log.ts';

// biome-ignore lint/suspicious/noExplicitAny: a line has no type until a test has looked at it
function logged(msg: string, fields?: Fields): any {
  let text = '';
  createLog('debug', (line) => {
    text += line;
  }).info(msg, fields);
  assert.match(text, /^\{[^\n]*\}\n$/);
  return JSON.parse(text);
}

describe('a log line', () => {
  test('has its time, level and message first, then its fields', () => {
    const line = logged('hello\nworld', { a: 1, b: undefined, c: ['x\u2028y'] });
    assert.deepEqual(Object.keys(line), ['time', 'level', 'msg', 'a', 'c']);
    assert.match(line.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.deepEqual([line.level, line.msg, line.a, line.c], ['info', 'hello\nworld', 1, ['x\u2028y']]);
  });

  test('has the time of its own millisecond, the first one of the epoch included', (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: 0 });
    const times: string[] = [];
    const log = createLog('info', (line) => times.push(JSON.parse(line).time));
    for (const ms of [0, 0, 1]) {
      t.mock.timers.tick(ms);
      log.info('x');
    }
    assert.deepEqual(times, ['1970-01-01T00:00:00.000Z', '1970-01-01T00:00:00.000Z', '1970-01-01T00:00:00.001Z']);
  });

  test('is left out below the level that is set', () => {
    const levels = ['debug', 'info', 'warn', 'error'] as const;
    for (const [i, level] of levels.entries()) {
      const seen: string[] = [];
      const log = createLog(level, (line) => seen.push(JSON.parse(line).level));
      for (const each of levels) log[each]('x');
      assert.deepEqual(seen, levels.slice(i));
    }
  });

  test('of an error has its stack and causes, and none of what a driver hangs on it', () => {
    const inner = Object.assign(new Error('inner'), {
      code: '23505',
      detail: 'Key (email)=(a@example.com)',
      query: 'q',
    });
    const { error } = logged('failed', { error: new TypeError('outer', { cause: inner }) });
    assert.equal(error.name, 'TypeError');
    assert.equal(error.message, 'outer');
    assert.match(error.stack, /^TypeError: outer\n +at .*log\.test\.ts/);
    assert.deepEqual(Object.keys(error.cause), ['name', 'message', 'code', 'stack']);
    assert.equal(error.cause.code, '23505');
    const db = logged('failed', { error: new DbError('failed', 'm', { sqlState: '23505', constraint: 'c' }) }).error;
    assert.deepEqual([db.name, db.sqlState, db.constraint], ['DbError', '23505', 'c']);
  });

  test('of something thrown that is no error does not tell what it holds', () => {
    assert.equal(logged('failed', { error: 'words' }).error, 'words');
    for (const error of [{ token: 'secret' }, 7, null, ['secret'], () => 'secret']) {
      assert.equal(logged('failed', { error }).error, 'not an error');
    }
  });

  test('is written whatever it is given', () => {
    const circle: Fields = {};
    circle.self = circle;
    const hostile = {
      toJSON() {
        throw new Error('no');
      },
    };
    for (const fields of [circle, { big: 1n }, { hostile }]) {
      const line = logged('still here', fields);
      assert.equal(line.msg, 'still here');
      assert.equal(line.unloggable, true);
    }
    const endless = new Error('a');
    endless.cause = endless;
    assert.equal(logged('x', { error: endless }).error.cause.message, 'a');
  });
});
