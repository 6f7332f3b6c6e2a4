import { caller } from '../conformance/target.ts';
import { type Counts, startCountingProxy } from '../support/counting-proxy.ts';
import { createDatabase } from '../support/databases.ts';
import { everyOperation } from '../support/operations.ts';
import { startService } from '../support/service.ts';

/** Counts what each operation sends to the database, on Node: exact, because nothing else is running. */
export async function countStatements(): Promise<Record<string, Counts>> {
  const database = await createDatabase();
  const proxy = await startCountingProxy(database.url);
  const service = await startService({ DATABASE_URL: proxy.url, DISPATCH_ENABLED: 'false', METRICS_ADDR: 'off' });
  const counted: Record<string, Counts> = {};
  try {
    await everyOperation(
      caller(() => service),
      database.name,
      async (operation, ask) => {
        const before = proxy.counts();
        const answer = await ask();
        const after = proxy.counts();
        counted[operation] = {
          statements: after.statements - before.statements,
          roundTrips: after.roundTrips - before.roundTrips,
        };
        return answer;
      },
    );
    return counted;
  } finally {
    await service.stop('SIGKILL');
    proxy.close();
    await database.drop();
  }
}
