import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mailFor } from '../../src/dispatcher/channels/email.ts';

test('a new user is welcomed by name', () => {
  const { subject, text } = mailFor(JSON.stringify({ type: 'user.created', data: { name: 'Ada' } }));
  assert.equal(subject, 'Welcome');
  assert.equal(text, 'Hello Ada,\n\nyour account has been created.\n');
});
