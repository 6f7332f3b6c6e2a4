import './prepare.js';

// What is imported statically would be loaded before anything is prepared.
const { createNodeServer } = await import('../platform/node-server.ts');
const { main } = await import('./main.ts');

await main(createNodeServer);
