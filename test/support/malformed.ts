// Requests that few clients send: a list of known ones, and any number of random ones determined by a seed.
import { connect } from 'node:net';

/** `text` holds bytes as Latin-1 characters. Without `status`, any answer but a 5xx is accepted. */
export type Raw = { what: string; text: string; status?: number };

const BODY = '{"url":"https://example.com/raw","events":["nothing.ever"]}';
const LENGTH = `Content-Length: ${BODY.length}`;

const head = (...lines: string[]) => `${lines.join('\r\n')}\r\n\r\n`;
const get = (...lines: string[]) => head('GET /health HTTP/1.1', 'Host: x', ...lines);
const target = (text: string) => head(`GET ${text} HTTP/1.1`, 'Host: x');

/** Returns the known requests; those that write carry `authorization`, a whole header line. */
export function malformed(authorization: string): Raw[] {
  const post = (lines: string[], body: string) =>
    head(
      'POST /api/v1/webhook-endpoints HTTP/1.1',
      'Host: x',
      authorization,
      'Content-Type: application/json',
      ...lines,
    ) + body;
  const chunked = (body: string) => post(['Transfer-Encoding: chunked'], body);
  const refused = (texts: Record<string, string>) =>
    Object.entries(texts).map(([what, text]) => ({ what, text, status: 400 }));
  const answered = (texts: Record<string, string>) => Object.entries(texts).map(([what, text]) => ({ what, text }));
  return [
    ...refused({
      'two hosts': head('GET /health HTTP/1.1', 'Host: a', 'Host: b'),
      'the same host twice': head('GET /health HTTP/1.1', 'Host: a', 'Host: a'),
      'hosts in a list': head('GET /health HTTP/1.1', 'Host: a, b'),
      'a host that is none': head('GET /health HTTP/1.1', 'Host: [::1'),
      'a port that is none': head('GET /health HTTP/1.1', 'Host: a:99999'),
      'Transfer-Encoding: gzip, chunked': post(['Transfer-Encoding: gzip, chunked'], '0\r\n\r\n'),
      'Transfer-Encoding in two lines': post(['Transfer-Encoding: gzip', 'Transfer-Encoding: chunked'], '0\r\n\r\n'),
      'Transfer-Encoding on a GET': get('Transfer-Encoding: gzip, chunked'),
      'Transfer-Encoding: gzip': post(['Transfer-Encoding: gzip'], '0\r\n\r\n'),
      'Transfer-Encoding: identity': post(['Transfer-Encoding: identity'], '0\r\n\r\n'),
      'Transfer-Encoding: chunked, chunked': post(['Transfer-Encoding: chunked, chunked'], '0\r\n\r\n'),
      'Transfer-Encoding before Content-Length': post(['Transfer-Encoding: chunked', LENGTH], '0\r\n\r\n'),
      'Content-Length before Transfer-Encoding': post([LENGTH, 'Transfer-Encoding: chunked'], '0\r\n\r\n'),
      'two Content-Lengths': post(['Content-Length: 1', 'Content-Length: 2'], '{}'),
      'Content-Lengths in a list': post([`${LENGTH}, ${BODY.length}`], BODY),
      'a negative Content-Length': post(['Content-Length: -1'], BODY),
      'a Content-Length with a sign': post([`Content-Length: +${BODY.length}`], BODY),
      'a hexadecimal Content-Length': post(['Content-Length: 0x10'], BODY),
      'a Content-Length in words': post(['Content-Length: ten'], BODY),
      'an empty Content-Length': post(['Content-Length:'], BODY),
      'a Content-Length beyond all numbers': post([`Content-Length: ${'9'.repeat(30)}`], BODY),
      'a folded header': get('X-A: a', ' b'),
      'a space before the colon': get('X-A : a'),
      'a space before the first header': head('GET /health HTTP/1.1', ' Host: x'),
      'a header without a name': get(': a'),
      'a header without a colon': get('nonsense'),
      'NUL in a value': get('X-A: a\0b'),
      'NUL in a name': get('X-\0A: a'),
      'a line that ends in CR alone': get('X-A: a\rX-B: b'),
      TLS: `\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03${'x'.repeat(100)}`,
      'a target without a slash': target('health'),
    }),
    ...answered({
      'a line that ends in LF alone': 'GET /health HTTP/1.1\nHost: x\n\n',
      'no host in HTTP/1.1': head('GET /health HTTP/1.1'),
      'an empty host': head('GET /health HTTP/1.1', 'Host:'),
      'a host with a path': head('GET /health HTTP/1.1', 'Host: a/b'),
      'the same Content-Length twice': post([LENGTH, LENGTH], BODY),
      'NUL in the target': target('/he\0alth'),
      'bytes beyond ASCII in the target': target('/\xff\xfe'),
      'bytes beyond ASCII in a token': get('Authorization: Bearer \xff'),
      'an absolute target': target('http://example.com/health'),
      'an absolute target that is none': target('http://['),
      'an absolute target with a password': target('http://u:p@example.com/health'),
      'a target of another scheme': target('ftp://example.com/health'),
      'OPTIONS *': head('OPTIONS * HTTP/1.1', 'Host: x'),
      'GET *': target('*'),
      CONNECT: head('CONNECT example.com:443 HTTP/1.1', 'Host: x'),
      'CONNECT with a path': head('CONNECT /health HTTP/1.1', 'Host: x'),
      'an upgrade to a WebSocket': get(
        'Connection: Upgrade',
        'Upgrade: websocket',
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
        'Sec-WebSocket-Version: 13',
      ),
      'an upgrade to HTTP/2': get(
        'Connection: Upgrade, HTTP2-Settings',
        'Upgrade: h2c',
        'HTTP2-Settings: AAMAAABkAAQAAP__',
      ),
      'an upgrade with a body': post(['Connection: Upgrade', 'Upgrade: foo', LENGTH], BODY),
      'Expect: 100-continue': post(['Expect: 100-continue', LENGTH], BODY),
      'an unknown expectation': post(['Expect: the-unexpected', LENGTH], BODY),
      'an unknown expectation of a GET': get('Expect: 200-ok'),
      'a target with half a percent': target('/api/v1/webhook-endpoints/%zz'),
      'a query with half a percent': target('/api/v1/webhook-endpoints?limit=%zz&cursor=%E0%A4'),
      'a target that is not UTF-8': target('/problems/%ff%fe'),
      'a target of 15 KB': target(`/${'x'.repeat(15_000)}`),
      'a target of 100 KB': target(`/${'x'.repeat(100_000)}`),
      '1,000 headers': get(...Array.from({ length: 1000 }, (_, i) => `X-${i}: ${i}`)),
      'headers named as what every object has': get('__proto__: a', 'constructor: b'),
      'a Connection header with a control character': get('Connection: close, \x01, keep-alive'),
      'an unknown method': head('BREW /health HTTP/1.1', 'Host: x'),
      'a method in small letters': head('get /health HTTP/1.1', 'Host: x'),
      ...Object.fromEntries(
        ['TRACE', 'TRACK', 'PROPFIND', 'PURGE', 'QUERY'].map((method) => [
          method,
          head(`${method} /api/v1/webhook-endpoints HTTP/1.1`, 'Host: x', authorization),
        ]),
      ),
      'TRACE with a body': `${head('TRACE /health HTTP/1.1', 'Host: x', 'Content-Length: 2')}{}`,
      'GET with a body': `${get('Content-Length: 2')}{}`,
      'a chunk of no size': chunked('zz\r\n{}\r\n0\r\n\r\n'),
      'a chunk of a size beyond all numbers': chunked(`${'f'.repeat(17)}\r\n{}\r\n0\r\n\r\n`),
      'a chunk with an extension': chunked(`${BODY.length.toString(16)};a=b\r\n${BODY}\r\n0\r\n\r\n`),
      'a chunk with an extension of 20 KB': chunked(`2;${'a'.repeat(20_000)}\r\n{}\r\n0\r\n\r\n`),
      'a chunk without an end': chunked('2\r\n{}0\r\n\r\n'),
      'a trailer': chunked(`${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\nX-T: a\r\n\r\n`),
      'HTTP/0.9': 'GET /health\r\n\r\n',
      'HTTP/1.2': head('GET /health HTTP/1.2', 'Host: x'),
      'HTTP/9.9': head('GET /health HTTP/9.9', 'Host: x'),
      'HTTP/2 without asking': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      'two spaces in the first line': head('GET  /health  HTTP/1.1', 'Host: x'),
      'no target': head('GET  HTTP/1.1', 'Host: x'),
      'two slashes': target('//health'),
      'a backslash': target('/\\health'),
      'a fragment': target('/health#a'),
      dots: target('/../../health'),
      'empty lines first': `\r\n\r\n${get()}`,
    }),
  ];
}

