import './prepare.js';

// Imported dynamically: static imports would be loaded before prepare.js has run.
const { start } = await import('./start.ts');

const releaseMemory = async () => (await import('../platform/spare-memory.ts')).keepReleasingSpareMemory();
const clusters = async () => (await import('node:cluster')).default;

await start({
  createServer: async () => {
    await releaseMemory();
    return (await import('../platform/node-server.ts')).createNodeServer;
  },
  fork: async () => {
    await releaseMemory();
    const cluster = await clusters();
    const { closePassedConnections } = await import('../platform/passed-connections.ts');
    return (env) => {
      const { process } = cluster.fork(env);
      closePassedConnections(process);
      return process;
    };
  },
  join: async () => {
    const { worker } = await clusters();
    // When the primary is gone, stop in order rather than at once.
    if (worker) worker.exitedAfterDisconnect = true;
  },
});
