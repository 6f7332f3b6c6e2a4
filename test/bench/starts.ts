import { createDatabase } from '../support/databases.ts';
import { median, round } from './figures.ts';
import { startServer } from './server.ts';

/** Milliseconds from the start of a Node process to a 200 from /ready. */
export async function measureStarts({ starts = 5 } = {}) {
  const database = await createDatabase();
  const times: number[] = [];
  try {
    for (let i = 0; i < starts; i++) {
      const server = await startServer(database.url);
      times.push(server.readyMs);
      await server.stop();
    }
    return { starts, readyMs: round(median(times), 0), bestReadyMs: round(Math.min(...times), 0) };
  } finally {
    await database.drop();
  }
}
