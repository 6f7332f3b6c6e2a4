import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig } from '../../src/entry/config.ts';
import { settingsOf } from '../../src/entry/dispatcher.ts';
import { SECRET } from '../support/deps.ts';

test('over Neon, whose answers have 10 MB at most, a claim asks for less; on other databases for more', () => {
  const waiting = (url: string) => {
    const keys = { JWT_SECRET: SECRET, SECRETS_KEY: Buffer.alloc(32, 7).toString('base64') };
    return settingsOf(parseConfig({ ...keys, DATABASE_URL: url })).maxWaitingBytes;
  };
  // The last row may exceed the limit, and JSON doubles quotes and backslashes.
  assert.ok(2 * waiting('postgres://me:secret@ep-1.eu.neon.tech/app') < 10_000_000);
  assert.ok(waiting('postgres://me:secret@db.example.com/app') > 10_000_000);
});
