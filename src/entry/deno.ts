import { start } from './start.ts';

/** Flags for workers: Deno does not pass its own flags on, and its port sharing is an unstable feature. */
const FLAGS = ['run', '-A', '--node-modules-dir=manual', '--unstable-net'];

await start({
  createServer: async () => (await import('../platform/deno-server.ts')).createDenoServer,
  fork: async () => {
    const { fork } = await import('node:child_process');
    return (env) => fork(import.meta.filename, { env, execArgv: FLAGS });
  },
});
