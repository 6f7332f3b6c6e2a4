import { after, before, describe } from 'node:test';
import { startWorkers } from '../support/workerd.ts';
import { conformance } from './suite.ts';
import { TARGET_ENV } from './target.ts';

describe('Workers with Neon', () => {
  let workers: Awaited<ReturnType<typeof startWorkers>>;

  before(async () => {
    workers = await startWorkers({}, { api: TARGET_ENV });
  });

  after(() => workers.close());

  conformance(() => workers);
});
