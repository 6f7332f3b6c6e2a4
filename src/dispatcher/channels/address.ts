import ipaddr from 'ipaddr.js';

const MAX_LENGTH = 2048;

/** Azure's metadata service, which has a public address. Those of other clouds are in private ranges. */
const METADATA = new Set(['168.63.129.16']);

const LOCAL_NAME = /(^|\.)(localhost|local|localdomain|internal|home\.arpa)$/;

/** Whether an IP address is public. False for anything that is not an address in canonical form. */
export function isPublicAddress(ip: string): boolean {
  if (ipaddr.IPv4.isValidFourPartDecimal(ip)) return isPublicV4(ipaddr.IPv4.parse(ip));
  if (!ip.includes(':') || ip.includes('%') || !ipaddr.IPv6.isValid(ip)) return false;
  // ipaddr.js parses ::1.2.3.4 as ::ffff:1.2.3.4.
  if (/^::[\d.]+$/.test(ip)) return false;
  const address = ipaddr.IPv6.parse(ip);
  if (address.isIPv4MappedAddress()) return isPublicV4(address.toIPv4Address());
  // Only 2000::/3 is allocated. Others include old forms of private IPv4 addresses, such as ::127.0.0.1.
  return ((address.parts[0] as number) & 0xe000) === 0x2000 && address.range() === 'unicast';
}

function isPublicV4(address: ipaddr.IPv4): boolean {
  return address.range() === 'unicast' && !METADATA.has(address.toString());
}

/**
 * Returns why a webhook may not use this URL, as a message for the client, or undefined if it may. Does not resolve
 * names: the address is checked on connecting.
 */
export function checkWebhookUrl(text: string, { allowPrivate }: { allowPrivate: boolean }): string | undefined {
  if (text.length > MAX_LENGTH) return `must be at most ${MAX_LENGTH} characters`;
  // `new URL` drops some of these: the URL called would not be the one stored.
  if (/[\s\p{Cc}]/u.test(text)) return 'must not contain spaces or control characters';
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url) return 'must be a URL';
  if (url.protocol !== 'https:' && !(allowPrivate && url.protocol === 'http:')) {
    return allowPrivate ? 'must start with http:// or https://' : 'must start with https://';
  }
  if (url.username !== '' || url.password !== '') return 'must not contain a user name or password';
  if (text.includes('#')) return 'must not have a fragment';
  if (!allowPrivate && !isPublicHost(url.hostname)) return 'must name a host on the public internet';
  return undefined;
}

/** Expects a host as `URL` normalizes it: lower case, percent-decoded, IPv4 as four decimals, IPv6 in brackets. */
function isPublicHost(hostname: string): boolean {
  const host = hostname.replace(/(?<!\.)\.+$/, '');
  if (host.startsWith('[')) return isPublicAddress(host.slice(1, -1));
  if (/^[\d.]+$/.test(host)) return isPublicAddress(host);
  return host.includes('.') && !LOCAL_NAME.test(host);
}
