import { createBunServer } from '../platform/bun-server.ts';
import { main } from './main.ts';

await main(createBunServer);
