import { createDenoServer } from '../platform/deno-server.ts';
import { undiciSend } from '../platform/send-undici.ts';
import { nodeSign } from '../platform/sign-node.ts';
import { main } from './main.ts';

await main({ createServer: createDenoServer, createSender: undiciSend, sign: nodeSign() });
