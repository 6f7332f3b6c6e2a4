import { isIP, type LookupFunction } from 'node:net';
import type { buildConnector } from 'undici/index.js';
// Imported by path: a fifth of undici's files. Bun replaces `undici` itself with a stub that cannot connect.
import newConnector from 'undici/lib/core/connect.js';
import { isPublicAddress } from '../dispatcher/channels/address.ts';
import { SendError } from '../dispatcher/channels/send.ts';
import { createResolver, type Resolve } from './resolve.ts';

type Options = { allowPrivate: boolean; timeoutMs: number; servers?: string[] };

/** The share of the time limit that a look-up may take, to leave time for connecting. */
const LOOKUP_SHARE = 1 / 3;
const MAX_LOOKUP_MS = 5000;

/** Connects to the address that was checked, so that DNS rebinding gains nothing. */
export function guardedConnector({ allowPrivate, timeoutMs, servers }: Options): buildConnector.connector {
  const limitMs = Math.min(MAX_LOOKUP_MS, timeoutMs * LOOKUP_SHARE);
  const lookup = asLookup(createResolver({ allowPrivate, limitMs, ...(servers && { servers }) }));
  const connect = newConnector({ timeout: timeoutMs, autoSelectFamily: true, allowH2: false, lookup });
  if (allowPrivate) return connect;
  return (options, callback) => {
    // A literal address is not looked up, so it is checked here.
    if (isIP(options.hostname) === 0 || isPublicAddress(options.hostname)) connect(options, callback);
    else queueMicrotask(() => callback(new SendError('address not allowed'), null));
  };
}

function asLookup(resolve: Resolve): LookupFunction {
  return (hostname, { all }, callback) => {
    resolve(hostname).then(
      (found) => {
        const [{ address, family }] = found as [(typeof found)[0]];
        if (all) callback(null, found);
        else callback(null, address, family);
      },
      (error) => callback(error, []),
    );
  };
}
