import assert from 'node:assert/strict';
import { test } from 'node:test';
import { v7 as uuidv7 } from 'uuid';
import { createTeam, findTeam } from '../../src/teams/store.ts';
import { onEveryDatabase } from '../support/databases.ts';

const signal = new AbortController().signal;

onEveryDatabase('teams store', (db) => {
  test('a team is created once under one key', async () => {
    const team = {
      id: uuidv7(),
      name: 'Analytical engines',
      now: new Date().toISOString(),
      claimSubject: 'tester',
      claimRoute: 'POST /teams',
      claimKey: 'a-key',
      claimFingerprint: 'the same',
      claimHolder: crypto.randomUUID(),
      claimResponse: '{}',
    };
    assert.equal((await createTeam(db, team, signal)).fresh, true);
    const again = { ...team, id: uuidv7(), claimHolder: crypto.randomUUID() };
    assert.equal((await createTeam(db, again, signal)).fresh, false);
    assert.deepEqual(await findTeam(db, team.id, signal), {
      id: team.id,
      name: team.name,
      version: 1,
      createdAt: new Date(team.now),
      updatedAt: new Date(team.now),
    });
    assert.equal(await findTeam(db, again.id, signal), undefined);
  });
});