const HOSTILE = [
  'Host: y',
  'Content-Length: 5',
  'Content-Length: 0',
  'Transfer-Encoding: chunked',
  'Transfer-Encoding: gzip, chunked',
  'Expect: 100-continue',
  'Expect: nothing',
  'Connection: Upgrade',
  'Connection: close, keep-alive',
  'Upgrade: websocket',
  'X-Request-Id: \xff',
  'traceparent: 00-0-0-0',
  'If-Match: "1',
  'Idempotency-Key: "\\',
  'Accept-Encoding: \x7f',
  'Origin: null',
  'Range: bytes=0-',
  '__proto__: 1',
  `Cookie: ${'c'.repeat(9000)}`,
];
const BYTES = ['\0', '\r', '\n', '\r\n', '\r\n\r\n', ' ', '\t', ':', '%', ',', ';', '"', '/', '\\', '\x7f', '\xff'];
const TARGETS = ['*', '/', '//', '/%', '/%00', '/%ff', 'http://[', 'http://x/', '?', '#', '/a\\b', '/..', 'x:1'];
const VERSIONS = ['HTTP/1.0', 'HTTP/1.2', 'HTTP/2', 'HTTP/0.9', 'http/1.1', 'HTTP/1.1 ', 'HTTPS/1.1', ''];
const METHODS = ['get', 'HEAD', 'OPTIONS', 'CONNECT', 'TRACE', 'DELETE', 'PATCH', 'PRI', 'G ET', '', 'M-SEARCH'];

