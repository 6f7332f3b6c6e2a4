import { createNodeServer } from '../platform/node-server.ts';
import { undiciSend } from '../platform/send-undici.ts';
import { nodeSign } from '../platform/sign-node.ts';
import { main } from './main.ts';

await main({ createServer: createNodeServer, createSender: undiciSend, sign: nodeSign() });
