import { start } from './start.ts';

await start({
  createServer: async () => (await import('../platform/bun-server.ts')).createBunServer,
  fork: async () => {
    const { fork } = await import('node:child_process');
    return (env) => fork(import.meta.filename, { env });
  },
});
