import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mailFor } from '../../src/dispatcher/channels/email.ts';

test('a new user is welcomed by name', () => {
  const { subject, text } = mailFor(JSON.stringify({ type: 'user.created', data: { name: 'Ada' } }));
  assert.equal(subject, 'Welcome');
  assert.equal(text, 'Hello Ada,\n\nyour account has been created.\n');
});

test('whatever a client calls the data, an email is written', () => {
  const textOf = (data: object) => mailFor(JSON.stringify({ type: 'user.created', data })).text.split('\n', 1)[0];
  assert.equal(textOf({ name: { toString: 1 } }), 'Hello {"toString":1},');
  assert.equal(textOf({}), 'Hello,');
});
