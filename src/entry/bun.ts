import { start } from './start.ts';

/** Bun reads `.env` for whatever it runs, in production too; see dotenv.ts. */
const FLAGS = ['--no-env-file'];

await start({
  createServer: async () => (await import('../platform/bun-server.ts')).createBunServer,
  fork: async () => {
    const { fork } = await import('node:child_process');
    return (env) => fork(import.meta.filename, { env, execArgv: FLAGS });
  },
});
