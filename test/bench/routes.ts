import { setTimeout as pass } from 'node:timers/promises';
import { createDatabase } from '../support/databases.ts';
import { residentMib } from '../support/processes.ts';
import { headers } from '../support/tokens.ts';
import { round } from './figures.ts';
import { type Ask, type Figures, type Load, load } from './load.ts';
import { BODY, CREATE, LIST, MADE, PATH, READ } from './measured.ts';
import { seedRows, someIds } from './seed.ts';
import { type Server, startServer } from './server.ts';

const PAGE = `${PATH}?limit=20`;
/** The number of pages to list. */
const PAGES = 50;

/** HTTP only: the cost of dispatching is measured separately. */
export const HTTP_ONLY = { DISPATCH_ENABLED: 'false' };

export const post: Ask = {
  method: 'POST',
  paths: [PATH],
  body: BODY,
  ok: MADE,
};

export async function readRows(database: string): Promise<Ask> {
  return { paths: (await someIds(database)).map((id) => `${PATH}/${id}`) };
}

export async function listPages(server: Server): Promise<Ask> {
  return { paths: await pagePaths(server, PAGES) };
}

/** The paths of the first `count` pages of 20, or of as many as there are. */
export async function pagePaths({ url }: Server, count: number): Promise<string[]> {
  const paths = [PAGE];
  while (paths.length < count) {
    const page = await fetch(url + paths.at(-1), { headers: headers() });
    const { nextCursor } = (await page.json()) as { nextCursor: string | null };
    if (nextCursor === null) break;
    paths.push(`${PAGE}&cursor=${encodeURIComponent(nextCursor)}`);
  }
  return paths;
}

/** By then, the memory used at startup has been released. */
const AT_REST_MS = 12_000;

type Row = { route: string; setting: string } & Figures;
type Options = { postgres: { pid: number }; among: number; settings: string[]; load?: Load };

/** Measures what each route costs in a table of `among` rows, at each setting of PROCESSES, and memory at rest. */
export async function measureRoutes({ postgres, among, settings, load: how = {} }: Options) {
  const database = await createDatabase();
  const rows: Row[] = [];
  const atRest: { setting: string; mib: number }[] = [];
  try {
    await seedRows(database.name, among);
    for (const setting of settings) {
      const server = await startServer(database.url, { ...HTTP_ONLY, PROCESSES: setting });
      try {
        await pass(AT_REST_MS);
        atRest.push({ setting, mib: round(residentMib(server.pid), 1) });
        const asks: Record<string, Ask> = {
          'GET /health': { paths: ['/health'] },
          [READ]: await readRows(database.name),
          [LIST]: await listPages(server),
          [CREATE]: post,
        };
        for (const [route, ask] of Object.entries(asks)) {
          rows.push({ route, setting, ...(await load(server, postgres, ask, how)) });
        }
      } finally {
        await server.stop();
      }
    }
    return { among, atRest, rows };
  } finally {
    await database.drop();
  }
}
