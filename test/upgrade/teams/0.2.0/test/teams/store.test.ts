import assert from 'node:assert/strict';
import { test } from 'node:test';
import { v7 as uuidv7 } from 'uuid';
import { createTeam, findTeam } from '../../src/teams/store.ts';
import { onEveryDatabase } from '../support/databases.ts';

const signal = new AbortController().signal;

onEveryDatabase('teams store', (db) => {
  test('a team is created once under one key', async () => {
    const now = new Date().toISOString();
    const team = {
      id: uuidv7(),
      name: 'Analytical engines',
      createdAt: now,
      updatedAt: now,
      keySubject: 'tester',
      keyRoute: 'POST /teams',
      key: 'a-key',
      keyInput: 'the same',
      keyHolder: crypto.randomUUID(),
      keyResponse: '{}',
    };
    assert.equal((await createTeam(db, team, signal)).fresh, true);
    const again = { ...team, id: uuidv7(), keyHolder: crypto.randomUUID() };
    assert.equal((await createTeam(db, again, signal)).fresh, false);
    assert.deepEqual(await findTeam(db, team.id, signal), {
      id: team.id,
      name: team.name,
      version: 1,
      createdAt: now,
      updatedAt: now,
    });
    await assert.rejects(findTeam(db, again.id, signal), { code: 'not-found' });
  });
});
