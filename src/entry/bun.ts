import { createBunServer } from '../platform/bun-server.ts';
import { undiciSend } from '../platform/send-undici.ts';
import { nodeSign } from '../platform/sign-node.ts';
import { main } from './main.ts';

await main({ createServer: createBunServer, createSender: undiciSend, sign: nodeSign() });
