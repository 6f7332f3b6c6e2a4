import { createDenoServer } from '../platform/deno-server.ts';
import { main } from './main.ts';

await main(createDenoServer);
