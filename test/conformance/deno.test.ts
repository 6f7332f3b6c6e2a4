import { after, before, describe } from 'node:test';
import { createDatabase } from '../support/databases.ts';
import { COMMANDS } from '../support/runtimes.ts';
import { type Service, startService } from '../support/service.ts';
import { conformance } from './suite.ts';
import { TARGET_ENV } from './target.ts';

describe('Deno with Postgres', () => {
  let service: Service;
  let database: Awaited<ReturnType<typeof createDatabase>>;

  before(async () => {
    database = await createDatabase();
    service = await startService({ ...TARGET_ENV, DATABASE_URL: database.url }, COMMANDS.deno);
  });

  after(async () => {
    await service.stop();
    await database.drop();
  });

  conformance(() => service);
});
