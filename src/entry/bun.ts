import { createBunServer } from '../platform/bun-server.ts';
import { resolvingFetchSend } from '../platform/send-fetch-dns.ts';
import { nodeSign } from '../platform/sign-node.ts';
import { main } from './main.ts';

await main({ createServer: createBunServer, createSender: resolvingFetchSend, sign: nodeSign() });
