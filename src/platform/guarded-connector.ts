import { isIP, type LookupFunction } from 'node:net';
import type { buildConnector } from 'undici/index.js';
// By its path: a fifth of undici's files, and in the place of `undici` itself Bun puts a shell that cannot connect.
import newConnector from 'undici/lib/core/connect.js';
import { isPublicAddress } from '../dispatcher/channels/address.ts';
import { SendError } from '../dispatcher/channels/send.ts';
import { createResolver, type Resolve } from './resolve.ts';

type Options = { allowPrivate: boolean; timeoutMs: number; servers?: string[] };

/** A look-up leaves time for what comes after it. */
const LOOKUP_SHARE = 1 / 3;
const MAX_LOOKUP_MS = 5000;

/** Connects to the very address that was checked, so that a name that changes its answers gains nothing. */
export function guardedConnector({ allowPrivate, timeoutMs, servers }: Options): buildConnector.connector {
  const limitMs = Math.min(MAX_LOOKUP_MS, timeoutMs * LOOKUP_SHARE);
  const lookup = asLookup(createResolver({ allowPrivate, limitMs, ...(servers && { servers }) }));
  const connect = newConnector({ timeout: timeoutMs, autoSelectFamily: true, allowH2: false, lookup });
  if (allowPrivate) return connect;
  return (options, callback) => {
    // Names alone are looked up, so an address is checked here.
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
