import { type LookupAddress, promises } from 'node:dns';
import { isIP } from 'node:net';
import { BoundedMap } from '../bounded-map.ts';
import { isPublicAddress } from '../dispatcher/channels/address.ts';
import { SendError } from '../dispatcher/channels/send.ts';
import { hostsFile } from './hosts-file.ts';

/**
 * Resolves a host name to at least one address, IPv4 first, all of which webhooks may reach. Rejects with SendError.
 */
export type Resolve = (hostname: string) => Promise<LookupAddress[]>;

type Options = {
  allowPrivate: boolean;
  /** Milliseconds that a look-up may take, from its start. */
  limitMs: number;
  /** For tests: name servers in place of the system's. */
  servers?: string[];
  hosts?: (name: string) => string[] | undefined;
  now?: () => number;
  /** How many look-ups may be under way. Further ones wait. */
  maxInFlight?: number;
};

const MAX_IN_FLIGHT = 250;
/** How long failures are cached in milliseconds, and how many. */
const FAILURE_MS = 5000;
const MAX_FAILURES = 1000;
/** How many addresses of each family are used: a name server may list thousands. */
const MAX_PER_FAMILY = 4;

/** Creates a resolver that does not use the thread pool. Concurrent look-ups of the same name share one. */
export function createResolver({ allowPrivate, limitMs, servers, hosts, now, maxInFlight }: Options): Resolve {
  const inHostsFile = hosts ?? hostsFile();
  const clock = now ?? (() => performance.now());
  const inFlight = new Map<string, Promise<LookupAddress[]>>();
  const failures = new BoundedMap<string, { error: unknown; until: number }>(MAX_FAILURES);
  const withSlot = slots(maxInFlight ?? MAX_IN_FLIGHT);

  async function find(name: string): Promise<LookupAddress[]> {
    const local = /(^|\.)localhost$/.test(name) ? ['127.0.0.1', '::1'] : inHostsFile(name);
    const found = local ?? (await withSlot(() => ask(name, limitMs, servers)));
    if (!allowPrivate && !found.every(isPublicAddress)) throw new SendError('address not allowed');
    return [4, 6].flatMap((family) =>
      found
        .filter((address) => isIP(address) === family)
        .slice(0, MAX_PER_FAMILY)
        .map((address) => ({ address, family })),
    );
  }

  function cacheFailure(name: string, error: unknown): never {
    failures.set(name, { error, until: clock() + FAILURE_MS });
    throw error;
  }

  return async (hostname) => {
    const name = hostname.toLowerCase().replace(/\.$/, '');
    const failure = failures.get(name);
    if (failure && clock() < failure.until) throw failure.error;
    failures.delete(name);
    let finding = inFlight.get(name);
    if (!finding) {
      finding = find(name)
        .catch((error) => cacheFailure(name, error))
        .finally(() => inFlight.delete(name));
      inFlight.set(name, finding);
    }
    return finding;
  };
}

async function ask(name: string, limitMs: number, servers: string[] | undefined): Promise<string[]> {
  // One Resolver per look-up: it can be canceled alone, caches nothing, and reads the current name servers.
  const resolver = new promises.Resolver({ timeout: Math.ceil(limitMs / 4), tries: 3 });
  if (servers) resolver.setServers(servers);
  const timer = setTimeout(() => resolver.cancel(), limitMs);
  const answers = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
  clearTimeout(timer);
  const found = answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : []));
  if (found.length > 0) return found;
  const cause = answers.find(({ status }) => status === 'rejected') as PromiseRejectedResult | undefined;
  throw new SendError('name does not resolve', { cause: cause?.reason });
}

/** Limits how many tasks run at a time. The others wait, first come, first served. */
function slots(free: number): <T>(work: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = [];
  return async (work) => {
    if (free > 0) free--;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else free++;
    }
  };
}
