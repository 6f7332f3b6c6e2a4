import { start } from './start.ts';

/** Bun reads `.env` for every script that it runs, even in production; see dotenv.ts. */
const FLAGS = ['--no-env-file'];

await start({
  createServer: async () => (await import('../platform/bun-server.ts')).createBunServer,
  fork: async () => {
    const { fork } = await import('node:child_process');
    return (env) => fork(import.meta.filename, { env, execArgv: FLAGS });
  },
});
