import { after, before, describe } from 'node:test';
import { type Collector, startCollector } from '../support/collector.ts';
import { startWorkers } from '../support/workerd.ts';
import { conformance } from './suite.ts';
import { TARGET_ENV } from './target.ts';
import { traces, tracesTo } from './traces.ts';

describe('Workers with Neon', () => {
  let collector: Collector;
  let workers: Awaited<ReturnType<typeof startWorkers>>;

  before(async () => {
    collector = await startCollector();
    workers = await startWorkers(tracesTo(collector), { api: TARGET_ENV });
  });

  after(async () => {
    await workers.close();
    await collector.close();
  });

  conformance(() => workers);
  traces(
    () => workers,
    () => collector,
  );
});
