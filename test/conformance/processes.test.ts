import { after, before, describe } from 'node:test';
import { createDatabase } from '../support/databases.ts';
import { type Service, startService } from '../support/service.ts';
import { conformance } from './suite.ts';
import { TARGET_ENV } from './target.ts';

describe('two processes on Node with Postgres', () => {
  let service: Service;
  let database: Awaited<ReturnType<typeof createDatabase>>;

  before(async () => {
    database = await createDatabase();
    const together = { PROCESSES: '2', RATE_LIMIT_STORE: 'postgres' };
    service = await startService({ ...TARGET_ENV, ...together, DATABASE_URL: database.url });
  });

  after(async () => {
    await service.stop();
    await database.drop();
  });

  conformance(() => service);
});
