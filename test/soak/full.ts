// npm run test:soak [-- <seed>]: 100 kills, 20,000 webhooks, on a Postgres that syncs to disk.
import { randomInt } from 'node:crypto';
import { progressOf } from '../../src/entry/progress.ts';
import { startPostgres } from '../support/postgres-server.ts';
import { killRounds } from './kill.ts';

const LIMIT_MS = 15 * 60_000;
const seed = Number(process.argv[2] ?? randomInt(2 ** 31));
console.log(`seed ${seed}`);

const progress = progressOf('kills');
const postgres = await startPostgres({ durable: true });
// The database ends with this process: postgres-server.ts sees to it.
setTimeout(() => {
  console.error('not done within 15 minutes');
  process.exit(1);
}, LIMIT_MS).unref();
try {
  const figures = await killRounds({ rounds: 100, perRound: 200, seed, report: progress.report });
  progress.end();
  console.table(figures);
} finally {
  progress.end();
  await postgres.stop();
}
