import type { AddressInfo, Server } from 'node:net';

/** The URL of an HTTP server. `host` is a name or an address, IPv6 without brackets. */
export const httpUrl = (host: string, port: number): string =>
  `http://${host.includes(':') ? `[${host}]` : host}:${port}`;

/** The port in the URL of an HTTP server. */
export const portOf = (url: string): number => Number(new URL(url).port || 80);

/** How many connections the kernel takes while the process is busy, if `net.core.somaxconn` allows it. */
const BACKLOG = 4096;

/** Binds `server` and returns its URL. */
export function listen(server: Server, host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port, host, backlog: BACKLOG }, () => {
      server.off('error', reject);
      const { address, port } = server.address() as AddressInfo;
      resolve(httpUrl(address, port));
    });
  });
}

/** Returns the URL that `listening` resolves to. If it fails, the error names the setting to change. */
export async function bound(listening: Promise<string>, setting: string): Promise<string> {
  try {
    return await listening;
  } catch (error) {
    throw new Error(`${(error as Error).message}: change ${setting}`, { cause: error });
  }
}

/** Returns a promise that rejects when `server` fails. It may be left without a handler. */
export function brokenServer(server: Server): Promise<never> {
  const broken = new Promise<never>((_, reject) => server.on('error', reject));
  broken.catch(() => {});
  return broken;
}
