import { start } from './start.ts';

/** Flags for workers: Deno does not pass its own on, and sharing a port is unstable in it. */
const FLAGS = ['run', '-A', '--node-modules-dir=manual', '--unstable-net'];

await start({
  createServer: async () => (await import('../platform/deno-server.ts')).createDenoServer,
  fork: async () => {
    const { fork } = await import('node:child_process');
    return (env) => fork(import.meta.filename, { env, execArgv: FLAGS });
  },
});