/** Returns a request with one to four defects, chosen by `random`, which returns numbers from 0 to 1. */
export function randomlyMalformed(random: () => number, authorization: string): string {
  const below = (n: number) => Math.floor(random() * n);
  const oneOf = <T>(values: readonly T[]): T => values[below(values.length)] as T;
  const sound = [
    get(),
    head('GET /api/v1/webhook-endpoints?limit=2 HTTP/1.1', 'Host: x', authorization),
    head(
      'POST /api/v1/webhook-endpoints HTTP/1.1',
      'Host: x',
      authorization,
      'Content-Type: application/json',
      LENGTH,
    ) + BODY,
    `${head('PUT /api/v1/webhook-endpoints/x HTTP/1.1', 'Host: x', authorization, 'Transfer-Encoding: chunked')}2\r\n{}\r\n0\r\n\r\n`,
    get() + get(),
  ];
  const wrongs: ((text: string) => string)[] = [
    (text) => splice(text, below(text.length), 0, oneOf(BYTES)),
    (text) => splice(text, below(text.length), 1, String.fromCharCode(below(256))),
    (text) => splice(text, below(text.length), below(20), ''),
    (text) => text.slice(0, below(text.length)),
    (text) => splice(text, text.indexOf('\r\n'), 0, `\r\n${oneOf(HOSTILE)}`),
    (text) => text.replace('\r\n', `\r\n${`${oneOf(HOSTILE)}\r\n`.repeat(below(30))}`),
    (text) => text.replace(/ \S+ /, () => ` ${oneOf(TARGETS)} `),
    (text) => text.replace('HTTP/1.1', () => oneOf(VERSIONS)),
    (text) => text.replace(/^\w+/, () => oneOf(METHODS)),
    (text) => text.replaceAll('\r\n', oneOf(['\n', '\r', '\r\r\n', '\n\r'])),
  ];
  let text = oneOf(sound);
  for (let left = 1 + below(4); left > 0; left--) text = oneOf(wrongs)(text);
  return text;
}

const splice = (text: string, at: number, length: number, by: string) =>
  text.slice(0, Math.max(0, at)) + by + text.slice(Math.max(0, at) + length);

/** The first status that came back; `closed` where the connection was closed without one. */
export type Reaction = number | 'closed';

/**
 * Sends the bytes of `text` on a connection of their own. With `ends`, it then ends its side, which not every server
 * takes as a reason to answer what it has received. Rejects if nothing has happened within `withinMs`.
 */
export function reactionTo(url: string, text: string, { ends = false, withinMs = 30_000 } = {}): Promise<Reaction> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    let received = '';
    const react = (reaction: Reaction) => {
      resolve(reaction);
      socket.destroy();
    };
    socket.setTimeout(withinMs, () => {
      reject(new Error(`neither an answer nor an end: ${JSON.stringify(text)}`));
      socket.destroy();
    });
    socket.on('data', (chunk) => {
      received += chunk.toString('latin1');
      // What is not HTTP/1 has no status, and is an answer all the same.
      const [, status] = /^(?:HTTP\/1\.1 100 .*\r\n\r\n)?HTTP\/1\.[01] ([2-5]\d\d)/.exec(received) ?? [];
      if (status) react(Number(status));
    });
    socket.on('error', () => {});
    socket.on('close', () => react('closed'));
    socket.write(text, 'latin1');
    if (ends) socket.end();
  });
}
