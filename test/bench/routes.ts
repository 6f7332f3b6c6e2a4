import { createDatabase } from '../support/databases.ts';
import { residentMib } from '../support/processes.ts';
import { headers } from '../support/tokens.ts';
import { round } from './figures.ts';
import { type Ask, type Figures, type Load, load } from './load.ts';
import { seedUsers, someUsers } from './seed.ts';
import { type Server, startServer } from './server.ts';

const USERS = '/api/v1/users';
const PAGE = `${USERS}?limit=20`;
/** Pages that lists are asked for. */
const PAGES = 50;

/** HTTP alone: what dispatching costs is measured by itself. */
export const HTTP_ONLY = { DISPATCH_ENABLED: 'false' };

export const post: Ask = {
  method: 'POST',
  paths: [USERS],
  body: '{"email":"{unique}@bench.test","name":"Bench User"}',
  ok: 201,
};

export async function getUsers(database: string): Promise<Ask> {
  return { paths: (await someUsers(database)).map((id) => `${USERS}/${id}`) };
}

export async function listUsers(server: Server): Promise<Ask> {
  return { paths: await pagePaths(server, PAGES) };
}

/** The paths of the first `count` pages of 20 users, or of as many as there are. */
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

type Row = { route: string; setting: string } & Figures;
type Options = { postgres: { pid: number }; users: number; settings: string[]; load?: Load };

/** What each route costs among so many users, at each setting of PROCESSES, and memory at rest. */
export async function measureRoutes({ postgres, users, settings, load: how = {} }: Options) {
  const database = await createDatabase();
  const rows: Row[] = [];
  const atRest: { setting: string; mib: number }[] = [];
  try {
    await seedUsers(database.name, users);
    for (const setting of settings) {
      const server = await startServer(database.url, { ...HTTP_ONLY, PROCESSES: setting });
      try {
        atRest.push({ setting, mib: round(residentMib(server.pid), 1) });
        const asks: Record<string, Ask> = {
          'GET /health': { paths: ['/health'] },
          'GET /users/{id}': await getUsers(database.name),
          'GET /users': await listUsers(server),
          'POST /users': post,
        };
        for (const [route, ask] of Object.entries(asks)) {
          rows.push({ route, setting, ...(await load(server, postgres, ask, how)) });
        }
      } finally {
        await server.stop();
      }
    }
    return { users, atRest, rows };
  } finally {
    await database.drop();
  }
}
