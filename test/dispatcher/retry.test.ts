import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { retryAfterMs, retryDelay } from '../../src/dispatcher/retry.ts';

const S = 1000;
const M = 60 * S;
const H = 60 * M;
const DAY = 24 * H;

/** What Standard Webhooks 1.0.0 asks for after the first attempt. */
const SCHEDULE = [5 * S, 5 * M, 30 * M, 2 * H, 5 * H, 10 * H, 14 * H, 20 * H, 24 * H];

describe('the next attempt', () => {
  test("comes by the specification's schedule", () => {
    for (const [i, delay] of SCHEDULE.entries()) assert.equal(retryDelay(i + 1, 10, undefined, 0.5), delay);
  });

  test('comes up to a fifth sooner or later, whatever the dice say', () => {
    for (const [i, delay] of SCHEDULE.entries()) {
      assert.ok(Math.abs((retryDelay(i + 1, 10, undefined, 0) as number) - 0.8 * delay) < 1);
      for (let n = 0; n < 2000; n++) {
        const got = retryDelay(i + 1, 10, undefined, Math.random()) as number;
        assert.ok(got >= 0.8 * delay && got <= 1.2 * delay, `attempt ${i + 1}: ${got}`);
      }
    }
  });

  test('never comes after the last one', () => {
    for (let max = 1; max <= 100; max++) {
      for (let attempt = 1; attempt < max; attempt++) assert.notEqual(retryDelay(attempt, max, undefined, 0), 'dead');
      for (const attempt of [max, max + 1, max + 5]) assert.equal(retryDelay(attempt, max, DAY, 1), 'dead');
    }
  });

  test('comes daily past the end of the schedule, where more attempts are allowed', () => {
    for (const attempt of [10, 11, 50, 99]) assert.equal(retryDelay(attempt, 100, undefined, 0.5), DAY);
  });

  test('comes no sooner than the receiver asked, and the receiver can ask for a day at most', () => {
    assert.equal(retryDelay(1, 10, H, 0.5), H);
    assert.equal(retryDelay(1, 10, S, 0.5), 5 * S);
    for (const asked of [DAY, DAY + 1, 365 * DAY, Number.POSITIVE_INFINITY]) {
      assert.equal(retryDelay(1, 10, asked, 0.5), DAY);
    }
    for (let n = 0; n < 5000; n++) {
      const attempt = 1 + (n % 9);
      const asked = Math.random() * 2 * DAY;
      const got = retryDelay(attempt, 10, asked, Math.random()) as number;
      assert.ok(got >= Math.min(asked, DAY));
      assert.ok(got <= Math.max(1.2 * (SCHEDULE[attempt - 1] as number), DAY));
    }
  });
});

describe('Retry-After', () => {
  const now = Date.parse('2026-11-22T10:00:00Z');

  test('is a number of seconds', () => {
    assert.equal(retryAfterMs('0', now), 0);
    assert.equal(retryAfterMs('120', now), 120 * S);
    assert.equal(retryDelay(1, 10, retryAfterMs('9'.repeat(400), now), 0.5), DAY);
  });

  test('is a date, and one that has passed means now', () => {
    assert.equal(retryAfterMs('Sun, 22 Nov 2026 10:02:00 GMT', now), 2 * M);
    assert.equal(retryAfterMs('Sun, 22 Nov 2026 09:00:00 GMT', now), 0);
    assert.equal(retryAfterMs('Sunday, 22-Nov-26 10:02:00 GMT', now), 2 * M);
  });

  test('that says neither says nothing', () => {
    for (const header of [undefined, null, '', 'soon', 'NaN', 'in 5 minutes or so']) {
      assert.equal(retryAfterMs(header, now), undefined, String(header));
    }
    for (const header of ['-5', '1.5', '1e3', '0x10', '5 s']) {
      const asked = retryAfterMs(header, now);
      assert.ok(asked === undefined || asked === 0, `${header}: ${asked}`);
    }
  });
});
