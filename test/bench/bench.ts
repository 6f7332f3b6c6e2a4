// npm run bench: what the service costs on this machine, in under three minutes; writes results.json beside this file.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startPostgres } from '../support/postgres-server.ts';
import { measureDrain, WIDE } from './drain.ts';
import { measureEdge } from './edge.ts';
import { conditions } from './figures.ts';
import { measureLatency } from './latency.ts';
import { runParts } from './parts.ts';
import { measureRoutes } from './routes.ts';
import { measureStarts } from './starts.ts';
import { countStatements } from './statements.ts';
import { printBench } from './tables.ts';

const FILE = join(import.meta.dirname, 'results.json');
const ROWS = 100_000;
const JOBS = 20_000;
const load = { connections: 32, warmUpSeconds: 1, seconds: 2, rounds: 3 };

const postgres = await startPostgres({ durable: true });
try {
  const parts = await runParts(
    {
      statements: countStatements,
      edge: () => measureEdge(),
      starts: () => measureStarts(),
      latency: () => measureLatency({ count: 100 }),
      routes: (postgres) => measureRoutes({ postgres, among: ROWS, settings: ['1', 'auto'], load }),
      drain: (postgres) => measureDrain({ postgres, due: JOBS }),
      wideDrain: (postgres) => measureDrain({ postgres, due: JOBS, env: WIDE }),
    },
    postgres,
  );
  const results = { kind: 'bench', ...(await conditions()), load, parts };
  writeFileSync(FILE, `${JSON.stringify(results, null, 1)}\n`);
  printBench(parts);
  console.log(`\nwritten: ${FILE}`);
} finally {
  await postgres.stop();
}
