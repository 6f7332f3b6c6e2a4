import { after, before, describe } from 'node:test';
import { type Collector, startCollector } from '../support/collector.ts';
import { createDatabase } from '../support/databases.ts';
import { COMMANDS } from '../support/runtimes.ts';
import { type Service, startService } from '../support/service.ts';
import { conformance } from './suite.ts';
import { TARGET_ENV } from './target.ts';
import { traces, tracesTo } from './traces.ts';

describe('Bun with Postgres', () => {
  let collector: Collector;
  let service: Service;
  let database: Awaited<ReturnType<typeof createDatabase>>;

  before(async () => {
    collector = await startCollector();
    database = await createDatabase();
    const env = { ...TARGET_ENV, ...tracesTo(collector), DATABASE_URL: database.url };
    service = await startService(env, COMMANDS.bun);
  });

  after(async () => {
    await service.stop();
    await database.drop();
    await collector.close();
  });

  conformance(() => service);
  traces(
    () => service,
    () => collector,
  );
});
