import ipaddr from 'ipaddr.js';

/** The maximum length of an address: 45 characters of IPv6, a zone, brackets and a port. */
const MAX_LENGTH = 100;

const WITH_PORT = /^(?:\[([^[\]]*)\]|([\d.]*))(?::\d{1,5})?$/;

/**
 * Returns the network by which a client's requests are counted: an IPv4 address, or an IPv6 /64 network, which usually
 * belongs to one client. Spelling, port and zone make no difference. All invalid addresses share `unknown`, so that a
 * made-up one gets no fresh quota.
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
