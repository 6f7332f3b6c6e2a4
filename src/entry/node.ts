import { createNodeServer } from '../platform/node-server.ts';
import { main } from './main.ts';

await main(createNodeServer);
