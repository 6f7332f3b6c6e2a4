import { start } from './start.ts';

/** Deno hands on none of its own; to listen on one port with others is unstable there. */
const FLAGS = ['run', '-A', '--node-modules-dir=manual', '--unstable-net'];

await start({
  createServer: async () => (await import('../platform/deno-server.ts')).createDenoServer,
  fork: async () => {
    const { fork } = await import('node:child_process');
    return (env) => fork(import.meta.filename, { env, execArgv: FLAGS });
  },
});
