import { lookup } from 'node:dns/promises';
import type { CreateSender } from '../dispatcher/channels/send.ts';
import { fetchSend } from './send-fetch.ts';

/** fetchSend with the system's name resolution, for Bun, which has fetch alone: its undici is an empty shell. */
export const resolvingFetchSend: CreateSender = ({ allowPrivate, timeoutMs }) => ({
  send: fetchSend({ allowPrivate, timeoutMs, resolve }),
  // Its connections are the runtime's own, and end with the process.
  close: async () => {},
});

async function resolve(hostname: string, signal: AbortSignal): Promise<string[]> {
  const aborted = Promise.withResolvers<never>();
  const onAbort = () => aborted.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    const found = await Promise.race([lookup(hostname, { all: true }), aborted.promise]);
    return found.map(({ address }) => address);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
