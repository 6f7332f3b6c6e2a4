import ipaddr from 'ipaddr.js';

/** What is longer is no address: 45 characters of IPv6, a zone, brackets and a port. */
const MAX_LENGTH = 100;

const WITH_PORT = /^(?:\[([^[\]]*)\]|([\d.]*))(?::\d{1,5})?$/;

/**
 * What a client's address is counted by, however it is written: an IPv4 address, or an IPv6 network of 64 bits, as one
 * client has it. Ports and zones are no part of it. Whatever is no address is `unknown`: nobody gets a count of their
 * own by writing something new.
 */
export function networkOf(address: string): string {
  if (address.length > MAX_LENGTH) return 'unknown';
  const [, v6, v4] = WITH_PORT.exec(address) ?? [];
  const [host = ''] = (v6 ?? v4 ?? address).split('%', 1);
  if (ipaddr.IPv4.isValidFourPartDecimal(host)) return ipaddr.IPv4.parse(host).toString();
  if (!host.includes(':') || !ipaddr.IPv6.isValid(host)) return 'unknown';
  const parsed = ipaddr.IPv6.parse(host);
  if (parsed.isIPv4MappedAddress()) return parsed.toIPv4Address().toString();
  const network = parsed.parts.slice(0, 4).map((part) => part.toString(16));
  return `${network.join(':')}::/64`;
}
